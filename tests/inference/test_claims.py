"""Processes that share a ledger make no call twice, and none waits for one that was killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from her_hf.inference import Caller, Ledger, ModelError, Reply, Retries, Sampling, open_model
from tests.support.chat import StandIn, serving

CALLS = 12
ASKING = """
import asyncio, json, sys
from her_hf.inference import Caller, Ledger, Sampling, open_model

async def main(url, file, calls):
    with Ledger(file) as ledger:
        caller = Caller(open_model(url, model="m"), ledger=ledger, concurrency=4)
        asked = [[{"role": "user", "content": f"Tea {number}?"}] for number in range(calls)]
        await caller.fingerprint()
        print("ready", flush=True)
        replies = await asyncio.gather(*(caller.ask(one, sampling=Sampling(seed=1), thinking=False) for one in asked))
        await caller.close()
        print(json.dumps([[reply.text for reply in replies], caller.spent.asked, caller.spent.kept]))

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def asking(server: StandIn, file: Path, calls: int = CALLS) -> subprocess.Popen[str]:
    """A process that makes the calls with this ledger."""
    command = [sys.executable, "-c", ASKING, server.url, str(file), str(calls)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def slow() -> Iterator[StandIn]:
    """A server that takes a while for each reply."""
    with serving(silent=0.3) as server:
        yield server


def test_two_processes_make_each_call_once(slow: StandIn, tmp_path: Path) -> None:
    working = [asking(slow, tmp_path / "ledger.sqlite") for _ in range(2)]
    found = [json.loads(process.communicate(timeout=90)[0].splitlines()[-1]) for process in working]
    assert [process.returncode for process in working] == [0, 0]
    assert len(slow.chats) == len({json.dumps(body) for body in slow.chats}) == CALLS
    assert found[0][0] == found[1][0]
    assert sum(asked for _, asked, _ in found) == CALLS
    assert all(asked + kept == CALLS for _, asked, kept in found)
    assert [entry.name for entry in tmp_path.iterdir() if entry.suffix == ".tmp"] == []


@pytest.mark.parametrize("waits", [True, False])
def test_a_call_of_a_killed_process_is_made_by_another(waits: bool, tmp_path: Path) -> None:
    """Whether the other one waited for it already, or begins after."""
    file = tmp_path / "ledger.sqlite"
    with serving(silent=120) as server:
        first = asking(server, file, 1)
        while not server.chats:
            time.sleep(0.01)
        second = asking(server, file, 1) if waits else None
        if second is not None and second.stdout is not None:
            assert second.stdout.readline() == "ready\n"
            time.sleep(0.2)
            assert len(server.chats) == 1
        server.silent = 0
        os.kill(first.pid, signal.SIGKILL)
        first.wait(10)
        killed = time.monotonic()
        second = second or asking(server, file, 1)
        texts, asked, kept = json.loads(second.communicate(timeout=90)[0].splitlines()[-1])
        assert (len(texts), asked, kept) == (1, 1, 0)
        assert time.monotonic() - killed < 60
        assert len(server.chats) == 2
    assert [entry.name for entry in tmp_path.iterdir() if entry.suffix == ".tmp"] == []


def test_a_call_that_failed_is_free_for_others(tmp_path: Path) -> None:
    """Two callers on ledgers of their own, as two processes have them: the one that waits asks after the failure."""

    async def both(server: StandIn) -> list[object]:
        with Ledger(tmp_path / "l.sqlite") as one, Ledger(tmp_path / "l.sqlite") as other:
            callers = [
                Caller(open_model(server.url, model="m"), ledger=ledger, retries=Retries(max_retries=0))
                for ledger in (one, other)
            ]
            asked = [
                caller.ask([{"role": "user", "content": "Tea?"}], sampling=Sampling(seed=1), thinking=False)
                for caller in callers
            ]
            found: list[object] = list(await asyncio.gather(*asked, return_exceptions=True))
            for caller in callers:
                await caller.close()
            return found

    with serving(silent=0.1, errors=[(400, "no")]) as server:
        found = asyncio.run(both(server))
        assert {type(one) for one in found} == {ModelError, Reply}
        assert len(server.chats) == 2


def test_what_one_process_has_no_room_for_another_asks(tmp_path: Path) -> None:
    """Calls that wait for their turn are nobody's yet: two callers with room for one call each share a list."""

    async def both(server: StandIn) -> list[int]:
        with Ledger(tmp_path / "l.sqlite") as one, Ledger(tmp_path / "l.sqlite") as other:
            callers = [
                Caller(open_model(server.url, model="m"), ledger=ledger, concurrency=1) for ledger in (one, other)
            ]
            asked = [[{"role": "user", "content": f"Tea {number}?"}] for number in range(6)]
            calls = [
                caller.ask(messages, sampling=Sampling(seed=1), thinking=False)
                for caller in callers
                for messages in asked
            ]
            await asyncio.gather(*calls)
            for caller in callers:
                await caller.close()
            return [caller.spent.asked for caller in callers]

    with serving(silent=0.15) as server:
        shares = asyncio.run(both(server))
        assert sum(shares) == len(server.chats) == 6 and min(shares) >= 2


def test_a_call_that_waits_to_be_tried_again_is_free_for_others(tmp_path: Path) -> None:
    async def both(server: StandIn) -> float:
        with Ledger(tmp_path / "l.sqlite") as one, Ledger(tmp_path / "l.sqlite") as other:
            waits = Caller(open_model(server.url, model="m"), ledger=one, retries=Retries(first=60.0))
            asks = Caller(open_model(server.url, model="m"), ledger=other)
            messages = [{"role": "user", "content": "Tea?"}]
            begun = time.monotonic()
            first = asyncio.create_task(waits.ask(messages, sampling=Sampling(seed=1), thinking=False))
            while not waits.spent.retried:
                await asyncio.sleep(0.01)
            await asyncio.wait_for(asks.ask(messages, sampling=Sampling(seed=1), thinking=False), 20)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            for caller in (waits, asks):
                await caller.close()
            return time.monotonic() - begun

    with serving(errors=[(503, "later")]) as server:
        assert asyncio.run(both(server)) < 20 and len(server.chats) == 2


def test_callers_of_one_ledger_make_a_call_once_and_a_cancelled_one_frees_it(tmp_path: Path) -> None:
    made: list[str] = []

    def making(name: str, seconds: float) -> object:
        async def ask() -> Reply:
            made.append(name)
            await asyncio.sleep(seconds)
            return Reply(name, "stop", True)

        return ask

    async def main() -> list[tuple[str, bool]]:
        with Ledger(tmp_path / "l.sqlite") as ledger:
            broken = asyncio.create_task(ledger.once("a", making("broken", 60)))  # type: ignore[arg-type]
            await asyncio.sleep(0.05)
            others = [asyncio.create_task(ledger.once("a", making(name, 0.1))) for name in "xy"]  # type: ignore[arg-type]
            await asyncio.sleep(0.05)
            broken.cancel()
            found = await asyncio.gather(*others)
            return [(reply.text, asked) for reply, asked in found]

    found = asyncio.run(main())
    assert made[0] == "broken" and len(made) == 2
    assert sorted(asked for _, asked in found) == [False, True]
    assert {text for text, _ in found} == {made[1]}


def test_what_killed_processes_left_is_swept_away(tmp_path: Path) -> None:
    file = tmp_path / "l.sqlite"
    with serving(silent=120) as server:
        process = asking(server, file, 1)
        while not server.chats:
            time.sleep(0.01)
        process.kill()
        process.wait(10)
    assert len(list(tmp_path.glob("*.tmp"))) == 1

    async def other() -> None:
        with Ledger(file) as ledger:
            await ledger.once("another", lambda: asyncio.sleep(0, Reply("yes", "stop", True)))

    asyncio.run(other())
    assert list(tmp_path.glob("*.tmp")) == []
