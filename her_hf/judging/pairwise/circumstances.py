"""What a judge is told about the moment that a reply answers: who, where, and what was said before.

A pair carries its circumstances. The views are applied whenever they are made or read, whatever the source contains:
the character's own turns are in SELF view, those of others in OTHERS view, and system thinking reaches no judge.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from her_hf.dual_layer import ENVIRONMENT, View, render_segments, visible_runs
from her_hf.scenes import Scene, read_turn
from her_hf.scenes.prompt import others_text, scene_variables

_TEXTS = ("book", "card", "scenario", "others")
_OPTIONAL = ("others",)
_SYSTEM = "system_?think(?:ing)?|think|thought"
_SYSTEM_START = re.compile(rf"<\s*(?:{_SYSTEM})\s*>", re.IGNORECASE)
_SYSTEM_END = re.compile(rf"<\s*/\s*(?:{_SYSTEM})\s*>", re.IGNORECASE)


@dataclass(frozen=True)
class Spoken:
    """A turn as the judge reads it: who, and the text in HER notation without the label."""

    name: str
    text: str


@dataclass(frozen=True)
class Circumstances:
    """What a reply answers.

    Args:
        character (`str`): Who replies.
        book (`str`): The book or setting; may be empty.
        card (`str`): The character's profile.
        scenario (`str`): The scene.
        others (`str`): The other characters.
        turns (`tuple[Spoken, ...]`): The turns before: the character's own in SELF view, all others in OTHERS view.
        prompt (`str`, *optional*): The whole system message, if neither card nor scenario was found in it.
    """

    character: str
    book: str
    card: str
    scenario: str
    others: str
    turns: tuple[Spoken, ...]
    prompt: str = ""

    def to_row(self) -> dict[str, Any]:
        """The field of a pairs file; `character` is a field of the pair itself."""
        texts = {name: getattr(self, name) for name in _TEXTS}
        return {**texts, "turns": [{"name": turn.name, "text": turn.text} for turn in self.turns]}


def circumstances_of(scene: Scene, character: str, *, turns: int) -> Circumstances:
    """The circumstances of a character's turn in a scene.

    Args:
        scene (`Scene`): The scene.
        character (`str`): Who replies.
        turns (`int`): Index into `dialogue`: the turns before it were seen.

    Raises:
        `ValueError`: If the character is not in the cast.

    Example:

    ```python
    >>> scene = load_scenes("dataset_cards/her-mini", "test")[0]
    >>> found = circumstances_of(scene, "Jo", turns=2)
    >>> found.book, [turn.name for turn in found.turns]
    ('Little Women', ['Hannah', 'Meg'])
    ```
    """
    name = scene.member(character).name
    shown = scene_variables(scene, name, system_thinking=False)
    before = [
        Spoken(str(turn.name), render_segments(visible_runs(turn.segments, _view(str(turn.name), name))))
        for turn in scene.dialogue[:turns]
    ]
    return Circumstances(
        character=name,
        book="" if shown["book"] == shown["character"] else shown["book"],
        card=shown["profile"].strip(),
        scenario=shown["scenario"].strip(),
        others=others_text(scene, name),
        turns=tuple(turn for turn in before if turn.text),
    )


def read_circumstances(row: Any, character: str) -> Circumstances:
    """Reads the field `circumstances` of a row.

    Args:
        row (`Mapping`): `book`, `card`, `scenario` (texts), `turns` (list of `name` and `text`) and, optionally,
            `others` (text).
        character (`str`): Who replies.

    Raises:
        `ValueError`: If it is not of that form; the message names the field.
    """
    if not isinstance(row, Mapping):
        raise ValueError(f"circumstances must be an object, got {row!r:.60}")
    wanted = (*_TEXTS, "turns")
    lacking = [name for name in wanted if name not in row and name not in _OPTIONAL]
    unknown = sorted(str(name) for name in row if name not in wanted)
    if lacking or unknown:
        raise ValueError(
            f"circumstances need {list(wanted)}, of which {list(_OPTIONAL)} may be left out: lacks {lacking}, "
            f"does not know {unknown!s:.60}"
        )
    texts = {name: row.get(name, "") for name in _TEXTS}
    for name, text in texts.items():
        if not isinstance(text, str):
            raise ValueError(f"circumstances: {name} must be a text, got {text!r:.60}")
    turns = row["turns"]
    if not isinstance(turns, Sequence) or isinstance(turns, str):
        raise ValueError(f"circumstances: turns must be a list, got {turns!r:.60}")
    spoken = [_read_spoken(turn, number, character) for number, turn in enumerate(turns)]
    return Circumstances(character, **texts, turns=tuple(turn for turn in spoken if turn.text))


def _read_spoken(turn: Any, number: int, character: str) -> Spoken:
    found = [turn.get(name) for name in ("name", "text")] if isinstance(turn, Mapping) else []
    if not found or not all(isinstance(text, str) for text in found):
        raise ValueError(f"circumstances: turn {number} needs a name and a text, got {turn!r:.60}")
    name, text = map(str, found)
    return Spoken(name, _body(text, name, _view(name, character)))


def _view(speaker: str, character: str) -> View:
    return View.SELF if speaker == character else View.OTHERS


def _body(text: str, speaker: str, view: View) -> str:
    """What a view shows of a turn whose text has no label: what looks like one is spoken."""
    label = speaker if speaker == ENVIRONMENT else "?"  # a name may hold what reads as a tag or as another label
    turn = read_turn(f"{label}: {_after_a_stray_end(text)}", label)
    return render_segments(visible_runs(turn.segments, view))


def candidate_body(text: str, character: str, notation: str = "her") -> str:
    """A candidate as the judge sees it: in SELF view, without system thinking and without its own label.

    Args:
        text (`str`): The reply in HER notation, with or without system thinking and label.
        character (`str`): Who replies.
        notation (`str`, *optional*, defaults to `"her"`): `"her"`, or `"coser"` for `[thought]` and `(action)`.
    """
    turn = read_turn(_after_a_stray_end(text), character or "?")
    return render_segments(visible_runs(turn.segments, View.SELF), notation)


def _after_a_stray_end(text: str) -> str:
    """What follows the end of a system block that does not begin in the text: the prompt had opened the block."""
    end = _SYSTEM_END.search(text)
    return text[end.end() :] if end and not _SYSTEM_START.search(text, 0, end.start()) else text
