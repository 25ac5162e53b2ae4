"""Intervals, paired tests and rank correlation. numpy and scipy are imported by the functions that need them.

Results do not depend on the order of rows or pairs, only on which values belong together, on the seed and on the
number of resamples. Missing values are `None` or NaN and are excluded.

The permutation test and the rank correlation are scipy's. Two functions are written here, for measured reasons:

- `bootstrap_interval`. With one seed, `scipy.stats.bootstrap` gives another interval when the rows are reordered
  (200 rows of four dimensions: 58.41 to 60.66, shuffled 58.38 to 60.71), so a resumed or concurrent run would change
  its figures. It also takes four times as long (0.10 s and 0.02 s for 2,000 resamples).
- `wilson_interval`. `scipy.stats.binomtest(…).proportion_ci(method="wilson")` agrees within 4e-9, since 1.959964 is
  rounded, but takes 0.36 ms instead of 0.6 µs, and importing `scipy.stats` takes 0.5 s in programs that need only
  this formula; the quickstart has no scipy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

Value = float | None
Statistic = str | Callable[[Any], float]


class PairedTest(NamedTuple):
    """Result of [`paired_permutation_test`].

    Args:
        difference (`float`): Mean of first minus second.
        p_value (`float`): Two-sided.
        pairs (`int`): Number of pairs compared.
        dropped (`int`): Number of pairs dropped because a side is missing.
    """

    difference: float
    p_value: float
    pairs: int
    dropped: int


class RankCorrelation(NamedTuple):
    """Spearman's rho, from -1 to 1, and the number of pairs."""

    rho: float
    n: int


def bootstrap_interval(
    table: Sequence[Value] | Sequence[Sequence[Value]],
    statistic: Statistic = "mean",
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Percentile bootstrap interval over rows.

    Args:
        table (`Sequence`): A row for each scene or seed: a number, or one number per column. A row without any number
            is not drawn.
        statistic (`str` or `Callable`, *optional*, defaults to `"mean"`):
            `"mean"` is the mean over columns of each column's mean over its values: for one column its mean, for four
            dimensions CoSER's avg. A function gets an array of shape (rows, columns) with NaN for missing values.
        confidence (`float`, *optional*, defaults to 0.95): Confidence level of the interval.
        resamples (`int`, *optional*, defaults to 2000): Number of resamples.
        seed (`int`, *optional*, defaults to 0): Seed of the resamples.

    Returns:
        `tuple[float, float]` or `None`: Lower and upper end. `None` if fewer than two rows have a number, since one
            row shows no variation, or if a column has none. A resample in which a column has no value, or for which
            the function returns NaN, does not count.

    Raises:
        `ValueError`: If the table is empty or ragged, contains an infinite number, or an option is out of range.

    Example:

    ```python
    >>> bootstrap_interval([70.0, 80.0, 90.0, None])
    (70.0, 90.0)
    ```

    Source: Efron and Tibshirani 1993, chapter 13.
    """
    import numpy as np

    if not 0 < confidence < 1 or resamples < 1:
        raise ValueError(
            f"confidence must be between 0 and 1 and resamples at least 1, got {confidence} and {resamples}."
        )
    if not callable(statistic) and statistic != "mean":
        raise ValueError(f"statistic must be 'mean' or a function of an array, got {statistic!r:.80}.")
    rows = _sorted_rows(table)
    if len(rows) < 2:
        return None
    counts = np.random.default_rng(seed).multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=resamples)
    if callable(statistic):
        drawn = np.array([statistic(np.repeat(rows, count, axis=0)) for count in counts], dtype=float)
    else:
        drawn = _means(rows, counts)
    drawn = drawn[~np.isnan(drawn)]
    if not drawn.size:
        return None
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """95% Wilson score interval of a share observed in `count` independent trials.

    Args:
        share (`float`): From 0 to 1.
        count (`int`): Number of trials, at least 1.

    Raises:
        `ValueError`: If there is no trial.

    Example:

    ```python
    >>> [round(end, 3) for end in wilson_interval(0.9, 10)]
    [0.596, 0.982]
    ```

    Source: Wilson 1927.
    """
    if count < 1:
        raise ValueError(f"a share needs at least one trial, got {count}.")
    z = 1.959964
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return max(0.0, centre - half), min(1.0, centre + half)


def _sorted_rows(table: Sequence[Value] | Sequence[Sequence[Value]]) -> Array:
    """The rows with a number in sorted order, so that the caller's order does not matter."""
    import numpy as np

    if not len(table):
        raise ValueError("an interval needs at least one row, got none.")
    rows = [row if isinstance(row, Sequence) else [row] for row in table]
    widths = sorted({len(row) for row in rows})
    if len(widths) > 1 or not widths[0]:
        raise ValueError(f"all rows need the same number of columns, at least one; got rows of {widths}.")
    array = np.array(rows, dtype=float)  # None becomes NaN
    if np.isinf(array).any():
        raise ValueError("rows must hold finite numbers, got an infinite one.")
    array = array[~np.isnan(array).all(axis=1)]
    return array[np.lexsort(array.T)]


def _means(rows: Array, counts: Any) -> Array:
    """The mean of the columns' means for each resample; NaN if a column has no value in it."""
    import numpy as np

    there = ~np.isnan(rows)
    sums = np.einsum("rn,nc->rc", counts, np.where(there, rows, 0.0))
    sizes = np.einsum("rn,nc->rc", counts, there.astype(float))
    with np.errstate(invalid="ignore"):
        means: Array = (sums / sizes).mean(axis=1)
    return means


def paired_permutation_test(
    first: Sequence[Value], second: Sequence[Value], *, resamples: int = 10_000, seed: int = 0
) -> PairedTest:
    """Tests whether two models differ on the same scenes, by swapping the two scores of each pair at random.

    Args:
        first (`Sequence[float | None]`): A score for each scene.
        second (`Sequence[float | None]`): The other model's score for the same scenes, in the same order.
        resamples (`int`, *optional*, defaults to 10000): Number of random swaps. If there are no more than this in
            total (up to 13 pairs), each is tried once and the p-value is exact.
        seed (`int`, *optional*, defaults to 0): Seed of the swaps.

    Returns:
        [`PairedTest`]: Exchanging first and second changes the sign of the difference and nothing else.

    Raises:
        `ValueError`: If the sequences differ in length, hold an infinite number, or no pair is complete.

    Example:

    ```python
    >>> paired_permutation_test([3.0, 5.0, 6.0, None], [1.0, 2.0, 2.0, 9.0])
    PairedTest(difference=3.0, p_value=0.25, pairs=3, dropped=1)
    ```

    Source: Fisher 1935; `scipy.stats.permutation_test`.
    """
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}.")
    pairs, dropped = _complete(first, second)
    if not pairs:
        raise ValueError(f"no pair is complete among {dropped}: score both models on the same scenes.")
    difference = math.fsum(one - other for one, other in pairs) / len(pairs)
    sign = -1 if difference < 0 else 1  # the same direction for both orders of the models, so that p is the same
    gaps = sorted((sign * (one - other) for one, other in pairs), key=lambda gap: (abs(gap), gap))
    return PairedTest(difference, _swap_test(gaps, resamples, seed) if difference else 1.0, len(pairs), dropped)


