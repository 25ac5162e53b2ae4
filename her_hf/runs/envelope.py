"""The result envelope: the model of `results.json` of every evaluation.

Each field is explained in `docs/results.md`; `docs/results_schema.json` is the JSON schema of [`results_schema`].
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

VERSION = 1
"""Version of the envelope; results of another version are an error."""

Evaluation = Literal["coser", "minimax", "form", "reward"]
Row = dict[str, Any]
Counts = dict[str, int]
Scores = dict[str, float | None]
Interval = Annotated[list[float], Field(min_length=2, max_length=2)] | None
"""Both ends of a 95% interval; `None` if there is too little data."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


# -- what all evaluations share


class Failure(_Part):
    """The cause of a failure."""

    key: list[str | int]
    """Its key, as in its row of the JSONL file."""
    cause: str
    detail: str


class MissingPart(_Part):
    """Missing results. They are excluded from all figures and never replaced by a number."""

    unit: Literal["dialogue", "judgement", "reply"]
    """The unit that is counted."""
    expected: int
    missing: int
    share: float
    by_cause: Counts
    failures: list[Failure]
    """Scenes, seeds, replies or pairs that failed, in their order."""


class _Envelope(_Part):
    version: Literal[1]
    settings: Row
    """Settings of simulation and judges, and `data` (source, split, count, digest)."""
    missing: MissingPart


# -- coser


class CoserJudged(_Part):
    """Counts of judgements and flaws."""

    scored: Counts
    """Scenes with a score, by dimension."""
    unscored: Counts
    left_out: Counts
    """Scenes that only some of several judges scored, by dimension."""
    missing_by_dimension: Counts
    repaired: int
    flaws: dict[str, dict[str, Counts]]
    """Counts by dimension, type and severity."""
    flaws_without_severity: int
    flaws_of_another_type: int


class CoserCounts(_Part):
    """Counts of the simulation."""

    scenes: int
    turns: int
    character_turns: int
    ended_by: Counts
    next_speaker_named: int
    next_speaker_drawn: int
    empty_turns: int
    asked_again: int
    cut_where_another_speaks: int
    turns_dropped_to_fit: int
    not_ended_by_model: int
    judged: CoserJudged | None


class CoserGroup(_Part):
    """Scores of a group of scenes, or by one judge."""

    scores: Scores
    cases: Counts
    missing: Counts


class CoserFigures(_Part):
    """Scores, which are `None` without judges, and figures that need no judge."""

    scores: Scores | None
    by_judge: dict[str, CoserGroup] | None
    by_tag: dict[str, CoserGroup] | None
    by_book: dict[str, CoserGroup] | None
    agreement: Row | None
    """Krippendorff's alpha and the mean absolute difference by dimension; `None` with one rater."""
    overlap: Scores
    form: Row | None


class CoserCase(_Part):
    """One scene that did not fail."""

    key: list[str | int]
    tag: str
    language: str
    character_turns: int
    bleu: float | None
    rouge_l: float | None
    SC: float | None
    AN: float | None
    CF: float | None
    SQ: float | None
    avg: float | None
    judges: dict[str, Scores]


class CoserResults(_Envelope):
    """Results of `her-hf eval coser`."""

    evaluation: Literal["coser"]
    counts: CoserCounts
    figures: CoserFigures
    intervals: dict[str, Interval] | None
    cases: list[CoserCase]


# -- minimax


class MinimaxJudged(_Part):
    """Counts of judgements and errors."""

    seeds: int
    missing_seeds: int
    sessions: int
    missing_sessions: int
    errors: dict[str, Counts]
    """Counts by column and severity."""
    repaired: int
    quotes_not_found: int
    errors_without_severity: int


class MinimaxCounts(_Part):
    """Counts of the simulation."""

    seeds: int
    sessions: int
    turns: int
    ended_by: Counts
    empty_turns: Counts
    asked_again: int
    sessions_with_dropped_turns: Counts
    judged: MinimaxJudged | None


