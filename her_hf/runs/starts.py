"""Records of each start of an evaluation: time, tokens, versions and notes; and closing of connections.

None of this is in `results.json`, which does not depend on how often a run was interrupted and resumed.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from her_hf.durable import write_json
from her_hf.inference import Caller
from her_hf.journal import read_rows

from .addresses import without_address
from .origin import package_version, source_commit

SESSIONS = "sessions.jsonl"
"""One line per start: version of the code, end, end of each phase, tokens per model, notes of the models."""

NOTES = "notes.json"
"""Notes of the models in all starts."""

T = TypeVar("T")


class _Start(BaseModel):
    version: str
    commit: str | None
    ended: str
    seconds: dict[str, float]
    spent: dict[str, dict[str, int]]
    notes: list[str]


_NOTES = TypeAdapter(list[str])


class Clock:
    """Seconds from the start to the end of each phase; phases may overlap, and an unfinished one has no entry."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._start = time.monotonic()

    def lap(self, phase: str) -> None:
        """Records the end of a phase, or of a unit of it; the last call counts."""
        self.laps[phase] = round(time.monotonic() - self._start, 3)


def by_first_role(roles: Iterable[tuple[str, Caller | None]]) -> dict[str, Caller]:
    """The callers by their first role; a caller with several roles is listed once."""
    found: dict[int, tuple[str, Caller]] = {}
    for role, caller in roles:
        if caller is not None:
            found.setdefault(id(caller), (role, caller))
    return dict(found.values())


def notes_of(callers: Mapping[str, Caller]) -> list[str]:
    """Notes of the models, such as a request field that a server rejects and that is therefore omitted."""
    return sorted({f"{role}: {without_address(note)}" for role, caller in callers.items() for note in caller.notes})


class Notes:
    """Keeps the notes of a run's models in `notes.json`, so that an interruption loses none.

    The file is read and written in a thread, and only when a model has a note that this start has not kept yet.

    Args:
        out (`Path`): The run's folder.
        callers (`Mapping[str, Caller]`): Its models by role.
    """

    def __init__(self, out: Path, callers: Mapping[str, Caller]) -> None:
        self._out, self._callers = out, callers
        self._kept: set[str] = set()
        self._alone = asyncio.Lock()

    async def keep(self) -> None:
        """Adds new notes to those of all starts.

        Raises:
            `ValueError`: If the file holds something else.
        """
        async with self._alone:
            new = set(notes_of(self._callers)) - self._kept
            if new:
                await asyncio.to_thread(_add_notes, self._out, new)
                self._kept |= new


def _add_notes(out: Path, new: set[str]) -> None:
    kept = notes_in(out)
    notes = sorted({*kept, *new})
    if notes != kept:
        write_json(out / NOTES, notes)


def notes_in(out: Path) -> list[str]:
    """The notes of all starts in this folder, because the results contain answers of all of them.

    Raises:
        `ValueError`: If the file holds something else.
    """
    file = out / NOTES
    if not file.exists():
        return []
    try:
        return _NOTES.validate_json(file.read_bytes(), strict=True)
    except ValidationError as error:
        said = error.errors()[0]["msg"]
        raise ValueError(
            f"{file} must hold a list of texts ({said}). Delete it; only the notes in it are lost."
        ) from error


def note_start(out: Path, clock: Clock, callers: dict[str, Caller]) -> None:
    """Appends the line of this start."""
    line = {
        "version": package_version(),
        "commit": source_commit(),
        "ended": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "seconds": clock.laps,
        "spent": {role: caller.spent.as_dict() for role, caller in callers.items()},
        "notes": notes_of(callers),
    }
    with (out / SESSIONS).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line, ensure_ascii=False) + "\n")


def starts_in(out: Path) -> list[dict[str, Any]]:
    """The lines of all starts in this folder, oldest first, without one that an interruption truncated.

    Raises:
        `ValueError`: If a line is not of this shape; see [`~her_hf.journal.read_rows`].
    """
    file = out / SESSIONS
    rows = read_rows(file, key=lambda row: row["ended"], shape=_Start, what="a start") if file.exists() else ()
    return [row for _, row in rows]


def run_now(work: Coroutine[Any, Any, T], callers: dict[str, Caller]) -> T:
    """Runs an evaluation from synchronous code and closes the connections at the end."""

    async def closing() -> T:
        try:
            return await work
        finally:
            for caller in callers.values():
                await caller.close()

    return asyncio.run(closing())
