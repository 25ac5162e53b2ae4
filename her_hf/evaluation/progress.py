"""Many units at once, with a bar that shows rate and time left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Any, TypeVar

from tqdm.auto import tqdm

T = TypeVar("T")


def bar(total: int, what: str, unit: str, *, show: bool, done: int = 0) -> Any:
    """A progress bar; `done` units were there before."""
    return tqdm(total=total, initial=done, desc=what, unit=unit, disable=not show, smoothing=0.1)


async def together(units: Iterable[Awaitable[T]], most: int) -> list[T]:
    """Runs units concurrently, `most` at a time, each to its end; the first error ends all.

    Args:
        units (`Iterable[Awaitable]`): What to run.
        most (`int`): How many at a time.

    Returns:
        `list`: Results in order.
    """
    limit = asyncio.Semaphore(most)

    async def one(unit: Awaitable[T]) -> T:
        async with limit:
            return await unit

    tasks = [asyncio.ensure_future(one(unit)) for unit in units]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
