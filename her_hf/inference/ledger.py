"""A durable record of model calls: no call is made twice, after a kill or by a second process."""

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

from pydantic import TypeAdapter

from her_hf.durable import digest

from .claims import Mark, is_alive, owners
from .interface import Messages, Reply, Sampling, Schema, Usage

_log = logging.getLogger(__name__)

_TABLES = {
    "replies": """
CREATE TABLE IF NOT EXISTS replies (
  key TEXT PRIMARY KEY,
  model TEXT NOT NULL,
  reply TEXT NOT NULL,
  made TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
)
""",
    "claims": "CREATE TABLE IF NOT EXISTS claims (key TEXT PRIMARY KEY, owner TEXT NOT NULL)",
}
_COLUMNS = {"replies": ["key", "model", "reply", "made"], "claims": ["key", "owner"]}
_COLUMNS_OF_ALL = """
SELECT tables.name, columns.name FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns
WHERE tables.type = 'table' ORDER BY tables.name, columns.cid
"""
_REMEDY = "Name another file, or delete this one; its calls are then made again."
_STORED = TypeAdapter(Reply)
_REPLY = {field.name for field in fields(Reply)}
_USAGE = {field.name for field in fields(Usage)}
_BUSY_SECONDS = 60.0
_SOON, _LATER = 0.02, 0.5
"""First and longest interval in seconds between two checks of a call that another process is making."""


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
        sampling (`Sampling`): How to sample, the seed included.
        thinking (`bool`): Whether the turn is opened with system thinking.
        schema (`Schema`, *optional*): JSON schema of the reply.
    """
    return digest([fingerprint, [dict(message) for message in messages], _plain(sampling), thinking, schema])


class Ledger:
    """Replies by key, in a SQLite file that any number of processes may share.

    Each reply is committed before the call returns. While one process makes a call, the others wait for its reply; if
    it fails or is killed, one of them makes the call. If a key is stored several times, the first reply counts, so
    that all later work sees the same one.

    Args:
        file (`str` or `Path`): The file; created if it does not exist.

    Raises:
        `ValueError`: At first use, if the file is not a ledger of this version, which is left as it is; and when a
            stored reply is read that has another shape.

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
        """The database; opened at first use, so that a run can check its folder before."""
        if self._database is None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(self.file, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            try:
                self._check_tables(database)
                _patiently(database, "PRAGMA journal_mode=WAL")
                # A killed process loses nothing that was committed; only a power failure could lose the last replies.
                database.execute("PRAGMA synchronous=NORMAL")
                for table in _TABLES.values():
                    _patiently(database, table)
            except sqlite3.DatabaseError as error:
                database.close()
                if isinstance(error, sqlite3.OperationalError):  # locked for too long, disk full, or no permission
                    raise OSError(
                        f"the ledger {self.file} cannot be opened: {error}. Check which process uses it, the free "
                        "disk space and the permissions."
                    ) from error
                raise ValueError(f"{self.file} is not a ledger ({error}). {_REMEDY}") from error
            except ValueError:
                database.close()
                raise
            self._database = database
        return self._database

    def _check_tables(self, database: sqlite3.Connection) -> None:
        """Refuses a database that holds something else, or a ledger whose tables have other columns."""
        tables: dict[str, list[str]] = {}
        for table, column in _patiently(database, _COLUMNS_OF_ALL):
            tables.setdefault(str(table), []).append(str(column))
        if tables and "replies" not in tables:
            raise ValueError(f"{self.file} is not a ledger (it holds the table {min(tables)[:40]!r}). {_REMEDY}")
        for table in _COLUMNS.keys() & tables.keys():
            if tables[table] != _COLUMNS[table]:
                raise ValueError(
                    f"{self.file} is a ledger of another version of her_hf: its table {table} must have the columns "
                    f"{_COLUMNS[table]}, got {str(tables[table])[:120]}. {_REMEDY}"
                )

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        with self._lock:
            return int(self._open().execute("SELECT count(*) FROM replies").fetchone()[0])

    def get(self, key: str) -> Reply | None:
        """The stored reply to this call, if there is one."""
        with self._lock:
            row = self._open().execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
        return self._read(key, row[0]) if row else None

    async def once(
        self, key: str, ask: Callable[[], Awaitable[Reply]], *, limit: asyncio.Semaphore | None = None
    ) -> tuple[Reply, bool]:
        """The reply to a call: the stored one, else that of a call that only one process makes.

        A call is claimed when it is made, not while it waits for the limit or for another process: a call that one
        process has no capacity for can be made by another.

        Args:
            key (`str`): Key of the call.
            ask (`Callable`): Makes the call.
            limit (`asyncio.Semaphore`, *optional*): Acquired to claim and make the call.

        Returns:
            `tuple[Reply, bool]`: The reply, and whether this call made it.

        Raises:
            `Exception`: Any error of `ask`; the claim is then released.
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
        """Makes a claimed call and stores the reply; if it fails, the claim is released."""
        try:
            return await self.put(key, await ask())
        except BaseException:
            self._release(key)
            raise

    def _claim(self, key: str) -> Reply | bool:
        """The reply if there is one by now, else whether this process has claimed the call."""
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
            _log.warning(
                "Another process makes the same calls with the ledger %s: waiting for its replies.", self.file
            )
        return self._read(key, row[0]) if row else bool(taken)

    def _owner(self, database: sqlite3.Connection) -> str:
        """This process's id in claims; claims of killed processes are removed when it is created."""
        if self._mark is None:
            for owner in owners(self.file):
                if not is_alive(self.file, owner):
                    database.execute("DELETE FROM claims WHERE owner = ?", (owner,))
            self._mark = Mark(self.file)
        return self._mark.owner

    def _release(self, key: str) -> None:
        """Releases the claim on a call that was not answered."""
        with self._lock:
            if self._mark is not None:
                self._open().execute("DELETE FROM claims WHERE key = ? AND owner = ?", (key, self._mark.owner))

    async def put(self, key: str, reply: Reply) -> Reply:
        """Stores a reply and returns the one that counts: an earlier one with the same key if there is one.

        Concurrent replies are committed in one transaction; the method returns after the commit.
        """
        loop = asyncio.get_running_loop()
        kept: asyncio.Future[Reply] = loop.create_future()
        self._pending.append((key, reply, kept))
        if len(self._pending) == 1:
            loop.call_soon(self._commit)
        return await kept

    def _commit(self) -> None:
        """Writes all pending replies in one transaction and resolves their futures."""
        pending, self._pending = self._pending, []
        try:
            counting = self._write([(key, reply) for key, reply, _ in pending])
        except Exception as error:  # noqa: BLE001 - passed on to every waiting task
            for _, _, kept in pending:
                if not kept.done():
                    kept.set_exception(error)
            return
        for (_, _, kept), reply in zip(pending, counting, strict=True):
            if not kept.done():
                kept.set_result(reply)

    def _write(self, replies: Sequence[tuple[str, Reply]]) -> list[Reply]:
        """Stores replies in one transaction; returns those that count."""
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
            reply if text == row[2] else self._read(key, text)
            for (key, reply), row, text in zip(replies, rows, counting, strict=True)
        ]

    def _read(self, key: str, text: str) -> Reply:
        """A stored reply.

        Raises:
            `ValueError`: If it does not have exactly the fields of a reply, as one of another version.
        """
        try:
            values = json.loads(text)
            wrong = values.keys() ^ _REPLY or values["usage"].keys() ^ _USAGE
            if not wrong:
                return _STORED.validate_json(text, strict=True)
            why = f"missing or unknown fields: {sorted(wrong)[:4]}"
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            why = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        raise ValueError(
            f"{self.file}: the reply under the key {key[:12]}… was not written by this version of her_hf ({why}). "
            f"{_REMEDY}"
        )

    def close(self) -> None:
        """Closes the file; replies stay stored, claims are released."""
        with self._lock:
            if self._mark is not None:
                self._open().execute("DELETE FROM claims WHERE owner = ?", (self._mark.owner,))
                self._mark.close()
                self._mark = None
            if self._database is not None:
                self._database.close()
                self._database = None


def _patiently(database: sqlite3.Connection, statement: str) -> list[Any]:
    """The rows of a statement that SQLite refuses immediately, without its timeout, while another process runs it."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            return database.execute(statement).fetchall()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _plain(value: Any) -> Any:
    """A dataclass as JSON values; `asdict` would copy every text."""
    if not is_dataclass(value):
        return value
    return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
