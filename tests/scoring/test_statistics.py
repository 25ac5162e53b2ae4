"""Intervals, paired tests and rank correlation."""

import math
import random
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from her_hf.scoring.statistics import bootstrap_interval, paired_permutation_test, spearman, wilson_interval

np = pytest.importorskip("numpy", reason='needs pip install "her_hf[eval]"')
pytest.importorskip("scipy", reason='needs pip install "her_hf[eval]"')

SCORES = st.integers(0, 1000).map(lambda tenths: tenths / 10)


def random_cases(count: int, seed: int = 0) -> list[list[float | None]]:
    chance = random.Random(seed)
    return [[None if chance.random() < 0.2 else chance.uniform(0, 100) for _ in range(4)] for _ in range(count)]


def mean_of_column_means(array: Any) -> float:
    """Straight from the definition; NaN, without a warning, if a column is empty."""
    columns = [column[~np.isnan(column)] for column in array.T]
    return math.nan if any(not len(column) for column in columns) else float(np.mean([c.mean() for c in columns]))


@given(st.lists(SCORES, min_size=2, max_size=40))
@settings(max_examples=50)
def test_an_interval_holds_the_mean(values: list[float]) -> None:
    interval = bootstrap_interval(values, resamples=500)
    assert interval is not None
    mean = sum(values) / len(values)
    assert interval[0] - 1e-9 <= mean <= interval[1] + 1e-9
    assert min(values) - 1e-9 <= interval[0] and interval[1] <= max(values) + 1e-9


@given(st.lists(st.one_of(st.none(), SCORES), min_size=3, max_size=20), st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_the_order_of_rows_does_not_matter(values: list[float | None], chance: random.Random) -> None:
    shuffled = chance.sample(values, len(values))
    assert bootstrap_interval(shuffled, resamples=100) == bootstrap_interval(values, resamples=100)


def test_an_interval_is_seeded_and_wider_with_more_confidence() -> None:
    values = [row[0] for row in random_cases(60)]
    narrow, wide = (bootstrap_interval(values, confidence=share) for share in (0.5, 0.99))
    assert narrow is not None and wide is not None
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values) == bootstrap_interval(values)


def test_an_interval_is_about_as_wide_as_theory_says() -> None:
    values = [float(value) for value in range(100)]
    interval = bootstrap_interval(values, resamples=4000)
    assert interval is not None
    half = 1.96 * float(np.std(values)) / 10
    assert interval[0] == pytest.approx(49.5 - half, abs=0.5)
    assert interval[1] == pytest.approx(49.5 + half, abs=0.5)


def test_the_mean_of_a_table_is_the_mean_of_column_means() -> None:
    table = random_cases(30)
    fast = bootstrap_interval(table, resamples=300)
    assert fast == pytest.approx(bootstrap_interval(table, mean_of_column_means, resamples=300))
    assert bootstrap_interval([[7.0, None], [7.0, 1.0], [7.0, 1.0]]) == (4.0, 4.0)


def test_a_row_without_any_number_is_not_drawn() -> None:
    table = random_cases(20)
    assert bootstrap_interval([*table, [None] * 4, [math.nan] * 4]) == bootstrap_interval(table)


def test_resamples_in_which_the_statistic_has_no_value_do_not_count() -> None:
    interval = bootstrap_interval([[1.0, 5.0], [3.0, None], [3.0, None]])
    assert interval is not None and not any(map(math.isnan, interval))


@pytest.mark.parametrize("table", [[5.0], [None, None], [5.0, None], [[None, 1.0], [None, 2.0]]])
def test_there_is_no_interval_of_one_row_or_of_an_empty_column(table: Any) -> None:
    assert bootstrap_interval(table) is None


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        ([], {}, "at least one row, got none"),
        ([[1.0], [1.0, 2.0]], {}, r"same number of columns, at least one; got rows of \[1, 2\]"),
        ([[], []], {}, r"got rows of \[0\]"),
        ([1.0, math.inf], {}, "finite"),
        ([1.0, 2.0], {"confidence": 1.0}, "got 1.0 and 2000"),
        ([1.0, 2.0], {"resamples": 0}, "got 0.95 and 0"),
        ([1.0, 2.0], {"statistic": "median"}, "statistic must be 'mean' or a function of an array, got 'median'"),
    ],
)
def test_intervals_refuse(table: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(table, **options)


def exact_p(first: list[float], second: list[float]) -> float:
    """All ways to swap: how many give a mean difference at least as far from 0?"""
    gaps = [one - other for one, other in zip(first, second, strict=True)]
    seen = abs(sum(gaps)) - 1e-9
    ways = [
        abs(sum(sign * gap for sign, gap in zip(signs, gaps, strict=True)))
        for signs in product((1, -1), repeat=len(gaps))
    ]
    return sum(way >= seen for way in ways) / len(ways)


@given(st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=8))
@settings(max_examples=50)
def test_few_pairs_are_tested_exactly(pairs: list[tuple[float, float]]) -> None:
    first, second = [one for one, _ in pairs], [other for _, other in pairs]
    test = paired_permutation_test(first, second)
    assert test.p_value == pytest.approx(exact_p(first, second))
    assert test.difference == pytest.approx(sum(first) / len(first) - sum(second) / len(second), abs=1e-9)


