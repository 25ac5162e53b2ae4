"""Paired permutation tests of two runs of one evaluation on the scenes, seeds or pairs that they share.

Scores are estimated as in the reports, but over complete pairs only: CoSER's average is the mean of its dimensions'
means over scenes, form shares are over replies, minimax scores are means over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from her_hf.scoring.statistics import bootstrap_interval, paired_permutation_test

from .scores import Kind, Parts, Row, Scores


def paired_tests(
    kind: Kind,
    scores: Sequence[Scores],
    *,
    names: Sequence[str] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> Row:
    """The paired permutation test of each score of two runs.

    Args:
        kind ([`~her_hf.runs.scores.Kind`]): How runs of the evaluation are compared.
        scores (`Sequence[Scores]`): The scores of both runs, see [`~her_hf.runs.scores.Kind`].
        names (`Sequence[str]`, *optional*): The scores to test; by default all of the evaluation.
        resamples (`int`, *optional*, defaults to 10000): Permutations per test, and bootstrap samples per interval.
        seed (`int`, *optional*, defaults to 0): Random seed of both.

    Returns:
        `dict`: For each score `first`, `second` (estimated over the complete pairs), `difference`, `p_value`
            (two-sided), `interval` (95%, bootstrap over units), `pairs` and `dropped`. Without enough complete pairs
            only the counts are numbers.
    """
    units = [*scores[0], *(key for key in scores[1] if key not in scores[0])]
    return {
        name: _test(
            [tuple(side.get(unit, {}).get(name, {}) for side in scores) for unit in units], kind, resamples, seed
        )
        for name in names or kind.names
    }


def _test(sides: Sequence[tuple[Parts, ...]], kind: Kind, resamples: int, seed: int) -> Row:
    """The paired test of one score from its parts in both runs, by unit.

    The difference is a weighted sum of the differences of all parts, so swapping a unit flips the sign of its term.
    """
    names = list(dict.fromkeys(name for side in sides for parts in side for name in parts))
    pairs = [
        {name: (a, b) for name in names if (a := one.get(name)) is not None and (b := other.get(name)) is not None}
        for one, other in sides
    ]
    complete = [unit for unit in pairs if unit]
    possible = len({(at, name) for at, side in enumerate(sides) for parts in side for name in parts})
    counts = {name: sum(name in unit for unit in complete) for name in names}
    total = sum(counts.values())
    counted = {"pairs": total, "dropped": possible - total}
    if not kind.pooled:
        counted = {"pairs": len(complete), "dropped": len(sides) - len(complete)}
    if not complete or (not kind.pooled and not all(counts.values())):
        return {**dict.fromkeys(("first", "second", "difference", "interval", "p_value"), None), **counted}
    weights = {name: 1 / (total if kind.pooled else len(names) * counts[name]) for name in names}
    first, second = (
        math.fsum(weights[name] * pair[side] for unit in complete for name, pair in unit.items()) for side in (0, 1)
    )
    scaled = {name: weight * len(complete) for name, weight in weights.items()}
    gaps = [math.fsum(scaled[name] * (a - b) for name, (a, b) in unit.items()) for unit in complete]
    found = paired_permutation_test(gaps, [0.0] * len(gaps), resamples=resamples, seed=seed)
    ends = _interval(complete, names, kind.pooled, resamples, seed)
    return {
        "first": first,
        "second": second,
        "difference": found.difference,
        "p_value": found.p_value,
        "interval": list(ends) if ends else None,
        **counted,
    }


def _interval(
    pairs: Sequence[Mapping[Any, tuple[float, float]]], names: Sequence[Any], pooled: bool, resamples: int, seed: int
) -> tuple[float, float] | None:
    """The 95% bootstrap interval of the difference; units are resampled with all their parts."""
    rows: list[list[float | None]] = [
        [a - b for a, b in unit.values()]
        if pooled
        else [unit[name][0] - unit[name][1] if name in unit else None for name in names]
        for unit in pairs
    ]
    if not pooled:
        return bootstrap_interval(rows, resamples=resamples, seed=seed)
    import numpy as np

    longest = max(map(len, rows))
    padded = [row + [None] * (longest - len(row)) for row in rows]
    return bootstrap_interval(padded, lambda array: float(np.nanmean(array)), resamples=resamples, seed=seed)
