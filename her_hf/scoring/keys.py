"""Keys and numbers of a judge's JSON in any spelling. Standard library only."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

NOTES = frozenset(
    (
        *("analysis", "character", "comment", "comments", "description", "dimension", "evidence", "explanation", "id"),
        *("index", "justification", "name", "note", "notes", "overall analysis", "overall assessment", "quote"),
        *("rationale", "reason", "reasoning", "speaker", "summary", "thinking", "thought", "thoughts", "turn", "why"),
    )
)
"""Folded keys of remarks that a judge may add to the requested ones, and which have no effect."""

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)", re.ASCII)
_PLAIN_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}


def plain_width(text: str) -> str:
    """The text with full-width letters, digits and signs replaced by ASCII ones.

    Example:

    ```python
    >>> plain_width("１０：")
    '10:'
    ```
    """
    return text.translate(_PLAIN_WIDTH)


def read_number(value: Any) -> int | float | None:
    """A number, or a text with a number in ASCII or full-width digits; `None` for anything else, including a bool.

    Example:

    ```python
    >>> read_number("４.5"), read_number("1_0"), read_number(True)
    (4.5, None, None)
    ```
    """
    if isinstance(value, str):
        plain = plain_width(value).strip()
        return float(plain) if _NUMBER.fullmatch(plain) else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def folded_key(key: str) -> str:
    """A key without differences of spelling: case, white space, underscores, full-width letters.

    Example:

    ```python
    >>> folded_key(" Better_Response")
    'better response'
    ```
    """
    return " ".join(unicodedata.normalize("NFKC", key).replace("_", " ").split()).casefold()


def with_known_keys(value: Mapping[Any, Any], names: Iterable[str]) -> dict[Any, Any]:
    """The object with canonical spellings of its known keys; other keys are not changed.

    Args:
        value (`Mapping`): The object.
        names (`Iterable[str]`): The known keys in canonical spelling.

    Raises:
        `ValueError`: If two spellings of a key have different values.

    Example:

    ```python
    >>> with_known_keys({"Severity": 10, "note": "x"}, ("type", "severity"))
    {'severity': 10, 'note': 'x'}
    ```
    """
    known = {folded_key(name): name for name in names}
    found: dict[Any, Any] = {}
    for key, one in value.items():
        name = known.get(folded_key(key), key) if isinstance(key, str) else key
        if name in found and found[name] != one:
            raise ValueError(f"{name} is given twice, as {found[name]!r:.80} and as {one!r:.80}")
        found[name] = one
    return found


def stray_keys(value: Mapping[Any, Any], names: Iterable[str]) -> list[str]:
    """Unknown keys that may hold a part of the answer.

    These are all keys except the known ones and [`NOTES`], and notes that are an object or a list.

    Args:
        value (`Mapping`): An object with canonical spellings of its known keys.
        names (`Iterable[str]`): The known keys.

    Example:

    ```python
    >>> stray_keys({"severity": 10, "Severity Score": 3, "reason": "x"}, ("type", "severity"))
    ['Severity Score']
    ```
    """
    others = {str(key): one for key, one in value.items() if key not in set(names)}
    return [key for key, one in others.items() if folded_key(key) not in NOTES or isinstance(one, dict | list)]