@given(
    st.lists(st.tuples(st.one_of(st.none(), SCORES), SCORES), min_size=1, max_size=30),
    st.randoms(use_true_random=False),
)
@settings(max_examples=50)
def test_models_and_scenes_can_change_places(pairs: list[tuple[float | None, float]], chance: random.Random) -> None:
    pairs.append((1.0, 2.0))
    first, second = [one for one, _ in pairs], [other for _, other in pairs]
    test = paired_permutation_test(first, second, resamples=200)
    swapped = paired_permutation_test(second, first, resamples=200)
    assert swapped == test._replace(difference=-test.difference)
    mixed = chance.sample(pairs, len(pairs))
    assert paired_permutation_test([one for one, _ in mixed], [two for _, two in mixed], resamples=200) == test
    assert test.pairs + test.dropped == len(pairs) and 0 < test.p_value <= 1


def test_many_pairs_that_differ_and_many_that_do_not() -> None:
    chance = random.Random(5)
    base = [chance.uniform(0, 100) for _ in range(100)]
    better = [score + chance.gauss(5, 3) for score in base]
    like = [score + chance.gauss(0, 3) for score in base]
    assert paired_permutation_test(better, base).p_value < 0.001
    assert paired_permutation_test(like, base).p_value > 0.05
    assert paired_permutation_test(base, base).p_value == 1.0


def test_one_pair_proves_nothing() -> None:
    assert paired_permutation_test([90.0, None], [10.0, 5.0]) == (80.0, 1.0, 1, 1)


@pytest.mark.parametrize(
    ("first", "second", "options", "message"),
    [
        ([], [], {}, "no pair is complete among 0"),
        ([None], [1.0], {}, "no pair is complete among 1"),
        ([1.0], [1.0, 2.0], {}, "got 1 and 2 values"),
        ([math.inf], [1.0], {}, "finite"),
        ([1.0], [2.0], {"resamples": 0}, "resamples must be at least 1, got 0"),
    ],
)
def test_paired_tests_refuse(first: Any, second: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        paired_permutation_test(first, second, **options)


def test_spearman_by_hand() -> None:
    assert spearman([1, 2, 3, 4], [10, 30, 20, 40]) == (pytest.approx(1 - 6 * 2 / (4 * 15)), 4)
    assert spearman([1, 2, 3], [9, 4, 1]) == (pytest.approx(-1.0), 3)
    assert spearman([1, 2, 2, 3], [1, 2, 2, 3]).rho == pytest.approx(1.0)
    assert spearman([1, None, 2, 3, math.nan], [1, 5, 2, 3, 4]) == (pytest.approx(1.0), 3)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1.0, 2.0, None], [1.0, 2.0, 3.0], r"at least 3 complete pairs, got 2 \(1 dropped\)"),
        ([1.0, 2.0, 3.0], [4.0, 4.0, 4.0], "y is constant at 4.0"),
        ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0], "x is constant at 1.0"),
        ([1.0], [], "got 1 and 0 values"),
    ],
)
def test_spearman_refuses(x: Any, y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spearman(x, y)


def test_wilson_interval_against_hand_computed_values() -> None:
    low, high = wilson_interval(0.9, 20)
    assert (round(low, 3), round(high, 3)) == (0.699, 0.972)
    assert wilson_interval(0.0, 10)[0] == 0.0
    assert wilson_interval(1.0, 10)[1] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="at least one trial"):
        wilson_interval(0.0, 0)
