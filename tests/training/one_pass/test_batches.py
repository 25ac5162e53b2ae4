"""Steps of as many replies as asked, and their micro-batches."""

from __future__ import annotations

from her_hf.training.one_pass.batches import plan_steps, share_by_length, share_evenly


def test_steps_hold_as_many_replies_as_asked() -> None:
    replies = [5, 3, 9, 1, 4, 2, 7, 1, 6]
    steps = plan_steps(replies, 8, seed=1)
    sizes = [sum(len(branches) for _, branches in step) for step in steps]
    assert sizes == [8, 8, 8, 8, 6]
    trained = sorted((row, branch) for step in steps for row, branches in step for branch in branches)
    assert trained == sorted((row, branch) for row, count in enumerate(replies) for branch in range(count))
    assert plan_steps(replies, 8, seed=1) == steps != plan_steps(replies, 8, seed=2)


def test_neighbours_are_kept_in_the_same_step() -> None:
    replies = [1, 1, 2, 2, 1, 1] * 40
    steps = plan_steps(replies, 10, seed=3, group_size=2)
    assert all(sum(len(branches) for _, branches in step) == 10 for step in steps[:-1])
    parted = [row for step in steps[:-3] for row, _ in step if row ^ 1 not in {other for other, _ in step}]
    assert not parted and len(steps) == 32
    assert [row for step in steps for row, _ in step] != list(range(len(replies)))
    trained = sorted((row, branch) for step in steps for row, branches in step for branch in branches)
    assert trained == [(row, branch) for row, count in enumerate(replies) for branch in range(count)]


def test_neighbours_larger_than_a_step_are_divided() -> None:
    steps = plan_steps([3, 3], 4, seed=None, group_size=2)
    assert steps == [[(0, (0, 1, 2)), (1, (0,))], [(1, (1, 2))]]


def test_rows_of_a_step_are_shared_by_micro_batches() -> None:
    costs = {0: 90, 1: 30, 2: 29, 3: 31, 4: 88, 5: 30}
    pieces = [(row, (0,)) for row in costs]
    even = share_evenly(pieces, 3, lambda piece: costs[piece[0]])
    assert sorted(sum(costs[row] for row, _ in part) for part in even) == [90, 91, 117]
    alike = share_by_length(pieces, 3, lambda piece: costs[piece[0]])
    assert [sorted(row for row, _ in part) for part in alike] == [[0], [3, 4], [1, 2, 5]]
    assert share_by_length(pieces[:1], 3, lambda piece: costs[piece[0]]).count([]) == 2
