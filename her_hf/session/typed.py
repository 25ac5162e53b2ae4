"""What people type becomes a turn, and can become nothing else: no other speaker, no system block, no scene mark."""

from __future__ import annotations

import re
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

_SYSTEM_TAG = re.compile(
    r"<(?=\s*/?\s*(?:" + "|".join(tag for tag, layer in TAGS.items() if layer is Layer.SYSTEM_THINKING) + r")\s*>)",
    re.IGNORECASE,
)
# Where a line begins for a reader of the prompt, and for Unicode: more than a line feed ends one.
_BREAKS = r"\n\r\v\f\x1c-\x1e\x85\u2028\u2029"
_LINE = rf"(?:\A|(?<=[{_BREAKS}]))"
_SPACE = r" \t\xa0\u2000-\u200a\u202f\u205f\u3000"
_UNSEEN = r"\u200b-\u200f\u2060-\u2064\ufeff\xad"
_HEADING = re.compile(rf"({_LINE}[{_SPACE}{_UNSEEN}]*=)(?==)")
_UNREADABLE = {Issue.UNCLOSED, Issue.NESTED, Issue.STRAY_CLOSE, Issue.EMPTY}


def read_typed(text: str, name: str, names: Sequence[str] = ()) -> Turn:
    """Reads what the visitor typed as `name`.

    Plain text is speech; `(…)` is an action and `[…]` an own thought, which no one else sees; the tags of HER do the
    same. Brackets that do not match are only brackets. A line that begins with a name of the cast, a system tag and a
    heading like `===…===` are kept as text, with a zero-width space in them, so that none of them is read as more
    than text.

    Args:
        text (`str`): As typed. The own label (`name:`) may lead.
        name (`str`): Who speaks.
        names (`Sequence[str]`, *optional*): The cast.

    Returns:
        `Turn`: Without system thinking.

    Raises:
        `ValueError`: If nothing is left of the text.

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
    segments = tuple(Segment(part.layer, part.text) for part in segments)  # layout is not the visitor's
    typed = guarded(Turn(name=name, segments=segments), [*names, name, ENVIRONMENT])
    if not any(part.text.strip(" \n\t" + ZERO_WIDTH_SPACE) for part in typed.segments):
        raise ValueError("There is nothing to say in an empty line.")
    return typed


def read_edited(text: str, old: Turn, names: Sequence[str] = ()) -> Turn:
    """Reads a new text for a turn of the character: HER or CoSER notation, own label or none; a system block may lead.

    Raises:
        `ValueError`: If no visible text or thought is left, or another name leads.
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


def guarded(turn: Turn, names: Sequence[str]) -> Turn:
    """The turn with text that begins nobody's line and no part of the prompt, see [`escape_lines`].

    Where a thought is hidden, the texts around it come together; if that makes a line of somebody, they are parted.
    """
    parts = [replace(part, text=escape_lines(part.text, names)) for part in turn.segments]
    whole = Turn(segments=tuple(parts))
    bodies = [whole.render(view=view) for view in (View.SELF, View.OTHERS)]
    if any(escape_lines(body, names) != body for body in bodies):
        parts[:-1] = [replace(part, text=part.text + ZERO_WIDTH_SPACE) for part in parts[:-1]]
    return replace(turn, segments=tuple(parts))


def escape_lines(text: str, names: Sequence[str]) -> str:
    """Puts a zero-width space into what could pass for the start of another turn or of a part of the prompt.

    Args:
        text (`str`): Text.
        names (`Sequence[str]`): Whose labels begin no line, in whatever case and with what models put round them:
            `Ann:`, `**Ann:**`, `[Ann]:`, `Ann (whispering):`.
    """
    if label := _label(names):
        behind = rf"(?=[*_\]）)]*(?:[{_SPACE}]*[(（][^()（）\n]{{0,60}}[)）])?[{_SPACE}]*[:：])"
        text = re.sub(rf"({_LINE}{label}){behind}", rf"\1{ZERO_WIDTH_SPACE}", text)
    return _HEADING.sub(rf"\1{ZERO_WIDTH_SPACE}", text).replace(START, f"={ZERO_WIDTH_SPACE}{START[1:]}")


def _label(names: Sequence[str]) -> str:
    """Pattern of the names with what may stand before one in a line."""
    found = "|".join(map(re.escape, sorted({*names} - {""}, key=len, reverse=True)))
    return rf"(?i:[{_SPACE}{_UNSEEN}]*[*_\[（(]*(?:{found}))" if found else ""


def _read(text: str, notation: str) -> Turn:
    stream = TurnStream(prefilled=False, notation=notation, labels=False)
    stream.feed(text)
    return stream.close()
