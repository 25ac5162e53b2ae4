"""`load_scenes`: every kind of source through one door."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from .errors import SceneError, combined
from .fields import shown
from .files import rows_of
from .models import Scene
from .readers.conversations import is_conversation, read_conversation
from .readers.coser import read_coser
from .readers.coser_book import read_book
from .readers.her import read_her
from .readers.tavern import VISITOR, is_card, read_card
from .sources import files_of

T = TypeVar("T")
Reader = Callable[[dict[str, Any]], tuple[list[T], list[SceneError]]]

_HER_FIELDS = ("book_name", "character_datasets", "trace_id", "trace_id_book_chapter")
_COSER_FIELDS = ("dialogues", "character_profiles", "speaking_characters_w_env", "scenario")


def load_scenes(source: str | Path, split: str | None = None, *, visitor: str = VISITOR) -> list[Scene]:
    """Loads scenes from a file, a folder or the Hub.

    The kind is told from the content: CoSER test scenes, CoSER books, rows of HER's form (her-mini too), scenes
    written by `Scene.model_dump_json`, and character cards of the Tavern kind; as JSON, JSONL, Parquet or, for cards,
    PNG.

    Args:
        source (`str` or `Path`): A file, a folder with files of splits, or a Hub dataset (`owner/name`, or
            `owner/name:config`).
        split (`str`, *optional*): Split of a folder or dataset. For a single file: its own split, or a `tag` of its
            scenes.
        visitor (`str`, *optional*, defaults to `"User"`): Who meets the character of a card.

    Returns:
        `list[Scene]`: At least one scene, in the order of the source.

    Raises:
        `SceneError`: If there is no such source or split, or if rows are bad: up to 20 are named, with row and field.

    Example:

    ```python
    >>> scenes = load_scenes("dataset_cards/her-mini", "test")
    >>> scenes[0].messages_for(scenes[0].characters[0].name)[0]["role"]
    'system'
    ```
    """
    path = Path(source).expanduser()
    loaded: list[Scene] = []
    for file in files_of(source, split):
        loaded.extend(_read(file, partial(scenes_in, source=file.name, visitor=visitor)))
    if split is not None and path.is_file() and split not in path.stem.replace("-", "_").split("_"):
        tags = sorted({scene.tag for scene in loaded} - {""})
        loaded = [scene for scene in loaded if scene.tag == split]
        if not loaded:
            raise SceneError(
                f"is one file and has no split {split!r}; its scenes have tags {tags}.", source=str(source)
            )
    return loaded


def load_conversations(source: str | Path, split: str | None = None) -> list[list[dict[str, str]]]:
    """Loads chat samples: `{"conversations": [{"from", "value"}]}` or `{"messages": [{"role", "content"}]}`.

    Args:
        source (`str` or `Path`): A file, a folder or a Hub dataset, as for [`load_scenes`].
        split (`str`, *optional*): Split of a folder or dataset.

    Returns:
        `list[list[dict]]`: For each sample its messages, with `role` and `content`.

    Raises:
        `SceneError`: If there is no such source or split, or if rows are bad.
    """

    def read(row: dict[str, Any]) -> tuple[list[list[dict[str, str]]], list[SceneError]]:
        if not is_conversation(row):
            raise SceneError(f"is no chat sample: it has {sorted(row)}, neither 'conversations' nor 'messages'.")
        return [read_conversation(row)], []

    return [sample for file in files_of(source, split) for sample in _read(file, read)]


def scenes_in(
    row: dict[str, Any], *, source: str = "", visitor: str = VISITOR
) -> tuple[list[Scene], list[SceneError]]:
    """The scenes of one row of any kind, and what is wrong with those of a book that are bad.

    Raises:
        `SceneError`: If the row is bad or of no known kind.
    """
    if isinstance(row.get("plots"), list):
        return read_book(row, source=source)
    if is_card(row):
        return list(read_card(row, visitor=visitor)), []
    if "cast" in row and "dialogue" in row:
        return [_own(row)], []
    if is_conversation(row):
        raise SceneError("is a chat sample without a scene; read it with load_conversations.")
    if any(key in row for key in _HER_FIELDS):
        return read_her(row), []
    if any(key in row for key in _COSER_FIELDS):
        return [read_coser(row)], []
    raise SceneError(f"is of no known kind; it has {sorted(row)}.")


def _own(row: dict[str, Any]) -> Scene:
    try:
        return Scene.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise SceneError(f"{first['msg']}, got {shown(first['input'])}.", field=field) from error


def _read(file: Path, read: Reader[T]) -> list[T]:
    good: list[T] = []
    bad: list[SceneError] = []
    try:
        for place, row in rows_of(file):
            try:
                if isinstance(row, SceneError):
                    raise row
                if not isinstance(row, dict):
                    raise SceneError(f"must be a dict, got {shown(row)}.")
                found, wrong = read(row)
                good.extend(found)
                bad.extend(error.at("", place) for error in wrong)
            except SceneError as error:
                bad.append(error.at("", place))
    except SceneError as error:
        raise error.at(str(file)) from error
    if bad:
        raise combined(bad, str(file))
    if not good:
        raise SceneError("is empty: no rows.", source=str(file))
    return good
