"""The log of a session: JSON lines, each on disk before the session continues; a session resumes from it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from her_hf.dual_layer import Turn

VERSION = 1

_TURN: TypeAdapter[Turn] = TypeAdapter(Turn)

Record = dict[str, Any]


def dump_turn(turn: Turn) -> Record:
    """A turn as JSON data, with its text for readers of the log."""
    return {**_TURN.dump_python(turn, mode="json"), "text": turn.render()}


class Log:
    """Appends records to a file, which is created with the first record.

    Args:
        path (`Path`): The file; folders are created.
        fresh (`bool`): Whether this is a new log, which must not be appended to another session's.

    Raises:
        `IsADirectoryError`: If it is a folder.
        `FileExistsError`: If `fresh` and the file is not empty.
    """

    def __init__(self, path: Path, *, fresh: bool) -> None:
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder: name a file in it for the log.")
        self.path = path
        self.started = not fresh
        self._check_unused()

    def write(self, *records: Record) -> None:
        """Appends records, all or none of them, and waits until they are on disk.

        Raises:
            `FileExistsError`: If the log is new, and another session has started one here in the meantime.
            `OSError`: If they cannot be written; the file is then unchanged.
        """
        data = b"".join(map(_line, records))  # before the file is opened, so that an error leaves no trace
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._check_unused()
        made = not self.started and not self.path.exists()
        with self.path.open("xb" if made else "ab", buffering=0) as file:
            end = file.tell()
            try:
                _write_through(file, data)
            except BaseException:  # half a record would corrupt the next one
                with suppress(OSError):
                    file.truncate(end)
                raise
        self.started = True

    def _check_unused(self) -> None:
        if not self.started and self.path.exists() and self.path.stat().st_size:
            raise FileExistsError(
                f"{self.path} is the log of another session: name another file, or continue that session."
            )


def read_log(path: Path) -> list[Record]:
    """Reads a log and repairs its last line after a kill: an incomplete record is removed, a missing newline added.

    Raises:
        `FileNotFoundError`: If there is no such file.
        `ValueError`: If it is not the log of a session; the message names file and line. The file is unchanged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no session log at {path}")
    data = path.read_bytes()
    *lines, last = data.split(b"\n")
    if last and (not lines or _is_json(last)):
        lines.append(last)
    records = [_record(path, number, line) for number, line in enumerate(lines or [b""], 1)]
    if records[0].get("version") != VERSION:
        raise ValueError(
            f"{path} was written by another version of her_hf (log version {records[0].get('version')!r}, this one "
            f"reads {VERSION}): continue it with that version, or start a new session"
        )
    if last:
        with path.open("r+b") as file:
            file.seek(0, os.SEEK_END)
            if lines[-1] is last:
                file.write(b"\n")
            else:
                file.truncate(len(data) - len(last))
    return records


def write_whole(path: Path, records: Iterable[Record]) -> None:
    """Writes a log atomically: the file is either the old one or complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.with_name(f".{path.name}.{os.getpid()}")
    with work.open("wb", buffering=0) as file:
        _write_through(file, b"".join(map(_line, records)))
    work.replace(path)


def _record(path: Path, number: int, line: bytes) -> Record:
    """The record of a line; the first, and only the first, is of kind 'session'."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}, line {number}: not a record of a session log ({error}). Correct or delete the line."
        ) from error
    if not isinstance(record, dict) or (number == 1) != (record.get("kind") == "session"):
        raise ValueError(
            f"{path}, line {number}: the first record of a session log, and no other, must be of kind 'session'. Name "
            "the log of a session, or correct the line."
        )
    return record


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _line(record: Record) -> bytes:
    """A record as a line. Lone surrogates, which UTF-8 cannot encode, stay escaped."""
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _write_through(file: FileIO, data: bytes) -> None:
    """Writes to an unbuffered file and waits for the disk."""
    rest = memoryview(data)
    while rest:  # the system may write less than it is given
        rest = rest[file.write(rest) :]
    os.fsync(file.fileno())
