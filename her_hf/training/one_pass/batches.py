"""Batches stated in replies: which replies make up an optimizer step, and how ranks and accumulation share them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from torch.utils.data import Dataset as TorchDataset

from her_hf.processing.trunk import Row, take

if TYPE_CHECKING:
    from datasets import Dataset

Piece = tuple[int, tuple[int, ...]]
"""A row and which of its branches: `(row, branches)`."""

_LOOKAHEAD = 64
"""How many rows ahead a step may look for one that fills it exactly, before it splits one."""


def plan_steps(replies: Sequence[int], per_step: int, *, seed: int | None, group_size: int = 1) -> list[list[Piece]]:
    """Distributes rows over optimizer steps of exactly `per_step` replies; only the last may have fewer.

    A group of rows that does not fit waits for a later step. If none of the next groups fits, a group is divided, or a
    row is split, whose trunk is then processed in both steps.

    Args:
        replies (`Sequence[int]`): Number of replies of each row.
        per_step (`int`): Replies of an optimizer step.
        seed (`int`, *optional*): Shuffles the rows; `None` keeps their order.
        group_size (`int`, *optional*, defaults to 1): Neighbouring rows that are kept in the same step.

    Returns:
        `list[list[tuple[int, tuple[int, ...]]]]`: For each step its rows, each with the branches that it trains.

    Raises:
        `ValueError`: If `per_step` is less than one.
    """
    if per_step < 1:
        raise ValueError(f"replies_per_step must be at least 1, got {per_step}")
    groups = [range(start, min(start + group_size, len(replies))) for start in range(0, len(replies), group_size)]
    if seed is not None:
        random.Random(seed).shuffle(groups)
    whole = ([(row, tuple(range(replies[row]))) for row in group if replies[row]] for group in groups)
    queue: list[list[Piece]] = [group for group in whole if group]
    steps: list[list[Piece]] = []
    room = 0
    while queue:
        if room == 0:
            steps.append([])
            room = per_step
        fitting = next((at for at, group in enumerate(queue[:_LOOKAHEAD]) if _replies(group) <= room), None)
        group = queue.pop(fitting or 0)
        if fitting is None:
            group, rest = _split(group, room)
            queue.insert(0, rest)
        steps[-1] += group
        room -= _replies(group)
    return steps


def _replies(group: Sequence[Piece]) -> int:
    return sum(len(branches) for _, branches in group)


def _split(group: Sequence[Piece], room: int) -> tuple[list[Piece], list[Piece]]:
    """The first `room` replies of a group, and the rest."""
    first: list[Piece] = []
    rest: list[Piece] = []
    for row, branches in group:
        left = room - _replies(first)
        first += [(row, branches[:left])] if branches[:left] else []
        rest += [(row, branches[left:])] if branches[left:] else []
    return first, rest


def share_evenly(pieces: Sequence[Piece], bins: int, cost: Callable[[Piece], int]) -> list[list[Piece]]:
    """Splits the rows of a step over `bins` micro-batches of about the same number of tokens; some may stay empty."""
    parts: list[list[Piece]] = [[] for _ in range(bins)]
    loads = [0] * bins
    for piece in sorted(pieces, key=cost, reverse=True):
        lightest = min(range(bins), key=loads.__getitem__)
        parts[lightest].append(piece)
        loads[lightest] += cost(piece)
    return parts


def share_by_length(pieces: Sequence[Piece], bins: int, cost: Callable[[Piece], int]) -> list[list[Piece]]:
    """The same with rows of similar length together: less padding, but less even, so for one rank only."""
    parts: list[list[Piece]] = [[] for _ in range(bins)]
    total, before = sum(map(cost, pieces)), 0
    for piece in sorted(pieces, key=cost, reverse=True):
        middle = before + cost(piece) / 2
        parts[int(middle * bins / total)].append(piece)
        before += cost(piece)
    return parts


class MicroBatches(TorchDataset[list[Row]]):  # type: ignore[misc]
    """The micro-batches of an epoch: item `step * bins + n` holds the rows of the `n`-th micro-batch of a step.

    Micro-batch `n` belongs to rank `n % world`, so one step is `accumulation` items on each rank. The plan of an epoch
    depends only on seed and epoch, so that a killed run resumes where it was.

    Args:
        rows (`Dataset`): The rows.
        per_step (`int`): Replies of an optimizer step.
        bins (`int`): Micro-batches of a step: ranks times accumulation steps.
        seed (`int`, *optional*): Shuffles each epoch differently; `None` keeps the order.
        group_size (`int`, *optional*, defaults to 1): See [`plan_steps`].
        by_length (`bool`, *optional*, defaults to `False`): Rows of similar length into one micro-batch, see
            [`share_by_length`].
    """

    def __init__(
        self,
        rows: Dataset,
        per_step: int,
        bins: int,
        seed: int | None,
        *,
        group_size: int = 1,
        by_length: bool = False,
    ) -> None:
        self._rows, self._per_step, self._bins, self._seed, self._group_size = rows, per_step, bins, seed, group_size
        self._share = share_by_length if by_length else share_evenly
        self._replies = [len(ids) for ids in rows["reply_ids"]]
        self._lengths = [len(ids) for ids in rows["position_ids"]]
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Plans the given epoch; the data loader calls it."""
        seed = None if self._seed is None else self._seed * 1_000_003 + epoch
        steps = plan_steps(self._replies, self._per_step, seed=seed, group_size=self._group_size)
        self._items = [part for pieces in steps for part in self._share(pieces, self._bins, self._cost)]

    def _cost(self, piece: Piece) -> int:
        row, branches = piece
        return self._lengths[row] * len(branches) // self._replies[row]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> list[Row]:
        return [_piece(self._rows[row], branches) for row, branches in self._items[index]]


def _piece(row: dict[str, Any], branches: tuple[int, ...]) -> Row:
    known = cast(Row, {name: row[name] for name in Row.__annotations__ if name in row})
    return take(known, branches)


class EvalBatches(TorchDataset[list[dict[str, Any]]]):  # type: ignore[misc]
    """The held-out rows in micro-batches; empty ones at the end give every rank the same number.

    Args:
        rows (`Dataset`): The rows, with their `layers`.
        per_batch (`int`): Rows of a micro-batch.
        world (`int`): Number of ranks.
    """

    def __init__(self, rows: Dataset, per_batch: int, world: int) -> None:
        self._rows, self._per_batch = rows, per_batch
        self._count = -(-max(1, -(-len(rows) // per_batch)) // world) * world

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> list[dict[str, Any]]:
        start = index * self._per_batch
        return [self._rows[row] for row in range(start, min(start + self._per_batch, len(self._rows)))]
