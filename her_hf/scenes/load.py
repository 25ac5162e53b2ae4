"""`load_scenes`: one function for every kind of source."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import ValidationError

from .errors import ForeignData, SameName, SceneError, combined, listed
from .fields import MAX_DEPTH, check_row, shown
from .files import rows_of
from .kinds import SHAPES, Kind, kind_of
from .layout import split_in
from .models import Scene
from .names import title_key
from .readers.conversations import CHAT_SHAPES, ChatSample, is_conversation, read_conversation
from .readers.coser import read_coser
from .readers.coser_book import read_book
from .readers.her import read_her
from .readers.lorebook import is_lorebook
from .readers.tavern import read_card
from .sources import files_of

T = TypeVar("T")
S = TypeVar("S", bound=Scene | ChatSample)
OnError = Literal["raise", "skip"]
Reader = Callable[[dict[str, Any]], tuple[list[T], list[SceneError]]]

_LOG = logging.getLogger(__name__)
_DEPTHS: dict[Kind | None, int] = {Kind.CARD: -10, Kind.SCENE: 10}
"""How much deeper rows may be nested: a card is nested deeper in its scenes, and in their rows, than by itself."""


def load_scenes(
    source: str | Path, split: str | None = None, *, visitor: str | None = None, on_error: OnError = "raise"
) -> list[Scene]:
    """Loads scenes from a file, a folder or the Hub.

    The kind is detected from the content: CoSER test scenes, CoSER books, rows of HER's format (including her-mini),
    scenes written by `Scene.model_dump_json`, and Tavern character cards; as JSON, JSONL, Parquet or, for cards, PNG
    and CHARX. Valid files of a folder with other content (an ordinary picture, a lorebook), and cards whose character
    has the visitor's name, are skipped with a warning that names them. A warning also names two spellings of one
    title.

    Args:
        source (`str` or `Path`): A file, a folder with files of splits, or a Hub dataset (`owner/name`). A folder
            and a dataset may name a config of their card after a colon: `owner/name:config`.
        split (`str`, *optional*): Split of a folder or dataset, by the rules of the Hub; data without splits is
            `"train"`. For a single file: the split in its name, or a `tag` of its scenes.
        visitor (`str`, *optional*): Who meets the character of a card. By default "User", or "Stranger" if the
            character has that name.
        on_error (`str`, *optional*, defaults to `"raise"`): `"skip"` skips bad rows, bad conversations of a book and
            bad files, and logs a warning that counts and names them. If nothing is left, an error is raised anyway.

    Returns:
        `list[Scene]`: At least one scene, in the order of the source.

    Raises:
        `SceneError`: If there is no such source or split, or if rows are bad: up to 20 are listed, with row and field.
        `ValueError`: If `on_error` has another value, or `visitor` is not a valid name.

    Example:

    ```python
    >>> scenes = load_scenes("dataset_cards/her-mini", "test")
    >>> scenes[0].messages_for(scenes[0].characters[0].name)[0]["role"]
    'system'
    ```
    """
    if on_error not in get_args(OnError):
        raise ValueError(f"on_error must be one of {list(get_args(OnError))}, got {on_error!r}")

    def read(file: Path, row: dict[str, Any]) -> tuple[list[Scene], list[SceneError]]:
        return scenes_in(row, source=file.name, visitor=visitor)

    loaded = _gathered(source, split, read, on_error)
    _warn_of_titles(loaded)
    return _of_split(loaded, source, split)


def load_conversations(source: str | Path, split: str | None = None) -> list[list[dict[str, str]]]:
    """Loads chat data: `{"messages": [{"role", "content"}]}` or `{"conversations": [{"from", "value"}]}`.

    Args:
        source (`str` or `Path`): A file, a folder or a Hub dataset, as for [`load_scenes`].
        split (`str`, *optional*): Split, as for [`load_scenes`].

    Returns:
        `list[list[dict]]`: For each row its messages, with `role`, `content` and, if the row has them, `name` and
            `reasoning_content`. Messages written by [`Scene.messages_for`] are returned unchanged. A warning counts
            the unused fields.

    Raises:
        `SceneError`: If there is no such source or split, or if rows are bad or contain something that a text
            conversation cannot represent.

    Example (not run: it needs a model):

    ```python
    >>> rows = build(load_conversations("chats.jsonl")[0], tokenizer)
    ```
    """

    def read(row: dict[str, Any]) -> tuple[list[ChatSample], list[SceneError]]:
        if not is_conversation(row):
            raise ForeignData(f"is not a conversation: it has {listed(sorted(row))}; supported are {CHAT_SHAPES}.")
        check_row(row)
        return [read_conversation(row)], []

    loaded = _of_split(_gathered(source, split, lambda file, row: read(row)), source, split)
    unused = Counter(name for sample in loaded for name in sample.unused)
    if unused:
        counts = listed(f"{name} ({count})" for name, count in unused.most_common())
        _LOG.warning("fields of conversations that are not used: %s", counts)
    return [sample.messages for sample in loaded]


def load_samples(source: str | Path, split: str | None = None) -> list[Scene | ChatSample]:
    """Loads training data: scenes of every kind that [`load_scenes`] reads, conversations, or both.

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
            check_row(row)
            return [read_conversation(row)], []
        scenes, wrong = scenes_in(row, source=file.name)
        return [*scenes], wrong

    loaded = _gathered(source, split, read)
    _warn_of_titles([sample for sample in loaded if isinstance(sample, Scene)])
    return _of_split(loaded, source, split)


