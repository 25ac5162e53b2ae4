"""What survives a kill: files and folders written atomically, journals of finished units, run folders.

Nothing heavy is imported, so that every layer can use it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

_POLL_SECONDS = 0.005
"""Time between two attempts to take a lock that another process holds."""

RUN_FILE = "run.json"
"""Holds the settings of the run that a folder belongs to."""

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
    """Reads what [`write_json`] wrote."""
    value: dict[str, Any] = json.loads(Path(file).read_text(encoding="utf-8"))
    return value


def write_json(file: str | Path, value: Any) -> None:
    """Writes JSON atomically: a kill leaves the old file or the new one."""
    replace_text(file, json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n")


def replace_text(file: str | Path, text: str) -> None:
    """Writes a text file atomically."""
    file = Path(file)
    draft = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, file)


@contextmanager
def new_folder(folder: str | Path) -> Iterator[Path]:
    """A draft folder that becomes `folder` at the end: a kill never leaves half of it under the final name.

    The draft is next to `folder`, under a name that ends in `.tmp`. An error removes it; if a kill leaves it behind,
    [`claim`] ignores it.

    Args:
        folder (`str` or `Path`): A folder that is missing or empty.

    Example:

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
    begun: Callable[[Path], bool],
    note: str = RUN_FILE,
    beside: Collection[str] = (),
) -> None:
    """Claims `folder` for this run, or checks that it belongs to it already; existing files are not changed.

    Args:
        folder (`str` or `Path`): Output folder.
        settings (`Mapping`): Everything that determines the results, JSON values.
        begun (`Callable`): Whether the folder holds results already; if not, its settings may still be corrected.
        note (`str`, *optional*, defaults to `"run.json"`): The file that keeps the settings.
        beside (`Collection[str]`, *optional*): Files that may be there before the first claim.

    Raises:
        [`OtherRunError`]: If the folder holds another run (the message lists the settings that differ) or other files.
    """
    folder = Path(folder)
    file = folder / note
    wanted = json.loads(json.dumps(dict(settings), sort_keys=True, default=str))
    if file.exists():
        known = read_json(file)
        differing = sorted(name for name in known.keys() | wanted.keys() if known.get(name) != wanted.get(name))
        if differing and not begun(folder):
            write_json(file, wanted)  # there are no results yet: the settings of a failed start may be corrected
        elif differing:
            shown = "; ".join(f"{name}: {known.get(name)!r} there, {wanted.get(name)!r} now" for name in differing[:6])
            raise OtherRunError(
                f"{folder} holds another run, which this one would overwrite ({shown}). Choose another output folder, "
                "or delete that one."
            )
        return
    entries = folder.iterdir() if folder.exists() else ()
    others = sorted(entry.name for entry in entries if entry.suffix != ".tmp" and entry.name not in beside)
    if others:
        found = ", ".join(others[:5])
        raise OtherRunError(
            f"{folder} holds other files ({found}) and no {note}. Choose another output folder, or empty this one."
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(file, wanted)


class Journal:
    """A JSONL file with one finished unit per line, each on disk before the next step.

    A last line that a kill cut short is dropped when the journal is opened or written. Processes may share a file:
    each writes under a lock (a hidden `.tmp` file next to it), and what others wrote is kept.

    Args:
        file (`str` or `Path`): The file; created with the first line.
        key (`Callable[[dict], Any]`): What identifies a unit; of several lines with the same key the last one counts.

    Raises:
        `ValueError`: If a whole line is not a JSON object; the message names file and line.

    Example:

    ```python
    >>> journal = Journal("outputs/dialogues.jsonl", key=lambda row: tuple(row["key"]))
    >>> journal.add({"key": ["Emma", 3, 0], "turns": []})
    >>> ("Emma", 3, 0) in journal.rows
    True
    ```
    """

    def __init__(self, file: str | Path, *, key: Callable[[dict[str, Any]], Any]) -> None:
        self.file = Path(file)
        self._key = key
        self._lock = threading.Lock()
        # Never removed: if a lock is removed while another process waits for it, two processes can hold it.
        self._file_lock = FileLock(
            self.file.with_name(f".{self.file.name}.tmp"), thread_local=False, poll_interval=_POLL_SECONDS
        )
        self.rows: dict[Any, dict[str, Any]] = {}
        if self.file.exists() and not self._load():
            with self._alone():
                self._drop_cut_line()
                self._load()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While no other thread or process writes."""
        with self._lock:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self._file_lock:
                yield

    def _load(self) -> bool:
        """Reads the whole lines; returns whether the file holds nothing else."""
        data = self.file.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        for number, line in enumerate(whole.split(b"\n")[:-1], start=1):
            try:
                row = json.loads(line)
                self.rows[self._key(row)] = row
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{self.file}, line {number}: must be a JSON object of this run, got {line[:80]!r} "
                    f"({type(error).__name__}: {error}). Repair or delete the line."
                ) from error
        return len(whole) == len(data)

    def _drop_cut_line(self) -> None:
        """Drops what a killed process left of a line; living processes write whole lines under the lock."""
        with self.file.open("rb+") as stream:
            size = stream.seek(0, os.SEEK_END)
            if size == 0:
                return
            stream.seek(size - 1)
            if stream.read(1) == b"\n":
                return
            stream.seek(0)
            stream.truncate(stream.read().rfind(b"\n") + 1)

    def add(self, row: dict[str, Any]) -> None:
        """Writes one unit and waits until it is on disk."""
        line = json.dumps(row, ensure_ascii=False) + "\n"
        with self._alone():
            if self.file.exists():
                self._drop_cut_line()
            with self.file.open("a", encoding="utf-8") as stream:
                stream.write(line)
                stream.flush()
                os.fsync(stream.fileno())
            self.rows[self._key(row)] = row

    def settle(self, order: list[Any]) -> list[dict[str, Any]]:
        """Rewrites the file with the units of these keys in this order, so that equal runs leave equal files.

        Units with other keys, of a larger run or of another process, follow after them.

        Returns:
            `list[dict]`: The units that exist, in that order.
        """
        with self._alone():
            if self.file.exists():
                self._load()  # what other processes wrote since
            found = {key: self.rows[key] for key in order if key in self.rows}
            others = [row for key, row in self.rows.items() if key not in found]
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in [*found.values(), *others])
            replace_text(self.file, "".join(lines))
        return list(found.values())
