"""Results of `her-hf eval minimax`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator

from her_hf.scoring.minimax import COLUMNS, PENALTIES, PILLARS

from .parts import Counts, Envelope, Interval, Part, Scores, each

_BY_PILLAR = AfterValidator(each(PILLARS))
_BY_COLUMN = AfterValidator(each(COLUMNS))
_BY_SEVERITY = AfterValidator(each(PENALTIES))


class MinimaxJudged(Part):
    """Counts of what was judged."""

    seeds: int
    missing_seeds: int
    sessions: int
    missing_sessions: int
    errors: Annotated[dict[str, Annotated[Counts, _BY_SEVERITY]], _BY_COLUMN]
    """By column and severity."""
    repaired: int
    quotes_not_found: int
    errors_without_severity: int


class Sides(Part):
    """A count of each side."""

    ai: int
    user: int


class MinimaxCounts(Part):
    """What was played."""

    seeds: int
    sessions: int
    turns: int
    ended_by: Counts
    empty_turns: Sides
    repeated_calls: int
    sessions_with_dropped_turns: Sides
    judged: MinimaxJudged | None


class MinimaxScores(Part):
    """Scores of all or some seeds."""

    overall: float | None
    pillars: Annotated[Scores, _BY_PILLAR] | None
    columns: Annotated[Scores, _BY_COLUMN] | None


class MinimaxIntervals(Part):
    """95% intervals over seeds."""

    overall: Interval
    pillars: Annotated[dict[str, Interval], _BY_PILLAR]
    columns: Annotated[dict[str, Interval], _BY_COLUMN]


class CurvePoint(Part):
    """Quality of one stretch of turns."""

    first_turn: int
    last_turn: int
    mean: float | None
    n: int


class MinimaxLanguage(Part):
    """One language."""

    scores: MinimaxScores
    intervals: MinimaxIntervals
    seeds: int
    missing_seeds: int
    sessions: int
    missing_sessions: int
    curve: list[CurvePoint]


class MinimaxFigures(Part):
    """Scores; all of it is `None` where nobody judged."""

    scores: MinimaxScores | None
    by_language: dict[str, MinimaxLanguage] | None
    curve: list[CurvePoint] | None


class MinimaxCase(Part):
    """One dialogue."""

    language: str
    seed_id: str
    run: int
    ended_by: str
    turns: int
    overall: float | None
    columns: Annotated[dict[str, float], _BY_COLUMN] | None
    chunks: list[float | None]


class MinimaxResults(Envelope):
    """Results of `her-hf eval minimax`."""

    evaluation: Literal["minimax"]
    counts: MinimaxCounts
    figures: MinimaxFigures
    intervals: MinimaxIntervals | None
    cases: list[MinimaxCase]
