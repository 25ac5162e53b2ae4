"""The ledger's thread: the event loop waits for no disk and no lock, and nothing that was answered is lost."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from her_hf.inference import Ledger, Reply
from her_hf.inference.transactions import Transactions

KEY = "a" * 64


def reply(text: str) -> Reply:
    return Reply(text, "stop", True)


async def answer() -> Reply:
    return reply("made")


def test_the_event_loop_runs_on_while_another_process_holds_the_file(tmp_path: Path) -> None:
    file = tmp_path / "l.sqlite"
    with closing(Ledger(file)) as ledger, closing(sqlite3.connect(file, isolation_level=None)) as other:
        assert ledger.get(KEY) is None  # the file is there

        async def main() -> tuple[Reply, bool]:
            other.execute("BEGIN IMMEDIATE")
            asked = asyncio.create_task(ledger.once(KEY, answer))
            late, ended = [], time.monotonic() + 0.4
            while time.monotonic() < ended:
                begun = time.monotonic()
                await asyncio.sleep(0.01)
                late.append(time.monotonic() - begun - 0.01)
            assert not asked.done() and len(late) > 10 and min(late) < 0.05
            other.execute("COMMIT")
            return await asked

        found, made = asyncio.run(main())
        assert (found.text, made) == ("made", True)


def test_a_reply_is_in_the_file_when_the_call_returns(tmp_path: Path) -> None:
    file = tmp_path / "l.sqlite"

    async def main() -> None:
        for number in range(5):
            await ledger.once(f"{number}", answer)
            with closing(sqlite3.connect(file)) as other:  # as another process reads it
                assert other.execute("SELECT count(*) FROM replies").fetchone() == (number + 1,)
                assert other.execute("SELECT count(*) FROM claims").fetchone() == (0,)

    with Ledger(file) as ledger:
        asyncio.run(main())


def test_a_call_that_is_cancelled_while_it_is_claimed_is_free_for_others(tmp_path: Path) -> None:
    file = tmp_path / "l.sqlite"

    async def main() -> tuple[Reply, bool]:
        assert (await mine.once("first", answer))[1]
        blocking.execute("BEGIN IMMEDIATE")
        claiming = asyncio.create_task(mine.once(KEY, answer))
        await asyncio.sleep(0.1)  # the claim waits in the thread
        claiming.cancel()
        await asyncio.gather(claiming, return_exceptions=True)
        blocking.execute("COMMIT")
        return await asyncio.wait_for(others.once(KEY, answer), 20)

    with (
        Ledger(file) as mine,
        Ledger(file) as others,
        closing(sqlite3.connect(file, isolation_level=None)) as blocking,
    ):
        assert asyncio.run(main())[1]


def test_an_answer_that_nobody_waits_for_any_more_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "l.sqlite"

    async def main() -> None:
        assert ledger.get(KEY) is None
        blocking.execute("BEGIN IMMEDIATE")
        storing = asyncio.create_task(ledger.put(KEY, reply("paid for")))
        await asyncio.sleep(0.1)
        storing.cancel()
        await asyncio.gather(storing, return_exceptions=True)
        blocking.execute("COMMIT")

    with Ledger(file) as ledger, closing(sqlite3.connect(file, isolation_level=None)) as blocking:
        asyncio.run(main())
        kept = ledger.get(KEY)
        assert kept is not None and kept.text == "paid for"


def test_an_answer_that_cannot_be_stored_fails_alone(tmp_path: Path) -> None:
    async def main() -> list[Any]:
        texts = ("one", "\ud83d", "three")
        puts = (ledger.put(f"{number}", reply(text)) for number, text in enumerate(texts))
        return list(await asyncio.gather(*puts, return_exceptions=True))

    with Ledger(tmp_path / "l.sqlite") as ledger:
        first, second, third = asyncio.run(main())
        assert isinstance(second, UnicodeEncodeError)
        assert (first.text, third.text, len(ledger)) == ("one", "three", 2)


def test_a_ledger_that_is_never_used_makes_no_file_and_one_that_is_closed_opens_again(tmp_path: Path) -> None:
    file = tmp_path / "sub" / "l.sqlite"
    with Ledger(file):
        pass
    assert not file.parent.exists()
    with Ledger(file) as ledger:
        asyncio.run(ledger.put(KEY, reply("kept")))
        ledger.close()
        kept = ledger.get(KEY)
        assert kept is not None and kept.text == "kept"


# -- transactions


def statements(file: Path, seen: list[str]) -> Callable[[], sqlite3.Connection]:
    def connect() -> sqlite3.Connection:
        database = sqlite3.connect(file, isolation_level=None)
        database.execute("CREATE TABLE IF NOT EXISTS t (x)")
        database.set_trace_callback(seen.append)
        return database

    return connect


def test_what_waits_is_written_in_one_transaction_and_in_order(tmp_path: Path) -> None:
    seen: list[str] = []
    database = Transactions(statements(tmp_path / "t.sqlite", seen))

    def slow(connection: sqlite3.Connection) -> None:
        time.sleep(0.2)  # the others gather behind it

    database.submit(slow, writes=False)
    time.sleep(0.05)
    for number in range(50):
        database.submit(lambda connection, number=number: connection.execute("INSERT INTO t VALUES (?)", (number,)))
    found = database.submit(lambda connection: connection.execute("SELECT x FROM t").fetchall(), writes=False)
    assert [x for (x,) in found.result()] == list(range(50))
    database.close()
    assert seen.count("COMMIT") == 2 and seen[0] == "BEGIN" and seen.count("BEGIN IMMEDIATE") == 1


def test_an_error_of_the_database_undoes_all_that_waited_together(tmp_path: Path) -> None:
    database = Transactions(statements(tmp_path / "t.sqlite", []))

    def slow(connection: sqlite3.Connection) -> None:
        time.sleep(0.2)

    database.submit(slow, writes=False)
    time.sleep(0.05)
    good = database.submit(lambda connection: connection.execute("INSERT INTO t VALUES (1)"))
    bad = database.submit(lambda connection: connection.execute("INSERT INTO nowhere VALUES (1)"))
    for one in (good, bad):
        with pytest.raises(sqlite3.OperationalError, match="nowhere"):
            one.result()
    count = database.submit(lambda connection: connection.execute("SELECT count(*) FROM t").fetchone(), writes=False)
    assert count.result() == (0,)
    database.close()
