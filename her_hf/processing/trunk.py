"""A row of one-pass training: the trunk that its samples share, and a branch for the rest of each.

One builder serves every kind of training. The replies of a conversation share its history, the two answers of a reward
model share their prompt, the answers that a policy samples to a prompt share that prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NotRequired, TypedDict

IGNORED = -100
"""Label of a token that is not trained."""


class Row(TypedDict):
    """One row for the trainer.

    `branches` holds `[start, end, sees]` for each sample: its span in the row, and how many tokens of the trunk it
    attends to. `reply_ids` holds the id of each sample, such as the index of the reply in its conversation. `layers`,
    if given, holds for each trained token the part of the answer by which the held-out loss is reported. `weights`,
    if given, holds the weight of each token in the loss; those of a branch add up to at most 1.
    """

    input_ids: list[int]
    position_ids: list[int]
    labels: list[int]
    trunk_len: int
    branches: list[list[int]]
    reply_ids: list[int]
    layers: NotRequired[list[int]]
    weights: NotRequired[list[float]]


@dataclass(frozen=True, slots=True)
class Sample:
    """A prompt and its answer, as training of one sample a row sees them.

    Args:
        ids (`list[int]`): Tokens of the prompt and the answer.
        trained (`list[bool]`): Which of them are trained.
        shared (`int`): Leading tokens that lie in the trunk; the others become the branch.
        reply_id (`int`): Identifies the sample in its row.
        layers (`list[int]`, *optional*): Part of the answer for each token, see [`Row`].
        weights (`list[float]`, *optional*): Weight of each token in the loss, see [`Row`].
    """

    ids: list[int]
    trained: list[bool]
    shared: int
    reply_id: int
    layers: list[int] | None = None
    weights: list[float] | None = None

    @property
    def trunk(self) -> list[int]:
        """The tokens that lie in the trunk."""
        return self.ids[: self.shared]

    @property
    def branch_len(self) -> int:
        """Number of tokens of the branch."""
        return len(self.ids) - self.shared


def shared_prefix(sequences: Sequence[Sequence[int]]) -> int:
    """Number of leading tokens that all sequences have in common."""
    first, *others = sequences
    length = min(map(len, sequences))
    return next((at for at in range(length) if any(other[at] != first[at] for other in others)), length)


def build_row(samples: Sequence[Sample]) -> Row:
    """Lays samples out as one row: the longest trunk among them once, then a branch for each.

    Args:
        samples (`Sequence[Sample]`): At least one; the trunk of each begins the longest one. All of them have an
            optional column, or none has.

    Returns:
        `Row`: Branches in the order of the samples. The positions of a branch continue those of its trunk.

    Raises:
        `ValueError`: If a sample's trunk is not a prefix of the longest one: its branch would attend to tokens that
            are not in its own prompt.

    Example:

    ```python
    >>> answers = [Sample([1, 2, 3], [False, False, True], 2, 0), Sample([1, 2, 4], [False, False, True], 2, 1)]
    >>> build_row(answers)["input_ids"], build_row(answers)["branches"]
    ([1, 2, 3, 4], [[2, 3, 2], [3, 4, 2]])
    ```
    """
    trunk = max(samples, key=lambda sample: sample.shared).trunk
    row = Row(
        input_ids=list(trunk),
        position_ids=list(range(len(trunk))),
        labels=[IGNORED] * len(trunk),
        trunk_len=len(trunk),
        branches=[],
        reply_ids=[sample.reply_id for sample in samples],
    )
    for sample in samples:
        if trunk[: sample.shared] != sample.trunk:
            raise ValueError(
                f"sample {sample.reply_id} does not share the first {sample.shared} tokens of the row's trunk: put it "
                "into a row of its own"
            )
        start, shared = len(row["input_ids"]), sample.shared
        row["input_ids"] += sample.ids[shared:]
        row["position_ids"] += range(shared, len(sample.ids))
        row["labels"] += [
            token if trained else IGNORED
            for token, trained in zip(sample.ids[shared:], sample.trained[shared:], strict=True)
        ]
        row["branches"].append([start, start + sample.branch_len, shared])
    layers = [sample.layers[sample.shared :] for sample in samples if sample.layers is not None]
    if layers:
        row["layers"] = [IGNORED] * len(trunk) + list(chain.from_iterable(layers))
    weights = [sample.weights[sample.shared :] for sample in samples if sample.weights is not None]
    if weights:
        row["weights"] = [0.0] * len(trunk) + list(chain.from_iterable(weights))
    return row


def take(row: Row, branches: Sequence[int]) -> Row:
    """The row with only the given branches, and no more of the trunk than they attend to.

    Args:
        row (`Row`): A row of [`build_row`].
        branches (`Sequence[int]`): Indices into `row["branches"]`, at least one.

    Returns:
        `Row`: A row that trains those samples exactly as the whole row does.
    """
    if len(branches) == len(row["branches"]):
        return row
    chosen = [row["branches"][index] for index in branches]
    trunk_len = max(sees for _, _, sees in chosen)
    spans = [(0, trunk_len), *((start, end) for start, end, _ in chosen)]

    def kept(column: Sequence[Any]) -> list[Any]:
        return [value for start, end in spans for value in column[start:end]]

    part = Row(
        input_ids=kept(row["input_ids"]),
        position_ids=kept(row["position_ids"]),
        labels=kept(row["labels"]),
        trunk_len=trunk_len,
        branches=[],
        reply_ids=[row["reply_ids"][index] for index in branches],
    )
    if "layers" in row:
        part["layers"] = kept(row["layers"])
    if "weights" in row:
        part["weights"] = kept(row["weights"])
    at = trunk_len
    for start, end, sees in chosen:
        part["branches"].append([at, at + end - start, sees])
        at += end - start
    return part
