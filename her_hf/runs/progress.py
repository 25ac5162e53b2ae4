"""Many units at once, with a bar that shows rate and time left."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from tqdm.auto import tqdm

T = TypeVar("T")


def bar(total: int, what: str, unit: str, *, show: bool, done: int = 0) -> Any:
    """A progress bar; `done` units were there before."""
    return tqdm(total=total, initial=done, desc=what, unit=unit, disable=not show, smoothing=0.1)


async def together(units: Iterable[Coroutine[Any, Any, T]], most: int) -> list[T]:
    """Runs units concurrently, `most` at a time, each to its end; the first error ends all.

    Args:
        units (`Iterable[Coroutine]`): What to run.
        most (`int`): How many at a time.

    Returns:
        `list`: Results in order.
    """
    limit, waiting = asyncio.Semaphore(most), list(units)

    async def one(unit: Coroutine[Any, Any, T]) -> T:
        async with limit:
            return await unit

    tasks = [asyncio.ensure_future(one(unit)) for unit in waiting]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for unit in waiting:
            unit.close()  # one that never began would be warned of
        raise
