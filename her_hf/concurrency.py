"""Concurrent work on many units, of which at most a window is in progress."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

U = TypeVar("U")
R = TypeVar("R")

WINDOW = 256
"""Default maximum of units in progress."""


async def each(units: Iterable[U], work: Callable[[U], Awaitable[object]], *, window: int = WINDOW) -> None:
    """Processes units with at most `window` in progress; the first error cancels the rest and is raised.

    A unit is taken from `units` when a worker is free and released when it is finished, so memory use does not depend
    on the number of units.

    Args:
        units (`Iterable`): The units.
        work (`Callable[[U], Awaitable]`): Processes one unit.
        window (`int`, *optional*, defaults to 256): Maximum units in progress.

    Raises:
        `ValueError`: If `window` is below 1.
        `Exception`: The first one raised by `work` or `units`.
    """
    if window < 1:
        raise ValueError(f"window must be at least 1, got {window}")
    source = iter(units)

    async def worker() -> None:
        for unit in source:  # all workers take from the same iterator
            await work(unit)
            del unit  # before the next one is created
            await asyncio.sleep(0)  # lets other tasks run, even if the unit never waits

    error: BaseException | None = None
    workers: list[asyncio.Task[None]] = []
    try:
        async with asyncio.TaskGroup() as group:
            workers += [group.create_task(worker()) for _ in range(window)]
    except BaseExceptionGroup as errors:
        error = errors.exceptions[0]
    if error is not None:
        raise error  # outside the except block, so that the group does not become its context
    if any(one.cancelled() for one in workers):
        raise asyncio.CancelledError  # a unit that cancelled itself is not finished


async def gathered(units: Iterable[U], work: Callable[[U], Awaitable[R]], *, window: int = WINDOW) -> list[R]:
    """The results of [`each`], in the order of the units.

    Args:
        units (`Iterable`): The units.
        work (`Callable[[U], Awaitable]`): Processes one unit and returns its result.
        window (`int`, *optional*, defaults to 256): Maximum units in progress.

    Raises:
        `ValueError`, `Exception`: As [`each`].

    Example:

    ```python
    >>> async def doubled(number):
    ...     return 2 * number
    >>> asyncio.run(gathered(range(3), doubled))
    [0, 2, 4]
    ```
    """
    found: dict[int, R] = {}

    async def one(numbered: tuple[int, U]) -> None:
        number, unit = numbered
        found[number] = await work(unit)

    await each(enumerate(units), one, window=window)
    return [found[number] for number in range(len(found))]
