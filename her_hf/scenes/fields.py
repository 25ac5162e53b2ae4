"""Reading fields from rows: each function returns a valid value or raises an error that names field and problem."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from .errors import SceneError
from .models import Language

Row = Mapping[str, Any]

MAX_DEPTH = 100
"""Maximum nesting of lists and dicts in a row. Pydantic's limit is nearly twice as high."""

_SHOWN = reprlib.Repr()
_SHOWN.maxlevel, _SHOWN.maxstring, _SHOWN.maxother = 4, 80, 80

_CJK = re.compile(r"[\u3400-\u9fff]")
_KANA = re.compile(r"[\u3041-\u3096\u30a1-\u30fa\uff66-\uff9d]")
_WHOLE = re.compile(r"\s*[+-]?\d{1,18}(?:\.0+)?\s*", re.ASCII)
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
    """A value for an error message, shortened."""
    text = _SHOWN.repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def check_row(row: Row, depth: int = MAX_DEPTH) -> None:
    """Refuses values that cannot be written to a file: lone surrogates (from a truncated `\\ud83d\\ude00`), and data
    nested too deep to be written or read again.

    Args:
        row (`dict`): The row.
        depth (`int`, *optional*): Maximum nesting of lists and dicts.

    Raises:
        `SceneError`: If a text or a key of the row, at any depth, has such a value.
    """
    left: list[tuple[_Place | None, Any]] = [(None, row)]
    while left:  # no recursion: JSON may be nested deeper than Python calls
        place, value = left.pop()
        if isinstance(value, Mapping):
            for key in value:
                _check_text(place, key)
            _check_depth(place, depth)
            left += ((_Place(place, key), inner) for key, inner in value.items())
        elif isinstance(value, list | tuple):
            _check_depth(place, depth)
            left += ((_Place(place, index), inner) for index, inner in enumerate(value))
        else:
            _check_text(place, value)


class _Place:
    """The position of a value in a row. Its path is built only for an error: keys may be long, values many."""

    __slots__ = ("depth", "key", "outer")

    def __init__(self, outer: _Place | None, key: object) -> None:
        self.outer, self.key = outer, key
        self.depth: int = 1 if outer is None else outer.depth + 1

    def path(self, limit: int | None = None) -> str:
        """The path, or the first `limit` keys of it."""
        keys = []
        place: _Place | None = self
        while place is not None and limit is not None and place.depth > limit:
            place = place.outer
        while place is not None:
            keys.append(f"[{place.key}]" if isinstance(place.key, int) else f".{place.key}")
            place = place.outer
        return "".join(reversed(keys)).removeprefix(".")


def _check_depth(place: _Place | None, limit: int) -> None:
    if place is not None and place.depth >= limit:
        raise SceneError(f"is nested deeper than {limit} levels; remove it.", field=place.path(4))


def _check_text(place: _Place | None, value: object) -> None:
    if not isinstance(value, str) or value.isascii():
        return
    try:
        value.encode()
    except UnicodeEncodeError as error:
        half = f"{value[error.start]!r} at position {error.start}"
        field = "" if place is None else place.path()
        raise SceneError(f"has half a character, {half}; complete or remove it.", field=field) from error


def text(row: Row, key: str, path: str = "") -> str:
    """A text that may be missing or null.

    Raises:
        `SceneError`: If it is not text.
    """
    value = row.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise SceneError(f"must be text, got {shown(value)}; turn it into a string.", field=path + key)
    return value


def needed_text(row: Row, *keys: str, path: str = "") -> str:
    """The first text that is present and not empty.

    Raises:
        `SceneError`: If there is none.
    """
    for key in keys:
        value = text(row, key, path)
        if value.strip():
            return value
    got = "is empty" if any(row.get(key) is not None for key in keys) else f"is missing; the row has {sorted(row)}"
    raise SceneError(f"{got}; it must be text that is not empty.", field=path + keys[0])


def whole(value: object) -> int | None:
    """The value as a whole number (tables write 3 as 3.0, text files as "3"); `None` if it is not one."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value.partition(".")[0])
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) else None


def number(row: Row, *keys: str, default: int | None = None, path: str = "") -> int:
    """The first number that is present.

    Raises:
        `SceneError`: If it is not a whole number, or if there is none and no default.
    """
    for key in keys:
        value = row.get(key)
        if value is None:
            continue
        found = whole(value)
        if found is None:
            raise SceneError(f"must be a whole number, got {shown(value)}.", field=path + key)
        return found
    if default is None:
        raise SceneError(f"is missing; the row has {sorted(row)}; add a whole number.", field=path + keys[0])
    return default


def structure(row: Row, key: str, path: str = "") -> Any:
    """A list or dict that may be missing, or JSON text, as in tables without nested columns.

    Raises:
        `SceneError`: If it is text that is not JSON.
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
    """A list of dicts that must be present and not empty.

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
    single = whole(row.get(key))
    value = structure(row, key, path) if single is None else [single]
    if value is None:
        return None
    numbers = [whole(one) for one in value] if isinstance(value, list | tuple) else [None]
    found = tuple(one for one in numbers if one is not None)
    if len(found) < len(numbers):
        raise SceneError(f"must be a list of whole numbers, got {shown(value)}.", field=path + key)
    return found


def language_of(row: Row, *texts: str) -> Language:
    """The row's `language`, else the language of its texts.

    Raises:
        `SceneError`: If the row has a language without a scene prompt.
    """
    code = language_code(text(row, "language"))
    if not code:
        return guess_language(*texts)
    for language in get_args(Language):
        if code == language:
            return language  # type: ignore[no-any-return]
    raise SceneError(f"must be 'en' or 'zh', got {code!r}; drop the field to have it guessed.", field="language")


def language_code(given: str) -> str:
    """The code of a language named in a row, in lower case; an unknown name is returned unchanged."""
    given = given.strip().lower()
    return _LANGUAGES.get(given, given)


def guess_language(*texts: str) -> Language:
    """Chinese if a fifth of the letters are Chinese characters, else English.

    Text with kana is Japanese, which has no prompt and counts as English; a few kana (`の` in a shop's name) are
    ignored.
    """
    joined = "".join(texts)[:20_000]
    letters, chinese, kana = (len(kind.findall(joined)) for kind in (_LETTER, _CJK, _KANA))
    return "zh" if letters and chinese * 5 >= letters and kana * 10 < chinese else "en"
