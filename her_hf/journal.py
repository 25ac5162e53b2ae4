"""Journals: JSONL files with one line per finished unit, from which an interrupted run resumes."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock
from pydantic import BaseModel, ValidationError

from .durable import new_contents

Row = dict[str, Any]

_POLL_SECONDS = 0.005
"""Polling interval for a lock that another process holds."""

_BLOCK = 4096
"""Bytes per read when searching backwards for the end of the last complete line."""

_A_ROW = "a row as written by this version"
_OF_A_RUN = "Delete the line, so that its unit is repeated, or choose another output folder."
_OF_A_FILE = "Correct or delete the line, or run the command that wrote the file again."


def read_rows(
    file: str | Path,
    *,
    key: Callable[[Row], Hashable],
    shape: type[BaseModel] | None = None,
    what: str = _A_ROW,
) -> Iterator[tuple[Hashable, Row]]:
    """Rows of a file that a journal wrote, each with its key, in the order of the lines; the file is not touched.

    A last line that a kill cut short is left out, and so are blank ones.

    Args:
        file (`str` or `Path`): The file.
        key (`Callable[[dict], Hashable]`): What identifies the unit of a row.
        shape (`type[BaseModel]`, *optional*): The fields that the caller reads, strictly of these types.
        what (`str`, *optional*): What a row is called in an error.

    Raises:
        `ValueError`: If a line is no JSON object of this shape; the message names file, line and field.
    """
    with Path(file).open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if line.endswith(b"\n") and line.strip():
                yield _checked(line, key, shape, f"{file}, line {number}: must be {what}", _OF_A_FILE)


def _checked(
    line: bytes, key: Callable[[Row], Hashable], shape: type[BaseModel] | None, where: str, remedy: str
) -> tuple[Hashable, Row]:
    """The key and the row of a line."""
    try:
        row = json.loads(line)
        if not isinstance(row, dict):
            raise TypeError("not a JSON object")
        if shape is not None:
            shape.model_validate_json(line, strict=True)
        return key(row), row
    except ValidationError as error:
        first = error.errors()[0]
        why = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise _refusal(line, where, why, remedy) from error
    except (ValueError, KeyError, TypeError) as error:
        raise _refusal(line, where, f"{type(error).__name__}: {error}", remedy) from error


def _refusal(line: bytes, where: str, why: str, remedy: str) -> ValueError:
    start = line[:80].decode("utf-8", "replace").strip()
    return ValueError(f"{where}, got {start!r} ({why[:200]}). {remedy}")


class _Indexed(NamedTuple):
    """What was found in a file: its complete lines, and whether the last line is one."""

    lines: int
    complete: bool


class Journal:
    """A JSONL file with one line per finished unit, which is on disk when `add` returns.

    Only the offset of each line is kept in memory; rows are read from the file on request.

    A truncated last line is dropped when the journal is opened or written. Several processes may share a file: each
    writes under a lock (a hidden `.tmp` file next to it), and rows of the others are kept.

    Args:
        file (`str` or `Path`): The file; created with the first line.
        key (`Callable[[dict], Hashable]`): Returns the key of a row; of several lines with one key the last counts.
        shape (`type[BaseModel]`, *optional*): The fields that a resumed run reads. A row must have them with exactly
            these types; it may have others.
        same (`Mapping[str, Any]`, *optional*): Fields with the same value in all rows of this run, such as a digest of
            its settings.

    Raises:
        `ValueError`: If a complete line is not a JSON object of this shape, or belongs to another run; the message
            names file, line and field. The file is not changed.

    Example:

    ```python
    >>> journal = Journal("outputs/dialogues.jsonl", key=lambda row: tuple(row["key"]))
    >>> journal.add({"key": ["Emma", 3, 0], "turns": []})
    >>> ("Emma", 3, 0) in journal
    True
    >>> journal.get(("Emma", 3, 0))["turns"]
    []
    ```
    """

    def __init__(
        self,
        file: str | Path,
        *,
        key: Callable[[Row], Hashable],
        shape: type[BaseModel] | None = None,
        same: Mapping[str, Any] | None = None,
    ) -> None:
        self.file = Path(file)
        self.key = key
        self._shape = shape
        self._same = json.loads(json.dumps(dict(same or {})))  # as read back from a line
        self._lock = threading.Lock()
        # Never removed: removing a lock file that another process waits for would let both acquire it.
        self._file_lock = FileLock(
            self.file.with_name(f".{self.file.name}.tmp"), thread_local=False, poll_interval=_POLL_SECONDS
        )
        self._offsets: dict[Hashable, int] = {}
        if self.file.exists() and not self._index().complete:
            with self._alone():
                self._drop_cut_line()
                self._index()

    def __len__(self) -> int:
        return len(self._offsets)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._offsets

    def __iter__(self) -> Iterator[Hashable]:
        """The keys, in the order of their first line."""
        return iter(list(self._offsets))

    def get(self, key: Hashable) -> Row | None:
        """The row of a unit, read from the file; `None` if it is missing."""
        row = self._read(key)
        if row is None and key in self:  # another process has reordered the lines
            with self._alone():
                self._index()
                row = self._read(key)
        return row

    def rows(self, keys: Iterable[Hashable] | None = None) -> Rows:
        """The existing rows of these units in this order; by default of all units."""
        return Rows(self, tuple(self if keys is None else keys))

    def add(self, *rows: Row) -> None:
        """Writes rows of finished units and returns when they are on disk.

        Raises:
            `ValueError`: If a row does not have the shape or fields of this journal.
        """
        lines = [json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n" for row in rows]
        keys = [self._key_of(line, "a new row") for line in lines]
        with self._alone():
            if self.file.exists():
                self._drop_cut_line()
            with self.file.open("ab") as stream:
                offset = stream.seek(0, os.SEEK_END)
                stream.writelines(lines)
                stream.flush()
                os.fsync(stream.fileno())
            for key, line in zip(keys, lines, strict=True):
                self._offsets[key] = offset
                offset += len(line)

    def settle(self, order: Iterable[Hashable]) -> None:
        """Rewrites the file with the lines of these keys in this order, so that equal runs produce equal files.

        Lines of other keys (of a run with more units, or of another process) follow. Of several lines with one key,
        the last is kept. Lines are copied one at a time; a file that is in this order already stays as it is.
        """
        with self._alone():
            self.file.touch()
            self._drop_cut_line()
            lines = self._index().lines  # includes those written by other processes since
            first = dict.fromkeys(key for key in order if key in self._offsets)
            others = [key for key in self._offsets if key not in first]
            if lines == len(self._offsets) and list(self._offsets) == [*first, *others]:
                return
            offsets: dict[Hashable, int] = {}
            end = 0
            with self.file.open("rb") as old, new_contents(self.file) as new:
                for key in chain(first, others):
                    old.seek(self._offsets[key])
                    offsets[key] = end
                    end += new.write(old.readline())
                new.flush()
                os.fsync(new.fileno())  # the lines were on disk before and must remain so
            self._offsets = offsets

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Excludes other threads and processes from writing."""
        with self._lock:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self._file_lock:
                yield

    def _index(self) -> _Indexed:
        """Records the offset of each complete line."""
        offsets: dict[Hashable, int] = {}
        lines, offset, line = 0, 0, b"\n"
        with self.file.open("rb") as stream:
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                lines += 1
                offsets[self._key_of(line, f"line {lines}")] = offset
                offset += len(line)
        self._offsets = offsets
        return _Indexed(lines, line.endswith(b"\n"))

    def _read(self, key: Hashable) -> Row | None:
        """The row of a unit; `None` if it is no longer at its offset."""
        offset = self._offsets.get(key)
        if offset is None:
            return None
        with self.file.open("rb") as stream:
            stream.seek(offset)
            try:
                row = json.loads(stream.readline())
            except ValueError:
                return None
        return row if isinstance(row, dict) and self.key(row) == key else None

    def _key_of(self, line: bytes, where: str) -> Hashable:
        """The key of a line, which is checked to be of this journal."""
        key, row = _checked(line, self.key, self._shape, f"{self.file}, {where}: must be {_A_ROW}", _OF_A_RUN)
        for field, value in self._same.items():
            if row.get(field) != value:
                raise ValueError(
                    f"{self.file}, {where}: belongs to another run: {field} must be {_short(value)}, got "
                    f"{_short(row.get(field))}. Delete the line, so that its unit is repeated, or choose another "
                    "output folder."
                )
        return key

    def _drop_cut_line(self) -> None:
        """Drops a truncated last line of a killed process; running processes write complete lines under the lock."""
        with self.file.open("rb+") as stream:
            size = end = stream.seek(0, os.SEEK_END)
            while end:
                start = max(0, end - _BLOCK)
                stream.seek(start)
                found = stream.read(end - start).rfind(b"\n")
                if found >= 0:
                    end = start + found + 1
                    break
                end = start
            if end != size:
                stream.truncate(end)


@dataclass(frozen=True)
class Rows:
    """Rows of units, read from the file one at a time, and again whenever they are iterated.

    Args:
        journal ([`Journal`]): Their journal.
        keys (`tuple[Hashable, ...]`): Their keys, in order; those without a row are left out.
    """

    journal: Journal
    keys: tuple[Hashable, ...]

    def __iter__(self) -> Iterator[Row]:
        for key in self.keys:
            row = self.journal.get(key)
            if row is not None:
                yield row


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