class MinimaxScores(_Part):
    """Scores of a group of seeds."""

    overall: float | None
    pillars: Scores | None
    columns: Scores | None


class MinimaxIntervals(_Part):
    """95% intervals over seeds."""

    overall: Interval
    pillars: dict[str, Interval]
    columns: dict[str, Interval]


class CurvePoint(_Part):
    """Quality of one range of turns."""

    first_turn: int
    last_turn: int
    mean: float | None
    n: int


class MinimaxLanguage(_Part):
    """Results of one language."""

    scores: MinimaxScores
    intervals: MinimaxIntervals
    seeds: int
    missing_seeds: int
    sessions: int
    missing_sessions: int
    curve: list[CurvePoint]


class MinimaxFigures(_Part):
    """Scores; all are `None` without a judge."""

    scores: MinimaxScores | None
    by_language: dict[str, MinimaxLanguage] | None
    curve: list[CurvePoint] | None


class MinimaxCase(_Part):
    """One dialogue."""

    language: str
    seed_id: str
    run: int
    ended_by: str
    turns: int
    overall: float | None
    columns: dict[str, float] | None
    chunks: list[float | None]


class MinimaxResults(_Envelope):
    """Results of `her-hf eval minimax`."""

    evaluation: Literal["minimax"]
    counts: MinimaxCounts
    figures: MinimaxFigures
    intervals: MinimaxIntervals | None
    cases: list[MinimaxCase]


# -- form


class FormCounts(_Part):
    """Counts of replies."""

    replies: int
    patterns: Counts
    """Replies by order of layers."""


class FormCase(_Part):
    """One reply."""

    key: list[str | int]
    character: str
    well_formed: bool
    own_role: bool
    ended: bool
    visible: bool
    pattern: str
    issues: list[str]
    spoken_thoughts: list[str]
    knows_secret: bool | None
    leak: bool


class FormResults(_Envelope):
    """Results of `her-hf eval form`; without a reply there are no figures."""

    evaluation: Literal["form"]
    counts: FormCounts
    figures: Row | None
    intervals: Row | None
    cases: list[FormCase]


# -- reward


class RewardCounts(_Part):
    """Counts of pairs and answers."""

    pairs: int
    """Pairs with a label and a verdict."""
    orders: int
    repaired: int | None
    first_unreadable: int | None
    circumstances_from_prompt: int
    """Pairs without circumstances, which were parsed from the prompt."""


class RewardGroup(_Part):
    """Figures of a group of pairs."""

    accuracy: float | None
    interval: Interval
    half_credit: float | None
    position_consistency: float | None
    pairs: int


class RewardFigures(_Part):
    """Figures against the labels; `None` without any pair to count."""

    accuracy: float | None
    accuracy_decided: float | None
    half_credit: float | None
    ties: Scores
    position_consistency: float | None
    first_position: float | None
    per_order_accuracy: float | None
    first_unreadable_share: float | None
    agreement: Scores
    calibration: Row
    by_kind: dict[str, RewardGroup]
    by_group: dict[str, RewardGroup]
    by_source: dict[str, RewardGroup]
    by_length: dict[str, RewardGroup]


class RewardCase(_Part):
    """One pair."""

    key: list[str | int]
    label: str | None
    verdict: str | None
    orders: list[str | None]
    confidence: float | None
    kind: str | None
    source: str | None
    length: str | None


class RewardResults(_Envelope):
    """Results of `her-hf eval reward`."""

    evaluation: Literal["reward"]
    counts: RewardCounts
    figures: RewardFigures
    intervals: dict[str, Interval]
    cases: list[RewardCase]


ENVELOPE: TypeAdapter[Any] = TypeAdapter(
    Annotated[CoserResults | MinimaxResults | FormResults | RewardResults, Field(discriminator="evaluation")]
)


def results_schema() -> Row:
    """The JSON schema of `results.json`."""
    return {**ENVELOPE.json_schema(), "title": f"results.json of her_hf, version {VERSION}"}
