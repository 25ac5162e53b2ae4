"""One JSON object or list that stands in a text: read strictly, else repaired, never completed.

A repair mends quotes, commas, comments and full-width signs. What it may not do is close what the text left open, and
neither add nor drop a value: the same objects, lists, keys and values stand in what it gives as in the text.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

MOST_REPAIRED = 100_000
"""Characters of an object that is repaired; a longer one that is not strict JSON cannot be read."""

STARTS = r"\{(?=\s*+(?:[\"'“}]|//|/\*|\w++\s*+[:：]))|\[(?=\s*+\{)"
"""Where an object, or a list of objects, may begin; other brackets are prose."""

UNREADABLE = object()
"""The value of an object that closes, but is no JSON that can be repaired."""

_CLOSER = {"{": "}", "[": "]"}
_QUOTED_KEY = r"[\"'“][^\"'“”\\\n]{1,80}[\"'”]\s*+[:：]"
_COMMENT = r"//|/\*|#"
_AFTER = {  # what may follow a string, so that a quotation mark inside of it does not end it
    "{": rf"\s*+(?:[:：}}\]]|[,，]\s*+(?:{_QUOTED_KEY}|\w++\s*+[:：]|[}}\]]|{_COMMENT})|{_QUOTED_KEY}|{_COMMENT})",
    "[": rf"\s*+(?:[,，}}\]\"'“{{]|{_COMMENT})",
}
_STRINGS = {
    (inside, opening): re.compile(
        rf"{opening}((?:[^{closing}\\]|\\.|{closing}(?!{after}))*+){closing}(?={after})", re.DOTALL
    )
    for inside, after in _AFTER.items()
    for opening, closing in (('"', '"'), ("'", "'"), ("“", "”"))
}
_LEXEME = re.compile(
    r"(?P<space>\s+)|(?P<line>(?://|#)[^\n]*)|(?P<block>/\*)|(?P<open>[{\[])|(?P<close>[}\]])|(?P<mark>[,，:：])"
    r"|(?P<quote>[\"'“])|(?P<bare>(?:(?!//|/\*)[^{}\[\],，:：\"“#\n])+)"
)
_IN_STRING = re.compile(r"\\.|\"", re.DOTALL)


@dataclass(frozen=True, slots=True)
class JsonAt:
    """What stands at a place.

    Args:
        value (`Any`): The object or list, or [`UNREADABLE`].
        end (`int`): The place behind its last bracket.
        repaired (`bool`): Whether it is no strict JSON as it stands.
    """

    value: Any
    end: int
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class _Walked:
    """An object of which only the outline is known: its end, its text with plain signs, and what it is made of."""

    end: int
    plain: str
    containers: int
    values: int


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; one key with two values is none, because it does not say which counts."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found and found[key] != value:
            raise ValueError(f"the key {key[:80]!r} has two values")
        found[key] = value
    return found


# Raw line breaks inside strings are common and harmless, hence strict=False.
_DECODER = json.JSONDecoder(strict=False, object_pairs_hook=_no_key_twice)


def strict_json(text: str) -> Any:
    """The value that a whole text is.

    Raises:
        `ValueError`: If it is no JSON, or an object in it has two values for one key.
    """
    try:
        return _DECODER.decode(text.strip().removeprefix("\ufeff"))
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def json_at(text: str, start: int) -> JsonAt | None:
    """Reads the object or list that begins at a place.

    Args:
        text (`str`): Any text.
        start (`int`): Where a bracket of [`STARTS`] stands.

    Returns:
        `JsonAt` or `None`: `None` if it never closes: the text ends before it, or a bracket is missing.
    """
    try:
        value, end = _DECODER.raw_decode(text, start)
        return JsonAt(value, end)
    except (ValueError, RecursionError):
        walked = _walk(text, start)
    return None if walked is None else JsonAt(_repaired(walked), walked.end, repaired=True)


def _repaired(walked: _Walked) -> Any:
    """What a repair makes of an object; [`UNREADABLE`] if it would have to add or drop something."""
    try:
        return strict_json(walked.plain)
    except ValueError:
        pass
    if len(walked.plain) > MOST_REPAIRED:
        return UNREADABLE
    import json_repair  # an extra, which only answers that need it ask for

    try:
        value = json_repair.loads(walked.plain)
        kept = _outline(value) == (walked.containers, walked.values)
    except (ValueError, RecursionError):  # nested too deeply
        return UNREADABLE
    return value if kept else UNREADABLE


def _outline(value: Any) -> tuple[int, int]:
    """How many objects and lists a value is made of, and how many keys and plain values."""
    if not isinstance(value, dict | list):
        return 0, 1
    inner = [_outline(one) for one in (value.values() if isinstance(value, dict) else value)]
    keys = len(value) if isinstance(value, dict) else 0
    return 1 + sum(one for one, _ in inner), keys + sum(one for _, one in inner)


def _walk(text: str, at: int) -> _Walked | None:
    """Follows brackets and strings, whatever else is wrong with them, to where the first bracket closes; linear time.

    `None` if it does not close in the text, or something else is closed first.
    """
    open_: list[str] = []
    plain: list[str] = []
    containers = values = 0
    while lexeme := _LEXEME.match(text, at):
        kind, said, at = lexeme.lastgroup, lexeme[0], lexeme.end()
        if kind == "open":
            open_.append(said)
            containers += 1
        elif kind == "close":
            if _CLOSER[open_.pop()] != said:
                return None
        elif kind == "block":
            at = text.find("*/", at) + 2
            if at < 2:
                return None
            continue
        elif kind == "quote":
            string = _STRINGS[open_[-1], said].match(text, lexeme.start())
            if string is None:
                return None
            at, values = string.end(), values + 1
            said = _double_quoted(string[1])
        elif kind == "bare":
            values += 1
        if kind != "line":
            plain.append(said if kind == "quote" else unicodedata.normalize("NFKC", said))
        if not open_:
            return _Walked(at, "".join(plain), containers, values)
    return None


def _double_quoted(body: str) -> str:
    """A string's text between plain quotation marks."""
    escaped = _IN_STRING.sub(lambda sign: {'"': '\\"', "\\'": "'"}.get(sign[0], sign[0]), body)
    return f'"{escaped}"'
