"""The files of a source: a file, a folder with splits, or a dataset on the Hub."""

from __future__ import annotations

import glob
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from .errors import SceneError, listed
from .layout import Wanted, wanted_files

_LOG = logging.getLogger(__name__)
_CARD = "README.md"
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*(:[^:/\\]+)?")
_SHARD = re.compile(r"(.*-)(\d{5})(-of-(\d{5}).*)")


def files_of(source: str | Path, split: str | None = None) -> list[Path]:
    """The files of a source.

    Args:
        source (`str` or `Path`): A file, a folder, or a Hub dataset `owner/name`. A folder and a Hub dataset may name
            a config of their card after a colon: `owner/name:config`.
        split (`str`, *optional*): Only this split. By default all, train before validation before test.

    Returns:
        `list[Path]`: At least one file. No other files of a Hub dataset are downloaded.

    Raises:
        `SceneError`: If there is no such source, no such split, or no data in it.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        return folder_files(path, split)
    place, _, config = str(path).rpartition(":")
    if place and Path(place).is_dir():
        return folder_files(Path(place), split, config)
    if _HUB_ID.fullmatch(str(source)):
        return _hub_files(str(source), split)
    raise SceneError(
        "is neither a file or folder here nor the id of a Hub dataset (owner/name); check the path.",
        source=str(source),
    )


def folder_files(folder: Path, split: str | None = None, config: str = "") -> list[Path]:
    """The data files of a folder: those named by its card, else all, those of splits first.

    Readers skip files with other content, such as ordinary pictures.

    Raises:
        `SceneError`: If there is no such split or no data.
    """
    card = folder / _CARD
    found = wanted_files(_names(folder), _text(card), split, config, source=str(folder), card_name=str(card))
    return _paths(folder, found, str(folder))


def _paths(folder: Path, found: Wanted, source: str) -> list[Path]:
    if found.unread:
        _LOG.warning(
            "%s: files that may be data are not read; unpack them, or write them as JSONL or Parquet: %s",
            source,
            listed(found.unread),
        )
    return [folder / name for name in (*found.files, *found.rest)]


def _names(folder: Path) -> Iterator[str]:
    """Names of all files in a folder and its subfolders, relative to it, without hidden folders and caches."""
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        # A link may lead to a folder that contains it.
        folders[:] = [] if real in seen else [name for name in folders if not name.startswith((".", "__"))]
        if real not in seen:
            yield from ((Path(place) / name).relative_to(folder).as_posix() for name in files)
        seen.add(real)


def _text(card: Path) -> str:
    return card.read_text(encoding="utf-8-sig", errors="replace") if card.is_file() else ""


def _hub_files(source: str, split: str | None) -> list[Path]:
    """Downloads the original files of a Hub dataset, since rows with dicts by name do not fit a table."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # An HTTPError of the client that this huggingface_hub works with, and an OSError, as being offline is one.
    client = cast("tuple[type[Exception], ...]", HfHubHTTPError.__bases__)
    failures: tuple[type[Exception], ...] = (*client, HFValidationError)
    repo, _, config = source.partition(":")

    def fetch(names: list[str]) -> Path:
        return Path(snapshot_download(repo, repo_type="dataset", allow_patterns=list(map(glob.escape, names))))

    def names_in(folder: Path) -> tuple[list[str], str]:
        """The names of all files; without the Hub those downloaded before, and why it could not be reached."""
        try:
            return HfApi().list_repo_files(repo, repo_type="dataset"), ""
        except failures as error:
            known = f"The Hub could not be reached ({_reason(error)}): only files downloaded before are known."
            return list(_names(folder)), known

    try:
        folder = fetch([_CARD])
        names, known = names_in(folder)
        card = _text(folder / _CARD)
        try:
            found = wanted_files(names, card, split, config, source=source, card_name=f"{repo}, {_CARD}")
            if known:
                _check_whole(found, split, source)
        except SceneError as error:
            raise SceneError(f"{error.problem} {known}".strip(), field=error.field, source=error.source) from error
        folder = fetch([*found.files, *found.rest, _CARD])
    except failures as error:
        raise SceneError(
            f"is not a file or folder here, and the Hub has no dataset of that name ({_reason(error)}); check the "
            "spelling, log in if it is private, or give the path of a local copy.",
            source=source,
        ) from error
    if known:
        _LOG.warning("%s: %s Reading %d files.", source, known, len(found.files) + len(found.rest))
    return _paths(folder, found, source)


def _check_whole(found: Wanted, split: str | None, source: str) -> None:
    """Refuses an incomplete download, as far as file names show it: otherwise missing data would go unnoticed."""
    if split is None and not found.named:
        raise SceneError("may have more files than are known; name a split, or give a local copy.", source=source)
    shards: dict[tuple[str, str], set[str]] = {}
    for match in filter(None, map(_SHARD.fullmatch, found.files)):
        shards.setdefault((match[1], match[4]), set()).add(match[2])
    for (name, count), known in shards.items():
        if len(known) < int(count):
            raise SceneError(
                f"has {len(known)} of {int(count)} files {name}*; load it with a connection to the Hub.", source=source
            )


def _reason(error: Exception) -> str:
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first if len(first) <= 300 else first[:297] + '...'}"
