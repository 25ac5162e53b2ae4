"""Agreement of judges, or of several samples of one judge. krippendorff and numpy are imported when needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Literal

Rating = float | str | None
Level = Literal["nominal", "ordinal", "interval"]
_LEVELS = ("nominal", "ordinal", "interval")


def krippendorff_alpha(ratings: Sequence[Sequence[Rating]], level: Level = "interval") -> float | None:
    """Krippendorff's alpha: 1 is full agreement, 0 is chance level, below 0 is worse than chance.

    Args:
        ratings (`Sequence[Sequence[float | str | None]]`):
            A row for each rater with a rating for each unit, in the same order; `None` or NaN is missing. Texts are
            allowed at the nominal level.
        level (`str`, *optional*, defaults to `"interval"`): `"nominal"` (flaw types), `"ordinal"` (severities) or
            `"interval"` (scores).

    Returns:
        `float` or `None`: `None` if alpha is undefined: fewer than two raters, no unit rated by two, or the same value
            everywhere, so that even chance cannot disagree.

    Raises:
        `ValueError`: If rows differ in length, the level is unknown, or a rating does not fit it.

    Example:

    ```python
    >>> krippendorff_alpha([["a", "b", "b", None], ["a", "b", "a", "a"]], level="nominal")
    0.4444444444444444
    ```

    Source: Krippendorff 2011, "Computing Krippendorff's alpha-reliability".
    """
    if level not in _LEVELS:
        raise ValueError(f"level must be one of {list(_LEVELS)}, got {level!r:.80}.")
    units = _pairable(ratings)
    values = sorted({rating for unit in units for rating in unit if rating is not None}, key=_order)
    if level != "nominal" and any(isinstance(value, str) for value in values):
        raise ValueError(f"level {level!r} needs numbers, got a text among the ratings; use 'nominal' for texts.")
    if len(values) < 2:
        return None
    import krippendorff
    import numpy as np

    codes: dict[Rating, float] = {
        value: index if level == "nominal" else float(value) for index, value in enumerate(values)
    }
    table = np.array([[codes.get(rating, np.nan) for rating in unit] for unit in units]).T
    return float(krippendorff.alpha(reliability_data=table, level_of_measurement=level))


def mean_absolute_difference(ratings: Sequence[Sequence[float | None]]) -> float | None:
    """Mean absolute difference of two raters on the same unit: the mean over pairs of each unit, then over units.

    Args:
        ratings (`Sequence[Sequence[float | None]]`): As in [`krippendorff_alpha`], numbers only.

    Returns:
        `float` or `None`: In the scale of the ratings; `None` if no unit has two ratings.

    Raises:
        `ValueError`: If rows differ in length.
    """
    distances = []
    for unit in _pairable(ratings):
        gaps = [abs(float(one) - float(other)) for one, other in combinations([r for r in unit if r is not None], 2)]
        distances.append(math.fsum(gaps) / len(gaps))
    return math.fsum(distances) / len(distances) if distances else None


def _pairable(ratings: Sequence[Sequence[Rating]]) -> list[list[Rating]]:
    """Units rated by at least two raters, with the ratings of all raters; NaN becomes `None`."""
    lengths = sorted({len(row) for row in ratings})
    if len(lengths) > 1:
        raise ValueError(f"every rater needs an entry for every unit, None if missing; got rows of {lengths}.")
    units = [[None if _missing(rating) else rating for rating in unit] for unit in zip(*ratings, strict=True)]
    return [unit for unit in units if sum(rating is not None for rating in unit) > 1]


def _missing(rating: Rating) -> bool:
    return rating is None or (isinstance(rating, float) and math.isnan(rating))


def _order(value: float | str) -> tuple[bool, float, str]:
    return (True, 0.0, value) if isinstance(value, str) else (False, value, "")
