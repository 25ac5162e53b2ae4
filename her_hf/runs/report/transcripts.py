"""Transcripts for `report.html`: turns with both layers of thinking, and flaws next to the turns that they quote."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from her_hf.dual_layer import Layer, Turn
from her_hf.journal import read_rows

LIMIT = 200
"""Maximum transcripts of a page; it states the number of those that are not shown."""

_PIECES = re.compile(r"\n|\.{3}|…|[:：]")
_MIN_LETTERS = 4
"""Minimum letters of a quote that is searched for."""


@dataclass(frozen=True)
class Flaw:
    """A flaw of a turn.

    Args:
        kind (`str`): Its type.
        severity (`str`): The severity given by the judge; empty if there is none.
        level (`str`): `"low"`, `"mid"` or `"high"`.
        quote (`str`, *optional*): The quote from the turn.
        reason (`str`, *optional*): The judge's reason.
        judge (`str`, *optional*): The judge.
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
        flaws (`list[Flaw]`): Its flaws.
        note (`str`, *optional*): A note next to the name.
    """

    name: str
    layers: Sequence[tuple[str, str]]
    flaws: list[Flaw] = field(default_factory=list)
    note: str = ""


@dataclass
class Transcript:
    """One scene, dialogue, reply or pair.

    Args:
        title (`str`): Its title.
        scores (`Sequence[str]`): Scores next to the title.
        moves (`list[Move]`): Its turns.
        flaws (`list[Flaw]`): Flaws that quote none of the turns.
        failure (`str`, *optional*): The cause, if it failed or was not judged.
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
        system (`str`, *optional*): Its system thinking, if that is stored separately.
    """
    thinking = turn.system_thinking if system is None else system
    first = [("system", thinking)] if thinking else []
    return [*first, *((_KINDS[part.layer], part.text) for part in turn.segments)]


def place_flaws(flaws: Iterable[Flaw], moves: Sequence[Move]) -> list[Flaw]:
    """Adds each flaw to the first turn that contains its quote; only letters and digits are compared.

    Returns:
        `list[Flaw]`: Flaws that quote no turn.
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
        if len(letters) < _MIN_LETTERS:
            continue
        for at, text in enumerate(said):
            if letters in text or (letters.startswith(names[at]) and letters.removeprefix(names[at]) in text):
                return at
    return None


def _letters(text: str) -> str:
    return "".join(sign for sign in text.casefold() if sign.isalnum())


def worst(cases: Sequence[Mapping[str, Any]], rank: Callable[[Any], float | None]) -> list[Any]:
    """At most [`LIMIT`] cases, lowest rank first; those without a rank come last."""

    def place(case: Mapping[str, Any]) -> tuple[bool, float]:
        value = rank(case)
        return (True, 0.0) if value is None else (False, value)

    return sorted(cases, key=place)[:LIMIT]


def rows_in(
    file: Path, key: Callable[[dict[str, Any]], Any], wanted: Iterable[Any], shape: type[BaseModel]
) -> dict[Any, list[dict[str, Any]]]:
    """The wanted rows of a JSONL file by key; empty lists if the file does not exist.

    Raises:
        `ValueError`: If a line is not of this shape; see [`~her_hf.journal.read_rows`].
    """
    found: dict[Any, list[dict[str, Any]]] = {one: [] for one in wanted}
    if file.is_file():
        for name, row in read_rows(file, key=key, shape=shape):
            if name in found:
                found[name].append(row)
    return found
