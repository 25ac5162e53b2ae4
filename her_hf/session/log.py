"""The log of a session: JSON lines, each on disk before the session goes on, and enough to go on from after a kill."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from her_hf.dual_layer import Turn

VERSION = 1

_TURN: TypeAdapter[Turn] = TypeAdapter(Turn)

Record = dict[str, Any]


def dump_turn(turn: Turn) -> Record:
    """A turn as JSON data, with its text for people who read the log."""
    return {**_TURN.dump_python(turn, mode="json"), "text": turn.render()}


def load_turn(record: Record) -> Turn:
    """The turn that [`dump_turn`] wrote."""
    return _TURN.validate_python({key: value for key, value in record.items() if key != "text"})


class Log:
    """Appends records to a file, which is made with the first of them.

    Args:
        path (`Path`): The file; folders are made.
        fresh (`bool`): Whether this is a new log, which must not meet another session's.

    Raises:
        `FileExistsError`: If `fresh` and the file already has something in it.
    """

    def __init__(self, path: Path, *, fresh: bool) -> None:
        if fresh and path.exists() and path.stat().st_size:
            raise FileExistsError(
                f"{path} is the log of another session: name another file, or continue that session."
            )
        self.path = path
        self.started = not fresh

    def write(self, *records: Record) -> None:
        """Appends records and waits until they are on disk."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
            file.flush()
            os.fsync(file.fileno())
        self.started = True


def read_log(path: Path) -> list[Record]:
    """Reads a log. A last line that a kill tore off is cut from the file, since it was never a whole record.

    Raises:
        `FileNotFoundError`: If there is no such file.
        `ValueError`: If it is not a log of a session: file and line are named.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no session log at {path}")
    data = path.read_bytes()
    whole, newline, torn = data.rpartition(b"\n")
    if torn:
        with path.open("r+b") as file:
            file.truncate(len(whole) + len(newline))
    records = []
    for number, line in enumerate(whole.split(b"\n"), 1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: not a record of a session log ({error})") from error
        if not isinstance(record, dict) or (number == 1) != (record.get("kind") == "session"):
            raise ValueError(
                f"{path}, line {number}: a session log begins with one record of kind 'session', and only there"
            )
        records.append(record)
    if records[0].get("version") != VERSION:
        raise ValueError(
            f"{path}: written by another version ({records[0].get('version')!r}, this one reads {VERSION})"
        )
    return records


def write_whole(path: Path, records: Iterable[Record]) -> None:
    """Writes a log in one go: the file is either the old one or complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.with_name(f".{path.name}.{os.getpid()}")
    with work.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    work.replace(path)
