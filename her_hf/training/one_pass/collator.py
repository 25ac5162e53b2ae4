"""Rows to tensors: padded beside each other, or several conversations packed into one row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from her_hf.processing.trunk import IGNORED

_PAD = -1
"""Part of the padding: it attends only to itself, and no other part attends to it."""

_COLUMNS = ("input_ids", "position_ids", "labels", "own", "parent", "limit", "layers", "sizes")
_WEIGHTS = "weights"


@dataclass
class OnePassCollator:
    """Makes a batch of rows.

    Args:
        pad_token_id (`int`): Pads shorter rows.
        pack (`bool`, *optional*, defaults to `False`): Pack all rows of a batch into one, hidden from each other.
        pad_to_multiple_of (`int`, *optional*): Round the length up, so that FlexAttention compiles for fewer
            shapes.

    Example (not run: it needs a model):

    ```python
    >>> batch = OnePassCollator(pad_token_id=2)(rows)
    >>> batch["input_ids"].shape
    ```
    """

    pad_token_id: int
    pack: bool = False
    pad_to_multiple_of: int | None = None

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Collates rows.

        Args:
            rows (`Sequence[Mapping]`): Rows of [`~her_hf.processing.rows.build`]; a column `layers` (see
                [`~her_hf.training.one_pass.layers.label_layers`]) is kept. Without rows, the batch is
                padding only, so that every rank has one.

        Returns:
            `dict[str, Tensor]`: `input_ids, position_ids, labels, own, parent, limit, layers, sizes`, integers of
                shape `(rows, tokens)` each, or `(1, tokens)` if packed; `weights`, floats of that shape, if the rows
                have them; and `spans`, shape `(rows, parts, 4)`. `sizes` holds how many tokens of the same reply are
                trained. Without `parent`, `limit` and `spans` if ordinary causal attention is right (one branch a row,
                padding after it).
        """
        lines = [self._line(row) for row in rows]
        plain = all(len(row["branches"]) == 1 and row["branches"][0][2] == row["trunk_len"] for row in rows)
        plain = plain and not (self.pack and len(lines) > 1)
        if self.pack and len(lines) > 1:
            lines = [_join(lines)]
        length = max([2, *(len(line["input_ids"]) for line in lines)])
        if self.pad_to_multiple_of:
            length = -(-length // self.pad_to_multiple_of) * self.pad_to_multiple_of
        lines = lines or [{name: [] for name in _COLUMNS}]
        columns = [name for name in lines[0] if name != "spans"]
        fill = {"input_ids": self.pad_token_id, "labels": IGNORED, "own": _PAD, "parent": _PAD, "layers": IGNORED}
        batch = {}
        for name in columns:
            if plain and name in ("parent", "limit"):
                continue
            padded = [line[name] + [fill.get(name, 0)] * (length - len(line[name])) for line in lines]
            batch[name] = torch.tensor(padded, dtype=torch.float32 if name == _WEIGHTS else torch.long)
        if plain:  # transformers takes positions that restart for packed sequences
            batch["position_ids"] = torch.arange(length).expand(len(lines), length).contiguous()
        else:
            width = max(len(line["spans"]) for line in lines)
            filled = [line["spans"] + [[_PAD] * 4] * (width - len(line["spans"])) for line in lines]
            batch["spans"] = torch.tensor(filled, dtype=torch.long)
        return batch

    def _line(self, row: Mapping[str, Any]) -> dict[str, list[Any]]:
        """One row with its mask numbers and reply sizes; the trunk is part 0, the branches are parts 1, 2, …"""
        trunk_len, length = row["trunk_len"], len(row["input_ids"])
        line: dict[str, list[Any]] = {
            "input_ids": list(row["input_ids"]),
            "position_ids": list(row["position_ids"]),
            "labels": list(row["labels"]),
            "own": [0] * trunk_len,
            "parent": [0] * length,
            "limit": list(range(1, trunk_len + 1)),
            "layers": list(row.get("layers") or [IGNORED] * length),
            "spans": [[0, trunk_len, 0, 0]] + [[start, end, 0, sees] for start, end, sees in row["branches"]],
        }
        for part, (start, end, sees) in enumerate(row["branches"], start=1):
            line["own"] += [part] * (end - start)
            line["limit"] += [sees] * (end - start)
        trained = [label != IGNORED for label in line["labels"]]
        if _WEIGHTS in row:
            line[_WEIGHTS] = list(row[_WEIGHTS])
        counts = Counter(part for part, wanted in zip(line["own"], trained, strict=True) if wanted)
        line["sizes"] = [counts[part] if wanted else 0 for part, wanted in zip(line["own"], trained, strict=True)]
        return line


def _join(lines: Sequence[dict[str, list[Any]]]) -> dict[str, list[Any]]:
    """Several rows as one: parts renumbered, limits moved to where the trunk now lies."""
    joined: dict[str, list[Any]] = {name: [] for name in lines[0]}
    parts = 0
    for line in lines:
        offset = len(joined["input_ids"])
        moved = {
            **line,
            "own": [part + parts for part in line["own"]],
            "parent": [part + parts for part in line["parent"]],
            "limit": [limit + offset for limit in line["limit"]],
            "spans": [[place + offset for place in span] for span in line["spans"]],
        }
        parts += max(line["own"]) + 1
        for name, column in joined.items():
            column += moved[name]
    return joined