def _of_split(loaded: list[S], source: str | Path, split: str | None) -> list[S]:
    """The samples of a split in a single file: all of them if the file's name has the split, else those with that tag.

    As on the Hub, a file is `"train"` if there is no other split.

    Raises:
        `SceneError`: If the file has none of the split.
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
    row: dict[str, Any], *, source: str = "", visitor: str | None = None
) -> tuple[list[Scene], list[SceneError]]:
    """The scenes of one row of any kind, and the errors of bad scenes of a book.

    Raises:
        `SceneError`: If the row is bad or of an unknown kind.
    """
    kind = kind_of(row)
    check_row(row, MAX_DEPTH + _DEPTHS.get(kind, 0))
    try:
        return _scenes(kind, row, source, visitor)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise SceneError(f"{first['msg']}, got {shown(first['input'])}.", field=field) from error


def _scenes(
    kind: Kind | None, row: dict[str, Any], source: str, visitor: str | None
) -> tuple[list[Scene], list[SceneError]]:
    match kind:
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
            raise ForeignData(
                "is a conversation without a scene; recipes/sft.py trains on it, load_conversations reads it."
            )
    if is_lorebook(row):
        raise ForeignData("is a lorebook without a character; put it into its card as character_book.")
    raise ForeignData(f"is of an unknown kind; it has {listed(sorted(row))}. Supported are {SHAPES}.")


def _warn_of_titles(scenes: list[Scene]) -> None:
    """Warns of two spellings of one title, which count as two books wherever titles are compared exactly."""
    spellings: dict[str, dict[str, None]] = {}
    for title in dict.fromkeys(scene.book for scene in scenes):
        spellings.setdefault(title_key(title), {})[title] = None
    for titles in spellings.values():
        if len(titles) > 1:
            _LOG.warning("%d spellings of one book title; use one of them: %s", len(titles), listed(titles))


def read_file(file: Path, read: Reader[T]) -> list[T]:
    """The content of a file's rows, which may be empty: a book need not have conversations.

    Raises:
        `SceneError`: If the file or some of its rows are bad.
    """
    good, error = _collected(file, read)
    if error is not None:
        raise error
    return good


def _gathered(
    source: str | Path,
    split: str | None,
    read: Callable[[Path, dict[str, Any]], tuple[list[T], list[SceneError]]],
    on_error: OnError = "raise",
) -> list[T]:
    """The content of a source's files. Files of another kind in a folder are skipped with a warning."""
    loaded: list[T] = []
    passed: list[SceneError] = []
    for file in files_of(source, split):
        found, error = _collected(file, partial(read, file))
        loaded.extend(found)
        if error is None:
            continue
        if on_error == "raise" and not isinstance(error, ForeignData):
            raise error
        passed.append(error)
    if not loaded:
        if passed:
            raise passed[0] if len(passed) == 1 else combined(passed, str(source))
        raise SceneError("has no conversations: no plot of its books has one.", source=str(source))
    for error in passed:
        _LOG.warning("skipped: %s", error)
    return loaded


def _collected(file: Path, read: Reader[T]) -> tuple[list[T], SceneError | None]:
    """The content of a file's rows, and one error for all its problems."""
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
                    raise ForeignData(f"must be a dict, got {shown(row)}.")
                found, wrong = read(row)
                good.extend(found)
                bad.extend(error.at("", place) for error in wrong)
            except SceneError as error:
                bad.append(error.at("", place))
    except SceneError as error:
        bad.append(error)
    if empty and not bad:
        bad.append(ForeignData("is empty: no rows."))
    if not bad:
        return good, None
    whole = combined(bad, str(file))
    if good and not all(isinstance(error, SameName) for error in bad):  # a file with scenes is not of another kind
        whole = SceneError(whole.problem, field=whole.field, source=str(file), row=whole.row)
    return good, whole
