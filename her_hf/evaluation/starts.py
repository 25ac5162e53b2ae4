"""What every evaluation does at its start and end: a clock, a line of what was spent, connections closed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any, TypeVar

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


def note_start(out: Path, clock: Clock, callers: dict[str, Caller]) -> None:
    """Appends the line of this start."""
    line = {
        "ended": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "seconds": clock.laps,
        "spent": spent(callers),
        "notes": sorted({note for caller in callers.values() for note in caller.notes}),
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