def _swap_test(gaps: Sequence[float], resamples: int, seed: int) -> float:
    """The two-sided p-value of a mean difference; swapping a pair changes the sign of its difference."""
    import numpy as np
    from scipy.stats import permutation_test  # type: ignore[import-untyped]

    if len(gaps) < 2:
        return 1.0  # both ways to order one pair are as extreme
    result = permutation_test(
        (np.array(gaps), np.zeros(len(gaps))),
        lambda one, other, axis: np.mean(one - other, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=1000,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def spearman(x: Sequence[Value], y: Sequence[Value]) -> RankCorrelation:
    """Rank correlation of two series, e.g. of a judge's scores with published ones. Ties share their mean rank.

    Args:
        x (`Sequence[float | None]`): A number for each unit.
        y (`Sequence[float | None]`): A number for the same units, in the same order. Incomplete pairs are dropped.

    Returns:
        [`RankCorrelation`]: `rho` and `n`.

    Raises:
        `ValueError`: If the series differ in length, contain an infinite number, have fewer than three complete pairs,
            or one is constant, so that it has no ranks.
    """
    from scipy.stats import spearmanr  # type: ignore[import-untyped]

    pairs, dropped = _complete(x, y)
    if len(pairs) < 3:
        raise ValueError(f"a rank correlation needs at least 3 complete pairs, got {len(pairs)} ({dropped} dropped).")
    for name, values in zip("xy", zip(*pairs, strict=True), strict=True):
        if len(set(values)) < 2:
            raise ValueError(f"{name} is constant at {values[0]}, so it has no ranks to compare.")
    return RankCorrelation(float(spearmanr(*zip(*pairs, strict=True)).statistic), len(pairs))


def _complete(first: Sequence[Value], second: Sequence[Value]) -> tuple[list[tuple[float, float]], int]:
    """The complete pairs, and the number of incomplete ones."""
    if len(first) != len(second):
        raise ValueError(f"both sides must be of the same scenes, got {len(first)} and {len(second)} values.")
    pairs = [
        (float(one), float(other))
        for one, other in zip(first, second, strict=True)
        if one is not None and other is not None and not math.isnan(one) and not math.isnan(other)
    ]
    if any(math.isinf(value) for pair in pairs for value in pair):
        raise ValueError("scores must be finite numbers, got an infinite one.")
    return pairs, len(first) - len(pairs)
