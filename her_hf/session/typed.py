"""Turns from typed text, which can forge no other speaker, no system block and no part of the prompt."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from her_hf.dual_layer import (
    ENVIRONMENT,
    TAGS,
    ZERO_WIDTH_SPACE,
    Issue,
    Layer,
    Segment,
    Turn,
    TurnStream,
    View,
    escape_tags,
)
from her_hf.scenes import START
from her_hf.scenes.turns import as_speech

_SYSTEM_TAG = re.compile(
    r"<(?=\s*/?\s*(?:" + "|".join(tag for tag, layer in TAGS.items() if layer is Layer.SYSTEM_THINKING) + r")\s*>)",
    re.IGNORECASE,
)
# Line breaks as readers of the prompt and Unicode define them: not only the line feed.
_BREAKS = r"\n\r\v\f\x1c-\x1e\x85\u2028\u2029"
_LINE = rf"(?:\A|(?<=[{_BREAKS}]))"
_SPACE = r" \t" + ZERO_WIDTH_SPACE
_COLON = ":\u2236\ua789\u02d0\u02f8"
"""Characters that look like a colon; those of other widths become one in the plain view."""
_UNSEEN = re.compile(r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
"""Characters that are invisible but not in Unicode's format category."""
_HEADING = re.compile(rf"{_LINE}[{_SPACE}]*=(?==)")
_UNREADABLE = {Issue.UNCLOSED, Issue.NESTED, Issue.STRAY_CLOSE, Issue.EMPTY}


def read_typed(text: str, name: str, names: Sequence[str] = ()) -> Turn:
    """Reads what the visitor typed as `name`.

    Plain text is speech; `(…)` is an action and `[…]` a thought, which no other character sees; HER's tags work as
    well. Unmatched brackets are text. A line that begins with a name of the cast, a system tag, or a heading like
    `===…===` is kept as text with a zero-width space in it, so that it is not read as anything else.

    Args:
        text (`str`): The typed text. It may begin with the speaker's own label (`name:`).
        name (`str`): Who speaks.
        names (`Sequence[str]`, *optional*): The cast.

    Returns:
        `Turn`: The turn, without system thinking.

    Raises:
        `ValueError`: If the text is empty.

    Example:

    ```python
    >>> read_typed("(curtsies) Good morning, sir.", "Elizabeth").render(view="others")
    'Elizabeth: <role_action>curtsies</role_action> Good morning, sir.'
    ```
    """
    own = re.match(rf"\s*{re.escape(name)}[ \t]*[:：]", text)
    text = _SYSTEM_TAG.sub("<" + ZERO_WIDTH_SPACE, text[own.end() if own else 0 :])
    turn = _read(text, "coser")
    if _UNREADABLE & set(turn.issues):
        turn = _read(text, "her")
    segments = turn.segments
    if name == ENVIRONMENT or _UNREADABLE & set(turn.issues):
        segments = (Segment(Layer.SPEECH, escape_tags(text).strip()),)
    segments = tuple(Segment(part.layer, part.text) for part in segments)  # the visitor does not choose the layout
    typed = guarded(Turn(name=name, segments=segments), [*names, name, ENVIRONMENT])
    if not any(part.text.strip(" \n\t" + ZERO_WIDTH_SPACE) for part in typed.segments):
        raise ValueError("The text is empty: type something to say or do.")
    return typed


def read_edited(text: str, old: Turn, names: Sequence[str] = ()) -> Turn:
    """Reads a new text for a turn of the character, in HER or CoSER notation; own label and system block are optional.

    Raises:
        `ValueError`: If the text has neither visible text nor a thought, or begins with another name.
    """
    stream = TurnStream(prefilled=False, speaker=old.name, names=[*names, old.name or ""], notation="coser")
    stream.feed(text)
    turn = stream.close()
    if turn.name not in (None, old.name):
        raise ValueError(f"This turn is {old.name}'s, but the new text begins with {turn.name!r}.")
    if not turn.segments:
        raise ValueError("A turn needs an action, a thought or speech; the new text has none.")
    thinking = old.system_thinking if turn.system_thinking is None else turn.system_thinking
    return replace(turn, name=old.name, system_thinking=thinking, origin_id=old.origin_id)


