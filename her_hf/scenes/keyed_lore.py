"""Lorebook entries that come into the prompt when a keyword stands in the last turns."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .models import Scene
from .readers.lorebook import KeyedEntry, keyed_entries
from .readers.macros import Macros
from .readers.tavern import is_card_scene

SCAN_DEPTH = 4
"""How many of the last turns are read if the lorebook does not say."""


@dataclass(frozen=True, slots=True)
class _Found:
    entry: KeyedEntry
    text: str
    tokens: int


def with_keyed_lore(scene: Scene, turns: Sequence[str], visitor: str, tokens: Callable[[str], int]) -> Scene:
    """A scene of a card with the entries whose keywords stand in the last turns, before or after the profile.

    Entries come by `insertion_order`; where they exceed the lorebook's `token_budget`, those of the lowest `priority`
    are left out. With `recursive_scanning`, an entry that came in is read for keywords too.

    Args:
        scene (`Scene`): The scene; any other than one of a card is returned as it is.
        turns (`Sequence[str]`): The turns of the conversation as text.
        visitor (`str`): For `{{user}}`.
        tokens (`Callable`): Counts or estimates the tokens of a text.

    Source: Character Card V2 specification, `character_book`.
    """
    book = scene.extra["card"].get("character_book") if is_card_scene(scene) else None
    if not isinstance(book, dict) or not (entries := keyed_entries(book)):
        return scene
    card = scene.cast[0]
    macros = Macros(card.name, visitor, card.name)
    depth = _number(book, "scan_depth", SCAN_DEPTH)
    heard = list(turns[-depth:]) if depth else []
    found: dict[int, _Found] = {}
    fresh = heard
    while fresh:
        new = {
            index: macros.fill(entry.content, f"lorebook {index}").strip()
            for index, entry in enumerate(entries)
            if index not in found and _wanted(entry, heard)
        }
        found |= {index: _Found(entries[index], text, tokens(text)) for index, text in new.items() if text}
        fresh = [text for text in new.values() if text] if book.get("recursive_scanning") is True else []
        heard = [*heard, *fresh]
    chosen = sorted(
        _within(list(found.values()), _number(book, "token_budget", None)), key=lambda one: one.entry.order
    )
    if not chosen:
        return scene
    before = [one.text for one in chosen if one.entry.leads]
    after = [one.text for one in chosen if not one.entry.leads]
    profile = "\n\n".join(filter(None, [*before, card.profile, *after]))
    return scene.model_copy(update={"cast": [card.model_copy(update={"profile": profile}), *scene.cast[1:]]})


def _wanted(entry: KeyedEntry, heard: Sequence[str]) -> bool:
    text = "\n".join(heard)
    return _any(entry.keys, text, entry) and (not entry.secondary or _any(entry.secondary, text, entry))


def _any(keys: Sequence[str], text: str, entry: KeyedEntry) -> bool:
    return any(_stands(key, text, entry.case_sensitive) for key in keys)


def _stands(key: str, text: str, case_sensitive: bool) -> bool:
    """Whether a keyword stands in a text, as whole words where its script has words."""
    if not case_sensitive:
        key, text = key.casefold(), text.casefold()
    if not key.isascii():
        return key in text
    return re.search(rf"(?<![^\W_]){re.escape(key)}(?![^\W_])", text, re.ASCII) is not None


def _within(found: list[_Found], budget: int | None) -> list[_Found]:
    if budget is None:
        return found
    kept, room = [], budget
    for one in sorted(found, key=lambda one: -one.entry.priority):
        if one.tokens <= room:
            kept.append(one)
            room -= one.tokens
    return kept


def _number(book: dict[str, Any], field: str, missing: Any) -> Any:
    value = book.get(field)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else missing
