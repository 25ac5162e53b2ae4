"""Rows of JSON, JSONL, Parquet, PNG and CHARX files, distinguished by their content."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from her_hf.extras import missing_library

from .errors import SceneError
from .readers.card_containers import ZIP, card_in_png, card_in_zip
from .readers.png import SIGNATURE

SUFFIXES = (".json", ".jsonl", ".parquet", ".png", ".charx")
"""Files that are read when a folder is loaded."""

Rows = Iterator[tuple[str, Any]]


def rows_of(path: Path) -> Rows:
    """Reads the rows of one file.

    Args:
        path (`Path`): The file.

    Yields:
        `tuple[str, Any]`: Position (`"line 3"` or `"row 3"`, from 1) and row; a [`SceneError`] in place of a row that
        is not JSON, so that the caller can continue and report all bad rows together.

    Raises:
        `SceneError`: If the file as a whole cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(len(SIGNATURE))
    if head == SIGNATURE:
        yield "row 1", card_in_png(path)
    elif head.startswith(ZIP):
        yield "row 1", card_in_zip(path)
    elif head[:4] == b"PAR1":
        yield from _parquet(path)
    elif _is_lines(path):
        yield from _lines(path)
    else:
        yield from _whole(path)


def _is_lines(path: Path) -> bool:
    """Whether each line is a row: the first line is a JSON object."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = next((line for line in file if line.strip()), "")
    except UnicodeDecodeError as error:
        raise SceneError(f"is neither UTF-8 text nor a PNG, CHARX or Parquet file ({error.reason}).") from error
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return path.suffix == ".jsonl"


def _lines(path: Path) -> Rows:
    with path.open("rb") as file:
        for index, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = _parsed(line)
            except SceneError as error:
                row = SceneError(f"{error.problem}; each line must be one row.", row=f"line {index}")
            yield f"line {index}", row


def _whole(path: Path) -> Rows:
    data = path.read_bytes()
    if not data.strip(b"\xef\xbb\xbf \t\r\n"):
        return
    content = _parsed(data)
    rows = content if isinstance(content, list) else [content]
    yield from ((f"row {index}", row) for index, row in enumerate(rows, start=1))


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8-sig"))
    except RecursionError as error:
        raise SceneError("is not readable JSON: it is nested too deep") from error
    except ValueError as error:
        raise SceneError(f"is not JSON ({error})") from error


def _parquet(path: Path) -> Rows:
    try:
        from pyarrow import ArrowException, parquet  # type: ignore[import-untyped]
    except ImportError as error:
        remedy = missing_library("reading it", error, module="pyarrow")
        raise SceneError(f"is a Parquet file; {remedy}") from error
    place = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=64):
                for row in batch.to_pylist():
                    place += 1
                    yield f"row {place}", row
    except (ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise SceneError(f"is not a valid Parquet file ({error}); download it again.") from error
