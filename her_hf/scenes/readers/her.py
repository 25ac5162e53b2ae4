"""HER's data and her-mini: dual-layer turns with system thinking.

There are two forms: a flat row with `dialogues`, and that of HER's own files, a plot with `conversation`, a list of
such rows. Improved fields (`enhanced_…`, `…_enriched`, `sys_thinking_revised`) are preferred to the original ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from her_hf.dual_layer import ENVIRONMENT, Issue, Turn, parse_turn

from ..errors import SceneError
from ..fields import (
    Row,
    items,
    language_of,
    needed_items,
    needed_text,
    number,
    shown,
    structure,
    table,
    text,
    whole_numbers,
)
from ..models import Character, Scene
from ..names import name_key, spelled
from ..turns import read_turn
from .cast import Fields, as_cast, build_cast, by_name, first_text, key_character_fields, named

MAPPED = ("book_name", "book", "i_p", "i_c", "chapter", "language", "topic", "tag", "dialogues")
SPOKEN = ("enhanced_standard_format", "enhanced_speech", "standard_format")
"""Fields of a message with text in HER notation, best first."""
THOUGHT = ("sys_thinking_revised", "sys_thinking_original", "sys_thinking")
"""Fields of a message with system thinking, best first."""
_CHARACTER_FIELDS = {
    "profile": "character_profile",
    "background": "background",
    "motivation": "motivation",
    "experience": "experience",
    "description": "description",
}

Joined = dict[tuple[str, tuple[int, ...]], dict[str, str]]
"""Fields of messages from other parts of a row, by speaker (see `name_key`) and the whole list of origin ids."""


def read_her(row: Row) -> list[Scene]:
    """Reads a row of HER's or her-mini's form.

    `character_datasets` may be a dict by name or a list. Fields of messages in other parts of a row
    (`training_samples`, `enhanced_dialogues`) are joined by speaker and the whole `origin_id`, never by its first
    entry.

    Args:
        row (`dict`): The row.

    Returns:
        `list[Scene]`: One scene, or one for each entry of `conversation` if the row has no `dialogues` of its own.

    Raises:
        `SceneError`: If a field is missing or wrong.

    Source: HER-Dataset, config `full_info`; for its defects that are not repeated here see HER's step 3.11.
    """
    conversations = [] if row.get("dialogues") is not None else items(row, "conversation")
    if not conversations:
        return [_scene(row, row, "", None)]
    plot = {key: value for key, value in row.items() if key not in ("conversation", "training_samples")}
    scenes = []
    for index, conversation in enumerate(conversations):
        shared = {key: row[key] for key in ("character_datasets", "training_samples", "trace_id") if key in row}
        merged = {**shared, **conversation}
        place = number(row, "i_c", "conv_index", default=index) if len(conversations) == 1 else index
        scene = _scene(merged, row, f"conversation[{index}].", place)
        scene.extra["plot"] = {key: value for key, value in plot.items() if key != "character_datasets"}
        scenes.append(scene)
    return scenes


def _scene(row: Row, outer: Row, path: str, place: int | None) -> Scene:
    """Reads the scene in `row`; missing fields are taken from `outer`."""
    messages = needed_items(row, "dialogues", path)
    joined = _joined(row, path)
    turns = [her_turn(message, f"{path}dialogues[{index}].", index, joined) for index, message in enumerate(messages)]
    scenario = her_scenario(row, path)
    if not scenario.strip():
        raise SceneError("is missing or empty; it must be text that is not empty.", field=f"{path}scenario")
    plot_index = number(outer, "i_p", "plot_index") if row.get("i_p") is None else number(row, "i_p", path=path)
    kept_here = {"scenario", "scenario_enriched"} if text(row, "scenario_enriched", path).strip() else set()
    gone = {*MAPPED, "scenario"} - kept_here
    cast = her_cast(row, (turn.name or "" for turn in turns), path)
    return Scene(
        book=needed_text(outer if row.get("book_name") is None else row, "book_name", "book"),
        chapter=text(row, "chapter", path) or text(outer, "chapter"),
        topic=text(row, "topic", path),
        scenario=scenario,
        i_p=plot_index,
        i_c=number(row, "i_c", default=place, path=path),
        tag=text(row, "tag", path),
        language=language_of(row if row.get("language") else outer, scenario, *(turn.render() for turn in turns[:8])),
        cast=cast,
        dialogue=as_cast(turns, cast),
        raw_messages=messages,
        extra={key: value for key, value in row.items() if key not in gone},
    )


def her_scenario(row: Row, path: str = "") -> str:
    """The enriched scenario, else the original one."""
    return first_text(row, path, "scenario_enriched", "scenario")


def her_turn(message: Row, path: str, index: int, joined: Joined | None = None) -> Turn:
    """Reads one message.

    Args:
        message (`dict`): `character`, `origin_id`, and text in one of the fields `SPOKEN` or, in CoSER notation,
            `message`.
        path (`str`): Path of the message, for errors.
        index (`int`): Its index, which is its origin id if it has none.
        joined (`dict`, *optional*): Fields of messages from other parts of the row.

    Raises:
        `SceneError`: If speaker or text is missing or wrong.
    """
    speaker = spelled(needed_text(message, "character", path=path))
    origin = whole_numbers(message, "origin_id", path)
    ids = (index,) if origin is None else origin
    more = (joined or {}).get((name_key(speaker), ids), {}) if origin else {}
    turn = _spoken(message, path, speaker, more.get("spoken", ""), ids)
    thought = _system_thinking(message, path, more)
    return replace(turn, system_thinking=thought) if thought or (thought == "" and not turn.system_thinking) else turn


def _spoken(message: Row, path: str, speaker: str, improved: str, ids: tuple[int, ...]) -> Turn:
    raw = message.get("message")
    if speaker == ENVIRONMENT and isinstance(raw, str) and raw.strip():
        return read_turn(raw, speaker, notation="coser", origin_id=ids)
    fields = [text(message, key, path) for key in SPOKEN]
    said = next((found for found in (*fields[:2], improved, *fields[2:]) if found.strip()), "")
    if said:
        return read_turn(said, speaker, origin_id=ids)
    if not isinstance(raw, str):
        got = shown(raw) if "message" in message else f"none of {[*SPOKEN, 'message']} in {sorted(message)}"
        raise SceneError(f"must be text, got {got}.", field=f"{path}message")
    return read_turn(raw, speaker, notation="coser", origin_id=ids)


def _system_thinking(message: Row, path: str, more: dict[str, str]) -> str | None:
    """The best available system thinking.

    `sys_thinking` of HER's files comes last: it was joined by the first origin id and may belong to another message.
    """
    revised, original, loose = (text(message, key, path) for key in THOUGHT)
    candidates = (revised, more.get(THOUGHT[0], ""), original, more.get(THOUGHT[1], ""), loose)
    best = next(filter(None, map(_unwrapped, candidates)), None)
    if best is None and message.get(THOUGHT[0]) is not None:
        return ""
    return best


def _unwrapped(thought: str) -> str:
    """System thinking without the tags of its own block, which some files include."""
    thought = thought.strip()
    if not thought.startswith("<"):
        return thought
    turn = parse_turn(thought)
    whole = not turn.segments and Issue.REPEATED_SYSTEM_THINKING not in turn.issues
    return thought if turn.system_thinking is None or not whole else turn.system_thinking


def _joined(row: Row, path: str) -> Joined:
    joined: Joined = {}
    samples = table(row, "training_samples", path)
    for name in samples:
        where = f"{path}training_samples."
        for index, message in enumerate(items(samples, name, where)):
            ids = whole_numbers(message, "origin_id", f"{where}{name}[{index}].")
            if message.get("role") == "assistant" and ids:
                found = joined.setdefault((name_key(name), ids), {})
                found.update({key: text(message, key, f"{where}{name}[{index}].") for key in THOUGHT[:2]})
    for index, entry in enumerate(items(row, "enhanced_dialogues", path)):
        where = f"{path}enhanced_dialogues[{index}]."
        ids = whole_numbers(entry, "origin_id", where)
        if ids:
            key = (name_key(text(entry, "character", where)), ids)
            joined.setdefault(key, {})["spoken"] = text(entry, "enhanced_role_think", where)
    return joined


def her_cast(row: Row, speakers: Iterable[str], path: str = "") -> list[Character]:
    """The cast of a row: its key characters, its speakers, and all characters in `character_datasets`.

    Raises:
        `SceneError`: If one of the fields about characters is wrong.
    """
    keyed = by_name(items(row, "key_characters", path), f"{path}key_characters", key_character_fields)
    known = by_name(character_entries(row, path), f"{path}character_datasets", _character_fields)
    return build_cast([*keyed, *speakers, *known], known, keyed)


def character_entries(row: Row, path: str = "") -> list[dict[str, Any]]:
    """Entries of `character_datasets`, each with its `character`, from either shape."""
    if isinstance(structure(row, "character_datasets", path), list):
        return items(row, "character_datasets", path)
    entries = table(row, "character_datasets", path)
    where = f"{path}character_datasets."
    return [{**table(entries, key, where), "character": name} for name, key in named(entries)]


def _character_fields(entry: Row, path: str) -> Fields:
    return {ours: first_text(entry, path, f"{theirs}_enriched", theirs) for ours, theirs in _CHARACTER_FIELDS.items()}
