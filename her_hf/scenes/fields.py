"""Reading fields out of rows that may be wrong: each helper gives the value or says what is wrong with which field."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from .errors import SceneError
from .models import Language

Row = Mapping[str, Any]

_CJK = re.compile(r"[\u3400-\u9fff]")
_LETTER = re.compile(r"[^\W\d_]")
_LANGUAGES = {
    "english": "en",
    "chinese": "zh",
    "中文": "zh",
    "zh-cn": "zh",
    "zh-hans": "zh",
    "en-us": "en",
    "en-gb": "en",
}


def shown(value: object) -> str:
    """What was got, short enough for an error message."""
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def check_characters(row: Row) -> None:
    """Refuses half a character (a lone surrogate, as a cut `\\ud83d\\ude00` leaves it): no file could hold the scene.

    Raises:
        `SceneError`: If a text or a key of the row, however deep, has one.
    """
    left: list[tuple[str, Any]] = [("", row)]
    while left:  # no recursion: JSON may be nested deeper than Python calls
        path, value = left.pop()
        if isinstance(value, Mapping):
            left += ((path, key) for key in value)
            left += ((f"{path}.{key}" if path else str(key), inner) for key, inner in value.items())
        elif isinstance(value, list | tuple):
            left += ((f"{path}[{index}]", inner) for index, inner in enumerate(value))
        elif isinstance(value, str) and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                half = f"{value[error.start]!r} at position {error.start}"
                raise SceneError(
                    f"has half a character, {half}; put the whole one there or drop it.", field=path
                ) from error


def text(row: Row, key: str, path: str = "") -> str:
    """A text that may be missing or null.

    Raises:
        `SceneError`: If it is something else than text.
    """
    value = row.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise SceneError(f"must be text, got {shown(value)}; turn it into a string.", field=path + key)
    return value


def needed_text(row: Row, *keys: str, path: str = "") -> str:
    """The first of several texts that is there.

    Raises:
        `SceneError`: If none is there or it is empty.
    """
    for key in keys:
        value = text(row, key, path)
        if value.strip():
            return value
    got = "is empty" if any(row.get(key) is not None for key in keys) else f"is missing; the row has {sorted(row)}"
    raise SceneError(f"{got}; it must be text that is not empty.", field=path + keys[0])


def number(row: Row, *keys: str, default: int | None = None, path: str = "") -> int:
    """The first of several whole numbers that is there.

    Raises:
        `SceneError`: If it is no whole number, or if none is there and there is no default.
    """
    for key in keys:
        value = row.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            raise SceneError(f"must be a whole number, got {shown(value)}.", field=path + key)
        return value
    if default is None:
        raise SceneError(f"is missing; the row has {sorted(row)}; add a whole number.", field=path + keys[0])
    return default


def structure(row: Row, key: str, path: str = "") -> Any:
    """A list or dict that may be missing, or given as JSON text, as tables do that hold no nested columns.

    Raises:
        `SceneError`: If it is text that is no JSON.
    """
    value = row.get(key)
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise SceneError(
            f"must be a list or dict, or JSON text of one, got {shown(value)}.", field=path + key
        ) from error


def items(row: Row, key: str, path: str = "") -> list[dict[str, Any]]:
    """A list of dicts that may be missing or null.

    Raises:
        `SceneError`: If it is something else.
    """
    value = structure(row, key, path)
    if value is None:
        return []
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise SceneError(f"must be a list, got {shown(value)}.", field=path + key)
    for index, entry in enumerate(value):
        if not isinstance(entry, dict):
            raise SceneError(f"must be a dict, got {shown(entry)}.", field=f"{path}{key}[{index}]")
    return list(value)


def needed_items(row: Row, key: str, path: str = "") -> list[dict[str, Any]]:
    """A list of dicts that must be there and not empty.

    Raises:
        `SceneError`: If it is missing, empty or something else.
    """
    value = items(row, key, path)
    if not value:
        got = "is empty" if row.get(key) is not None else f"is missing; the row has {sorted(row)}"
        raise SceneError(f"{got}; it must be a list with at least one entry.", field=path + key)
    return value


def table(row: Row, key: str, path: str = "") -> dict[str, Any]:
    """A dict that may be missing or null.

    Raises:
        `SceneError`: If it is something else.
    """
    value = structure(row, key, path)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise SceneError(f"must be a dict, got {shown(value)}.", field=path + key)
    return value


def whole_numbers(row: Row, key: str, path: str = "") -> tuple[int, ...] | None:
    """A list of whole numbers, or a single one, or `None` if missing.

    Raises:
        `SceneError`: If it is something else.
    """
    value = structure(row, key, path) if not isinstance(row.get(key), int) else [row[key]]
    if value is None:
        return None
    if not isinstance(value, list | tuple) or any(isinstance(n, bool) or not isinstance(n, int) for n in value):
        raise SceneError(f"must be a list of whole numbers, got {shown(value)}.", field=path + key)
    return tuple(value)


def language_of(row: Row, *texts: str) -> Language:
    """The row's `language`, or else what its texts are written in.

    Raises:
        `SceneError`: If the row names a language without a scene prompt.
    """
    code = language_code(text(row, "language"))
    if not code:
        return guess_language(*texts)
    for language in get_args(Language):
        if code == language:
            return language  # type: ignore[no-any-return]
    raise SceneError(f"must be 'en' or 'zh', got {code!r}; drop the field to have it guessed.", field="language")


def language_code(given: str) -> str:
    """The code of a language that a row names, in lower case; as it is named if there is none for it here."""
    given = given.strip().lower()
    return _LANGUAGES.get(given, given)


def guess_language(*texts: str) -> Language:
    """Chinese if a fifth of the letters are Chinese characters, else English."""
    joined = "".join(texts)[:20_000]
    letters = len(_LETTER.findall(joined))
    return "zh" if letters and len(_CJK.findall(joined)) * 5 >= letters else "en"
