"""Finds, reads and checks what is submitted: `results.json` with a `submission.yaml` beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx2
import yaml
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, ValidationError

from her_hf.hub.client import HubError
from her_hf.references import is_hub_id
from her_hf.runs.report.headline import player_of
from her_hf.runs.results import RESULTS, read_results
from her_hf.runs.scores import KINDS, Scores

from .columns import BOARDS

SUBMISSION = "submission.yaml"
_SHOWN = 200
_TOLERANCE = 1e-6
"""Of a recomputed figure, in points of 100."""


class Submission(BaseModel):
    """`submission.yaml`: who is measured."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    model: str = Field(min_length=1, max_length=120, pattern=r"^[^\s<>][^\n\r<>]*$")
    """Name of the model, best its Hub id `owner/name`."""
    link: HttpUrl | None = None
    """Page of the model or of its report."""
    note: str = Field(default="", max_length=200)
    """A remark that is shown with the row."""


class Entry(BaseModel):
    """A run on the leaderboard."""

    place: str
    """Path of its folder, relative to what was named."""
    submission: Submission
    results: dict[str, Any]
    """The envelope."""


def fetch(source: str) -> Path:
    """The folder of a source: the folder itself, or results and submissions of a Hub dataset.

    Raises:
        `FileNotFoundError`: If it is neither an existing folder nor of the form `owner/name`.
        [`~her_hf.hub.client.HubError`]: If the Hub has no such dataset, or cannot be reached.
    """
    if Path(source).exists():
        return Path(source)
    if not is_hub_id(source) or "/" not in source:
        raise FileNotFoundError(f"{source} does not exist, and is no Hub dataset (owner/name).")
    from huggingface_hub import snapshot_download

    wanted = [f"**/{RESULTS}", RESULTS, f"**/{SUBMISSION}", SUBMISSION]
    try:
        return Path(snapshot_download(source, repo_type="dataset", allow_patterns=wanted))
    except (OSError, ValueError, httpx2.HTTPError) as error:
        said = " ".join(str(error).split())[:_SHOWN]
        raise HubError(
            f"{source} is not a folder here (looked in {Path.cwd()}), and its results could not be read from the "
            f"dataset of that name on the Hub ({said}): check the name and the connection, and log in if it is "
            "private (hf auth login)."
        ) from error


def find_entries(sources: Iterable[Path]) -> list[Entry]:
    """Reads all runs in folders; each is checked, see [`check_entry`].

    Args:
        sources (`Iterable[Path]`): Output folders of evaluations, or folders with such folders at any depth.

    Returns:
        `list[Entry]`: In the order of their paths. Without `submission.yaml`, the model has the name in the settings.

    Raises:
        `FileNotFoundError`: If a folder does not exist, or has no `results.json` at any depth.
        `ValueError`: If some files cannot be read, figures do not follow from their cases, or a run has no scores; the
            message names every such file.
    """
    entries, errors = [], []
    for source in sources:
        if not source.is_dir():
            raise FileNotFoundError(
                f"{source} is not a folder: name output folders of her-hf eval, or a folder of them."
            )
        files = sorted(source.rglob(RESULTS))
        if not files:
            raise FileNotFoundError(f"{source} has no {RESULTS} at any depth: name output folders of her-hf eval.")
        for file in files:
            try:
                entries.append(read_entry(file.parent, source))
            except (ValueError, OSError) as error:
                errors.append(str(error))
    if errors:
        raise ValueError("\n".join([f"{len(errors)} of the results cannot be shown:", *errors]))
    return entries


def read_entry(folder: Path, source: Path | None = None) -> Entry:
    """Reads and checks one run.

    Args:
        folder (`Path`): A folder with `results.json`, and possibly `submission.yaml`.
        source (`Path`, *optional*): The folder that its path is shown relative to; by default the folder itself.

    Raises:
        `FileNotFoundError`: If there are no results.
        `ValueError`: If a file is invalid, or its figures do not follow from its cases.
    """
    results = read_results(folder)
    file = folder / SUBMISSION
    submission = _read_submission(file) if file.is_file() else Submission(model=player_of(results)[:120])
    check_entry(results, folder / RESULTS)
    place = (source or folder).name / folder.relative_to(source or folder)
    return Entry(place=place.as_posix(), submission=submission, results=results)


def _read_submission(file: Path) -> Submission:
    try:
        return Submission.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not YAML: {str(error)[:200]}") from error
    except ValidationError as error:
        shown = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'the file'}: {one['msg']}, got {repr(one['input'])[:60]}"
            for one in error.errors(include_url=False)[:3]
        )
        fields = ", ".join(Submission.model_fields)
        raise ValueError(f"{file} must have a mapping with `model` (fields: {fields}). {shown}") from error


def check_entry(results: Mapping[str, Any], file: Path) -> None:
    """Checks that a run has scores, and that each reported score follows from the cases in the same file.

    Raises:
        `ValueError`: If not; the message names the file, the score, and both values.
    """
    name = results["evaluation"]
    if not results["cases"]:
        raise ValueError(f"{file}: has no case, all are missing. Run the evaluation again.")
    if name in ("coser", "minimax") and results["figures"]["scores"] is None:
        raise ValueError(f"{file}: its dialogues were not judged. Judge them first (--judge-only).")
    if not (results["settings"].get("data") or {}).get("digest"):
        raise ValueError(f"{file}: settings.data has no digest, so nobody could tell what it was measured on.")
    kind, values = KINDS[name], BOARDS[name].values(results)
    scores = kind.scores(dict(results))
    for score in kind.names:
        if score not in values:
            continue
        found, told = estimate(scores, score, pooled=kind.pooled), values[score].value
        if (found is None) != (told is None) or (
            found is not None and told is not None and not math.isclose(found, told, abs_tol=_TOLERANCE)
        ):
            raise ValueError(
                f"{file}: figures say {score} = {_shown(told)}, but the cases give {_shown(found)}. Submit "
                "results.json as her-hf eval wrote it."
            )


def estimate(scores: Scores, name: str, *, pooled: bool) -> float | None:
    """A score from the cases, as the reports estimate it; `None` if a part of it has no value."""
    parts: dict[Any, list[float]] = {}
    for unit in scores.values():
        for part, value in unit.get(name, {}).items():
            parts.setdefault(part, []).extend([] if value is None else [value])
    if pooled:
        values = [value for own in parts.values() for value in own]
        return math.fsum(values) / len(values) if values else None
    if not parts or not all(parts.values()):
        return None
    return math.fsum(math.fsum(own) / len(own) for own in parts.values()) / len(parts)


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"
