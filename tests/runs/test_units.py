"""The one run of units: rows that are valid or made, errors, kills, memory."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from her_hf.durable import whole_lines
from her_hf.journal import Journal
from her_hf.runs.progress import Progress
from her_hf.runs.units import Stage, run_units
from tests.support.memory import peak_of
from tests.support.paths import ROOT


def stage_of(
    file: Path,
    make: Callable[[int], Awaitable[dict[str, Any]]],
    is_valid: Callable[[int, dict[str, Any]], bool] = lambda _, row: not row["failure"],
    **how: Any,
) -> Stage[int]:
    journal = Journal(file, key=lambda row: row["key"])
    progress = Progress("units", "unit", show=False)
    return Stage(journal, key=lambda unit: unit, make=make, is_valid=is_valid, **{"progress": progress, **how})


# -- errors


def test_what_was_made_before_an_error_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "rows.jsonl"
    sync = os.fsync

    def slow(stream: int) -> None:
        time.sleep(0.05)
        sync(stream)

    async def make(unit: int) -> dict[str, Any]:
        await asyncio.sleep(0.01 * unit)  # the first is still being written when others are made and one fails
        if unit == 5:
            raise MemoryError("killed")
        return {"key": unit, "failure": None}

    monkeypatch.setattr(os, "fsync", slow)

    with pytest.raises(MemoryError):
        asyncio.run(run_units(range(10), stage_of(file, make), window=6))
    assert set(range(5)) == set(Journal(file, key=lambda row: row["key"]))


def test_a_row_that_cannot_be_written_ends_the_run(tmp_path: Path) -> None:
    async def make(unit: int) -> dict[str, Any]:
        return {"key": unit, "failure": None, "text": "\ud83d" if unit == 3 else ""}

    with pytest.raises(UnicodeEncodeError):
        asyncio.run(run_units(range(10), stage_of(tmp_path / "rows.jsonl", make), window=2))


def test_keys_are_each_units_own(tmp_path: Path) -> None:
    async def make(unit: int) -> dict[str, Any]:
        return {"key": unit // 2, "failure": None}

    with pytest.raises(ValueError, match="the row of unit 1 has the key 0"):
        asyncio.run(run_units([0, 1], stage_of(tmp_path / "a.jsonl", make)))
    with pytest.raises(ValueError, match="two units have the key 0"):
        asyncio.run(run_units([0, 0], stage_of(tmp_path / "b.jsonl", make)))


# -- rows


def test_rows_that_are_there_and_valid_are_not_made_again(tmp_path: Path) -> None:
    made: list[int] = []

    async def make(unit: int) -> dict[str, Any]:
        made.append(unit)
        await asyncio.sleep(0.002 * (7 - unit))
        return {"key": unit, "failure": None if unit != 2 or made.count(2) > 1 else {"cause": "request"}}

    file = tmp_path / "rows.jsonl"
    first = list(asyncio.run(run_units(range(6), stage_of(file, make), window=3)))
    assert [row["key"] for row in first] == list(range(6)) and first[2]["failure"] == {"cause": "request"}
    second = list(asyncio.run(run_units(iter(range(8)), stage_of(file, make), window=3)))
    assert made[6:] == [2, 6, 7] and second[2]["failure"] is None
    before = file.read_bytes()
    asyncio.run(run_units(range(8), stage_of(file, make)))
    assert len(made) == 9 and file.read_bytes() == before
    assert [row["key"] for row in asyncio.run(run_units([7, 1], stage_of(file, make)))] == [7, 1]
    assert len(whole_lines(file)) == 8


def test_the_disk_is_never_waited_for_on_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[int] = []
    sync = os.fsync

    def fsync(file: int) -> None:
        waited.append(threading.get_ident())
        sync(file)

    async def make(unit: int) -> dict[str, Any]:
        return {"key": unit, "failure": None}

    monkeypatch.setattr(os, "fsync", fsync)
    asyncio.run(run_units(range(64), stage_of(tmp_path / "rows.jsonl", make), window=64))
    assert waited and threading.get_ident() not in waited
    assert len(waited) < 64  # rows that are ready go to the disk together


# -- progress


def test_the_bar_counts_steps_and_tells_no_rate_of_what_was_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def make(unit: int) -> dict[str, Any]:
        progress.advance(unit)  # steps that are counted as they come
        return {"key": unit, "failure": None, "steps": unit}

    for total in (10, None):
        file = tmp_path / f"{total}.jsonl"
        for count in (1, 2):
            progress = Progress("playing", "turn", total=total)
            bar = progress._bar
            stage = stage_of(file, make, progress=progress, steps=5, counted=lambda row: row["steps"])
            asyncio.run(run_units(range(count), stage))
            assert (bar.n, bar.initial) == (5 * count, 5 * (count - 1))
        shown = capsys.readouterr().err
        assert ("10/10" if total else "10turn") in shown and "playing" in shown and "turn/s" in shown


# -- memory


class Unit:
    """Something that can be seen alive."""

    def __init__(self, number: int) -> None:
        self.number = number


def test_of_twenty_thousand_units_a_window_is_alive(tmp_path: Path) -> None:
    window, most = 16, 0
    alive: weakref.WeakSet[Unit] = weakref.WeakSet()

    def units() -> Iterator[Unit]:
        for number in range(20_000):
            yield watched(number)

    def watched(number: int) -> Unit:
        nonlocal most
        unit = Unit(number)
        alive.add(unit)
        most = max(most, len(alive))
        return unit

    async def make(unit: Unit) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"key": unit.number}

    stage = Stage(
        Journal(tmp_path / "rows.jsonl", key=lambda row: row["key"]),
        key=lambda unit: unit.number,
        make=make,
        is_valid=lambda unit, row: True,
        progress=Progress("units", "unit", show=False),
    )
    rows = asyncio.run(run_units(units(), stage, window=window))
    assert most == window and len(alive) == 0
    assert [row["key"] for row in rows] == list(range(20_000))


def test_memory_does_not_grow_with_the_number_of_large_rows(tmp_path: Path) -> None:
    size, counts = 20_000, (500, 2000)

    async def make(unit: int) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"key": unit, "failure": None, "text": f"{unit:05}" * (size // 5)}

    def work(count: int) -> None:
        stage = stage_of(tmp_path / f"{count}.jsonl", make)
        rows = asyncio.run(run_units(iter(range(count)), stage, window=16))
        assert sum(len(row["text"]) for row in rows) == size * count

    few, many = (peak_of(lambda count=count: work(count)) for count in counts)
    assert many - few < 0.05 * size * (counts[1] - counts[0])


# -- kills

WORKING = """
import asyncio, os, signal, sys
from pathlib import Path
from her_hf.journal import Journal
from her_hf.runs.progress import Progress
from her_hf.runs.units import Stage, run_units

