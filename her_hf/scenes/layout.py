"""The files of each split of a dataset, by its card or by their names, with the rules of the Hub.

Only names are used, so that only the requested files of a Hub dataset are downloaded. The rules are those of
`datasets` (module `data_files`), repeated here because the core does not depend on that package.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from glob import has_magic
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import yaml

from .errors import SceneError, listed, shortened
from .fields import shown
from .files import SUFFIXES

SPLITS = ("train", "validation", "test")
"""Order of splits when all are loaded."""

_KEYWORDS = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
"""Words in names of files and folders, and the splits they stand for."""
_KEYWORD = re.compile(rf"(?:^|[-._ 0-9])({'|'.join(_KEYWORDS)})(?=$|[-._ 0-9])")
_SHARD = re.compile(r"data/(\w+(?:\.\w+)*)-\d{5}-of-\d{5}[^/]*\.[^/]*")
_HEAD = re.compile(r"\s*---[ \t]*\r?\n(.*?)\r?\n---", re.DOTALL)
_NOT_DATA = ("config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json")
"""Files that describe a dataset or a model; they are data only if the card names them."""

_UNREAD = (
    ".csv", ".tsv", ".ndjson", ".arrow", ".feather",
    ".gz", ".zst", ".xz", ".bz2", ".lz4", ".zip", ".tar", ".tgz", ".7z", ".rar",
)  # fmt: skip
"""Suffixes of files that may be data but are not supported."""

Splits = dict[str, list[str]]
"""Split to names of files, or to patterns of them."""


class Wanted(NamedTuple):
    """The files of a split.

    Args:
        files (`list[str]`): Files of the split, at least one.
        rest (`list[str]`): Data files of no split, if all splits are wanted; none if the card names files.
        unread (`list[str]`): Other files that may be data, of unsupported kinds.
        named (`bool`): Whether the card names the files of each split.
    """

    files: list[str]
    rest: list[str]
    unread: list[str]
    named: bool


def wanted_files(
    names: Iterable[str], card: str, split: str | None = None, config: str = "", *, source: str, card_name: str
) -> Wanted:
    """Chooses the files of a split from the names of a dataset's files and the text of its card.

    If the card names data files, those are used. Otherwise the first of these rules that finds a split is applied:
    files named `data/SPLIT-00000-of-00001.SUFFIX`; folders named after a split (`train/…`, `data/train/…`); files
    named after one (`train.jsonl`, `her_dev.json`). If nothing is named after a split, everything is `"train"`.

    Args:
        names (`Iterable[str]`): All files, relative to the root of the dataset, with `/` between folders.
        card (`str`): Text of its `README.md`; empty if there is none.
        split (`str`, *optional*): The split. By default all, train before validation before test.
        config (`str`, *optional*): Name of a config of the card; the default one if not given.
        source (`str`): Name of the dataset in errors.
        card_name (`str`): Name of the card in errors.

    Returns:
        [`Wanted`]: The files.

    Raises:
        `SceneError`: If the card cannot be read, has no such config, or names files that do not exist; if there is no
            such split or no data.

    Source: `datasets.data_files` and `datasets.utils.metadata`. Unlike there, a file is never in two splits: the
    innermost folder and the first word in a name decide.
    """
    entry = _config(card, config, source, card_name)
    try:
        folder = _inside(entry["data_dir"], "data_dir") if entry.get("data_dir") is not None else ""
        patterns = _patterns(entry.get("data_files"))
        known = {name.removeprefix(folder): name for name in names if name.startswith(folder)}
        if patterns:
            parts = [patterns[part] for part in _ordered(patterns, split, source)]
            chosen = [name for part in parts for name in _named(known, part)]
            unread = [name for part in parts for path in part for name in filter(_matcher(path), _unread(known))]
            files, passed = ([known[name] for name in dict.fromkeys(found)] for found in (chosen, unread))
            return Wanted(files, [], [name for name in passed if name not in files], True)
    except SceneError as error:
        raise error if error.source else error.at(card_name) from error
    data, unread = _data(known), _unread(known)
    if not data:
        where = f"its folder {folder!r}" if folder else "it"
        raise SceneError(
            f"holds no data: {where} has no file with one of the suffixes {list(SUFFIXES)}{_unsupported(unread)}.",
            source=source,
        )
    splits = _splits(data)
    passed = unread if split is None else _splits(unread).get(split, [])
    found = [name for part in _ordered(splits, split, source, passed) for name in splits[part]]
    rest = [name for name in data if name not in set(found)] if split is None else []
    files, others, passed = ([known[name] for name in part] for part in (found, rest, passed))
    return Wanted(files, others, passed, False)


def _ordered(splits: Splits, split: str | None, source: str, unread: Sequence[str] = ()) -> list[str]:
    """The splits to load, in order."""
    if split is None:
        return sorted(splits, key=lambda name: (SPLITS.index(name) if name in SPLITS else len(SPLITS), name))
    if split not in splits:
        have = f"it has [{listed(sorted(splits))}]{_unsupported(unread)}"
        raise SceneError(f"has no split {split!r}; {have}.", source=source)
    return [split]


def _config(card: str, config: str, source: str, card_name: str) -> Mapping[str, Any]:
    """The entry of a config in the card's head; an empty one if the card has no configs."""
    head = _HEAD.match(card.removeprefix("\ufeff"))
    try:
        data = yaml.safe_load(head[1]) if head else {}
    # YAML values may have no Python equivalent (30 February, a number of 5,000 digits) or be nested too deep.
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        problem = f"has a head that is not readable YAML ({shortened(str(error), 300)}); correct it."
        raise SceneError(problem, source=card_name) from error
    configs = (data.get("configs") if isinstance(data, dict) else None) or []
    if not isinstance(configs, list) or not all(isinstance(entry, dict) for entry in configs):
        raise SceneError(f"must be a list of configs, got {shown(configs)}.", field="configs", source=card_name)
    names = [str(entry.get("config_name", "default")) for entry in configs]
    if config:
        if config not in names:
            have = f"it has [{listed(names)}]" if names else "its head names none"
            raise SceneError(f"has no config {config!r}; {have}.", source=card_name)
        return configs[names.index(config)]
    chosen = [entry for entry, name in zip(configs, names, strict=True) if entry.get("default") or name == "default"]
    if len(configs) > 1 and not chosen:
        raise SceneError(
            f"has several configs and none is the default; name one of [{listed(names)}] after a colon, as in "
            f"{source}:{names[0]}",
            source=source,
        )
    return next(iter([*chosen, *configs]), {})


