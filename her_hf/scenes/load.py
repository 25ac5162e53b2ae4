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
from .kinds import SHAPES, Kind, kind_of
from .layout import split_in
from .models import Scene
from .readers.conversations import CHAT_SHAPES, ChatSample, is_conversation, read_conversation
from .readers.coser import read_coser
from .readers.coser_book import read_book
from .readers.her import read_her
from .readers.tavern import VISITOR, read_card
from .sources import files_of

T = TypeVar("T")
S = TypeVar("S", bound=Scene | ChatSample)
Reader = Callable[[dict[str, Any]], tuple[list[T], list[SceneError]]]


def load_scenes(source: str | Path, split: str | None = None, *, visitor: str = VISITOR) -> list[Scene]:
    """Loads scenes from a file, a folder or the Hub.

    The kind is told from the content: CoSER test scenes, CoSER books, rows of HER's form (her-mini too), scenes
    written by `Scene.model_dump_json`, and character cards of the Tavern kind; as JSON, JSONL, Parquet or, for cards,
    PNG.

    Args:
        source (`str` or `Path`): A file, a folder with files of splits, or a Hub dataset (`owner/name`). A folder
            and a dataset may name a config of their card behind a colon: `owner/name:config`.
        split (`str`, *optional*): Split of a folder or dataset, by the rules of the Hub; data that names no split is
            `"train"`. For a single file: the split that its name says, or a `tag` of its scenes.
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
    loaded: list[Scene] = []
    for file in files_of(source, split):
        loaded.extend(_read(file, partial(scenes_in, source=file.name, visitor=visitor)))
    if not loaded:
        raise SceneError("has no conversations: no plot of its books holds one.", source=str(source))
    return _of_split(loaded, source, split)


def load_conversations(source: str | Path, split: str | None = None) -> list[list[dict[str, str]]]:
    """Loads chat data: `{"messages": [{"role", "content"}]}` or `{"conversations": [{"from", "value"}]}`.

    Args:
        source (`str` or `Path`): A file, a folder or a Hub dataset, as for [`load_scenes`].
        split (`str`, *optional*): Split, as for [`load_scenes`].

    Returns:
        `list[list[dict]]`: For each row its messages, with `role`, `content` and, where the row has them, `name` and
            `reasoning_content`. What [`Scene.messages_for`] wrote comes back as it was.

    Raises:
        `SceneError`: If there is no such source or split, or if rows are bad or say what a conversation in text
            cannot keep.

    Example:

    ```python
    >>> rows = build(load_conversations("chats.jsonl")[0], tokenizer)
    ```
    """

    def read(row: dict[str, Any]) -> tuple[list[ChatSample], list[SceneError]]:
        if not is_conversation(row):
            raise SceneError(f"is no conversation: it has {sorted(row)}; read are {CHAT_SHAPES}.")
        check_characters(row)
        return [read_conversation(row)], []

    loaded = [sample for file in files_of(source, split) for sample in _read(file, read)]
    return [sample.messages for sample in _of_split(loaded, source, split)]


def load_samples(source: str | Path, split: str | None = None) -> list[Scene | ChatSample]:
    """Loads what a model is trained on: scenes of every kind that [`load_scenes`] reads, conversations, or both.

    Args:
        source (`str` or `Path`): A file, a folder or a Hub dataset, as for [`load_scenes`].
        split (`str`, *optional*): Split, as for [`load_scenes`].

    Returns:
        `list[Scene | ChatSample]`: At least one, in the order of the source.

    Raises:
        `SceneError`: If there is no such source or split, or if rows are bad.
    """

    def read(file: Path, row: dict[str, Any]) -> tuple[list[Scene | ChatSample], list[SceneError]]:
        if kind_of(row) is Kind.CHAT:
            check_characters(row)
            return [read_conversation(row)], []
        scenes, wrong = scenes_in(row, source=file.name)
        return [*scenes], wrong

    loaded = [sample for file in files_of(source, split) for sample in _read(file, partial(read, file))]
    if not loaded:
        raise SceneError("has no conversations: no plot of its books holds one.", source=str(source))
    return _of_split(loaded, source, split)


def _of_split(loaded: list[S], source: str | Path, split: str | None) -> list[S]:
    """What a single file has of a split: all of it if its name says so, else the scenes with that tag.

    As on the Hub, a file is `"train"` if nothing else names a split.

    Raises:
        `SceneError`: If it has nothing of it.
    """
    path = Path(source).expanduser()
    if split is None or not path.is_file():
        return loaded
    named = split_in(path.name)
    if split == named or split in path.stem.replace("-", "_").split("_"):
        return loaded
    tags = {_tag(sample) for sample in loaded} - {""}
    if split == "train" and not named and not tags:
        return loaded
    found = [sample for sample in loaded if _tag(sample) == split]
    if not found:
        have = f"its scenes have tags {sorted(tags)}" if tags else f"all of it is {named or 'train'!r}"
        raise SceneError(f"is one file and has no split {split!r}; {have}.", source=str(source))
    return found


def _tag(sample: Scene | ChatSample) -> str:
    return sample.tag if isinstance(sample, Scene) else ""


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
            raise SceneError(
                "is a conversation without a scene; recipes/sft.py trains on it, load_conversations reads it."
            )
    raise SceneError(f"is of no known kind; it has {sorted(row)}. Read are {SHAPES}.")


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
