"""Runs statements on a SQLite database in a thread, all that are waiting in one transaction.

The event loop waits for no disk and for no lock of another process.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass
class _Waiting:
    """Statements to run, and where their result goes."""

    work: Callable[[sqlite3.Connection], Any]
    writes: bool
    found: Future[Any]


class Transactions:
    """One thread with one connection; statements run in the order in which they are submitted.

    Args:
        connect (`Callable`): Opens the database in autocommit mode (`isolation_level=None`); called at first use, in
            the thread.

    Example:

    ```python
    >>> database = Transactions(lambda: sqlite3.connect("ledger.sqlite", isolation_level=None))
    >>> database.submit(lambda connection: connection.execute("SELECT 1").fetchone(), writes=False).result()
    (1,)
    >>> database.close()
    ```
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._database: sqlite3.Connection | None = None
        self._waiting: list[_Waiting] = []
        self._guard = threading.Lock()  # of the list; held for no statement
        self._thread: ThreadPoolExecutor | None = None

    def submit(self, work: Callable[[sqlite3.Connection], T], *, writes: bool = True) -> Future[T]:
        """Schedules statements; from a coroutine, await the result with `asyncio.wrap_future`.

        Args:
            work (`Callable`): Runs the statements. An error that is not of the database fails this work alone.
            writes (`bool`, *optional*, defaults to `True`): Whether it writes, which excludes other processes.

        Returns:
            `Future`: Its result, once the transaction is committed. It cannot be cancelled: what was submitted is
                done, whether or not anybody still waits for it.
        """
        found: Future[T] = Future()
        found.set_running_or_notify_cancel()
        with self._guard:
            self._waiting.append(_Waiting(work, writes, found))
            if len(self._waiting) == 1:
                self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="transactions")
                self._thread.submit(self._run)
        return found

    def close(self, *, last: Callable[[sqlite3.Connection], object] = lambda _: None) -> None:
        """Finishes what was submitted and closes the database; a later submission opens it again.

        Args:
            last (`Callable`, *optional*): Statements to run before the database is closed, if it was opened.
        """
        with self._guard:
            thread, self._thread = self._thread, None
        if thread is not None:
            try:
                thread.submit(self._disconnect, last).result()
            finally:
                thread.shutdown()

    def _disconnect(self, last: Callable[[sqlite3.Connection], object]) -> None:
        database, self._database = self._database, None
        if database is not None:
            with closing(database):
                last(database)

    def _run(self) -> None:
        with self._guard:
            batch, self._waiting = self._waiting, []
        try:
            outcomes = self._in_one_transaction(batch)
        except Exception as error:  # noqa: BLE001 - passed on to all that wait
            for one in batch:
                one.found.set_exception(error)
            return
        for one, (result, failure) in zip(batch, outcomes, strict=True):
            if failure is not None:
                one.found.set_exception(failure)
            else:
                one.found.set_result(result)

    def _in_one_transaction(self, batch: Sequence[_Waiting]) -> list[tuple[Any, Exception | None]]:
        """The result or the error of each."""
        if self._database is None:
            self._database = self._connect()
        database = self._database
        database.execute("BEGIN IMMEDIATE" if any(one.writes for one in batch) else "BEGIN")
        try:
            found = [_outcome(one.work, database) for one in batch]
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:  # a full disk, for one, has ended it already
                database.execute("ROLLBACK")
            raise
        return found


def _outcome(work: Callable[[sqlite3.Connection], Any], database: sqlite3.Connection) -> tuple[Any, Exception | None]:
    try:
        return work(database), None
    except sqlite3.Error:
        raise  # of the database: nothing of this transaction counts
    except Exception as error:  # noqa: BLE001 - of this work alone
        return None, error