def _patterns(data_files: Any) -> Splits:
    """`data_files` of a card in any form that the Hub accepts."""
    if data_files is None:
        return {}
    if isinstance(data_files, Mapping):
        return {str(name): _paths(paths) for name, paths in data_files.items()}
    splits: Splits = {}
    for entry in data_files if isinstance(data_files, list) else [data_files]:
        if isinstance(entry, Mapping):
            if entry.get("split") is None:
                raise SceneError(f"must name the split of its path, got {shown(dict(entry))}.", field="data_files")
            splits.setdefault(str(entry["split"]), []).extend(_paths(entry.get("path")))
        else:
            splits.setdefault("train", []).extend(_paths(entry))
    return splits


def _paths(value: Any) -> list[str]:
    paths = value if isinstance(value, list) else [value]
    for path in paths:
        # "." is no file, and a pattern that names none is refused by glob.
        if not isinstance(path, str) or not PurePosixPath(path).parts:
            raise SceneError(f"must be paths of files or patterns of them, got {shown(path)}.", field="data_files")
        _inside(path, "data_files")
    return paths


def _inside(path: Any, key: str) -> str:
    """A folder of the dataset as a prefix of names."""
    parts = PurePosixPath(path) if isinstance(path, str) else None
    if parts is None:
        raise SceneError(f"must be a folder of the dataset, got {shown(path)}.", field=key)
    if parts.is_absolute() or ".." in parts.parts:
        raise SceneError(f"names data outside its folder: {path!r}.", field=key)
    return f"{parts}/" if parts.parts else ""


def _named(names: Iterable[str], paths: Sequence[str]) -> list[str]:
    """The files that the paths and patterns of one split name; each path names one, all patterns together one."""
    known, found = set(names), []
    for path in paths:
        if (exact := str(PurePosixPath(path))) in known:
            found.append(exact)
        elif has_magic(path):
            found += filter(_matcher(path), _data(known))
        else:
            raise SceneError(f"names {path!r}, but there is no such file.", field="data_files")
    if not found:
        others = sorted({PurePosixPath(name).suffix for path in paths for name in filter(_matcher(path), known)})
        got = f"only files with the suffixes [{listed(others)}]" if others else "no file"
        raise SceneError(f"[{listed(paths)}] matches {got}; supported are {list(SUFFIXES)}.", field="data_files")
    return list(dict.fromkeys(found))


def _matcher(pattern: str) -> Callable[[str], Any]:
    from fsspec.utils import glob_translate  # type: ignore[import-untyped]

    try:
        return re.compile(glob_translate(str(PurePosixPath(pattern)))).match
    except (ValueError, re.error) as error:
        raise SceneError(f"has a pattern that cannot be read ({error}).", field="data_files") from error


def _data(names: Iterable[str]) -> list[str]:
    """Files that are data by their names, in order, without hidden files and caches."""
    return [name for name in _ending(names, SUFFIXES) if PurePosixPath(name).name not in _NOT_DATA]


def _unread(names: Iterable[str]) -> list[str]:
    """Files that may be data, but are of unsupported kinds."""
    return _ending(names, _UNREAD)


def _ending(names: Iterable[str], endings: tuple[str, ...]) -> list[str]:
    found = (
        name
        for name in names
        if PurePosixPath(name).suffix.lower() in endings
        and not any(part.startswith((".", "__")) for part in name.split("/"))
    )
    return sorted(found, key=lambda name: name.split("/"))


def _unsupported(unread: Sequence[str]) -> str:
    return f"; not supported are {listed(unread)}" if unread else ""


def _splits(data: Sequence[str]) -> Splits:
    """Splits by the names of files and folders."""
    splits: Splits = {}
    # A picture or archive is one card, or a plot called train_loss.png.
    left = [name for name in data if not name.lower().endswith((".png", ".charx"))]
    for split_of in (_by_shard, _by_folder, split_in):
        found: Splits = {}
        for name in left:
            found.setdefault(split_of(name) or "", []).append(name)
        left = found.pop("", [])
        splits = {**found, **splits}
    return splits or {"train": list(data)}


def _by_shard(name: str) -> str | None:
    found = _SHARD.fullmatch(name)
    return found[1] if found else None


def _by_folder(name: str) -> str | None:
    return next(filter(None, map(_keyword, reversed(name.split("/")[:-1]))), None)


def split_in(name: str) -> str | None:
    """The split that the name of a file says; `None` if it says none."""
    return _keyword(PurePosixPath(name).stem)


def _keyword(word: str) -> str | None:
    found = _KEYWORD.search(word.lower())
    return _KEYWORDS[found[1]] if found else None
