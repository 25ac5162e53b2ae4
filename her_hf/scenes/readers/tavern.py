"""Character cards of the Tavern kind (V1, V2, V3), as JSON or inside a PNG picture."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from ...dual_layer import escape_tags
from ..errors import SceneError
from ..fields import Row, guess_language, needed_text, shown, text
from ..models import Character, Scene
from ..turns import read_turn
from .png import text_chunks

VISITOR = "User"
"""Name of the visitor if none is given."""
CHUNKS = ("ccv3", "chara")
"""Keywords of PNG text chunks that hold a card, best first."""

_SPECS = ("chara_card_v2", "chara_card_v3")
_MACRO = re.compile(r"\{\{\s*(char|user)\s*\}\}|<(user|bot|char)>", re.IGNORECASE)
_QUOTED_OR_STARRED = re.compile(r'"[^"\n]*"|“[^“”\n]*”|(?<!\*)\*(?![*\s])([^*\n]*[^*\s])\*(?!\*)')


def card_in_png(data: bytes) -> dict[str, Any]:
    """The card in a PNG picture.

    Args:
        data (`bytes`): The whole file.

    Returns:
        `dict`: The card's JSON, V3 if the picture holds both.

    Raises:
        `SceneError`: If it is no sound PNG file or holds no readable card.

    Source: Character Card V2 and V3 specifications (text chunks `chara` and `ccv3`, base64 of JSON).
    """
    chunks = text_chunks(data)
    keyword = next((name for name in CHUNKS if name in chunks), None)
    if keyword is None:
        raise SceneError(
            f"is a picture without a character card: it has text chunks {sorted(chunks)}, none of {list(CHUNKS)}."
        )
    try:
        card = json.loads(base64.b64decode(chunks[keyword], validate=True))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise SceneError(f"is not base64 of a JSON card ({error}); export the card again.", field=keyword) from error
    if not isinstance(card, dict):
        raise SceneError(f"must be a JSON object, got {shown(card)}.", field=keyword)
    return card


def is_card(row: Row) -> bool:
    """Whether a row looks like a character card."""
    spec = row.get("spec")
    return (isinstance(spec, str) and spec.startswith("chara_card")) or ("first_mes" in row and "name" in row)


def read_card(row: Row, *, visitor: str = VISITOR) -> list[Scene]:
    """Makes scenes of a character card: one for each greeting, told apart by `i_c`.

    The cast is the character and the visitor; the greeting is the first turn, its `*starred*` runs being actions.
    `{{char}}` and `{{user}}` are filled in. The card's `description` is the profile and its `personality` the
    description. All other fields, `character_book` too, are in `extra["card"]`; instructions to a model among them
    (`system_prompt`, `post_history_instructions`) are kept but not obeyed.

    Args:
        row (`dict`): The card: V1 (flat), V2 or V3 (`spec` and `data`).
        visitor (`str`, *optional*, defaults to `"User"`): Who meets the character.

    Returns:
        `list[Scene]`: The `book` of each is the card's own name, so that keys of several cards differ.

    Raises:
        `SceneError`: If the card has no name, another version, or fields of the wrong kind.
        `ValueError`: If the visitor has no name or the character's.

    Source: Character Card V2 and V3 specifications.
    """
    data = _data(row)
    name = needed_text(data, "name", path=_path(row)).strip()
    visitor = visitor.strip()
    if not visitor or visitor == name:
        raise ValueError(f"visitor must have a name other than the character's ({name!r}), got {visitor!r}.")
    called = text(data, "nickname", _path(row)).strip() or name
    fill = _filler(called, escape_tags(visitor))
    path = _path(row)
    greetings = [text(data, "first_mes", path), *_alternates(data, path)]
    greetings = [greeting for greeting in greetings if greeting.strip()] or [""]
    character = Character(
        name=name,
        profile=fill(text(data, "description", path)),
        description=fill(text(data, "personality", path)),
    )
    scenario = fill(text(data, "scenario", path))
    used = ("name", "description", "personality", "scenario")
    extra = {"card": {key: value for key, value in data.items() if key not in used}}
    extra.update({key: row[key] for key in ("spec", "spec_version") if key in row})
    scenes = []
    for index, greeting in enumerate(greetings):
        said = fill(greeting)
        turns = [read_turn(starred_to_actions(said), name, origin_id=(0,))] if said.strip() else []
        scenes.append(
            Scene(
                book=name,
                scenario=scenario,
                i_c=index,
                tag="card",
                language=guess_language(scenario, character.profile, said),
                cast=[character.model_copy(deep=True), Character(name=visitor)],
                dialogue=turns,
                raw_messages=[{"character": name, "message": said}] if turns else [],
                extra=deepcopy(extra),
            )
        )
    return scenes


def starred_to_actions(said: str) -> str:
    """Writes `*waves*` as a role action. Emphasis inside quoted speech and `**bold**` stay as they are."""
    return _QUOTED_OR_STARRED.sub(
        lambda found: f"<role_action>{found[1]}</role_action>" if found[1] else found[0], said
    )


def _data(row: Row) -> Row:
    spec = row.get("spec")
    if spec is None:
        return row
    if spec not in _SPECS:
        raise SceneError(
            f"must be one of {list(_SPECS)}, got {shown(spec)}; export the card as V2 or V3.", field="spec"
        )
    data = row.get("data")
    if not isinstance(data, dict):
        raise SceneError(f"must be a dict with the card's fields, got {shown(data)}.", field="data")
    return data


def _path(row: Row) -> str:
    return "data." if "spec" in row else ""


def _alternates(data: Row, path: str) -> list[str]:
    value = data.get("alternate_greetings")
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(greeting, str) for greeting in value):
        raise SceneError(f"must be a list of texts, got {shown(value)}.", field=f"{path}alternate_greetings")
    return value


def _filler(character: str, visitor: str) -> Callable[[str], str]:
    """A function that puts names in for macros; one pass, so that a name is never read as a macro."""

    def name(found: re.Match[str]) -> str:
        return visitor if (found[1] or found[2]).lower() == "user" else character

    return lambda template: _MACRO.sub(name, template)
