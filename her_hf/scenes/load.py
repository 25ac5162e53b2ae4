"""`load_scenes`: every kind of source through one door."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import ValidationError

from .errors import ForeignData, SceneError, combined, listed
from .fields import MAX_DEPTH, check_row, shown
from .files import rows_of
from .kinds import Kind, kind_of
from .models import Scene
from .names import title_key
from .readers.conversations import is_conversation, read_conversation
from .readers.coser import read_coser
from .readers.coser_book import read_book
from .readers.her import read_her
from .readers.lorebook import is_lorebook
from .readers.tavern import read_card
from .sources import files_of

T = TypeVar("T")
OnError = Literal["raise", "skip"]
Reader = Callable[[dict[str, Any]], tuple[list[T], list[SceneError]]]

_LOG = logging.getLogger(__name__)
_DEPTHS: dict[Kind | None, int] = {Kind.CARD: -10, Kind.SCENE: 10}
"""How much deeper rows may be: a card lies deeper in its scenes, and in the rows written of them, than by itself."""


def load_scenes(
    source: str | Path, split: str | None = None, *, visitor: str | None = None, on_error: OnError = "raise"
) -> list[Scene]:
    """Loads scenes from a file, a folder or the Hub.

    The kind is told from the content: CoSER test scenes, CoSER books, rows of HER's form (her-mini too), scenes
    written by `Scene.model_dump_json`, and character cards of the Tavern kind; as JSON, JSONL, Parquet or, for cards,
    PNG and CHARX. Files of a folder that are sound but hold something else (a plain picture, a lorebook) are passed
    over; a warning is logged that names them, as it is of two spellings of one title.

    Args:
        source (`str` or `Path`): A file, a folder with files of splits, or a Hub dataset (`owner/name`, or
            `owner/name:config`).
        split (`str`, *optional*): Split of a folder or dataset. For a single file: its own split, or a `tag` of its
            scenes.
        visitor (`str`, *optional*): Who meets the character of a card. By default "User", or "Stranger" where the
            character is called so.
        on_error (`str`, *optional*, defaults to `"raise"`): `"skip"` leaves bad rows, bad conversations of a book and
            bad files out, and logs a warning that counts and names them. If nothing is left, it is an error all the
            same.

    Returns:
        `list[Scene]`: At least one scene, in the order of the source.

    Raises:
        `SceneError`: If there is no such source or split, or if rows are bad: up to 20 are named, with row and field.
        `ValueError`: If `on_error` is something else, or `visitor` could not be a name.

    Example:

    ```python
    >>> scenes = load_scenes("dataset_cards/her-mini", "test")
    >>> scenes[0].messages_for(scenes[0].characters[0].name)[0]["role"]
    'system'
    ```
    """
    if on_error not in get_args(OnError):
        raise ValueError(f"on_error must be one of {list(get_args(OnError))}, got {on_error!r}")
    path = Path(source).expanduser()
    loaded: list[Scene] = []
    passed: list[SceneError] = []
    for file in files_of(source, split):
        found, error = _collected(file, partial(scenes_in, source=file.name, visitor=visitor))
        loaded.extend(found)
        if error is None:
            continue
        if on_error == "raise" and (path.is_file() or not isinstance(error, ForeignData)):
            raise error
        passed.append(error)
    if not loaded:
        if passed:
            raise passed[0] if len(passed) == 1 else combined(passed, str(source))
        raise SceneError("has no conversations: no plot of its books holds one.", source=str(source))
    for error in passed:
        _LOG.warning("left out: %s", error)
    _warn_of_titles(loaded)
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
        check_row(row)
        return [read_conversation(row)], []

    return [sample for file in files_of(source, split) for sample in _read(file, read)]


def scenes_in(
    row: dict[str, Any], *, source: str = "", visitor: str | None = None
) -> tuple[list[Scene], list[SceneError]]:
    """The scenes of one row of any kind, and what is wrong with those of a book that are bad.

    Raises:
        `SceneError`: If the row is bad or of no known kind.
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
            raise SceneError("is a chat sample without a scene; read it with load_conversations.")
    if is_lorebook(row):
        raise ForeignData("is a lorebook without a character; put it into its card as character_book.")
    raise ForeignData(f"is of no known kind; it has {sorted(row)}.")


def _warn_of_titles(scenes: list[Scene]) -> None:
    """Two spellings of one title would count as two books wherever titles are compared letter by letter."""
    spellings: dict[str, dict[str, None]] = {}
    for title in dict.fromkeys(scene.book for scene in scenes):
        spellings.setdefault(title_key(title), {})[title] = None
    for titles in spellings.values():
        if len(titles) > 1:
            _LOG.warning("one book in %d spellings, give it one: %s", len(titles), listed(titles))


def _read(file: Path, read: Reader[T]) -> list[T]:
    """What the rows of a file hold, which may be nothing: a book need not have conversations."""
    good, error = _collected(file, read)
    if error is not None:
        raise error
    return good


def _collected(file: Path, read: Reader[T]) -> tuple[list[T], SceneError | None]:
    """What the rows of a file hold, and one error for all that is wrong with it."""
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
        bad.append(error)
    if empty and not bad:
        bad.append(SceneError("is empty: no rows."))
    if not bad:
        return good, None
    whole = combined(bad, str(file))
    if good:  # a file with scenes in it is not of another kind
        whole = SceneError(whole.problem, field=whole.field, source=str(file), row=whole.row)
    return good, whole
