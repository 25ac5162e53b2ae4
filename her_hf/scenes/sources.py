"""Which files a source stands for: a file, a folder with splits, or a dataset on the Hub."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from .errors import SceneError
from .files import SUFFIXES

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

    Raises:
        `SceneError`: If there is no such split or no data.
    """
    carded = card_splits(folder, config)
    splits = carded or _named_splits(folder)
    if split is not None and split not in splits:
        have = f"it has {sorted(splits)}" if splits else "no file of it is named after a split"
        raise SceneError(f"has no split {split!r}; {have}.", source=str(folder))
    wanted = [split] if split is not None else sorted(splits, key=_split_order)
    found = [file for name in wanted for pattern in splits[name] for file in _match(folder, pattern)]
    if split is None and not carded:
        found += _data_files(folder)
    if not found:
        raise SceneError(f"holds no data: no file with one of the endings {list(SUFFIXES)}.", source=str(folder))
    return list(dict.fromkeys(found))


def card_splits(folder: Path, config: str = "") -> Splits:
    """Splits and file patterns that the YAML head of a dataset card names; empty if it names none.

    Raises:
        `SceneError`: If the head is no YAML or has no such config.
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
    configs = data.get("configs") if isinstance(data, dict) else None
    configs = [entry for entry in configs or [] if isinstance(entry, dict)]
    names = [str(entry.get("config_name", "default")) for entry in configs]
    if config and config not in names:
        raise SceneError(f"has no config {config!r}; it has {names}.", source=str(card))
    if not configs:
        return {}
    default = next((entry for entry in configs if entry.get("default")), configs[0])
    entry = configs[names.index(config)] if config else default
    return _patterns(entry.get("data_files"))


def _patterns(data_files: Any) -> Splits:
    """`data_files` of a card in any of the shapes that the Hub takes."""
    if isinstance(data_files, str):
        return {"train": [data_files]}
    if isinstance(data_files, Mapping):
        return {str(name): _as_list(paths) for name, paths in data_files.items()}
    splits: Splits = {}
    for entry in data_files or []:
        if isinstance(entry, Mapping):
            splits.setdefault(str(entry.get("split", "train")), []).extend(_as_list(entry.get("path")))
        else:
            splits.setdefault("train", []).append(str(entry))
    return splits


def _as_list(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def _match(folder: Path, pattern: str) -> list[Path]:
    parts = PurePosixPath(pattern)
    if parts.is_absolute() or ".." in parts.parts:
        raise SceneError(f"names data outside its folder: {pattern!r}.", source=str(folder / "README.md"))
    return sorted(file for file in folder.glob(pattern) if file.is_file())


def _named_splits(folder: Path) -> Splits:
    splits: Splits = {}
    for file in _data_files(folder):
        found = _SPLIT_NAME.search(file.stem.lower())
        if found:
            name = _SPLIT_ALIASES.get(found[1], found[1])
            splits.setdefault(name, []).append(file.relative_to(folder).as_posix())
    return splits


def _data_files(folder: Path) -> list[Path]:
    inside = [*folder.iterdir(), *((folder / "data").iterdir() if (folder / "data").is_dir() else [])]
    return sorted(file for file in inside if file.is_file() and file.suffix.lower() in SUFFIXES)


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
        wanted = splits if split is None else {name: splits[name] for name in splits if name == split}
        patterns = [pattern for found in wanted.values() for pattern in found]
        folder = fetch([*(patterns or [f"*{suffix}" for suffix in SUFFIXES]), "README.md"])
    except failures as error:
        reason = str(error).strip().partition("\n")[0]
        raise SceneError(
            f"is no file or folder here, and the Hub gave no dataset of that name ({type(error).__name__}: {reason}); "
            "check the spelling, log in if it is private, or give the path of a local copy.",
            source=source,
        ) from error
    return folder_files(folder, split, config)
