"""Journals: JSONL files that take one finished unit a line, so that a run that was killed goes on where it was."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import BaseModel, ValidationError

from .durable import new_contents

Row = dict[str, Any]

_POLL_SECONDS = 0.005
"""Between two looks at a lock that another process holds."""

_BLOCK = 4096
"""Bytes that are read at a time in search of the end of the last whole line."""

_A_ROW = "a row as this version writes it"
_OF_A_RUN = "Delete the line, whose unit is then done again, or choose another output folder."
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
            raise TypeError("no JSON object")
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


class Journal:
    """A JSONL file that takes one finished unit a line, each on the disk before the next step.

    In memory it holds where each unit's line begins, and no row: a row is read from the file when it is asked for.

    A last line that a kill cut short is dropped when the journal is opened or written. Processes may share a file:
    each writes under a lock (a hidden `.tmp` beside the file), and what others wrote stays.

    Args:
        file (`str` or `Path`): The file; made with the first line.
        key (`Callable[[dict], Hashable]`): What identifies the unit of a row; of several lines with one key the last
            counts.
        shape (`type[BaseModel]`, *optional*): The fields that are read when a run goes on. A row must have them, in
            these types strictly; it may have others.
        same (`Mapping[str, Any]`, *optional*): Fields that have the same value in every row of this run, such as a
            digest of its settings.

    Raises:
        `ValueError`: If a whole line is no JSON object of this shape, or is of another run; the message names file,
            line and field. The file is not touched.

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
        self._same = json.loads(json.dumps(dict(same or {})))  # as a line gives it back
        self._lock = threading.Lock()
        # Left in place: who removes a lock that another waits for lets two in.
        self._file_lock = FileLock(
            self.file.with_name(f".{self.file.name}.tmp"), thread_local=False, poll_interval=_POLL_SECONDS
        )
        self._offsets: dict[Hashable, int] = {}
        if self.file.exists() and not self._index():
            with self._alone():
                self._drop_cut_line()
                self._index()

    def __len__(self) -> int:
        return len(self._offsets)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._offsets

    def __iter__(self) -> Iterator[Hashable]:
        """The keys, in the order in which they first came."""
        return iter(list(self._offsets))

    def get(self, key: Hashable) -> Row | None:
        """The row of a unit, read from the file; `None` if there is none."""
        row = self._read(key)
        if row is None and key in self:  # another process has put the lines into another order
            with self._alone():
                self._index()
                row = self._read(key)
        return row

    def rows(self, keys: Iterable[Hashable] | None = None) -> Iterator[Row]:
        """The rows of these units in this order, those that are there; of all units without `keys`.

        One row is read at a time.
        """
        for key in self if keys is None else keys:
            row = self.get(key)
            if row is not None:
                yield row

    def add(self, *rows: Row) -> None:
        """Writes finished units and waits until they are on the disk.

        Raises:
            `ValueError`: If a row is none of this journal.
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
        """Rewrites the file with the units of these keys in this order, so that equal runs leave equal files.

        Units of other keys, of a run with more of them or of another process, stay behind these. Of several lines with
        one key the last stays. Lines are copied one at a time.
        """
        with self._alone():
            self.file.touch()
            self._drop_cut_line()
            self._index()  # what other processes wrote since
            first = dict.fromkeys(key for key in order if key in self._offsets)
            others = (key for key in self._offsets if key not in first)
            offsets: dict[Hashable, int] = {}
            end = 0
            with self.file.open("rb") as old, new_contents(self.file) as new:
                for key in chain(first, others):
                    old.seek(self._offsets[key])
                    offsets[key] = end
                    end += new.write(old.readline())
                new.flush()
                os.fsync(new.fileno())  # what was on the disk before is on it still
            self._offsets = offsets

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While no other thread or process writes."""
        with self._lock:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self._file_lock:
                yield

    def _index(self) -> bool:
        """Notes where each whole line begins; whether the file ends with one."""
        offsets: dict[Hashable, int] = {}
        offset, line = 0, b"\n"
        with self.file.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if not line.endswith(b"\n"):
                    break
                offsets[self._key_of(line, f"line {number}")] = offset
                offset += len(line)
        self._offsets = offsets
        return line.endswith(b"\n")

    def _read(self, key: Hashable) -> Row | None:
        """The row of a unit; `None` if its line does not begin where it did."""
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
                    f"{self.file}, {where}: is of another run: {field} is {_short(row.get(field))} there, "
                    f"{_short(value)} in this run. Delete the line, whose unit is then done again, or choose another "
                    "output folder."
                )
        return key

    def _drop_cut_line(self) -> None:
        """Drops what a killed process left of a line; whoever is alive has written its lines whole, under the lock."""
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


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
