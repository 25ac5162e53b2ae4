"""`load_scenes`: every kind of source through one door."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from .errors import SceneError, combined
from .fields import check_characters, shown
from .files import rows_of
from .kinds import Kind, kind_of
from .models import Scene
from .readers.conversations import is_conversation, read_conversation
from .readers.coser import read_coser
from .readers.coser_book import read_book
from .readers.her import read_her
from .readers.tavern import VISITOR, read_card
from .sources import files_of

T = TypeVar("T")
Reader = Callable[[dict[str, Any]], tuple[list[T], list[SceneError]]]


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
    if not loaded:
        raise SceneError("has no conversations: no plot of its books holds one.", source=str(source))
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
        check_characters(row)
        return [read_conversation(row)], []

    return [sample for file in files_of(source, split) for sample in _read(file, read)]


def scenes_in(
    row: dict[str, Any], *, source: str = "", visitor: str = VISITOR
) -> tuple[list[Scene], list[SceneError]]:
    """The scenes of one row of any kind, and what is wrong with those of a book that are bad.

    Raises:
        `SceneError`: If the row is bad or of no known kind.
    """
    check_characters(row)
    try:
        return _scenes(row, source, visitor)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise SceneError(f"{first['msg']}, got {shown(first['input'])}.", field=field) from error


def _scenes(row: dict[str, Any], source: str, visitor: str) -> tuple[list[Scene], list[SceneError]]:
    match kind_of(row):
        case Kind.BOOK:
            return read_book(row, source=source)
        case Kind.CARD:
            return list(read_card(row, visitor=visitor)), []
        case Kind.SCENE:
            return [Scene.model_validate(row)], []
        case Kind.HER:
            return read_her(row), []
        case Kind.COSER:
            return [read_coser(row)], []
        case Kind.CHAT:
            raise SceneError("is a chat sample without a scene; read it with load_conversations.")
    raise SceneError(f"is of no known kind; it has {sorted(row)}.")


def _read(file: Path, read: Reader[T]) -> list[T]:
    """What the rows of a file hold, which may be nothing: a book need not have conversations."""
    good: list[T] = []
    bad: list[SceneError] = []
    empty = True
    try:
        for place, row in rows_of(file):
            empty = False
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
    if empty:
        raise SceneError("is empty: no rows.", source=str(file))
    return good