def reread(turn: Turn, names: Sequence[str], *, typed: bool = False) -> Turn:
    """A turn of unknown origin, read again from its own text and guarded, see [`guarded`].

    A turn that reads as itself keeps its layout and its issues.

    Args:
        turn (`Turn`): The turn; its name is kept.
        names (`Sequence[str]`): The cast.
        typed (`bool`, *optional*, defaults to `False`): Whether the visitor typed it: it then has no system thinking.
    """
    stream = TurnStream(prefilled=False, speaker=turn.name, names=[*names, turn.name or ""])
    stream.feed(turn.render())
    read = replace(stream.close(), name=turn.name, origin_id=turn.origin_id)
    if typed:
        spoken = tuple(part for part in read.segments if part.layer is not Layer.SYSTEM_THINKING)
        read = replace(read, system_thinking=None, segments=spoken)
    if turn.name == ENVIRONMENT:
        read = replace(read, segments=as_speech(read.segments))
    safe = guarded(read, [*names, turn.name or "", ENVIRONMENT])
    return turn if safe == turn else safe


def guarded(turn: Turn, names: Sequence[str]) -> Turn:
    """The turn with text that cannot pass for another speaker's line or a part of the prompt, see [`escape_lines`].

    If a thought is hidden, the texts around it are joined; if that makes such a line, they are separated.
    """
    parts = [replace(part, text=escape_lines(part.text, names)) for part in turn.segments]
    whole = Turn(segments=tuple(parts))
    bodies = [whole.render(view=view) for view in (View.SELF, View.OTHERS)]
    if any(escape_lines(body, names) != body for body in bodies):
        parts[:-1] = [replace(part, text=part.text + ZERO_WIDTH_SPACE) for part in parts[:-1]]
    return replace(turn, segments=tuple(parts))


def escape_lines(text: str, names: Sequence[str]) -> str:
    """Puts a zero-width space into text that could pass for the start of another turn or of a part of the prompt.

    Args:
        text (`str`): Text.
        names (`Sequence[str]`): Names whose labels are escaped at the start of a line, in any case and in the forms
            that models write: `Ann:`, `**Ann:**`, `[Ann]:`, `Ann (whispering):`.
    """
    view, places = _plain(text)
    ends = [match.end() for match in _HEADING.finditer(view)]
    ends += [match.start() + 1 for match in re.finditer(re.escape(START), view)]
    if label := _label(names):
        ends += [match.end() for match in re.finditer(label, view)]
    parts, at = [], 0
    for place in sorted({places[end - 1] + 1 for end in ends}):
        parts.append(text[at:place])
        at = place
    return ZERO_WIDTH_SPACE.join([*parts, text[at:]])


def _label(names: Sequence[str]) -> str:
    """Pattern of the names at the start of a line, with the marks that may surround them."""
    known = sorted({_plain(name)[0] for name in names} - {""}, key=len, reverse=True)
    if not known:
        return ""
    found = "|".join(map(re.escape, known))
    behind = rf"[*_\])]*(?:[ \t]*\([^()\n]{{0,60}}\))?[ \t]*[{_COLON}]"
    return rf"{_LINE}(?i:[{_SPACE}]*[*_\[(]*(?:{found}))(?={behind})"


def _plain(text: str) -> tuple[str, list[int]]:
    """Text as it looks to a reader: of one width, with plain spaces, without invisible characters.

    The zero-width space is kept, since it keeps escaped text from being read as a label.

    Returns:
        `tuple[str, list[int]]`: The text, and for each of its characters its index in the original.
    """
    if text.isascii():
        return text, list(range(len(text)))
    view: list[str] = []
    places: list[int] = []
    for place, char in enumerate(text):
        kind = unicodedata.category(char)
        if char != ZERO_WIDTH_SPACE and (kind == "Cf" or _UNSEEN.match(char)):
            continue
        plain = " " if kind == "Zs" else unicodedata.normalize("NFKD", char)
        if len(plain) > 1 and "=" in plain:  # one character, which cannot be split
            plain = char
        view.append(plain)
        places += [place] * len(plain)
    return "".join(view), places


def _read(text: str, notation: str) -> Turn:
    stream = TurnStream(prefilled=False, notation=notation, labels=False)
    stream.feed(text)
    return stream.close()
