"""A durable record of model calls: no call is made twice, after a kill or by a second process."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from her_hf.durable import digest

from .claims import Mark, is_alive, owners
from .interface import Messages, Reply, Sampling, Schema, Usage
from .transactions import Transactions

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

    Each reply is committed before the call returns, in a thread: the event loop does not wait for the disk. While one
    process makes a call, the others wait for its reply; if it fails or is killed, one of them makes the call. If a key
    is stored several times, the first reply counts, so that all later work sees the same one.

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
        self._database = Transactions(self._open)
        self._mark: Mark | None = None
        self._waited = False

    def _open(self) -> sqlite3.Connection:
        """The database; opened at first use, so that a run can check its folder before."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self.file, timeout=_BUSY_SECONDS, isolation_level=None)
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
        return database

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
        count = self._database.submit(_count, writes=False).result()
        return int(count)

    def get(self, key: str) -> Reply | None:
        """The stored reply to this call, if there is one; waits for the disk, so not for the event loop."""
        text = self._database.submit(lambda database: _stored(database, key), writes=False).result()
        return None if text is None else self._read(key, text)

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
        while (known := await self._known(key)) is None:
            async with limit or nullcontext():
                found = await self._claim(key)
                if found is True:
                    return await self._make(key, ask), True
            if isinstance(found, Reply):
                return found, False
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LATER)
        return known, False

    async def _known(self, key: str) -> Reply | None:
        found = self._database.submit(lambda database: _stored(database, key), writes=False)
        text = await asyncio.wrap_future(found)
        return None if text is None else self._read(key, text)

    async def _make(self, key: str, ask: Callable[[], Awaitable[Reply]]) -> Reply:
        """Makes a claimed call and stores the reply; if it fails or is cancelled, the claim is released."""
        try:
            return await self.put(key, await ask())
        except (Exception, asyncio.CancelledError):
            await asyncio.wrap_future(self._release(key))
            raise

    async def _claim(self, key: str) -> Reply | bool:
        """The reply if there is one by now, else whether this process has claimed the call."""
        claimed = self._database.submit(lambda database: self._take(database, key))
        try:
            found = await asyncio.wrap_future(claimed)
        except asyncio.CancelledError:
            claimed.add_done_callback(lambda one: self._abandon(key, one))
            raise
        return self._read(key, found) if isinstance(found, str) else found

    def _take(self, database: sqlite3.Connection, key: str) -> str | bool:
        """The text of the reply if there is one by now, else whether this process has claimed the call."""
        mine = self._owner(database)
        holder = database.execute("SELECT owner FROM claims WHERE key = ?", (key,)).fetchone()
        if holder is None:
            taken = database.execute("INSERT OR IGNORE INTO claims (key, owner) VALUES (?, ?)", (key, mine)).rowcount
        elif holder[0] == mine or is_alive(self.file, holder[0]):
            taken = 0
        else:
            free = (mine, key, holder[0])
            taken = database.execute("UPDATE claims SET owner = ? WHERE key = ? AND owner = ?", free).rowcount
        text = _stored(database, key)
        if text is not None and taken:
            database.execute("DELETE FROM claims WHERE key = ?", (key,))
        if not (text is not None or taken or self._waited or (holder and holder[0] == mine)):
            self._waited = True
            _log.warning(
                "Another process makes the same calls with the ledger %s: waiting for its replies.", self.file
            )
        return bool(taken) if text is None else text

    def _owner(self, database: sqlite3.Connection) -> str:
        """This process's id in claims; claims of killed processes are removed when it is created."""
        if self._mark is None:
            for owner in owners(self.file):
                if not is_alive(self.file, owner):
                    database.execute("DELETE FROM claims WHERE owner = ?", (owner,))
            self._mark = Mark(self.file)
        return self._mark.owner

    def _release(self, key: str) -> Future[None]:
        """Releases the claim on a call that was not answered."""

        def release(database: sqlite3.Connection) -> None:
            if self._mark is not None:
                database.execute("DELETE FROM claims WHERE key = ? AND owner = ?", (key, self._mark.owner))

        return self._database.submit(release)

    def _abandon(self, key: str, claimed: Future[str | bool]) -> None:
        """Releases a claim that was made for a task cancelled meanwhile: nobody would make the call."""
        if claimed.exception() is None and claimed.result() is True:
            self._release(key)

    async def put(self, key: str, reply: Reply) -> Reply:
        """Stores a reply and returns the one that counts: an earlier one with the same key if there is one.

        Concurrent replies are committed in one transaction; the method returns after the commit.
        """
        text = json.dumps(_plain(reply), ensure_ascii=False)
        stored = self._database.submit(lambda database: _store(database, key, reply.model, text))
        counting = await asyncio.wrap_future(stored)
        return reply if counting == text else self._read(key, counting)

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
        self._database.close(last=self._release_all)

    def _release_all(self, database: sqlite3.Connection) -> None:
        if self._mark is not None:
            database.execute("DELETE FROM claims WHERE owner = ?", (self._mark.owner,))
            self._mark.close()
            self._mark = None


def _count(database: sqlite3.Connection) -> Any:
    return database.execute("SELECT count(*) FROM replies").fetchone()[0]


def _stored(database: sqlite3.Connection, key: str) -> str | None:
    row = database.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])


def _store(database: sqlite3.Connection, key: str, model: str, text: str) -> str:
    """Stores a reply and returns the one that counts, both as text."""
    row = (key, model, text)
    new = database.execute("INSERT OR IGNORE INTO replies (key, model, reply) VALUES (?, ?, ?)", row)
    database.execute("DELETE FROM claims WHERE key = ?", (key,))
    return text if new.rowcount else str(_stored(database, key))


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
