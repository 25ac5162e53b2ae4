"""CoSER's books: plots with conversations, and what is known of each character in the whole book."""

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

    A scene's key is what its entries say (`i_p`, `i_c`), or else its place in the file: entries keep their numbers
    when plots are dropped, places shift. So a number below the place is of another numbering, and the place counts;
    and no two scenes of a book share a key. Plots without text are read like any other.

    Args:
        row (`dict`): The book: `plots`, `character_datasets`, and `book` or `book_name` if it says so.
        source (`str`, *optional*): The file; its name gives the title of a book that does not name itself.

    Returns:
        `tuple[list[Scene], list[SceneError]]`: Good scenes and bad ones. Each scene has its plot in `extra["plot"]`.
        What `character_datasets` lists besides profiles repeats the plots and is not carried into scenes.

    Raises:
        `SceneError`: If the book itself is wrong.

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
    """The conversations of a plot; a single one may stand there without a list.

    Raises:
        `SceneError`: If it is something else.
    """
    value = structure(plot, "conversation", path)
    return [value] if isinstance(value, dict) else items(plot, "conversation", path)


def plot_index(place: int, plot: Row, conversation: Row, path: str = "") -> int:
    """The `i_p` of a conversation: what its entries or its plot say, if that is not below the plot's place."""
    return _index("i_p", place, plot, conversation, *entries_of(conversation, path), path=path)


def entries_of(conversation: Row, path: str = "") -> list[dict[str, Any]]:
    """Entries of a conversation that may carry its numbers."""
    return [entry for key in ("key_characters", "dialogues") for entry in items(conversation, key, path)]


def title_of(source: str) -> str:
    """A title from a file's name: `book_king_lear.json` is "King Lear", `Moby-Dick.json` is "Moby-Dick"."""
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
    """The first number that the entries give, unless it is below the place; else the place."""
    given = next((number(entry, key, path=path) for entry in entries if entry.get(key) is not None), place)
    return max(given, place)
