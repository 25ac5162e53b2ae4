"""Agreement of judges, against Krippendorff's own example."""

import math
from typing import Any

import pytest

from her_hf.scoring.agreement import krippendorff_alpha, mean_absolute_difference

pytest.importorskip("krippendorff", reason='needs pip install "her_hf[eval]"')

# Four observers, twelve units: Krippendorff 2011, section C.
EXAMPLE: list[list[float | None]] = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_the_published_example(level: Any, alpha: float) -> None:
    assert krippendorff_alpha(EXAMPLE, level) == pytest.approx(alpha, abs=5e-4)
    assert krippendorff_alpha(EXAMPLE[::-1], level) == pytest.approx(krippendorff_alpha(EXAMPLE, level))


def test_interval_by_hand() -> None:
    # observed: mean square of pairs (0, 1); expected: of all pairs of 1, 1, 2, 3
    assert krippendorff_alpha([[1, 2], [1, 3]]) == pytest.approx(1 - (1 / 2) / (11 / 6))


def test_texts_are_nominal() -> None:
    table = [["a", "b", "b", None], ["a", "b", "a", "a"]]
    numbers = [[0, 1, 1, None], [0, 1, 0, 0]]
    assert krippendorff_alpha(table, "nominal") == krippendorff_alpha(numbers, "nominal") == pytest.approx(4 / 9)


def test_full_agreement_and_its_opposite() -> None:
    assert krippendorff_alpha([[10, 50, 90], [10, 50, 90]]) == pytest.approx(1.0)
    opposite = krippendorff_alpha([[10, 90, 10], [90, 10, 90]])
    assert opposite is not None and opposite < 0


@pytest.mark.parametrize(
    "table",
    [
        [],
        [[]],
        [[1, 2, 3]],  # one rater
        [[1, None], [None, 2]],  # no unit with two ratings
        [[1, math.nan], [math.nan, 2]],
        [[5, 5, None], [5, 5, 7]],  # no two values among the units that count: chance cannot disagree
    ],
)
def test_an_undefined_alpha_is_none(table: Any) -> None:
    assert krippendorff_alpha(table) is None


@pytest.mark.parametrize(
    ("table", "level", "message"),
    [
        ([[1, 2], [1]], "interval", r"None if missing; got rows of \[1, 2\]"),
        ([[1, 2], [1, 2]], "ratio", "level must be one of .* got 'ratio'"),
        ([["a"], ["b"]], "ordinal", "level 'ordinal' needs numbers, got a text"),
    ],
)
def test_alpha_refuses(table: Any, level: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        krippendorff_alpha(table, level)


def test_mean_absolute_difference_by_hand() -> None:
    assert mean_absolute_difference([[10, 50, None], [20, 50, 3], [30, None, None]]) == pytest.approx((40 / 3 + 0) / 2)
    assert mean_absolute_difference([[1, 2]]) is None
    assert mean_absolute_difference([]) is None
    with pytest.raises(ValueError, match="got rows of"):
        mean_absolute_difference([[1], [1, 2]])
