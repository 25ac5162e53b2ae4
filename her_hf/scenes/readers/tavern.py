"""Character cards of the Tavern kind (V1, V2, V3)."""

from __future__ import annotations

import logging
import re
from typing import Any

from her_hf.dual_layer import ENVIRONMENT

from ..errors import SameName, SceneError, listed
from ..fields import Row, guess_language, needed_text, shown, text
from ..models import Character, Scene
from ..names import check_name, name_key, one_line, spelled
from ..turns import read_turn
from .lorebook import Lore, read_lorebook
from .macros import Macros

VISITOR = "User"
"""Name of the visitor if none is given."""
SECOND_VISITOR = "Stranger"
"""Name of the visitor if none is given and the character is called [`VISITOR`]."""
TAG = "card"
"""`Scene.tag` of scenes made of cards."""

_SPECS = ("chara_card_v2", "chara_card_v3")
_V1 = ("name", "description", "personality", "scenario", "first_mes", "mes_example")
_FIELDS = {
    *_V1,
    *("alternate_greetings", "character_book", "character_version", "creator", "creator_notes", "creatorcomment"),
    *("avatar", "chat", "create_date", "extensions", "fav", "group_only_greetings", "nickname"),
    *("post_history_instructions", "system_prompt", "tags", "talkativeness"),
}
_MAPPED = ("name", "description", "personality", "scenario")
_NEVER_EMPTY = ("name", "description")
"""Fields that a tool leaves empty only where it has not filled them in; without a greeting a card may well be."""

_OPENS = r"(?<![^\s(\[{<*_'‘“«「『:：,，。、…~—–\-\u2e80-\uffef])"
"""Before a quotation: the start, white space, a mark that opens or parts, or a script without spaces."""
_QUOTED_OR_STARRED = re.compile(
    rf'{_OPENS}"(?=\S)[^"\n]*(?<=\S)"|“[^“”\n]*”|„[^„“”"\n]*[“”"]|(?<!\*)\*(?![*\s])([^*\n]*[^*\s])\*(?!\*)'
)

_LOG = logging.getLogger(__name__)


def is_card(row: Row) -> bool:
    """Whether a row looks like a character card: it says so, or it has a name and what only cards have."""
    spec = row.get("spec")
    if isinstance(spec, str) and spec.startswith("chara_card"):
        return True
    data = row.get("data")
    fields = data if isinstance(data, dict) and spec is None else row
    if "name" not in fields or "entries" in fields:
        return False
    if "first_mes" in fields:
        return True
    return "description" in fields and (len(fields.keys() & set(_V1)) > 2 or fields.keys() <= _FIELDS)


def is_card_scene(scene: Scene) -> bool:
    """Whether [`read_card`] made the scene: its dialogue is a greeting, and its text speaks of the visitor by name."""
    return scene.tag == TAG and "card" in scene.extra


def read_card(row: Row, *, visitor: str | None = None) -> list[Scene]:
    """Creates scenes from a character card: one per greeting, distinguished by `i_c`.

    The cast is the character and the visitor; the greeting is the first turn, with `*starred*` runs as actions. The
    card's `description` is the profile, with the `constant` entries of its lorebook before or after it; its
    `personality` is the description. Macros are replaced once, see [`Macros`]. All other fields, including
    `character_book`, are in `extra["card"]`; instructions to a model (`system_prompt`, `post_history_instructions`)
    are kept but not followed. A warning names what is kept but not used.

    Args:
        row (`dict`): The card: V1 (flat), V2 or V3 (`spec` and `data`). Fields next to `data` are used if it lacks
            them.
        visitor (`str`, *optional*): Who meets the character. By default "User", or "Stranger" if the character has
            that name.

    Returns:
        `list[Scene]`: Scenes whose `book` is the card's name, so that keys of several cards differ. They share the
            dict `extra["card"]`, which may have thousands of entries: change a copy of it.

    Raises:
        `SameName`: If the character has the visitor's name.
        `SceneError`: If the card has no name, another version, or fields of the wrong kind.
        `ValueError`: If the visitor's name is not valid.

    Source: Character Card V2 and V3 specifications.
    """
    card, path = _fields(row)
    name = one_line(needed_text(card, "name", path=path))
    if spelled(name) == ENVIRONMENT:
        raise SceneError(f"is {name!r}, which is reserved for the world; use another name.", field=f"{path}name")
    visitor = _visitor(visitor, name, f"{path}name")
    called = one_line(text(card, "nickname", path)) or name
    macros = Macros(called, visitor, name)
    lore = read_lorebook(card.get("character_book"), f"{path}character_book")
    about = [
        *(macros.fill(entry, f"before {place}") for place, entry in enumerate(lore.before)),
        macros.fill(text(card, "description", path), "description").strip(),
        *(macros.fill(entry, f"after {place}") for place, entry in enumerate(lore.after)),
    ]
    character = Character(
        name=name,
        profile="\n\n".join(filter(None, about)),
        description=macros.fill(text(card, "personality", path), "personality"),
    )
    scenario = macros.fill(text(card, "scenario", path), "scenario")
    alternates, odd = _alternates(card)
    greetings = [
        macros.fill(greeting, f"greeting {place}").strip()
        for place, greeting in enumerate([text(card, "first_mes", path), *alternates])
    ]
    extra: dict[str, Any] = {"card": {key: value for key, value in card.items() if key not in _MAPPED}}
    extra.update({key: row[key] for key in ("spec", "spec_version") if key in row})
    scenes = []
    for index, said in enumerate(list(filter(None, greetings)) or [""]):
        turns = [read_turn(starred_to_actions(said), name, origin_id=(0,))] if said else []
        scenes.append(
            Scene(
                book=name,
                scenario=scenario,
                i_c=index,
                tag=TAG,
                language=guess_language(scenario, character.profile, said),
                cast=[character.model_copy(deep=True), Character(name=visitor)],
                dialogue=turns,
                raw_messages=[{"character": name, "message": said}] if turns else [],
                extra=extra,
            )
        )
    _report_unused(name, lore, odd, macros.unknown)
    return scenes


