"""One run of units, for everything that takes long: concurrency, journal, progress, and going on after a kill.

A unit is a piece of work that has a key and leaves one row: a reply to sample, a pair to judge, a scene to play. What
is random in it is seeded from its key, so that the order in which units end changes no row. A unit that fails is data,
a row that names the cause; an exception is no unit's failure, and ends the run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Generic, TypeVar

from pydantic import BaseModel

from her_hf.journal import Journal, Row

from .progress import Progress

U = TypeVar("U")

WINDOW = 256
"""Most units in hand at a time, unless a run says otherwise."""


class Cause(BaseModel):
    """Why a unit failed, as every file says it."""

    cause: str
    detail: str


async def each(units: Iterable[U], work: Callable[[U], Awaitable[object]], *, window: int = WINDOW) -> None:
    """Does work for each unit, with at most `window` in hand; the first error cancels the rest and is raised.

    A unit is taken from `units` when there is room for it and let go when its work is done, so that a generator of any
    length stays flat in memory.

    Args:
        units (`Iterable`): The units.
        work (`Callable[[U], Awaitable]`): The work of one.
        window (`int`, *optional*, defaults to 256): Most units in hand.

    Raises:
        `ValueError`: If `window` is below 1.
        `Exception`: The first that `work` or `units` raises.
    """
    if window < 1:
        raise ValueError(f"window must be at least 1, got {window}")
    source = iter(units)

    async def worker() -> None:
        for unit in source:  # all workers take from the same iterator
            await work(unit)
            del unit  # before the next one is made
            await asyncio.sleep(0)  # a unit with nothing to wait for holds up nobody

    error: BaseException | None = None
    workers: list[asyncio.Task[None]] = []
    try:
        async with asyncio.TaskGroup() as group:
            workers += [group.create_task(worker()) for _ in range(window)]
    except BaseExceptionGroup as errors:
        error = errors.exceptions[0]
    if error is not None:
        raise error  # here, where the group is not its context
    if any(one.cancelled() for one in workers):
        raise asyncio.CancelledError  # a unit that cancelled itself is not done


class Stage(Generic[U]):
    """One kind of work: a unit's row comes from the journal if it is there and still valid, else it is made.

    Rows are written off the event loop; those that are made while others are written go to the disk together. Leaving
    it as an asynchronous context manager waits until all that was made is written, and closes the bar.

    Args:
        journal ([`~her_hf.journal.Journal`]): Where rows are kept.
        key (`Callable[[U], Hashable]`): The key that a unit's row has in the journal.
        make (`Callable[[U], Awaitable[dict]]`): Does the work of a unit and gives its row.
        is_valid (`Callable[[U, dict], bool]`): Whether a row that is there still counts, or the unit is done again,
            since it failed or was another one under this key.
        progress ([`~her_hf.runs.progress.Progress`]): The bar.
        steps (`int`, *optional*, defaults to 1): How many steps of the bar a unit is.
        counted (`Callable[[dict], int]`, *optional*): How many of them `make` has counted itself; none if not given.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        key: Callable[[U], Hashable],
        make: Callable[[U], Awaitable[Row]],
        is_valid: Callable[[U, Row], bool],
        progress: Progress,
        steps: int = 1,
        counted: Callable[[Row], int] = lambda _: 0,
    ) -> None:
        self.journal, self.key, self.progress = journal, key, progress
        self._make, self._is_valid, self._steps, self._counted = make, is_valid, steps, counted
        self._writer = _Writer(journal)

    async def __aenter__(self) -> Stage[U]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._writer.drain()
        finally:
            self.progress.close()

    async def row(self, unit: U) -> Row:
        """The row of a unit, on the disk."""
        key = self.key(unit)
        known = self.journal.get(key)
        if known is not None and self._is_valid(unit, known):
            self.progress.skip(self._steps)
            return known
        row = await self._make(unit)
        if self.journal.key(row) != key:
            raise ValueError(f"the row of unit {key} has the key {self.journal.key(row)}, so it would not be found")
        await self._writer.add(row)
        self.progress.advance(self._steps - self._counted(row))
        return row

    async def settle(self, order: Iterable[Hashable]) -> None:
        """Puts the journal into this order; see [`~her_hf.journal.Journal.settle`]."""
        await asyncio.to_thread(self.journal.settle, order)


async def run_units(units: Iterable[U], stage: Stage[U], *, window: int = WINDOW) -> Iterator[Row]:
    """Runs a stage over all units and puts the journal into their order.

    Args:
        units (`Iterable`): The units, drawn as there is room for them.
        stage ([`Stage`]): What is done with each; it is closed at the end.
        window (`int`, *optional*, defaults to 256): Most units in hand at a time.

    Returns:
        `Iterator[dict]`: The rows in the order of the units, read from the file one by one.

    Raises:
        `ValueError`: If two units have one key.
        `Exception`: The first that is raised while units are drawn, done or written. What was written stays, and the
            next run goes on from there.

    Example (not run: it needs a model):

    ```python
    >>> journal = Journal("replies.jsonl", key=lambda row: row["key"])
    >>> stage = Stage(
    ...     journal,
    ...     key=lambda question: question.id,
    ...     make=answer,  # gives {"key": question.id, "text": ..., "failure": None}
    ...     is_valid=lambda question, row: not row["failure"],
    ...     progress=Progress("answers", "answer"),
    ... )
    >>> rows = await run_units(read_questions("questions.jsonl"), stage, window=64)
    ```
    """
    keys: dict[Hashable, None] = {}

    async def one(unit: U) -> None:
        await stage.row(unit)

    def drawn(unit: U) -> U:
        key = stage.key(unit)
        if key in keys:
            raise ValueError(f"two units have the key {key}: each needs one of its own")
        keys[key] = None
        return unit

    async with stage:
        await each(map(drawn, units), one, window=window)
    await stage.settle(keys)
    return stage.journal.rows(keys)


@dataclass
class _Writer:
    """Writes rows to a journal in a thread, all that wait in one go."""

    journal: Journal
    _waiting: list[tuple[Row, asyncio.Future[None]]] = field(default_factory=list)
    _task: asyncio.Task[None] | None = None

    async def add(self, row: Row) -> None:
        """Returns when the row is on the disk."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, written))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write())
        await written

    async def drain(self) -> None:
        """Waits until nothing is left to write, also of those who no longer wait for it."""
        if self._task is not None:
            await self._task

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await asyncio.to_thread(self.journal.add, *(row for row, _ in batch))
            except Exception as error:  # noqa: BLE001 - handed to everybody who waits, whatever it is
                for _, written in batch:
                    if not written.done():
                        written.set_exception(error)
            else:
                for _, written in batch:
                    if not written.done():
                        written.set_result(None)
