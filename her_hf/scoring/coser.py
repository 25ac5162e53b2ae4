"""CoSER's scores, computed from the flaws that a judge found. Standard library only.

Source: CoSER, Given-Circumstance Acting (ICML 2025). Differences from its code are documented at [`read_severity`].
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypedDict

from .coser_dimensions import DIMENSIONS
from .keys import read_number, stray_keys, with_known_keys

ABSENT_SEVERITY = 1.0
MAX_SEVERITY = 10
"""Usually 1 to 5; up to 10 for mechanical repetition."""

FLAW_KEYS = ("instance", "type", "severity")

Flaw = Mapping[str, object]
Case = Mapping[str, float | None]
"""Scores of one case by dimension code; `None` or an absent code is a missing judgement."""


class Summary(TypedDict):
    """Means over cases: `scores` by dimension and `avg`; the number of `cases` with and without (`missing`) each."""

    scores: dict[str, float | None]
    cases: dict[str, int]
    missing: dict[str, int]


def read_severity(flaw: Flaw) -> float:
    """Severity of a flaw.

    Args:
        flaw (`Mapping`): A flaw as the judge wrote it.

    Returns:
        `float`: Above 0, at most 10. Without the key, which may be spelt in any case, it is 1. A number in a string is
            accepted, also in full-width digits, and so is a fraction (CoSER's code drops both).

    Raises:
        `ValueError`: If the severity is null, a bool, not a number, out of range, given twice with different values,
            or absent while another key may hold it. The judgement with this flaw is then missing: no number is made
            up.

    Example:

    ```python
    >>> read_severity({"severity": "4"}), read_severity({})
    (4.0, 1.0)
    ```
    """
    spelt = with_known_keys(flaw, FLAW_KEYS)
    if "severity" not in spelt:
        stray = stray_keys(spelt, FLAW_KEYS)
        if stray:
            raise ValueError(f"severity must be given, got {stray!r:.200} instead; count the judgement as missing.")
        return ABSENT_SEVERITY
    value = read_number(spelt["severity"])
    if value is None:
        raise ValueError(f"severity must be a number, got {spelt['severity']!r:.80}; count the judgement as missing.")
    if not 0 < value <= MAX_SEVERITY:
        raise ValueError(
            f"severity must be above 0 and at most {MAX_SEVERITY}, got {value!r:.80}; count the judgement as missing."
        )
    return float(value)


def coser_score(flaws: Sequence[Flaw], character_turns: int) -> float:
    """Score of a simulated dialogue in one dimension: `100 - 5 * (sum of severities - 0.3 * turns)`, within 0 to 100.

    Args:
        flaws (`list[dict]`): The judge's flaws; see [`read_severity`]. An empty list is a judgement: no flaws.
        character_turns (`int`): Number of simulated turns by characters, without Environment's.

    Returns:
        `float`: Between 0 and 100.

    Raises:
        `ValueError`: If a flaw is not an object or has no valid severity, or the number of turns is not an integer of
            at least 0.

    Example:

    ```python
    >>> coser_score([{"severity": 3}, {"severity": 3}, {"severity": 2}], character_turns=10)
    75.0
    ```

    Source: CoSER (ICML 2025), Given-Circumstance Acting, the section on penalty-based judging.
    """
    if isinstance(character_turns, bool) or not isinstance(character_turns, int) or character_turns < 0:
        raise ValueError(f"character_turns must be an integer of at least 0, got {character_turns!r:.80}.")
    if isinstance(flaws, str | Mapping) or not isinstance(flaws, Sequence):
        raise ValueError(f"flaws must be a list of objects, got {type(flaws).__name__}; [] means no flaws.")
    total = math.fsum(_severity_at(index, flaw) for index, flaw in enumerate(flaws))
    return max(0.0, min(100.0, 100 - 5 * (total - 0.3 * character_turns)))


def _severity_at(index: int, flaw: Flaw) -> float:
    if not isinstance(flaw, Mapping):
        raise ValueError(f"flaw {index} must be an object with a severity, got {flaw!r:.80}.")
    try:
        return read_severity(flaw)
    except ValueError as error:
        raise ValueError(f"flaw {index}: {error}") from None


def case_score(case: Case) -> float | None:
    """Mean of a case's four dimensions; `None` if one of them is missing.

    Raises:
        `ValueError`: If the case has another key, or a score that is not a number from 0 to 100.
    """
    scores = list(_checked(case).values())
    return _mean(scores) if len(scores) == len(DIMENSIONS) else None


def summarize_cases(cases: Sequence[Case]) -> Summary:
    """Means over cases. Missing judgements are excluded and counted.

    Args:
        cases (`Sequence[Mapping[str, float | None]]`): For each case its scores by dimension code.

    Returns:
        `dict`: `scores` (by dimension code the mean over the cases that have it, `None` if none has; `avg`, the mean
            of these four means, `None` if one of them is), `cases` and `missing` (by dimension code, the number of
            cases with and without it).

    Raises:
        `ValueError`: If there are no cases, or a case is not valid; see [`case_score`].

    Example:

    ```python
    >>> both = summarize_cases([{"SC": 80, "AN": 60, "CF": 40, "SQ": 20}, {"SC": 60, "AN": None}])
    >>> both["scores"]["SC"], both["scores"]["avg"], both["missing"]["AN"]
    (70.0, 47.5, 1)
    ```

    Source: CoSER (ICML 2025): mean per dimension over cases, then mean of four.
    """
    if not cases:
        raise ValueError("summarize_cases needs at least one case, got none.")
    checked = [_checked(case) for case in cases]
    columns = {code: [case[code] for case in checked if code in case] for code in DIMENSIONS}
    means = {code: _mean(column) for code, column in columns.items() if column}
    scores: dict[str, float | None] = {code: means.get(code) for code in DIMENSIONS}
    scores["avg"] = _mean(list(means.values())) if len(means) == len(DIMENSIONS) else None
    return {
        "scores": scores,
        "cases": {code: len(column) for code, column in columns.items()},
        "missing": {code: len(cases) - len(column) for code, column in columns.items()},
    }


def group_means(cases: Sequence[Case], groups: Sequence[str]) -> dict[str, Summary]:
    """[`summarize_cases`] of each group, e.g. by tag (id, ood) or by book.

    Args:
        cases (`Sequence[Mapping[str, float | None]]`): For each case its scores by dimension code.
        groups (`Sequence[str]`): For each case its group.

    Returns:
        `dict[str, dict]`: By group, in alphabetical order.

    Raises:
        `ValueError`: If the number of groups differs from that of cases, or there are no cases.
    """
    if len(cases) != len(groups):
        raise ValueError(f"each case needs one group: got {len(cases)} cases and {len(groups)} groups.")
    return {
        group: summarize_cases([case for case, own in zip(cases, groups, strict=True) if own == group])
        for group in sorted(set(groups))
    }


def _checked(case: Case) -> dict[str, float]:
    """The scores that are not missing, after a check of all."""
    unknown = [key for key in case if key not in DIMENSIONS]
    if unknown:
        raise ValueError(f"a case holds scores of {list(DIMENSIONS)}, got {unknown}.")
    for code, score in case.items():
        if score is not None and (isinstance(score, bool) or not 0 <= score <= 100):
            raise ValueError(f"{code} must be a score from 0 to 100, or None if it is missing, got {score!r:.80}.")
    return {code: float(score) for code, score in case.items() if score is not None}


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
