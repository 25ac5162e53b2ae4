"""CoSER's test set: one dict per scene."""

from __future__ import annotations

from collections.abc import Iterable

from her_hf.dual_layer import Turn

from ..errors import SceneError
from ..fields import Row, items, language_of, needed_items, needed_text, number, shown, table, text
from ..models import Character, Scene
from ..names import spelled
from ..turns import read_turn
from .cast import as_cast, build_cast, by_name, key_character_fields, named, plot_fields

MAPPED = ("book", "i_p", "i_c", "scenario", "topic", "tag", "language", "dialogues")
"""Fields that are mapped to fields of Scene; all others are kept in `Scene.extra`."""


def read_coser(row: Row) -> Scene:
    """Reads one scene of CoSER's test set.

    Key characters may have `thought` or `motivation`; profiles may be empty or missing; key characters who never speak
    and speakers without an entry are in the cast as well.

    Args:
        row (`dict`): The scene.

    Returns:
        `Scene`: The scene, with `plot`, `weight`, `major_characters` and all other fields in `extra`.

    Raises:
        `SceneError`: If a field is missing or wrong.

    Source: CoSER (ICML 2025), the released test set.
    """
    messages = needed_items(row, "dialogues")
    turns = [coser_turn(message, f"dialogues[{index}].", index) for index, message in enumerate(messages)]
    scenario = needed_text(row, "scenario")
    cast = coser_cast(row, (turn.name or "" for turn in turns))
    return Scene(
        book=needed_text(row, "book"),
        chapter=coser_chapter(row),
        topic=text(row, "topic"),
        scenario=scenario,
        i_p=_plot_index(row),
        i_c=number(row, "i_c"),
        tag=text(row, "tag"),
        language=language_of(row, scenario, *(message["message"] for message in messages)),
        cast=cast,
        dialogue=as_cast(turns, cast),
        raw_messages=messages,
        extra={key: value for key, value in row.items() if key not in MAPPED},
    )


def _plot_index(row: Row) -> int:
    """`i_p` of the scene, or of its plot: CoSER's circumstance files have it only there."""
    plot = table(row, "plot")
    if row.get("i_p") is None and plot.get("i_p") is not None:
        return number(plot, "i_p", path="plot.")
    return number(row, "i_p")


def coser_chapter(row: Row) -> str:
    """The chapter named by the plot; the released files have `"None"` if there is none."""
    chapter = text(table(row, "plot"), "chapter", "plot.")
    return "" if chapter == "None" else chapter


def coser_turn(message: Row, path: str, index: int) -> Turn:
    """Reads one message in CoSER notation; an empty one is a turn with an issue.

    Raises:
        `SceneError`: If speaker or text is missing or wrong.
    """
    speaker = spelled(needed_text(message, "character", path=path))
    said = message.get("message")
    if not isinstance(said, str):
        raise SceneError(f"must be text, got {shown(said)}; the row has {sorted(message)}.", field=f"{path}message")
    return read_turn(said, speaker, notation="coser", origin_id=(index,))


def coser_cast(row: Row, speakers: Iterable[str]) -> list[Character]:
    """The cast of a scene: its key characters, its speakers, and whoever has a profile.

    Raises:
        `SceneError`: If one of the fields about characters is wrong.
    """
    keyed = by_name(items(row, "key_characters"), "key_characters", key_character_fields)
    profiles = table(row, "character_profiles")
    described = {name: {"profile": text(profiles, key, "character_profiles.")} for name, key in named(profiles)}
    plot = by_name(items(table(row, "plot"), "key_characters", "plot."), "plot.key_characters", plot_fields)
    return build_cast([*keyed, *speakers, *described], keyed, described, plot)
