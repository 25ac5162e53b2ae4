"""CoSER's books: plots with conversations, and what is known of each character in the whole book."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any

from ..errors import SceneError
from ..fields import Row, items, language_of, needed_items, needed_text, number, table, text
from ..models import Scene
from .cast import build_cast, by_name, key_character_fields, named, plot_fields
from .coser import coser_turn

MAPPED = ("scenario", "topic", "dialogues", "i_p", "i_c")


def read_book(row: Row, *, source: str = "") -> tuple[list[Scene], list[SceneError]]:
    """Reads all conversations of a book.

    The index of a scene is what its entries say (`i_p`, `i_c`), or else its place in the file: entries keep their
    numbers when plots are dropped, places shift. Plots without text are read like any other.

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
    for i_p, plot in enumerate(items(row, "plots")):
        try:
            conversations = items(plot, "conversation", f"plots[{i_p}].")
        except SceneError as error:
            errors.append(error)
            continue
        for i_c, conversation in enumerate(conversations):
            path = f"plots[{i_p}].conversation[{i_c}]."
            try:
                scenes.append(_scene(title, plot, conversation, profiles, about, path, i_p, i_c))
            except SceneError as error:
                errors.append(error)
    return scenes, errors


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
    keys = items(conversation, "key_characters", path)
    keyed = by_name(keys, f"{path}key_characters", key_character_fields)
    plot_path = path.partition(".")[0] + ".key_characters"
    plotted = by_name(items(plot, "key_characters"), plot_path, plot_fields)
    chapter = text(plot, "chapter")
    extra = {key: value for key, value in conversation.items() if key not in MAPPED}
    extra["plot"] = {key: value for key, value in plot.items() if key != "conversation"}
    return Scene(
        book=title,
        chapter="" if chapter == "None" else chapter,
        topic=text(conversation, "topic", path),
        scenario=scenario,
        i_p=_index("i_p", i_p, plot, conversation, *keys, *messages, path=path),
        i_c=_index("i_c", i_c, conversation, *keys, *messages, path=path),
        language=language_of({}, scenario, *(message["message"] for message in messages)),
        cast=build_cast([*keyed, *(turn.name or "" for turn in turns)], keyed, profiles, plotted),
        dialogue=turns,
        raw_messages=messages,
        extra={**about, **extra},
    )


def _index(key: str, place: int, *entries: Row, path: str) -> int:
    """The number that the entries give, if they give one."""
    return next((number(entry, key, path=path) for entry in entries if entry.get(key) is not None), place)
