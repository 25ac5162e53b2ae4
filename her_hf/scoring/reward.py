"""Quality of verdicts about pairs: accuracy, ties, consistency, calibration, agreement. Pure functions.

A missing verdict (`None`) is excluded from every figure; the caller reports how many are missing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from .agreement import krippendorff_alpha
from .statistics import wilson_interval

TIE = "tie"
BINS = 5


class Judged(NamedTuple):
    """A pair with its label and a judge's verdict.

    Args:
        label (`str`, *optional*): `"cand_1"`, `"cand_2"` or `"tie"`; `None` if the pair has no label.
        verdict (`str`, *optional*): The judge's verdict, one of the same; `None` if it is missing.
        orders (`tuple[str | None, ...]`, *optional*): Verdict of each order, in the pair's own names: first in the
            given order, then with the sides exchanged.
        confidence (`float`, *optional*): Confidence of the verdict, from 0 to 1.
    """

    label: str | None
    verdict: str | None
    orders: tuple[str | None, ...] = ()
    confidence: float | None = None


def accuracy_figures(pairs: Sequence[Judged]) -> dict[str, Any]:
    """Accuracy against the labels, and the treatment of ties.

    Args:
        pairs (`Sequence[Judged]`): Pairs; those without label or verdict are excluded.

    Returns:
        `dict`: `pairs` (number of pairs counted); `accuracy` with its 95% Wilson `interval`: a tie is right only if
            the label is a tie; `accuracy_decided`: without pairs that the judge calls a tie; `half_credit`: a tie
            counts one half if the label is a side; `ties`: shares of verdicts and of labels. `None` if no pair counts.

    Example:

    ```python
    >>> accuracy_figures([Judged("cand_1", "cand_1"), Judged("cand_1", "tie")])["half_credit"]
    0.75
    ```
    """
    scored = [one for one in pairs if one.label is not None and one.verdict is not None]
    if not scored:
        nothing = dict.fromkeys(("accuracy", "interval", "accuracy_decided", "half_credit"))
        return {"pairs": 0, **nothing, "ties": {"judge": None, "labels": None}}
    right = [one.verdict == one.label for one in scored]
    decided = [one.verdict == one.label for one in scored if one.verdict != TIE]
    credit = [1.0 if one.verdict == one.label else 0.5 * (one.verdict == TIE) for one in scored]
    share = sum(right) / len(scored)
    return {
        "pairs": len(scored),
        "accuracy": share,
        "interval": list(wilson_interval(share, len(scored))),
        "accuracy_decided": sum(decided) / len(decided) if decided else None,
        "half_credit": math.fsum(credit) / len(credit),
        "ties": {
            "judge": sum(one.verdict == TIE for one in scored) / len(scored),
            "labels": sum(one.label == TIE for one in scored) / len(scored),
        },
    }


def order_figures(pairs: Sequence[Judged]) -> dict[str, float | None]:
    """Effect of a candidate's position on the verdict.

    Returns:
        `dict`: `position_consistency`: share of the pairs judged in both orders whose orders agree; `first_position`:
            share of single verdicts, without ties, for the candidate shown first (0.5 without bias);
            `per_order_accuracy`: accuracy of single verdicts. `None` if nothing counts.
    """
    both = [one.orders for one in pairs if len(one.orders) == 2 and None not in one.orders]
    first = ("cand_1", "cand_2")  # the candidate shown first in each order
    named = [
        verdict == first[at]
        for one in pairs
        for at, verdict in enumerate(one.orders[:2])
        if verdict is not None and verdict != TIE
    ]
    single = [
        verdict == one.label for one in pairs if one.label is not None for verdict in one.orders if verdict is not None
    ]
    return {
        "position_consistency": _share([one == other for one, other in both]),
        "first_position": _share(named),
        "per_order_accuracy": _share(single),
    }


def agreement_figures(pairs: Sequence[Judged]) -> dict[str, float | None]:
    """Agreement of judge and labels beyond chance.

    Returns:
        `dict`: `kappa` (Cohen's) and `alpha` (Krippendorff's, nominal): 1 is full agreement, 0 is chance level. `None`
            if undefined: no pair, or the same verdict everywhere.
    """
    scored = [(one.label, one.verdict) for one in pairs if one.label is not None and one.verdict is not None]
    labels, verdicts = [label for label, _ in scored], [verdict for _, verdict in scored]
    return {
        "kappa": cohen_kappa(scored),
        "alpha": krippendorff_alpha([labels, verdicts], level="nominal") if scored else None,
    }


def cohen_kappa(pairs: Sequence[tuple[Any, Any]]) -> float | None:
    """Cohen's kappa of two raters.

    Args:
        pairs (`Sequence[tuple]`): The two ratings of each unit.

    Returns:
        `float` or `None`: `None` without units, or if chance alone would always agree.

    Example:

    ```python
    >>> cohen_kappa([("a", "a"), ("b", "b"), ("a", "b"), ("b", "b")])
    0.5
    ```

    Source: Cohen 1960. nltk's `AnnotationTask.kappa` gives the same figure, takes 20 times as long and would make the
    reward evaluation need nltk, which nothing else of it does.
    """
    if not pairs:
        return None
    observed = sum(one == other for one, other in pairs) / len(pairs)
    ones, others = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    chance = sum(count * others[value] for value, count in ones.items()) / len(pairs) ** 2
    return None if chance == 1 else (observed - chance) / (1 - chance)


def calibration(pairs: Sequence[Judged]) -> dict[str, Any]:
    """Calibration: whether confidence predicts how often a verdict is right.

    Args:
        pairs (`Sequence[Judged]`): Pairs with label, verdict and confidence; others are excluded.

    Returns:
        `dict`: `bins`: five of equal width, each with `low`, `high`, `count`, mean `confidence` and `accuracy` (`None`
            if empty); `error`: expected calibration error, the mean difference of the two, weighted by count.

    Source: Guo et al. 2017.
    """
    known = [
        (one.confidence, one.verdict == one.label)
        for one in pairs
        if one.label is not None and one.verdict is not None and one.confidence is not None
    ]
    bins = []
    error = 0.0
    for at in range(BINS):
        inside = [(sure, right) for sure, right in known if min(int(sure * BINS), BINS - 1) == at]
        found: dict[str, Any] = {"low": at / BINS, "high": (at + 1) / BINS, "count": len(inside)}
        found |= {"confidence": None, "accuracy": None}
        if inside:
            found["confidence"] = math.fsum(sure for sure, _ in inside) / len(inside)
            found["accuracy"] = sum(right for _, right in inside) / len(inside)
            error += len(inside) * abs(found["confidence"] - found["accuracy"])
        bins.append(found)
    return {"bins": bins, "error": error / len(known) if known else None}


def _share(values: Sequence[bool]) -> float | None:
    return sum(values) / len(values) if values else None
