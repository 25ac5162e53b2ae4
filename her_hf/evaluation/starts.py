"""What every evaluation does at its start and end: a clock, a line of what was spent, connections closed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any, TypeVar

from her_hf.durable import whole_lines
from her_hf.inference import Caller

SESSIONS = "sessions.jsonl"
"""One line a start: when it ended, seconds of each phase, what was spent on each model."""

T = TypeVar("T")


class Clock:
    """Seconds of each phase of a start; one that was broken off has none."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, phase: str) -> None:
        """Ends a phase."""
        now = time.monotonic()
        self.laps[phase] = round(now - self._last, 3)
        self._last = now


def by_first_role(roles: Iterable[tuple[str, Caller | None]]) -> dict[str, Caller]:
    """Who was asked, under the name of the first role; a caller that plays several roles comes once."""
    found: dict[int, tuple[str, Caller]] = {}
    for role, caller in roles:
        if caller is not None:
            found.setdefault(id(caller), (role, caller))
    return dict(found.values())


def spent(callers: dict[str, Caller]) -> dict[str, dict[str, int]]:
    """What each model was asked and what it used, in this start."""
    return {role: caller.spent.as_dict() for role, caller in callers.items()}


def notes_of(callers: dict[str, Caller]) -> list[str]:
    """What the models noted, such as a field that a server does not take, so that requests went without it."""
    return sorted({f"{role}: {note}" for role, caller in callers.items() for note in caller.notes})


def notes_so_far(out: Path, callers: dict[str, Caller]) -> list[str]:
    """The notes of this start and of all before it: what was asked then is in the results as well."""
    file = out / SESSIONS
    earlier = (json.loads(line)["notes"] for line in whole_lines(file)) if file.exists() else ()
    return sorted({note for notes in (*earlier, notes_of(callers)) for note in notes})


def note_start(out: Path, clock: Clock, callers: dict[str, Caller]) -> None:
    """Appends the line of this start."""
    line = {
        "ended": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "seconds": clock.laps,
        "spent": spent(callers),
        "notes": notes_of(callers),
    }
    with (out / SESSIONS).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line, ensure_ascii=False) + "\n")


def run_now(work: Coroutine[Any, Any, T], callers: dict[str, Caller]) -> T:
    """Runs an evaluation from code that is not asynchronous; connections are closed at the end."""

    async def whole() -> T:
        try:
            return await work
        finally:
            for caller in callers.values():
                await caller.close()

    return asyncio.run(whole())
