"""Whether a folder is what it is pushed as, whether its card says what it must, and whether it holds a secret."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from .client import Kind
from .front_matter import split_card
from .listing import Listing, read_text, size_of
from .secrets import SHOWN, find_secrets

CARD = "README.md"
PYTHON = "3.11"
"""The oldest Python of her_hf."""

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "adapter_model.bin", "*.gguf")
_CONFIGS = ("config.json", "adapter_config.json")
_DATA = ("*.jsonl", "*.json", "*.csv", "*.tsv", "*.parquet", "*.arrow", "*.txt", "*.zip", "*.gz", "*.zst", "*.tar")
_APPS = {"gradio": "app.py", "streamlit": "app.py", "docker": "Dockerfile", "static": "index.html"}
_SHOWN = 5


def check_folder(kind: Kind, listing: Listing, folder: Path, repo_id: str) -> None:
    """Checks that a folder holds what it is pushed as, with a card that states what the kind needs.

    Args:
        kind (`str`): `"model"`, `"dataset"`, `"space"` or `"metric"`.
        listing ([`~her_hf.hub.listing.Listing`]): The files to send; notes are added.
        folder (`Path`): The folder, for errors.
        repo_id (`str`): The repository; that of a metric must bear the name of its script.

    Raises:
        `ValueError`: Names what is missing or wrong, and what to do.
    """
    checks: dict[Kind, Callable[[Listing, Path, str], None]] = {
        "model": _check_model,
        "dataset": _check_dataset,
        "space": _check_space,
        "metric": _check_metric,
    }
    checks[kind](listing, folder, repo_id)


def refuse_secrets(listing: Listing, folder: Path, own: Iterable[str]) -> None:
    """Refuses to send files that hold secrets or paths of a home folder.

    Raises:
        `ValueError`: Names file, line and kind of each, and shows none in full.
    """
    words = list(own)
    found = [one for name, source in listing.files.items() for one in find_secrets(name, source, words)]
    if found:
        more = f"\n  and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        listed = "".join(f"\n  {one}" for one in found[:SHOWN])
        raise ValueError(
            f"{folder} holds what must not be published; nothing was sent:{listed}{more}\nRemove it from these files, "
            "or move the files out of the folder. A token that may have been seen by others: revoke it."
        )


def kind_problem(kind: Kind, names: Iterable[str], repo_id: str) -> str | None:
    """Why these files cannot be of that kind, by their names alone; `None` if they can be."""
    listed = list(names)
    script = f"{PurePosixPath(repo_id).name}.py"
    if kind == "model" and not any(name in listed for name in _CONFIGS) and not _matching(listed, ("*.gguf",)):
        return f"no checkpoint: it has none of {', '.join(_CONFIGS)} and no .gguf file"
    if kind == "dataset" and any(name in listed for name in _CONFIGS) and _matching(listed, _WEIGHTS):
        return "no dataset but a checkpoint: it has a configuration and weights of a model"
    if kind == "dataset" and not _matching(listed, _DATA):
        return "no dataset: it has no data file (JSON Lines, JSON, CSV, Parquet …)"
    if kind == "metric" and script not in listed:
        return f"no metric of that name: `evaluate.load({repo_id!r})` asks for {script}"
    if kind == "space" and not any(app in listed for app in (*_APPS.values(), CARD)):
        return "no Space: it has no app and no card"
    return None


def _check_model(listing: Listing, folder: Path, repo_id: str) -> None:
    if problem := kind_problem("model", listing.files, repo_id):
        raise ValueError(f"{folder} is {problem}. Name the output_dir of a finished run, or a model folder.")
    weights = _matching(listing.files, _WEIGHTS)
    if not weights:
        raise ValueError(f"{folder} has no weights (model.safetensors, adapter_model.safetensors …): is it finished?")
    for name in weights:
        if name.endswith(".safetensors"):
            _check_whole(listing.files[name], folder / name)
    for name in _matching(listing.files, ("*.safetensors.index.json", "*.bin.index.json")):
        weight_map = _json(listing.files[name], folder / name).get("weight_map")
        if not isinstance(weight_map, dict):
            raise ValueError(
                f"{folder / name} has no mapping `weight_map` of weights to files. Copy or save it again."
            )
        shards = set(map(str, weight_map.values()))
        if missing := sorted(shards - listing.files.keys()):
            raise ValueError(f"{folder}: {name} names files that are not there: {_some(missing)}. Copy them again.")
    _check_license(_card(listing, folder), folder, "model")


def _check_dataset(listing: Listing, folder: Path, repo_id: str) -> None:
    if problem := kind_problem("dataset", [name for name in listing.files if name != CARD], repo_id):
        raise ValueError(f"{folder} is {problem}. Name the folder with README.md and the data files.")
    front = _card(listing, folder)
    _check_license(front, folder, "data")
    for pattern in _data_files(front):
        if not any(fnmatchcase(name, pattern.replace("**/", "*")) for name in listing.files):
            raise ValueError(
                f"{folder / CARD}: `configs` names the data file {pattern!r}, which is not among the files to send: "
                "correct the card, or add the file"
            )


def _check_space(listing: Listing, folder: Path, repo_id: str) -> None:
    front = _card(listing, folder)
    sdk = front.get("sdk")
    if not isinstance(sdk, str) or sdk not in _APPS:
        raise ValueError(
            f"{folder} is no Space: its card must have `sdk` (one of {', '.join(_APPS)}) in the YAML at the top, got "
            f"{sdk!r}"
        )
    app = str(front.get("app_file") or _APPS[sdk])
    if app not in listing.files:
        raise ValueError(f"{folder} has no {app}, the app that its card names: add it, or correct `app_file`")
    version = str(front.get("python_version") or "")
    if sdk == "gradio" and not _new_enough(version):
        raise ValueError(
            f"{folder / CARD}: `python_version` must be {PYTHON} or newer, in quotation marks, got "
            f"{version or 'none (the Hub then takes 3.10)'}"
        )


def _check_metric(listing: Listing, folder: Path, repo_id: str) -> None:
    front = _card(listing, folder)
    tags = front.get("tags")
    if not (isinstance(tags, list) and "evaluate" in tags and "metric" in tags):
        raise ValueError(f"{folder} is no metric: the tags of its card must hold evaluate and metric")
    if problem := kind_problem("metric", listing.files, repo_id):
        scripts = [name for name in _matching(listing.files, ("*.py",)) if name != "app.py"]
        named = scripts[0].removesuffix(".py") if len(scripts) == 1 else "NAME"
        raise ValueError(f"{folder} is {problem}. A metric's repository bears its script's name: push it to …/{named}")
    _check_space(listing, folder, repo_id)


def _card(listing: Listing, folder: Path) -> dict[str, Any]:
    if CARD not in listing.files:
        raise ValueError(
            f"{folder} has no card: write {CARD} with YAML at the top (---, license: …, ---) and what this is"
        )
    return split_card(read_text(listing.files[CARD], str(folder / CARD)), str(folder / CARD))[0]


def _check_license(front: Mapping[str, Any], folder: Path, what: str) -> None:
    found = front.get("license")
    stated = [str(one) for one in (found if isinstance(found, list) else [found]) if one]
    if not stated or any(one.lower() in ("license", "none", "unknown") for one in stated):
        raise ValueError(
            f"{folder / CARD} does not state under which license this {what} may be used: add `license: ID` to the "
            "YAML at the top, such as apache-2.0 (the IDs: https://huggingface.co/docs/hub/repositories-licenses)"
        )


def _data_files(front: Mapping[str, Any]) -> list[str]:
    """The paths of data files that a dataset card names."""
    found: list[str] = []
    for config in front.get("configs") or ():
        files = config.get("data_files") if isinstance(config, dict) else None
        entries = files if isinstance(files, list) else [files]
        for entry in entries:
            paths = entry.get("path") if isinstance(entry, dict) else entry
            found += [str(path) for path in (paths if isinstance(paths, list) else [paths]) if path]
    return [path for path in found if "://" not in path]


def _check_whole(source: Path | bytes, file: Path) -> None:
    """Raises an error for a weights file that is cut short."""
    size = size_of(source)
    if isinstance(source, bytes):
        return
    with source.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = stream.read(length) if length < size else b""
    try:
        entries = json.loads(header)
        end = max((entry["data_offsets"][1] for key, entry in entries.items() if key != "__metadata__"), default=0)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is damaged: it has no header of weights. Copy or save it again.") from error
    if size != 8 + length + end:
        raise ValueError(f"{file} must have {8 + length + end:,} bytes, got {size:,}: copy or save it again")


def _json(source: Path | bytes, file: Path) -> dict[str, Any]:
    try:
        found: Any = json.loads(read_text(source, str(file)))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON ({_line(error)})") from error
    return found if isinstance(found, dict) else {}


def _new_enough(version: str) -> bool:
    parts = version.split(".")
    return all(part.isdigit() for part in parts) and [int(part) for part in parts[:2]] >= [
        int(part) for part in PYTHON.split(".")
    ]


def _matching(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    wanted = list(patterns)
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in wanted)]


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
