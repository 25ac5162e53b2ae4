"""Reader of CoSER book files: plots with conversations, and character profiles."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any

from ..errors import SceneError
from ..fields import Row, items, language_of, needed_items, needed_text, number, structure, table, text
from ..models import Scene
from .cast import as_cast, build_cast, by_name, key_character_fields, named, plot_fields
from .coser import coser_turn

MAPPED = ("scenario", "topic", "dialogues", "i_p", "i_c")


def read_book(row: Row, *, source: str = "") -> tuple[list[Scene], list[SceneError]]:
    """Reads all conversations of a book.

    The key of a scene (`i_p`, `i_c`) comes from its entries, or else from its index in the file. Entries keep their
    numbers when plots are removed from a file, while indices shift; so a number below the index belongs to another
    numbering, and the index is used. Keys in a book are unique. Plots without text are read as well.

    Args:
        row (`dict`): The book: `plots`, `character_datasets`, and optionally `book` or `book_name`.
        source (`str`, *optional*): The file; its name provides the title if the book has none.

    Returns:
        `tuple[list[Scene], list[SceneError]]`: Scenes and errors. Each scene has its plot in `extra["plot"]`. Of
        `character_datasets` only profiles are used; the rest repeats the plots.

    Raises:
        `SceneError`: If the book itself is invalid.

    Source: CoSER (ICML 2025), `data/final`.
    """
    title = text(row, "book") or text(row, "book_name") or title_of(source)
    known = table(row, "character_datasets")
    profiles = {
        name: {"profile": text(table(known, key, "character_datasets."), "profile", f"character_datasets.{key}.")}
        for name, key in named(known)
    }
    about = {
        key: value for key, value in row.items() if key not in ("plots", "character_datasets", "book", "book_name")
    }
    scenes: list[Scene] = []
    errors: list[SceneError] = []
    taken: set[tuple[int, int]] = set()
    for i_p, plot in enumerate(items(row, "plots")):
        try:
            conversations = conversations_of(plot, f"plots[{i_p}].")
        except SceneError as error:
            errors.append(error)
            continue
        for i_c, conversation in enumerate(conversations):
            path = f"plots[{i_p}].conversation[{i_c}]."
            try:
                scene = _scene(title, plot, conversation, profiles, about, path, i_p, i_c)
            except SceneError as error:
                errors.append(error)
                continue
            while (scene.i_p, scene.i_c) in taken:
                scene.i_c += 1
            taken.add((scene.i_p, scene.i_c))
            scenes.append(scene)
    return scenes, errors


def conversations_of(plot: Row, path: str = "") -> list[dict[str, Any]]:
    """The conversations of a plot, as a list or a single one.

    Raises:
        `SceneError`: If the field is of another kind.
    """
    value = structure(plot, "conversation", path)
    return [value] if isinstance(value, dict) else items(plot, "conversation", path)


def plot_index(place: int, plot: Row, conversation: Row, path: str = "") -> int:
    """The `i_p` of a conversation: that of its entries or plot, if it is not below the plot's index."""
    return _index("i_p", place, plot, conversation, *entries_of(conversation, path), path=path)


def entries_of(conversation: Row, path: str = "") -> list[dict[str, Any]]:
    """Entries of a conversation that may have its numbers."""
    return [entry for key in ("key_characters", "dialogues") for entry in items(conversation, key, path)]


def title_of(source: str) -> str:
    """The title from a file name: `book_king_lear.json` is "King Lear", `Moby-Dick.json` is "Moby-Dick"."""
    words = re.sub(r"^book[_ ]", "", PurePath(source).stem).replace("_", " ").strip()
    return words.title() if words.islower() else words


def _scene(
    title: str,
    plot: Row,
    conversation: Row,
    profiles: dict[str, dict[str, str]],
    about: dict[str, Any],
    path: str,
    i_p: int,
    i_c: int,
) -> Scene:
    messages = needed_items(conversation, "dialogues", path)
    turns = [coser_turn(message, f"{path}dialogues[{index}].", index) for index, message in enumerate(messages)]
    scenario = needed_text(conversation, "scenario", path=path)
    keyed = by_name(items(conversation, "key_characters", path), f"{path}key_characters", key_character_fields)
    plot_path = path.partition(".")[0] + ".key_characters"
    plotted = by_name(items(plot, "key_characters"), plot_path, plot_fields)
    chapter = text(plot, "chapter")
    cast = build_cast([*keyed, *(turn.name or "" for turn in turns)], keyed, profiles, plotted)
    extra = {key: value for key, value in conversation.items() if key not in MAPPED}
    extra["plot"] = {key: value for key, value in plot.items() if key != "conversation"}
    return Scene(
        book=title,
        chapter="" if chapter == "None" else chapter,
        topic=text(conversation, "topic", path),
        scenario=scenario,
        i_p=plot_index(i_p, plot, conversation, path),
        i_c=_index("i_c", i_c, conversation, *entries_of(conversation, path), path=path),
        language=language_of({}, scenario, *(message["message"] for message in messages)),
        cast=cast,
        dialogue=as_cast(turns, cast),
        raw_messages=messages,
        extra={**about, **extra},
    )


def _index(key: str, place: int, *entries: Row, path: str) -> int:
    """The first number in the entries, unless it is below the index `place`; else the index."""
    given = next((number(entry, key, path=path) for entry in entries if entry.get(key) is not None), place)
    return max(given, place)
