"""Putting a cast together from the places where a source speaks of its characters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ...dual_layer import ENVIRONMENT
from ..fields import Row, text
from ..models import Character, CharacterKind

Fields = dict[str, str]


def build_cast(names: Iterable[str], *sources: Mapping[str, Fields]) -> list[Character]:
    """One member for each name, in order; of several sources the first that says something about a field counts."""
    cast = []
    for name in dict.fromkeys(names):
        found: Fields = {}
        for source in sources:
            for key, value in source.get(name, {}).items():
                if value.strip() and not found.get(key, "").strip():
                    found[key] = value
        kind = CharacterKind.ENVIRONMENT if name == ENVIRONMENT else CharacterKind.CHARACTER
        cast.append(Character(name=name, kind=kind, **found))  # type: ignore[arg-type]
    return cast


def by_name(entries: list[dict[str, Any]], path: str, read: Callable[[Row, str], Fields]) -> dict[str, Fields]:
    """Fields of a list of entries that carry `name` (or `character`).

    An entry without a name says nothing about anybody; a second entry of a name adds what the first lacks.
    """
    found: dict[str, Fields] = {}
    for index, entry in enumerate(entries):
        where = f"{path}[{index}]."
        name = (text(entry, "name", where) or text(entry, "character", where)).strip()
        if not name:
            continue
        known = found.setdefault(name, {})
        for key, value in read(entry, where).items():
            if value and not known.get(key):
                known[key] = value
    return found


def named(entries: Row) -> list[tuple[str, str]]:
    """Name and key of each entry in a dict by name: a key may have white space around it, an empty one is nobody.

    Tables with one column a name fill in null for everybody who is in another row: they are not in this one.
    """
    return [(key.strip(), key) for key, value in entries.items() if value is not None and key.strip()]


def first_text(entry: Row, path: str, *keys: str) -> str:
    """The first of several texts that is not empty."""
    return next(filter(None, (value for key in keys if (value := text(entry, key, path)).strip())), "")


def plot_fields(entry: Row, path: str) -> Fields:
    """What a plot says of a character; the released test set calls the experience `summary`."""
    return {
        "description": text(entry, "description", path),
        "experience": first_text(entry, path, "experience", "summary"),
    }


def key_character_fields(entry: Row, path: str) -> Fields:
    """What a conversation says of a key character; `thought` is the newer name of `motivation`."""
    return {
        "motivation": first_text(entry, path, "thought", "motivation"),
        "background": text(entry, "background", path),
        "description": text(entry, "description", path),
        "experience": text(entry, "experience", path),
    }