def starred_to_actions(said: str) -> str:
    """Converts `*waves*` to a role action. Emphasis inside quoted speech and `**bold**` are not changed.

    A mark that does not open a quotation (inches, `„…"`, an unclosed quote) hides no action.
    """
    return _QUOTED_OR_STARRED.sub(
        lambda found: f"<role_action>{found[1]}</role_action>" if found[1] else found[0], said
    )


def _fields(row: Row) -> tuple[dict[str, Any], str]:
    """The fields of a card, with those next to `data` that it lacks, and their path in the row."""
    spec, data = row.get("spec"), row.get("data")
    if spec is not None and spec not in _SPECS:
        raise SceneError(
            f"must be one of {list(_SPECS)}, got {shown(spec)}; export the card as V2 or V3.", field="spec"
        )
    beside = {key: value for key, value in row.items() if key not in ("spec", "spec_version", "data")}
    if data is None and "name" in beside:
        return beside, ""
    if not isinstance(data, dict):
        raise SceneError(f"must be a dict with the card's fields, got {shown(data)}.", field="data")
    empty = [key for key in _NEVER_EMPTY if isinstance(data.get(key), str) and not data[key].strip()]
    lacks = {key: value for key, value in beside.items() if data.get(key) is None or key in empty}
    return {**data, **lacks}, "data."


def _visitor(given: str | None, name: str, field: str) -> str:
    visitor = check_name(given or (SECOND_VISITOR if name_key(name) == name_key(VISITOR) else VISITOR))
    if name_key(visitor) == name_key(name):
        raise SameName(
            f"is {name!r}, which is also the visitor's name; give the visitor another one (in the chat: --me).",
            field=field,
        )
    if spelled(visitor) == ENVIRONMENT:
        raise ValueError(f"visitor must not be {visitor!r}, which is reserved for the world; use another name.")
    return visitor


def _alternates(card: Row) -> tuple[list[str], int]:
    """The texts of `alternate_greetings`, and the number of its items that are not text."""
    value = card.get("alternate_greetings")
    items = value if isinstance(value, list) else [value]
    given = [item for item in items if item is not None]
    found = [item for item in given if isinstance(item, str)]
    return found, len(given) - len(found)


def _report_unused(name: str, lore: Lore, odd: int, unknown: list[str]) -> None:
    """Logs which parts of a card are kept but not used."""
    unused = []
    if lore.keyed:
        unused.append(f"{lore.keyed} of its lorebook's entries need keywords, and come in during a conversation only")
    if lore.bad:
        unused.append(f"{lore.bad} of its lorebook's entries are not dicts or have no text, and are not used")
    if odd:
        unused.append(f"{odd} of its alternate greetings are not text, and are not used")
    if unknown:
        kinds = dict.fromkeys(f"{{{{{macro}}}}}" for macro in unknown)
        unused.append(f"{len(unknown)} macros that cannot be filled in were left out: {listed(kinds, 5)}")
    if unused:
        _LOG.warning("card %r: %s", name, "; ".join(unused))
