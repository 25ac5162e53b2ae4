"""Lorebooks of character cards: the constant entries, and the number of entries that need a keyword."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from ..errors import SceneError
from ..fields import Row, shown

_DECORATORS = re.compile(r"\A(?:[ \t]*@@[^\n]*(?:\n|\Z))+")
_CONSTANT, _OFF = "@@constant", "@@dont_activate"


@dataclass(frozen=True)
class Lore:
    """The constant entries of a lorebook, which are part of every prompt.

    Args:
        before (`tuple[str, ...]`): Texts before the character's description, in order.
        after (`tuple[str, ...]`): Texts after it.
        keyed (`int`): Enabled entries that require a keyword in the conversation.
        bad (`int`): Entries that are not a dict, and constant ones whose content is not text.
    """

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    keyed: int = 0
    bad: int = 0


def is_lorebook(row: Row) -> bool:
    """Whether a row is a lorebook without a character."""
    spec = row.get("spec")
    return (isinstance(spec, str) and spec.startswith("lorebook")) or (
        isinstance(row.get("entries"), list | dict) and not {"plots", "dialogues", "data"} & row.keys()
    )


def read_lorebook(book: object, path: str) -> Lore:
    """Reads `character_book`: enabled `constant` entries by `insertion_order`, without the decorators of V3.

    The decorators `@@constant` and `@@dont_activate` are applied; the others concern positions in the chat.

    Args:
        book (`object`): The field; `None` if the card has no lorebook.
        path (`str`): Its path, for errors.

    Raises:
        `SceneError`: If the lorebook or its list of entries has the wrong type.

    Source: Character Card V2 and V3 specifications, lorebook.
    """
    if book is None:
        return Lore()
    if not isinstance(book, dict):
        raise SceneError(f"must be a dict with 'entries', got {shown(book)}.", field=path)
    entries = book.get("entries") or []
    if not isinstance(entries, list | dict):
        raise SceneError(f"must be a list, got {shown(entries)}.", field=f"{path}.entries")
    constant: list[tuple[float, bool, str]] = []
    keyed = bad = 0
    for entry in entries.values() if isinstance(entries, dict) else entries:
        if not isinstance(entry, dict):
            bad += 1
            continue
        content = entry.get("content")
        said = content if isinstance(content, str) else ""
        found = _DECORATORS.match(said)
        decorators = [line.strip() for line in found[0].splitlines()] if found else []
        on = _flag(entry.get("enabled"), missing=True) and not _flag(entry.get("disable"))
        if not on or _OFF in decorators:
            continue
        if not _flag(entry.get("constant")) and _CONSTANT not in decorators:
            keyed += 1
        elif content is not None and not isinstance(content, str):
            bad += 1
        elif said := _DECORATORS.sub("", said).strip():
            constant.append((_order(entry), entry.get("position") != "after_char", said))
    constant.sort(key=lambda entry: entry[0])
    before = tuple(content for _, leads, content in constant if leads)
    return Lore(before, tuple(content for _, leads, content in constant if not leads), keyed, bad)


@dataclass(frozen=True, slots=True)
class KeyedEntry:
    """An entry that comes into the prompt with a keyword; `secondary` keywords are needed too if there are any."""

    content: str
    keys: tuple[str, ...]
    secondary: tuple[str, ...]
    case_sensitive: bool
    order: float
    priority: float
    leads: bool


def keyed_entries(book: Row) -> list[KeyedEntry]:
    """The enabled entries with keywords. Those whose keywords are regular expressions are not among them."""
    entries = book.get("entries")
    listed = list(entries.values()) if isinstance(entries, dict) else entries if isinstance(entries, list) else []
    found = []
    for entry in listed:
        lore = read_lorebook({"entries": [entry]}, "entries")
        keys = _keywords(entry, "keys") if lore.keyed and isinstance(entry.get("content"), str) else ()
        if keys and not _flag(entry.get("use_regex")):
            selective = _flag(entry.get("selective"))
            found.append(
                KeyedEntry(
                    content=_DECORATORS.sub("", entry["content"]).strip(),
                    keys=keys,
                    secondary=_keywords(entry, "secondary_keys") if selective else (),
                    case_sensitive=_flag(entry.get("case_sensitive")),
                    order=_order(entry),
                    priority=_order(entry, "priority"),
                    leads=entry.get("position") != "after_char",
                )
            )
    return found


def _keywords(entry: Row, field: str) -> tuple[str, ...]:
    value = entry.get(field)
    return (
        tuple(key.strip() for key in value if isinstance(key, str) and key.strip()) if isinstance(value, list) else ()
    )


def keyed_only(book: Row) -> Row:
    """A lorebook without the constant entries that [`read_lorebook`] makes part of the profile."""
    entries = book.get("entries")
    if isinstance(entries, dict):
        return {**book, "entries": {key: entry for key, entry in entries.items() if not _in_profile(entry)}}
    if isinstance(entries, list):
        return {**book, "entries": [entry for entry in entries if not _in_profile(entry)]}
    return book


def _in_profile(entry: object) -> bool:
    lore = read_lorebook({"entries": [entry]}, "entries")
    return bool(lore.before or lore.after)


def _order(entry: dict[str, Any], field: str = "insertion_order") -> float:
    value = entry.get(field)
    try:
        order = float(value) if isinstance(value, int | float | str) else 0.0
    except (ValueError, OverflowError):
        return 0.0
    return order if math.isfinite(order) else 0.0


def _flag(value: object, *, missing: bool = False) -> bool:
    """A flag, which tools write as a boolean, number or text."""
    if value is None:
        return missing
    return value.strip().lower() in ("true", "1") if isinstance(value, str) else bool(value)
