"""Reads one JSON object or list inside a text: strictly if possible, else with repairs, never completed.

A repair rewrites punctuation only: quotation marks, commas, full-width characters, comments of plain words. The values
remain the tokens that were written, in their order, and each must be a string, a JSON number or a single word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from her_hf.inference.strict import DECODER, strict_json
from her_hf.scoring.keys import plain_width

STARTS = r"\{(?=\s*+(?:[\"'“}]|//|/\*|\w++\s*+[:：]))|\[(?=\s*+\{)"
"""Where an object, or a list of objects, may begin; other brackets are prose."""

UNREADABLE = object()
"""The value of an object that closes, but is not JSON and cannot be repaired."""

_CLOSER = {"{": "}", "[": "]"}
_QUOTED_KEY = r"[\"'“][^\"'“”\\\n]{1,80}[\"'”]\s*+[:：]"
_COMMENT = r"//|/\*"
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
    r"(?P<space>\s+)|(?P<comment>//[^\n]*|/\*(?s:.*?)\*/)|(?P<open>[{\[])|(?P<close>[}\]])|(?P<mark>[,，:：])"
    r"|(?P<quote>[\"'“])|(?P<bare>(?:(?!//|/\*)[^{}\[\],，:：\"“\n])+)"
)
_IN_STRING = re.compile(r"\\.|\"", re.DOTALL)
_REMARK = re.compile(r"[^{}\[\]\"'“”‘’:：\d]*")
"""A comment that cannot hold a part of the answer."""
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:e[+-]?\d+)?", re.IGNORECASE | re.ASCII)
_WORD = re.compile(r"[^\W\d]\w*")
_LITERALS = ("true", "false", "null")


@dataclass(frozen=True, slots=True)
class JsonAt:
    """What was found at a position.

    Args:
        value (`Any`): The object or list, or [`UNREADABLE`].
        end (`int`): The position after its last bracket.
        repaired (`bool`): Whether it is not strict JSON as written.
    """

    value: Any
    end: int
    repaired: bool = False


def json_at(text: str, start: int) -> JsonAt | None:
    """Reads the object or list that begins at a position, in linear time.

    Args:
        text (`str`): Any text.
        start (`int`): Position of a bracket that [`STARTS`] matches.

    Returns:
        `JsonAt` or `None`: `None` if it never closes: the text ends too early, or a bracket is missing.
    """
    try:
        value, end = DECODER.raw_decode(text, start)
        return JsonAt(value, end)
    except (ValueError, RecursionError):
        return _repaired(text, start)


def _repaired(text: str, at: int) -> JsonAt | None:
    """Follows brackets and strings to where the first bracket closes, tolerating all other errors.

    `None` if it does not close in the text, or a different bracket is closed first.
    """
    open_: list[str] = []
    plain: list[str] = []
    readable = True
    while lexeme := _LEXEME.match(text, at):
        kind, said, at = lexeme.lastgroup, lexeme[0], lexeme.end()
        if kind == "space":
            continue
        if kind == "comment":
            readable = readable and _REMARK.fullmatch(said) is not None
            continue
        if kind == "close":
            if _CLOSER[open_.pop()] != said:
                return None
            if plain[-1] == "," and _ends_value(plain[-2]):
                plain.pop()
        elif kind == "mark":
            said = plain_width(said)
        else:
            if plain and _ends_value(plain[-1]):
                plain.append(",")
            if kind == "open":
                open_.append(said)
            elif kind == "quote":
                string = _STRINGS[open_[-1], said].match(text, lexeme.start())
                if string is None:
                    return None
                said, at = _double_quoted(string[1]), string.end()
            else:
                said = plain_width(said).strip()
                readable = readable and (_NUMBER.fullmatch(said) or _WORD.fullmatch(said)) is not None
                said = f'"{said}"' if said not in _LITERALS and _WORD.fullmatch(said) else said
        plain.append(said)
        if not open_:
            return JsonAt(_value("".join(plain)) if readable else UNREADABLE, at, repaired=True)
    return None


def _ends_value(piece: str) -> bool:
    """Whether a value ends with this piece of JSON, so that a comma is between it and the next one."""
    return piece not in ("{", "[", ",", ":")


def _value(plain: str) -> Any:
    try:
        return strict_json(plain)
    except ValueError:
        return UNREADABLE


def _double_quoted(body: str) -> str:
    """A string's text between plain quotation marks."""
    escaped = _IN_STRING.sub(lambda sign: {'"': '\\"', "\\'": "'"}.get(sign[0], sign[0]), body)
    return f'"{escaped}"'
