"""Writing a character of a scene as a Tavern card: V2 or V3, JSON or PNG."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from her_hf.dual_layer import Layer, Turn, View, visible_runs
from her_hf.durable import new_contents

from .errors import SceneError
from .models import Character, Scene
from .readers.card_containers import CHUNKS
from .readers.lorebook import keyed_only
from .readers.png import SIGNATURE, blank_png, with_text
from .readers.tavern import is_card_scene

VERSIONS = {2: ("chara_card_v2", "2.0"), 3: ("chara_card_v3", "3.0")}
"""`spec` and `spec_version` of the versions that can be written."""


def card_of(scene: Scene, character: str, *, visitor: str | None = None, version: int = 3) -> dict[str, Any]:
    """A character of a scene as a card, which [`load_scenes`] reads back.

    Profile and background become `description`, the description `personality`, and the character's first turn, if the
    scene begins with it, the greeting. What a card has no field for (motivation, experience, the rest of the cast) is
    kept in `extensions["her_hf"]`. A scene that was read from a card keeps the other fields of that card; constant
    entries of its lorebook are part of the profile, and are not written a second time.

    Args:
        scene (`Scene`): The scene.
        character (`str`): A member of its cast.
        visitor (`str`, *optional*): Whose name becomes `{{user}}`.
        version (`int`, *optional*, defaults to 3): 2 or 3.

    Raises:
        `ValueError`: If the character is not in the cast, or the version is unknown.

    Source: Character Card V2 and V3 specifications.
    """
    if version not in VERSIONS:
        raise ValueError(f"version must be one of {list(VERSIONS)}, got {version!r}")
    member = scene.member(character)
    old = dict(scene.extra["card"]) if is_card_scene(scene) and scene.cast[0].name == member.name else {}
    if isinstance(old.get("character_book"), dict):
        old["character_book"] = keyed_only(old["character_book"])
    greets = bool(scene.dialogue) and scene.dialogue[0].name == member.name
    fields = {
        "name": member.name,
        "description": "\n\n".join(filter(None, (member.profile.strip(), member.background.strip()))),
        "personality": member.description.strip(),
        "scenario": scene.scenario.strip(),
        "first_mes": _greeting(scene.dialogue[0]) if greets else "",
    }
    filled = {key: _with_macros(text, visitor) for key, text in fields.items()}
    filled["name"] = member.name
    empty: dict[str, Any] = {key: "" for key in _TEXTS}
    lists: dict[str, Any] = {"alternate_greetings": [], "tags": [], "extensions": {}}
    if version == 3:
        lists["group_only_greetings"] = []
    data = {**empty, **lists, **filled, **old, **{key: filled[key] for key in ("name", "description")}}
    data["personality"], data["scenario"] = filled["personality"], filled["scenario"]
    if kept := _without_field(scene, member):
        extensions = data["extensions"] if isinstance(data["extensions"], dict) else {}
        data["extensions"] = {**extensions, "her_hf": kept}
    spec, number = VERSIONS[version]
    return {"spec": spec, "spec_version": number, "data": data}


def write_card(
    scene: Scene,
    character: str,
    path: str | Path,
    *,
    visitor: str | None = None,
    version: int = 3,
    image: str | Path | None = None,
) -> Path:
    """Writes a card to a new file: `.json`, or `.png` with the card in its text.

    Args:
        scene, character, visitor, version: See [`card_of`].
        path (`str` or `Path`): The file. A PNG of version 3 has the card as V2 as well, for older tools.
        image (`str` or `Path`, *optional*): A PNG with the picture; by default a plain one.

    Raises:
        `FileExistsError`: If the file exists.
        `ValueError`: If the suffix is neither `.json` nor `.png`, or the image is not a PNG.
    """
    path = Path(path).expanduser()
    suffix = path.suffix.lower()
    if suffix not in (".json", ".png"):
        raise ValueError(f"A card is written to a .json or .png file, got {path.name[:80]!r}.")
    card = card_of(scene, character, visitor=visitor, version=version)
    if suffix == ".json":
        content = json.dumps(card, ensure_ascii=False, indent=2).encode("utf-8", "backslashreplace") + b"\n"
    else:
        content = _png(scene, character, visitor, card, image)
    if path.exists():
        raise FileExistsError(f"{path} exists already: name another file.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_contents(path) as file:
        file.write(content)
    return path


_TEXTS = ("mes_example", "creator_notes", "system_prompt", "post_history_instructions", "creator", "character_version")


def _png(scene: Scene, character: str, visitor: str | None, card: dict[str, Any], image: str | Path | None) -> bytes:
    picture = Path(image).expanduser().read_bytes() if image is not None else blank_png()
    if not picture.startswith(SIGNATURE):
        raise ValueError(f"{image} is not a PNG file: convert the picture first.")
    texts: Mapping[str, dict[str, Any]] = {"chara": card}
    if card["spec"] == VERSIONS[3][0]:
        texts = {"chara": card_of(scene, character, visitor=visitor, version=2), "ccv3": card}
    try:
        chunks = {key: base64.b64encode(json.dumps(one).encode()) for key, one in texts.items()}
        return with_text(picture, chunks, CHUNKS)
    except SceneError as error:
        raise ValueError(f"{image}: {error}") from error


def _greeting(turn: Turn) -> str:
    """What others see of a turn, with actions between asterisks, as cards write them."""
    parts = visible_runs(turn.segments, View.OTHERS)
    return " ".join(f"*{part.text}*" if part.layer is Layer.ROLE_ACTION else part.text for part in parts)


def _with_macros(text: str, visitor: str | None) -> str:
    """Text in which braces are no macros and the visitor's name is one."""
    text = text.replace("{{", "{\u200b{")
    if not visitor:
        return text
    return re.sub(rf"(?<!\w){re.escape(visitor)}(?!\w)", "{{user}}", text)


def _without_field(scene: Scene, member: Character) -> dict[str, Any]:
    """What a card has no field for."""
    own = {key: getattr(member, key) for key in ("motivation", "experience") if getattr(member, key)}
    others = [one.model_dump(mode="json") for one in scene.cast if one.name != member.name and one.portrait]
    return {**own, **({"cast": others} if others else {})}
