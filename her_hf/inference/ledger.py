"""A durable record of model calls: what was asked once is not asked again, after a kill or by a second process."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from her_hf.durable import digest

from .claims import Mark, is_alive, owners
from .interface import Messages, Reply, Sampling, Schema, Usage

_log = logging.getLogger(__name__)

_TABLES = (
    """
CREATE TABLE IF NOT EXISTS replies (
  key TEXT PRIMARY KEY,
  model TEXT NOT NULL,
  reply TEXT NOT NULL,
  made TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
)
""",
    "CREATE TABLE IF NOT EXISTS claims (key TEXT PRIMARY KEY, owner TEXT NOT NULL)",
)
_BUSY_SECONDS = 60.0
_SOON, _LATER = 0.02, 0.5
"""Seconds between two looks at a call that another process is making, at first and in the end."""


def call_key(
    fingerprint: dict[str, Any],
    messages: Messages,
    *,
    sampling: Sampling,
    thinking: bool,
    schema: Schema | None = None,
) -> str:
    """The key of one call: a digest of everything that could change the answer.

    Args:
        fingerprint (`dict`): [`ChatModel.fingerprint`]: model, template digest, weights.
        messages (`Messages`): The conversation.
        sampling (`Sampling`): How to draw, the seed included.
        thinking (`bool`): Whether the turn is opened with system thinking.
        schema (`Schema`, *optional*): JSON schema of the reply.
    """
    return digest([fingerprint, [dict(message) for message in messages], _plain(sampling), thinking, schema])


class Ledger:
    """Replies by key, in a SQLite file that any number of processes may share.

    Each reply is committed before the call returns. What one process is asking, the others wait for; if it fails or is
    killed, one of them asks. However often an answer is put, the first one counts, so that all later work sees one.

    Args:
        file (`str` or `Path`): The file; made if it is not there.

    Raises:
        `ValueError`: At first use, if the file is no ledger.

    Example:

    ```python
    >>> with Ledger("outputs/coser/ledger.sqlite") as ledger:
    ...     ledger.get("0" * 64) is None
    True
    ```
    """

    def __init__(self, file: str | Path) -> None:
        self.file = Path(file)
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._pending: list[tuple[str, Reply, asyncio.Future[Reply]]] = []
        self._mark: Mark | None = None
        self._waited = False

    def _open(self) -> sqlite3.Connection:
        """The database; opened when it is first needed, so that a run can look at its folder before."""
        if self._database is None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(self.file, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            try:
                _patiently(database, "PRAGMA journal_mode=WAL")
                # A killed process loses nothing that was committed; only a loss of power could cost the last replies.
                database.execute("PRAGMA synchronous=NORMAL")
                for table in _TABLES:
                    _patiently(database, table)
            except sqlite3.DatabaseError as error:
                database.close()
                if isinstance(error, sqlite3.OperationalError):  # locked for all that time, a full disk, no permission
                    raise OSError(
                        f"the ledger {self.file} cannot be opened: {error}. Look who holds it, or mend the disk."
                    ) from error
                raise ValueError(
                    f"{self.file} is no ledger ({error}). Name another file, or delete this one; the calls it would "
                    "have kept are asked again."
                ) from error
            self._database = database
        return self._database

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        with self._lock:
            return int(self._open().execute("SELECT count(*) FROM replies").fetchone()[0])

    def get(self, key: str) -> Reply | None:
        """The reply that was given to this call, if there was one."""
        with self._lock:
            row = self._open().execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
        return _read(row[0]) if row else None

    async def once(
        self, key: str, ask: Callable[[], Awaitable[Reply]], *, limit: asyncio.Semaphore | None = None
    ) -> tuple[Reply, bool]:
        """The reply to a call: the one that is kept, else a call is made, by one process at a time.

        A call is claimed when it is made, not while it waits, for its turn or for another process: what one process
        has no room for, another may ask.

        Args:
            key (`str`): The call's.
            ask (`Callable`): Makes the call.
            limit (`asyncio.Semaphore`, *optional*): Entered to claim and make the call.

        Returns:
            `tuple[Reply, bool]`: The reply, and whether it was asked for here and now.

        Raises:
            `Exception`: What `ask` raises; the call is then free for others.
        """
        pause = _SOON
        while (known := self.get(key)) is None:
            async with limit or nullcontext():
                found = self._claim(key)
                if found is True:
                    return await self._make(key, ask), True
            if isinstance(found, Reply):
                return found, False
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LATER)
        return known, False

    async def _make(self, key: str, ask: Callable[[], Awaitable[Reply]]) -> Reply:
        """Makes a call that is claimed, and keeps the reply; without one, the call is free again."""
        try:
            return await self.put(key, await ask())
        except BaseException:
            self._let_go(key)
            raise

    def _claim(self, key: str) -> Reply | bool:
        """The reply if there is one by now, else whether the call is this process's to make."""
        with self._lock:
            database = self._open()
            mine = self._owner(database)
            holder = database.execute("SELECT owner FROM claims WHERE key = ?", (key,)).fetchone()
            if holder is None:
                taken = database.execute(
                    "INSERT OR IGNORE INTO claims (key, owner) VALUES (?, ?)", (key, mine)
                ).rowcount
            elif holder[0] == mine or is_alive(self.file, holder[0]):
                taken = 0
            else:
                free = (mine, key, holder[0])
                taken = database.execute("UPDATE claims SET owner = ? WHERE key = ? AND owner = ?", free).rowcount
            row = database.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
            if row and taken:
                database.execute("DELETE FROM claims WHERE key = ?", (key,))
        if not (row or taken or self._waited or (holder and holder[0] == mine)):
            self._waited = True
            _log.warning("Another process asks the same, with the ledger %s: its answers are waited for.", self.file)
        return _read(row[0]) if row else bool(taken)

    def _owner(self, database: sqlite3.Connection) -> str:
        """This process's name in claims; what killed ones left is swept away when it gets one."""
        if self._mark is None:
            for owner in owners(self.file):
                if not is_alive(self.file, owner):
                    database.execute("DELETE FROM claims WHERE owner = ?", (owner,))
            self._mark = Mark(self.file)
        return self._mark.owner

    def _let_go(self, key: str) -> None:
        """Frees a call that was not answered."""
        with self._lock:
            if self._mark is not None:
                self._open().execute("DELETE FROM claims WHERE key = ? AND owner = ?", (key, self._mark.owner))

    async def put(self, key: str, reply: Reply) -> Reply:
        """Keeps a reply, and gives back the one that counts: an earlier one of the same key if there is one.

        Replies that come in at the same moment are committed together; each waits until it is.
        """
        loop = asyncio.get_running_loop()
        kept: asyncio.Future[Reply] = loop.create_future()
        self._pending.append((key, reply, kept))
        if len(self._pending) == 1:
            loop.call_soon(self._commit)
        return await kept

    def _commit(self) -> None:
        """Writes all replies that wait, in one transaction, and tells those who wait."""
        pending, self._pending = self._pending, []
        try:
            counting = self._write([(key, reply) for key, reply, _ in pending])
        except Exception as error:  # noqa: BLE001 - handed to everybody who waits, whatever it is
            for _, _, kept in pending:
                if not kept.done():
                    kept.set_exception(error)
            return
        for (_, _, kept), reply in zip(pending, counting, strict=True):
            if not kept.done():
                kept.set_result(reply)

    def _write(self, replies: Sequence[tuple[str, Reply]]) -> list[Reply]:
        """Keeps replies in one transaction; gives back those that count."""
        rows = [(key, reply.model, json.dumps(_plain(reply), ensure_ascii=False)) for key, reply in replies]
        with self._lock:
            database = self._open()
            database.execute("BEGIN IMMEDIATE")
            try:
                counting = []
                for key, model, text in rows:
                    new = database.execute(
                        "INSERT OR IGNORE INTO replies (key, model, reply) VALUES (?, ?, ?)", (key, model, text)
                    )
                    if new.rowcount == 0:
                        text = database.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()[0]
                    counting.append(text)
                    database.execute("DELETE FROM claims WHERE key = ?", (key,))
                database.execute("COMMIT")
            except BaseException:
                database.execute("ROLLBACK")
                raise
        return [
            reply if text == row[2] else _read(text)
            for (_, reply), row, text in zip(replies, rows, counting, strict=True)
        ]

    def close(self) -> None:
        """Closes the file; what was kept stays, what was claimed is free."""
        with self._lock:
            if self._mark is not None:
                self._open().execute("DELETE FROM claims WHERE owner = ?", (self._mark.owner,))
                self._mark.close()
                self._mark = None
            if self._database is not None:
                self._database.close()
                self._database = None


def _patiently(database: sqlite3.Connection, statement: str) -> None:
    """Executes what SQLite refuses at once, without its usual patience, while another process does the same."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            database.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _plain(value: Any) -> Any:
    """A dataclass as JSON values; `asdict` would copy every text."""
    if not is_dataclass(value):
        return value
    return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}


def _read(text: str) -> Reply:
    values = json.loads(text)
    return Reply(**{**values, "usage": Usage(**values["usage"])})
