"""Runs units of work: concurrency, journal, progress, and resumption after an interruption.

A unit is a piece of work with a key that produces one row: a reply to sample, a pair to judge, a scene to play. Its
randomness is seeded by its key, so the order in which units finish does not affect the rows. A failed unit is data: a
row with the cause. An exception is not a failed unit; it ends the run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Generic, TypeVar

from pydantic import BaseModel

from her_hf.concurrency import WINDOW, each
from her_hf.journal import Journal, Row, Rows

from .progress import Progress

U = TypeVar("U")


class Cause(BaseModel):
    """The cause of a failed unit, as recorded in every file."""

    cause: str
    detail: str


class Stage(Generic[U]):
    """One kind of work: the row of a unit is read from the journal if it is valid, and computed otherwise.

    Rows are written in a thread, in batches of all rows that are waiting. As an asynchronous context manager it waits
    at the end until all rows are written, and closes the progress bar.

    Args:
        journal ([`~her_hf.journal.Journal`]): The journal of rows.
        key (`Callable[[U], Hashable]`): Returns the key of a unit's row in the journal.
        make (`Callable[[U], Awaitable[dict]]`): Processes a unit and returns its row.
        is_valid (`Callable[[U, dict], bool]`): Whether an existing row is still valid; if not (because it failed, or
            the unit of this key has changed), the unit is processed again.
        progress ([`~her_hf.runs.progress.Progress`]): The progress bar.
        steps (`int`, *optional*, defaults to 1): Steps of the progress bar per unit.
        counted (`Callable[[dict], int]`, *optional*): Number of these steps that `make` has already counted; 0 by
            default.
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
        """The row of a unit; it is on disk when this returns."""
        key = self.key(unit)
        known = self.journal.get(key)
        if known is not None and self._is_valid(unit, known):
            self.progress.skip(self._steps)
            return known
        row = await self._make(unit)
        if self.journal.key(row) != key:
            raise ValueError(
                f"the row of unit {key} has the key {self.journal.key(row)}, under which it would not be found"
            )
        await self._writer.add(row)
        self.progress.advance(self._steps - self._counted(row))
        return row

    async def settle(self, order: Iterable[Hashable]) -> None:
        """Sorts the journal; see [`~her_hf.journal.Journal.settle`]."""
        await asyncio.to_thread(self.journal.settle, order)


async def run_units(units: Iterable[U], stage: Stage[U], *, window: int = WINDOW) -> Rows:
    """Runs a stage over all units and sorts the journal in their order.

    Args:
        units (`Iterable`): The units; each is taken when a worker is free.
        stage ([`Stage`]): The stage; it is closed at the end.
        window (`int`, *optional*, defaults to 256): Maximum units in progress.

    Returns:
        [`~her_hf.journal.Rows`]: The rows in the order of the units, read from the file one at a time.

    Raises:
        `ValueError`: If two units have the same key.
        `Exception`: The first one raised while units are taken, processed or written. Written rows stay, and the next
            run resumes from them.

    Example (not run: it needs a model):

    ```python
    >>> journal = Journal("replies.jsonl", key=lambda row: row["key"])
    >>> stage = Stage(
    ...     journal,
    ...     key=lambda question: question.id,
    ...     make=answer,  # returns {"key": question.id, "text": ..., "failure": None}
    ...     is_valid=lambda question, row: not row["failure"],
    ...     progress=Progress("answers", "answer"),
    ... )
    >>> rows = await run_units(read_questions("questions.jsonl"), stage, window=64)
    ```
    """
    keys: dict[Hashable, None] = {}

    async def one(unit: U) -> None:
        await stage.row(unit)

    def checked(unit: U) -> U:
        key = stage.key(unit)
        if key in keys:
            raise ValueError(f"two units have the key {key}: keys must be distinct")
        keys[key] = None
        return unit

    async with stage:
        await each(map(checked, units), one, window=window)
    await stage.settle(keys)
    return stage.journal.rows(keys)


@dataclass
class _Writer:
    """Writes rows to a journal in a thread, in batches of all that are waiting."""

    journal: Journal
    _waiting: list[tuple[Row, asyncio.Future[None]]] = field(default_factory=list)
    _task: asyncio.Task[None] | None = None

    async def add(self, row: Row) -> None:
        """Returns when the row is on disk."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, written))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write())
        await written

    async def drain(self) -> None:
        """Waits until all rows are written, including those whose caller was cancelled."""
        if self._task is not None:
            await self._task

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await asyncio.to_thread(self.journal.add, *(row for row, _ in batch))
            except Exception as error:  # noqa: BLE001 - any error is passed to all waiting callers
                for _, written in batch:
                    if not written.done():
                        written.set_exception(error)
            else:
                for _, written in batch:
                    if not written.done():
                        written.set_result(None)
