"""Rows of one-pass training as a `datasets.Dataset`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from datasets import Dataset, Features, Value
from datasets import Sequence as SequenceFeature

from her_hf.processing.trunk import Row

_INTEGERS = SequenceFeature(Value("int32"))
_FEATURES = {
    "input_ids": _INTEGERS,
    "position_ids": _INTEGERS,
    "labels": _INTEGERS,
    "trunk_len": Value("int32"),
    "branches": SequenceFeature(_INTEGERS),
    "reply_ids": _INTEGERS,
}
_OPTIONAL = {"layers": _INTEGERS, "weights": SequenceFeature(Value("float64"))}


def rows_dataset(rows: Sequence[Row]) -> Dataset:
    """Rows as the trainer takes them.

    Args:
        rows (`Sequence[Row]`): At least one row; either all have an optional column or none has.

    Returns:
        `Dataset`: A column for each key of [`~her_hf.processing.trunk.Row`].
    """
    features = {**_FEATURES, **{name: kind for name, kind in _OPTIONAL.items() if name in rows[0]}}
    columns: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in features}  # type: ignore[literal-required]
    return Dataset.from_dict(columns, features=Features(features))


def rows_digest(rows: Dataset) -> str:
    """A digest of what rows train, which changes with data, template, tokenizer and window."""
    sha = hashlib.sha256()
    for row in rows:
        sha.update(repr((row["input_ids"], row["labels"], row["branches"])).encode())
        if "weights" in row:
            sha.update(repr(row["weights"]).encode())
    return sha.hexdigest()[:16]
