"""What of a folder is sent to the Hub, and what is left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from her_hf.durable import RUN_FILE

EVAL_RESULTS = ".eval_results"
"""The folder of a model repository from which the Hub reads evaluation results."""

_RUN_NOTES = (RUN_FILE, "judging.json")
_KEPT = (f"{EVAL_RESULTS}/*", ".gitattributes")

LEFT_OUT: dict[str, tuple[str, ...]] = {
    "a checkpoint of the run": ("checkpoint-*", "checkpoint-*/*"),
    "settings of the run, with paths of this machine": (*_RUN_NOTES, "training_args.bin"),
    "with which the run resumes": (
        *("uncertainty.jsonl", "optimizer.pt", "optimizer.bin", "scheduler.pt", "scaler.pt", "rng_state*.pth"),
        "trainer_state.json",
    ),
    "a draft": ("*.tmp", "*.tmp/*", "*.part", "*.part/*"),
    "answers of models": ("*.sqlite", "*.sqlite-*", "*.sqlite3"),
    "a log": (
        *("*.log", "sessions.jsonl", "events.out.tfevents.*", "*/events.out.tfevents.*"),
        *("wandb/*", "mlruns/*", "nohup.out"),
    ),
    "compiled code": ("*.pyc", "__pycache__/*", "*/__pycache__/*"),
    "hidden": (".*", "*/.*"),
}
"""Patterns of paths that are not sent, by the reason. `.eval_results/` and `.gitattributes` are sent."""

IGNORED = [pattern for reason, patterns in LEFT_OUT.items() if reason != "hidden" for pattern in patterns]
"""The patterns without those of hidden files, for `ignore_patterns` of the Hub's client, which know no exception."""


@dataclass
class Listing:
    """The files of a push.

    Args:
        files (`dict[str, Path | bytes]`): Path in the repository, and the file or its contents.
        left_out (`dict[str, str]`): Path in the folder, and why it is not sent.
        notes (`list[str]`): What the user should know.
    """

    files: dict[str, Path | bytes] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def list_folder(folder: str | Path) -> Listing:
    """Lists a folder: what is sent, and what is left out and why.

    A folder below it that has settings of a run belongs to another run and is left out whole.

    Args:
        folder (`str` or `Path`): The folder.

    Raises:
        `NotADirectoryError`, `FileNotFoundError`: If it is not a folder, or has a link to a file that is not there.
        `ValueError`: If it has a link to a folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        kind = NotADirectoryError if folder.exists() else FileNotFoundError
        raise kind(f"{folder} is not a folder here (looked in {Path.cwd()}): name the folder to push")
    found = Listing()
    runs = sorted({note.parent for name in _RUN_NOTES for note in folder.rglob(name) if note.parent != folder})
    for file in _files(folder):
        name = file.relative_to(folder).as_posix()
        if run := next((run for run in runs if run in file.parents), None):
            found.left_out[f"{run.relative_to(folder).as_posix()}/"] = "another run's folder"
        elif reason := why_left_out(name):
            found.left_out[name] = reason
        else:
            found.files[name] = file
    return found


def size_of(source: Path | bytes) -> int:
    """Bytes of a file, or of its contents."""
    return len(source) if isinstance(source, bytes) else source.stat().st_size


def read_text(source: Path | bytes, name: str) -> str:
    """Text of a file, or of its contents.

    Raises:
        `ValueError`: If it is not UTF-8.
    """
    raw = source if isinstance(source, bytes) else source.read_bytes()
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{name} must be text in UTF-8, got a byte that is not ({error.start}): save it so"
        ) from error


def _files(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.rglob("*")):
        if entry.is_file():
            yield entry
        elif entry.is_symlink() and not entry.exists():
            raise FileNotFoundError(f"{entry} is a link to a file that is not there: restore it, or remove the link")
        elif entry.is_symlink():
            raise ValueError(f"{entry} is a link to a folder, which is not followed: copy the folder, or remove it")


def why_left_out(name: str) -> str | None:
    """Why a file is not sent, by its path in the folder; `None` if it is.

    Example:

    ```python
    >>> why_left_out("checkpoint-10/model.safetensors"), why_left_out(".eval_results/coser.yaml")
    ('a checkpoint of the run', None)
    ```
    """
    if any(fnmatchcase(name, pattern) for pattern in _KEPT):
        return None
    for reason, patterns in LEFT_OUT.items():
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            return reason
    return None
