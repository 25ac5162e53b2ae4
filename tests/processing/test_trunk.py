"""Trunk and branches: what a row holds is what its samples hold."""

from __future__ import annotations

from typing import Any

import pytest

from her_hf.processing.rows import build
from her_hf.processing.trunk import IGNORED, Row, Sample, build_row, shared_prefix, take
from tests.support.one_pass import conversation, tiny_tokenizer

HISTORY = [11, 12, 13, 14, 15, 16]


def a_sample(shared: int, answer: list[int], reply_id: int, **columns: Any) -> Sample:
    """An answer to the first `shared` tokens of the history, behind a header of two tokens."""
    ids = [*HISTORY[:shared], 91, 92, *answer]
    return Sample(ids, [False] * (shared + 2) + [True] * len(answer), shared, reply_id, **columns)


def sample_of(row: Row, branch: int) -> tuple[list[int], list[int], list[int]]:
    """Ids, positions and labels of the sample that a branch stands for."""
    start, end, sees = row["branches"][branch]
    ids, positions, labels = (
        row[name][:sees] + row[name][start:end]  # type: ignore[literal-required]
        for name in ("input_ids", "position_ids", "labels")
    )
    return ids, positions, labels


LAYOUTS = [
    pytest.param([2, 4, 6], id="replies of a conversation"),
    pytest.param([6, 6, 6, 6], id="answers to one prompt"),
    pytest.param([6, 2], id="longest trunk first"),
    pytest.param([0, 0], id="nothing shared"),
]


@pytest.mark.parametrize("shared", LAYOUTS)
def test_each_branch_is_its_sample(shared: list[int]) -> None:
    samples = [a_sample(length, [50 + number, 60 + number], 7 * number) for number, length in enumerate(shared)]
    row = build_row(samples)
    assert row["trunk_len"] == max(shared) and row["reply_ids"] == [sample.reply_id for sample in samples]
    assert len(row["input_ids"]) == max(shared) + sum(sample.branch_len for sample in samples)
    for number, sample in enumerate(samples):
        labels = [token if wanted else IGNORED for token, wanted in zip(sample.ids, sample.trained, strict=True)]
        assert sample_of(row, number) == (sample.ids, list(range(len(sample.ids))), labels)
    assert "layers" not in row and "weights" not in row


def test_a_sample_off_the_trunk_is_refused() -> None:
    """Its branch would attend to a history that is not its own, and nothing but the loss would show it."""
    stranger = Sample([11, 99, 91, 50], [False, False, False, True], 2, 3)
    with pytest.raises(ValueError, match=r"sample 3 does not share the first 2 tokens"):
        build_row([stranger, a_sample(6, [50], 0)])


def test_optional_columns_follow_their_tokens() -> None:
    samples = []
    for number, length in enumerate((2, 4)):
        layers, weights = [IGNORED] * (length + 2) + [0, 1], [0.0] * (length + 3) + [0.5]
        samples.append(a_sample(length, [50, 60], number, layers=layers, weights=weights))
    row = build_row(samples)
    assert row["layers"] == [IGNORED] * 6 + [0, 1] + [IGNORED] * 2 + [0, 1]
    assert row["weights"] == [0.0] * 7 + [0.5] + [0.0] * 3 + [0.5]
    part = take(row, [0])
    assert part["layers"] == [IGNORED] * 4 + [0, 1] and part["weights"] == [0.0] * 5 + [0.5]
    assert len(part["input_ids"]) == 6


def test_shared_prefix() -> None:
    assert shared_prefix([[1, 2, 3], [1, 2, 4], [1, 2, 3, 4]]) == 2
    assert shared_prefix([[1, 2], [1, 2, 3]]) == 2
    assert shared_prefix([[1], [2]]) == 0 and shared_prefix([[5, 6]]) == 2


@pytest.mark.parametrize("base", ["smollm2", "qwen3", "llama3"])
def test_take_keeps_what_a_branch_sees(base: str) -> None:
    (row,) = build(conversation(4), tiny_tokenizer(base))
    part = take(row, [0, 2])
    assert list(part) == list(row) and part["reply_ids"] == [2, 6] and part["trunk_len"] == row["branches"][2][2]
    for at, branch in enumerate([0, 2]):
        assert sample_of(part, at) == sample_of(row, branch)
    assert take(row, [0, 1, 2, 3]) == row
