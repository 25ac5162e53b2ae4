"""Scenes as rows of HER's format and of CoSER's test set.

Values that are unchanged since the scene was read are written as in the source; only changed ones are rewritten. So
reading and writing loses nothing, and a scene that gained system thinking, for example, keeps everything else.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from her_hf.dual_layer import ENVIRONMENT, Turn, View, render_segments, visible_runs

from .errors import SceneError
from .fields import guess_language, table
from .models import Character, Scene
from .readers.coser import coser_cast, coser_chapter
from .readers.her import SPOKEN, THOUGHT, character_entries, her_cast, her_scenario, her_turn
from .turns import as_speech, merge_turns, read_turn

Row = dict[str, Any]

_HER_ONLY = (
    "character_datasets",
    "training_samples",
    "enhanced_dialogues",
    "trace_id",
    "trace_id_book_chapter",
    "book_name",
    "scenario",
    "scenario_enriched",
)
_COSER_ONLY = ("character_profiles", "key_characters")
_REWRITTEN = {*SPOKEN, *THOUGHT, "enhanced_reason", "enhanced_pattern", "message", "without_think"}


def her_row(scene: Scene) -> Row:
    """A scene as a row of HER's and her-mini's format.

    Reading the row gives the same key, chapter, topic, tag, language, scenario, cast and turns (system thinking
    without surrounding white space, Environment's text as speech), and `extra` except for fields with another meaning
    in the format. Raw messages are those of the row.

    Args:
        scene (`Scene`): The scene.

    Returns:
        `dict`: The row, which shares nothing with the scene.

    Raises:
        [`SceneError`]: If the format cannot represent the scene: it needs a title, a scenario, at least one turn, and
            a cast whose names differ by more than case and whose world is called Environment.
    """
    _check_needs(scene)
    from_her = "character_datasets" in scene.extra
    row = {key: value for key, value in scene.extra.items() if from_her or key not in _COSER_ONLY}
    row.setdefault("trace_id", f"{scene.book}/{scene.i_p}/{scene.i_c}")
    row.update(book_name=scene.book, i_p=scene.i_p, i_c=scene.i_c, chapter=scene.chapter, language=scene.language)
    row.update(topic=scene.topic, tag=scene.tag)
    if not scene.tag:
        del row["tag"]
    if her_scenario(row) != scene.scenario:
        row.pop("scenario_enriched", None)
        row["scenario"] = scene.scenario
    speakers = [turn.name or "" for turn in scene.dialogue]
    if not from_her or her_cast(row, speakers) != scene.cast:
        row["key_characters"] = _key_characters(scene.cast, row, "motivation")
        row["character_datasets"] = _character_datasets(scene, row)
        _check_cast(scene, her_cast(row, speakers))
    entries = _raw_by_origin(scene)
    row["dialogues"] = [_her_message(turn, entries) for turn in scene.dialogue]
    # They are joined to messages when the row is read; rewritten messages contain the text themselves.
    if row["dialogues"] != scene.raw_messages:
        row.pop("enhanced_dialogues", None)
        row.pop("training_samples", None)
    return deepcopy(row)


def coser_row(scene: Scene) -> Row:
    """A scene in the format of CoSER's test set; an unchanged CoSER scene is written as it was read.

    Reading the row gives the same as for [`her_row`], with two exceptions: the format has no origin ids and no system
    thinking of Environment, which should have none.

    Args:
        scene (`Scene`): The scene.

    Returns:
        `dict`: The row, which shares nothing with the scene.

    Raises:
        [`SceneError`]: As for [`her_row`].
    """
    _check_needs(scene)
    row = {key: value for key, value in scene.extra.items() if key not in _HER_ONLY}
    row.update(
        book=scene.book, i_p=scene.i_p, i_c=scene.i_c, scenario=scene.scenario, topic=scene.topic, tag=scene.tag
    )
    entries = _raw_by_origin(scene)
    row["dialogues"] = [message for turn in scene.dialogue for message in _coser_messages(turn, entries)]
    row.pop("language", None)
    if guess_language(scene.scenario, *(message["message"] for message in row["dialogues"])) != scene.language:
        row["language"] = scene.language
    speakers = [turn.name or "" for turn in scene.dialogue]
    if coser_chapter(row) != scene.chapter:
        row["plot"] = {**table(row, "plot"), "chapter": scene.chapter}
    if coser_cast(row, speakers) != scene.cast:
        row["key_characters"] = _key_characters(scene.cast, row, "thought", whole=True)
        row["character_profiles"] = {member.name: member.profile for member in scene.cast if member.profile}
        _check_cast(scene, coser_cast(row, speakers))
    return deepcopy(row)


def _check_needs(scene: Scene) -> None:
    for field in ("book", "scenario"):
        if not getattr(scene, field).strip():
            raise SceneError("is empty, but a row needs it; set it before the scene is written.", field=field)
    if not scene.dialogue:
        raise SceneError("is empty, but a row needs at least one turn; add one.", field="dialogue")


def _check_cast(scene: Scene, read: list[Character]) -> None:
    found = {member.name: member for member in read}
    for member in scene.cast:
        again = found.get(member.name)
        changed = [key for key, value in member if again is None or getattr(again, key) != value]
        if changed:
            raise SceneError(
                f"has {member.name!r}, whose {', '.join(changed)} would not come back from a row: names that differ "
                f"only by case are the same, only {ENVIRONMENT} is the world, and empty fields are filled from the "
                "plot in `extra`; change the scene first.",
                field="cast",
            )


def _raw_by_origin(scene: Scene) -> dict[int, Row]:
    """The raw message of each origin id."""
    found: dict[int, Row] = {}
    for index, message in enumerate(scene.raw_messages):
        ids = message.get("origin_id")
        for origin in [ids] if isinstance(ids, int) else ids or [index]:
            found.setdefault(origin, message)
    return found


def _sources(turn: Turn, entries: dict[int, Row]) -> list[Row]:
    """The raw messages of a turn, in order, each once."""
    found: list[Row] = []
    for origin in turn.origin_id:
        entry = entries.get(origin)
        if entry is not None and not any(entry is known for known in found):
            found.append(entry)
    return found


def _body(turn: Turn, view: View = View.FULL) -> str:
    """A turn without label and system thinking, in HER notation."""
    if turn.name == ENVIRONMENT:
        return render_segments(as_speech(turn.segments))
    return render_segments(visible_runs(turn.segments, view))


def _her_message(turn: Turn, entries: dict[int, Row]) -> Row:
    sources = _sources(turn, entries)
    old = sources[0] if len(sources) == 1 and any(key in sources[0] for key in SPOKEN) else {}
    if old and her_turn(old, "", 0) == turn and her_turn(old, "", 0).origin_id == turn.origin_id:
        return old
    raw = _verbatim(turn, sources)
    message: Row = {key: value for key, value in old.items() if key not in _REWRITTEN}
    message.update(
        character=turn.name,
        message=" ".join(raw) if raw else _coser_text(turn),
        origin_id=list(turn.origin_id),
        standard_format=_unmistaken(turn, _body(turn), "her"),
        without_think=_body(turn, View.OTHERS),
    )
    if turn.system_thinking is not None:
        message["sys_thinking_revised"] = turn.system_thinking
    return message


def _coser_messages(turn: Turn, entries: dict[int, Row]) -> list[Row]:
    sources = _sources(turn, entries)
    if _verbatim(turn, sources):
        return [
            {"character": source["character"], "message": source["message"]} if "origin_id" in source else source
            for source in sources
        ]
    return [{"character": turn.name, "message": _coser_text(turn)}]


def _verbatim(turn: Turn, sources: list[Row]) -> list[str]:
    """The raw texts in CoSER notation, if reading them still gives the turn."""
    texts = [source.get("message") for source in sources]
    if not texts or not all(isinstance(text, str) for text in texts):
        return []
    found = [text for text in texts if isinstance(text, str)]
    name = turn.name or ""
    read = merge_turns(read_turn(text, name, notation="coser") for text in found)
    return found if read[0].segments == turn.segments and read[0].system_thinking == turn.system_thinking else []


def _coser_text(turn: Turn) -> str:
    """A turn's text in CoSER notation; system thinking stays in its tags."""
    if turn.name == ENVIRONMENT:
        return _unmistaken(turn, _body(turn), "coser")
    return _unmistaken(turn, Turn(None, turn.system_thinking, turn.segments).render("coser"), "coser")


def _unmistaken(turn: Turn, body: str, notation: str) -> str:
    """The text without a label, or with one if its own start would be read as a label."""
    again = read_turn(body, turn.name or "", notation=notation)
    return body if again.segments == turn.segments else f"{turn.name}: {body}"


def _key_characters(cast: list[Character], row: Row, field: str, whole: bool = False) -> list[Row]:
    """Entries of key characters; `whole` includes all fields that have no other place in CoSER's format."""
    old = {entry.get("name"): entry for entry in row.get("key_characters") or [] if isinstance(entry, dict)}
    entries = []
    for member in cast:
        before = old.get(member.name, {})
        known = {"thought", "motivation", "background", "description", "experience"}
        entry = {"name": member.name, **{key: value for key, value in before.items() if key not in known}}
        entry["motivation" if "motivation" in before else field] = member.motivation
        if whole:
            more = {key: getattr(member, key) for key in ("background", "description", "experience")}
            entry.update({key: value for key, value in more.items() if value})
        entries.append(entry)
    return entries


def _character_datasets(scene: Scene, row: Row) -> list[Row]:
    old = {entry.get("character"): entry for entry in character_entries(row)}
    known = ("character_profile", "background", "motivation", "experience", "description")
    gone = {*known, *(f"{key}_enriched" for key in known), "character", "book_name", "scenario", "topic"}
    return [
        {
            "character": member.name,
            "book_name": scene.book,
            "character_profile": member.profile,
            "background": member.background,
            "scenario": scene.scenario,
            "topic": scene.topic,
            "motivation": member.motivation,
            "experience": member.experience,
            "description": member.description,
            **{key: value for key, value in old.get(member.name, {}).items() if key not in gone},
        }
        for member in scene.cast
    ]
