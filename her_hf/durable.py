"""What survives a kill: files and folders written atomically, and folders that belong to a run.

Nothing heavy is imported, so that every layer can use it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

RUN_FILE = "run.json"
"""Holds the settings of the run that a folder belongs to."""

_RESTORE = "Restore it, or do without this folder."

SEED_LIMIT = 2**31
"""Seeds are at least 0 and below this limit, which every server accepts."""


class OtherRunError(FileExistsError):
    """The output folder belongs to another run."""


def digest(value: Any) -> str:
    """A digest of a JSON value that does not depend on the order of keys.

    Example:

    ```python
    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    ```
    """
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def derive_seed(*parts: Any) -> int:
    """A seed for one unit, derived from everything that identifies it: order and concurrency change no draw.

    Args:
        parts: JSON values, such as the run's seed, the scene's key and the index of the turn.

    Returns:
        `int`: At least 0 and below [`SEED_LIMIT`].
    """
    return int(digest(list(parts))[:8], 16) % SEED_LIMIT


def read_json(file: str | Path) -> dict[str, Any]:
    """Reads a JSON object, as [`write_json`] writes it.

    Raises:
        `ValueError`: If the file holds something else; the message names it.
    """
    try:
        value: Any = json.loads(Path(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} must hold a JSON object, got no JSON ({error}). {_RESTORE}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{file} must hold a JSON object, got {type(value).__name__}. {_RESTORE}")
    return value


def write_json(file: str | Path, value: Any) -> None:
    """Writes JSON atomically: a kill leaves the old file or the new one."""
    replace_text(file, json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n")


def replace_text(file: str | Path, text: str) -> None:
    """Writes a text file atomically."""
    with new_contents(file) as stream:
        stream.write(text.encode("utf-8"))


@contextmanager
def new_contents(file: str | Path) -> Iterator[IO[bytes]]:
    """A stream for the new contents of a file; see [`new_file`].

    Args:
        file (`str` or `Path`): The file; it need not exist.

    Example (not run: it needs rows):

    ```python
    >>> with new_contents("outputs/rows.jsonl") as stream:
    ...     stream.writelines(lines)
    ```
    """
    with new_file(file) as draft, draft.open("wb") as stream:
        yield stream


@contextmanager
def new_file(file: str | Path) -> Iterator[Path]:
    """A draft for the new contents of a file, which atomically replace the old ones at the end.

    An error leaves the old contents and removes the draft, which is next to it, under a name in `.tmp`.

    Args:
        file (`str` or `Path`): The file; it need not exist.

    Example (not run: it needs a writer):

    ```python
    >>> with new_file("outputs/model.gguf") as draft:
    ...     writer.write(draft)
    ```
    """
    file = Path(file)
    draft = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    try:
        yield draft
        os.replace(draft, file)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


@contextmanager
def new_folder(folder: str | Path) -> Iterator[Path]:
    """A draft folder that becomes `folder` at the end: a kill never leaves half of it under the final name.

    The draft is next to `folder`, under a name that ends in `.tmp`. An error removes it; if a kill leaves it behind,
    [`claim`] ignores it.

    Args:
        folder (`str` or `Path`): A folder that is missing or empty.

    Example (not run: it needs a model):

    ```python
    >>> with new_folder("outputs/base") as draft:
    ...     model.save_pretrained(draft)
    ```
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
    try:
        yield draft
        if folder.exists():
            folder.rmdir()
        draft.chmod(0o755)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def whole_lines(file: str | Path) -> list[str]:
    """Lines of a JSONL file; a last line that a kill cut short has no newline and is dropped.

    Bytes are split into lines before they are decoded: a kill may have come in the middle of a character.
    """
    *lines, _ = Path(file).read_bytes().split(b"\n")
    return [line.decode("utf-8") for line in lines]


def claim(
    folder: str | Path,
    settings: Mapping[str, Any],
    *,
    has_results: Callable[[Path], bool],
    note: str = RUN_FILE,
    allowed: Collection[str] = (),
) -> None:
    """Claims `folder` for this run, or checks that it belongs to it already; existing files are not changed.

    Args:
        folder (`str` or `Path`): Output folder.
        settings (`Mapping`): Everything that determines the results, JSON values.
        has_results (`Callable`): Whether the folder has results; without any, its settings may still be corrected.
        note (`str`, *optional*, defaults to `"run.json"`): The file that keeps the settings.
        allowed (`Collection[str]`, *optional*): Files that may be there before the first claim.

    Raises:
        [`OtherRunError`]: If the folder holds another run (the message lists the settings that differ) or other files.
    """
    folder = Path(folder)
    file = folder / note
    wanted = json.loads(json.dumps(dict(settings), sort_keys=True, default=str))
    if file.exists():
        known = read_json(file)
        differing = sorted(name for name in known.keys() | wanted.keys() if known.get(name) != wanted.get(name))
        if differing and not has_results(folder):
            write_json(file, wanted)  # there are no results yet: the settings of a failed start may be corrected
        elif differing:
            shown = "; ".join(f"{name}: {known.get(name)!r} there, {wanted.get(name)!r} now" for name in differing[:6])
            raise OtherRunError(
                f"{folder} holds another run, which this one would overwrite ({shown}). Choose another output folder, "
                "or delete that one."
            )
        return
    entries = folder.iterdir() if folder.exists() else ()
    others = sorted(entry.name for entry in entries if entry.suffix != ".tmp" and entry.name not in allowed)
    if others:
        found = ", ".join(others[:5])
        raise OtherRunError(
            f"{folder} holds other files ({found}) and no {note}. Choose another output folder, or empty this one."
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(file, wanted)
