"""Transcripts for `report.html`: what was said, both layers of thinking, and the flaws beside the turns they quote."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from her_hf.dual_layer import Layer, Turn
from her_hf.journal import read_rows

MOST = 200
"""Transcripts of one page, the worst; the page says how many it leaves to the files."""

_PIECES = re.compile(r"\n|\.{3}|…|[:：]")
_LEAST = 4
"""Letters that a quote must have to be looked for."""


@dataclass(frozen=True)
class Flaw:
    """What is wrong with a turn.

    Args:
        kind (`str`): What it is.
        severity (`str`): As the judge gave it; empty if there is none.
        level (`str`): `"low"`, `"mid"` or `"high"`.
        quote (`str`, *optional*): What it is about.
        reason (`str`, *optional*): Why.
        judge (`str`, *optional*): Who says so.
    """

    kind: str
    severity: str
    level: str
    quote: str = ""
    reason: str = ""
    judge: str = ""


@dataclass
class Move:
    """A turn.

    Args:
        name (`str`): Who speaks.
        layers (`Sequence[tuple[str, str]]`): Kind and text of each part: `system`, `thinking`, `action` or
            `speech`; of a verdict also `evidence`.
        flaws (`list[Flaw]`): What is wrong with it.
        note (`str`, *optional*): What else is to be said of it.
    """

    name: str
    layers: Sequence[tuple[str, str]]
    flaws: list[Flaw] = field(default_factory=list)
    note: str = ""


@dataclass
class Transcript:
    """One scene, dialogue, reply or pair.

    Args:
        title (`str`): What it is.
        scores (`Sequence[str]`): Shown beside the title.
        moves (`list[Move]`): Its turns.
        flaws (`list[Flaw]`): Those that quote none of the turns.
        failure (`str`, *optional*): Why it could not be played or judged.
    """

    title: str
    scores: Sequence[str]
    moves: list[Move]
    flaws: list[Flaw] = field(default_factory=list)
    failure: str = ""


_KINDS = {
    Layer.SYSTEM_THINKING: "system",
    Layer.ROLE_THINKING: "thinking",
    Layer.ROLE_ACTION: "action",
    Layer.SPEECH: "speech",
}


def layers_of(turn: Turn, system: str | None = None) -> list[tuple[str, str]]:
    """The parts of a turn, system thinking first.

    Args:
        turn (`Turn`): The turn.
        system (`str`, *optional*): Its system thinking where that is kept apart.
    """
    thinking = turn.system_thinking if system is None else system
    first = [("system", thinking)] if thinking else []
    return [*first, *((_KINDS[part.layer], part.text) for part in turn.segments)]


def place_flaws(flaws: Iterable[Flaw], moves: Sequence[Move]) -> list[Flaw]:
    """Puts each flaw beside the first turn that holds its quote, letters and digits alone compared.

    Returns:
        `list[Flaw]`: Those that quote no turn.
    """
    said = [_letters("".join(text for _, text in move.layers)) for move in moves]
    rest: list[Flaw] = []
    for flaw in flaws:
        place = _place(flaw.quote, said, [_letters(move.name) for move in moves])
        (moves[place].flaws if place is not None else rest).append(flaw)
    return rest


def _place(quote: str, said: Sequence[str], names: Sequence[str]) -> int | None:
    for piece in (quote, *_PIECES.split(quote)):
        letters = _letters(piece)
        if len(letters) < _LEAST:
            continue
        for at, text in enumerate(said):
            if letters in text or (letters.startswith(names[at]) and letters.removeprefix(names[at]) in text):
                return at
    return None


def _letters(text: str) -> str:
    return "".join(sign for sign in text.casefold() if sign.isalnum())


def worst(cases: Sequence[Mapping[str, Any]], rank: Callable[[Any], float | None]) -> list[Any]:
    """At most [`MOST`] cases, the lowest rank first; those without one come last."""

    def place(case: Mapping[str, Any]) -> tuple[bool, float]:
        value = rank(case)
        return (True, 0.0) if value is None else (False, value)

    return sorted(cases, key=place)[:MOST]


def rows_in(
    file: Path, key: Callable[[dict[str, Any]], Any], wanted: Iterable[Any], shape: type[BaseModel]
) -> dict[Any, list[dict[str, Any]]]:
    """Rows of a JSONL file by key, those that are wanted; nothing if there is no such file.

    Raises:
        `ValueError`: If a line is not of this shape; see [`~her_hf.journal.read_rows`].
    """
    found: dict[Any, list[dict[str, Any]]] = {one: [] for one in wanted}
    if file.is_file():
        for name, row in read_rows(file, key=key, shape=shape):
            if name in found:
                found[name].append(row)
    return found
