"""Building a cast from all fields of a source that describe its characters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from her_hf.dual_layer import ENVIRONMENT, Turn

from ..fields import Row, text
from ..models import Character, CharacterKind
from ..names import name_key, one_line, spelled

Fields = dict[str, str]


def build_cast(names: Iterable[str], *sources: Mapping[str, Fields]) -> list[Character]:
    """One member for each name, in order; each field comes from the first source that has it.

    Names that differ by case or white space are one member, with the first spelling.
    """
    known = [_by_key(source) for source in sources]
    spellings: dict[str, str] = {}
    for name in names:
        spellings.setdefault(name_key(name), spelled(name))
    cast = []
    for key, name in spellings.items():
        found: Fields = {}
        for source in known:
            for field, value in source.get(key, {}).items():
                if value.strip() and not found.get(field, "").strip():
                    found[field] = value
        kind = CharacterKind.ENVIRONMENT if name == ENVIRONMENT else CharacterKind.CHARACTER
        cast.append(Character(name=name, kind=kind, **found))  # type: ignore[arg-type]
    return cast


def as_cast(turns: Iterable[Turn], cast: Iterable[Character]) -> list[Turn]:
    """Turns with the cast's spelling of their speakers."""
    spellings = {name_key(member.name): member.name for member in cast}
    return [replace(turn, name=spellings[name_key(turn.name or "")]) for turn in turns]


def by_name(entries: list[dict[str, Any]], path: str, read: Callable[[Row, str], Fields]) -> dict[str, Fields]:
    """Fields of a list of entries with a `name` (or `character`), by name.

    An entry without a name is ignored; a second entry of a name adds the fields that the first lacks.
    """
    found: dict[str, Fields] = {}
    for index, entry in enumerate(entries):
        where = f"{path}[{index}]."
        name = one_line(text(entry, "name", where) or text(entry, "character", where))
        if name:
            _add(found.setdefault(name, {}), read(entry, where))
    return found


def named(entries: Row) -> list[tuple[str, str]]:
    """Name and key of each entry in a dict by name; keys may have white space around them, empty ones are ignored.

    Tables with one column per name have null for characters of other rows: those are ignored too.
    """
    return [(one_line(key), key) for key, value in entries.items() if value is not None and key.strip()]


def _by_key(source: Mapping[str, Fields]) -> dict[str, Fields]:
    found: dict[str, Fields] = {}
    for name, fields in source.items():
        _add(found.setdefault(name_key(name), {}), fields)
    return found


def _add(known: Fields, more: Fields) -> None:
    for key, value in more.items():
        if value and not known.get(key):
            known[key] = value


def first_text(entry: Row, path: str, *keys: str) -> str:
    """The first of several texts that is not empty."""
    return next(filter(None, (value for key in keys if (value := text(entry, key, path)).strip())), "")


def plot_fields(entry: Row, path: str) -> Fields:
    """A plot's fields about a character; the released test set calls the experience `summary`."""
    return {
        "description": text(entry, "description", path),
        "experience": first_text(entry, path, "experience", "summary"),
    }


def key_character_fields(entry: Row, path: str) -> Fields:
    """A conversation's fields about a key character; `thought` is the newer name of `motivation`."""
    return {
        "motivation": first_text(entry, path, "thought", "motivation"),
        "background": text(entry, "background", path),
        "description": text(entry, "description", path),
        "experience": text(entry, "experience", path),
    }
