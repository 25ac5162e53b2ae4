"""Which files a source stands for: a file, a folder with splits, or a dataset on the Hub."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from .errors import SceneError
from .fields import shown
from .files import SUFFIXES, rows_of
from .kinds import kind_of

SPLITS = ("train", "validation", "test")
"""Order of splits when all are loaded."""

_HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*(:[\w.-]+)?")
_SPLIT_NAME = re.compile(r"(?:^|[_.-])(train|validation|valid|val|dev|test)(?=$|[_.-])")
_SPLIT_ALIASES = {"valid": "validation", "val": "validation", "dev": "validation"}

Splits = dict[str, list[str]]
"""Split to file patterns."""


def files_of(source: str | Path, split: str | None = None) -> list[Path]:
    """The files of a source.

    Args:
        source (`str` or `Path`): A file, a folder, or a Hub dataset `owner/name`, `owner/name:config`.
        split (`str`, *optional*): Only this split. By default all, train before validation before test.

    Returns:
        `list[Path]`: At least one file.

    Raises:
        `SceneError`: If there is no such source, no such split, or no data in it.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        return folder_files(path, split)
    if _HUB_ID.fullmatch(str(source)):
        return _hub_files(str(source), split)
    raise SceneError(
        "is no file or folder here, and no Hub dataset is called like that (owner/name); check the path.",
        source=str(source),
    )


def folder_files(folder: Path, split: str | None = None, config: str = "") -> list[Path]:
    """The data files of a folder: those its card names, else all, those of splits first.

    Beside files that are named after splits, JSON files of no known kind and pictures without a card are passed over.

    Raises:
        `SceneError`: If there is no such split or no data.
    """
    carded = card_splits(folder, config)
    splits = carded or _named_splits(folder)
    wanted = _wanted(splits, split, str(folder))
    found = [file for name in wanted for pattern in splits[name] for file in _match(folder, pattern)]
    if split is None and not carded:
        found += [file for file in _data_files(folder) if not splits or _is_data(file)]
    if not found:
        raise SceneError(f"holds no data: no file with one of the endings {list(SUFFIXES)}.", source=str(folder))
    return list(dict.fromkeys(found))


def _wanted(splits: Splits, split: str | None, source: str) -> list[str]:
    """The splits to load, in order."""
    if split is None:
        return sorted(splits, key=_split_order)
    if split not in splits:
        have = f"it has {sorted(splits)}" if splits else "no file of it is named after a split"
        raise SceneError(f"has no split {split!r}; {have}.", source=source)
    return [split]


def card_splits(folder: Path, config: str = "") -> Splits:
    """Splits and file patterns that the YAML head of a dataset card names; empty if it names none.

    Raises:
        `SceneError`: If the head is no YAML, has no such config, or names configs or files in a way the Hub does not.
    """
    card = folder / "README.md"
    head = (
        re.match(r"---\r?\n(.*?)\r?\n---", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
        if card.is_file()
        else None
    )
    try:
        data = yaml.safe_load(head[1]) if head else {}
    except yaml.YAMLError as error:
        raise SceneError(f"has a head that is no YAML ({error}).", source=str(card)) from error
    configs = (data.get("configs") if isinstance(data, dict) else None) or []
    if not isinstance(configs, list) or not all(isinstance(entry, dict) for entry in configs):
        raise SceneError(f"must be a list of configs, got {shown(configs)}.", field="configs", source=str(card))
    names = [str(entry.get("config_name", "default")) for entry in configs]
    if config and config not in names:
        raise SceneError(f"has no config {config!r}; it has {names}.", source=str(card))
    if not configs:
        return {}
    default = next((entry for entry in configs if entry.get("default")), configs[0])
    entry = configs[names.index(config)] if config else default
    try:
        return _patterns(entry.get("data_files"))
    except SceneError as error:
        raise error.at(str(card)) from error


def _patterns(data_files: Any) -> Splits:
    """`data_files` of a card in any of the shapes that the Hub takes."""
    if data_files is None:
        return {}
    if isinstance(data_files, Mapping):
        return {str(name): _paths(paths) for name, paths in data_files.items()}
    splits: Splits = {}
    for entry in data_files if isinstance(data_files, list) else [data_files]:
        if isinstance(entry, Mapping):
            splits.setdefault(str(entry.get("split", "train")), []).extend(_paths(entry.get("path")))
        else:
            splits.setdefault("train", []).extend(_paths(entry))
    return splits


def _paths(value: Any) -> list[str]:
    paths = value if isinstance(value, list) else [value]
    for path in paths:
        # "." is no file, and a pattern that names none is refused by glob.
        if not isinstance(path, str) or not PurePosixPath(path).parts:
            raise SceneError(f"must be paths of files or patterns of them, got {shown(path)}.", field="data_files")
    return paths


def _match(folder: Path, pattern: str) -> list[Path]:
    card = str(folder / "README.md")
    parts = PurePosixPath(pattern)
    if parts.is_absolute() or ".." in parts.parts:
        raise SceneError(f"names data outside its folder: {pattern!r}.", source=card)
    try:
        return sorted(file for file in folder.glob(pattern) if file.is_file())
    except ValueError as error:
        raise SceneError(f"has a pattern that cannot be read ({error}).", field="data_files", source=card) from error


def _named_splits(folder: Path) -> Splits:
    splits: Splits = {}
    for file in _data_files(folder):
        found = _SPLIT_NAME.search(file.stem.lower())
        if found and file.suffix.lower() != ".png":  # a picture is one card, or a plot called train_loss.png
            name = _SPLIT_ALIASES.get(found[1], found[1])
            splits.setdefault(name, []).append(glob.escape(file.relative_to(folder).as_posix()))
    return splits


def _data_files(folder: Path) -> list[Path]:
    inside = [*folder.iterdir(), *((folder / "data").iterdir() if (folder / "data").is_dir() else [])]
    return sorted(file for file in inside if file.is_file() and file.suffix.lower() in SUFFIXES)


def _is_data(file: Path) -> bool:
    """Whether a file may hold scenes or chats: tools leave other JSON files, and plots, beside data.

    Data that cannot be read stays, so that whoever reads it hears of it.
    """
    try:
        row = next((row for _, row in rows_of(file)), None)
    except SceneError:
        return file.suffix.lower() != ".png"
    return not isinstance(row, dict) or kind_of(row) is not None


def _split_order(name: str) -> tuple[int, str]:
    return (SPLITS.index(name) if name in SPLITS else len(SPLITS), name)


def _hub_files(source: str, split: str | None) -> list[Path]:
    """Downloads the files of a Hub dataset as they are, so that rows which fit no table (dicts by name) stay whole."""
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    repo, _, config = source.partition(":")

    def fetch(patterns: list[str]) -> Path:
        return Path(snapshot_download(repo, repo_type="dataset", allow_patterns=patterns))

    failures = (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled, httpx.HTTPError)
    try:
        folder = fetch(["README.md"])
        splits = card_splits(folder, config)
        wanted = _wanted(splits, split, source) if splits else []
        patterns = [pattern for name in wanted for pattern in splits[name]]
        folder = fetch([*(patterns or [f"*{suffix}" for suffix in SUFFIXES]), "README.md"])
    except failures as error:
        reason = str(error).strip().partition("\n")[0]
        raise SceneError(
            f"is no file or folder here, and the Hub gave no dataset of that name ({type(error).__name__}: {reason}); "
            "check the spelling, log in if it is private, or give the path of a local copy.",
            source=source,
        ) from error
    return folder_files(folder, split, config)
