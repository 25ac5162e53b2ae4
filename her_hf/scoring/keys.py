"""Keys and numbers of a judge's JSON, which it spells as it likes. Standard library only."""

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
"""Folded keys of remarks that a judge may write beside what it was asked for, and which decide nothing."""

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)", re.ASCII)
_PLAIN_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}


def plain_width(text: str) -> str:
    """A text whose full-width letters, digits and signs are plain ones.

    Example:

    ```python
    >>> plain_width("１０：")
    '10:'
    ```
    """
    return text.translate(_PLAIN_WIDTH)


def read_number(value: Any) -> int | float | None:
    """A number, or a text that is one in plain or full-width digits; `None` for all else, a bool too.

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
    """A key without what spellings differ in: case, white space, underscores, full-width letters.

    Example:

    ```python
    >>> folded_key(" Better_Response")
    'better response'
    ```
    """
    return " ".join(unicodedata.normalize("NFKC", key).replace("_", " ").split()).casefold()


def with_known_keys(value: Mapping[Any, Any], names: Iterable[str]) -> dict[Any, Any]:
    """An object whose known keys are spelt as we spell them; all others stay as they are.

    Args:
        value (`Mapping`): The object as it was read.
        names (`Iterable[str]`): The keys that are known.

    Raises:
        `ValueError`: If two spellings of one key have different values.

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
    """Keys under which a part of the answer may stand that is looked for elsewhere.

    These are all but the known ones and [`NOTES`], and a note that is an object or a list.

    Args:
        value (`Mapping`): An object, its known keys spelt as we spell them.
        names (`Iterable[str]`): The keys that are known.

    Example:

    ```python
    >>> stray_keys({"severity": 10, "Severity Score": 3, "reason": "x"}, ("type", "severity"))
    ['Severity Score']
    ```
    """
    others = {str(key): one for key, one in value.items() if key not in set(names)}
    return [key for key, one in others.items() if folded_key(key) not in NOTES or isinstance(one, dict | list)]