file, log, until, how = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
journal = Journal(file, key=lambda row: row["key"])


async def make(unit):
    await asyncio.sleep(0.001 * (unit * 7 % 5))
    return {"key": unit, "text": "安" * unit}


class Killed(Journal):
    def add(self, *rows):
        super().add(*rows)
        with log.open("a") as stream:
            stream.writelines(f"{row['key']}\\n" for row in rows)
        if len(self) >= until:
            if how == "in mid-line":
                with file.open("ab") as stream:
                    stream.write('{"key": 1000, "text": "安'.encode()[:-1])
            os.kill(os.getpid(), signal.SIGKILL)


stage = Stage(
    Killed(file, key=lambda row: row["key"]),
    key=lambda unit: unit,
    make=make,
    is_valid=lambda unit, row: True,
    progress=Progress("units", "unit", show=False),
)
asyncio.run(run_units(range(40), stage, window=8))
"""


@pytest.mark.parametrize("how", ["between lines", "in mid-line"])
def test_a_run_that_was_killed_goes_on_and_leaves_the_same_bytes(tmp_path: Path, how: str) -> None:
    def start(name: str, until: int) -> int:
        words = [sys.executable, "-c", WORKING, str(tmp_path / name), str(tmp_path / f"{name}.log"), str(until), how]
        return subprocess.run(words, cwd=ROOT, timeout=120).returncode

    assert start("whole", 1000) == 0
    for until in (10, 25):
        assert start("killed", until) == -signal.SIGKILL
        assert 10 <= len(whole_lines(tmp_path / "killed")) < 40
    assert start("killed", 1000) == 0
    assert (tmp_path / "killed").read_bytes() == (tmp_path / "whole").read_bytes()
    made = (tmp_path / "killed.log").read_text().split()
    assert sorted(map(int, made)) == list(range(40))  # none twice
