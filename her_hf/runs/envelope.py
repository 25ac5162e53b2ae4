"""The result envelope: the model of what `results.json` of every evaluation holds.

Each field is explained in `docs/results.md`; `docs/results_schema.json` is the JSON schema of [`results_schema`].
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from her_hf.scoring.coser import DIMENSIONS

VERSION = 1
"""Of the envelope; results of another version are refused."""

Evaluation = Literal["coser", "minimax", "form", "reward"]
Row = dict[str, Any]
Counts = dict[str, int]
Scores = dict[str, float | None]
Interval = Annotated[list[float], Field(min_length=2, max_length=2)] | None
"""Both ends of a 95% interval; `None` where there is too little to draw from."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


# -- what all evaluations share


class Failure(_Part):
    """Why something could not be had."""

    key: list[str | int]
    """What identifies it, as in its row of the run's JSONL file."""
    cause: str
    detail: str


class MissingPart(_Part):
    """What could not be had. It is left out of every figure, and no number stands for it."""

    unit: Literal["dialogue", "judgement", "reply"]
    """What is counted here."""
    expected: int
    missing: int
    share: float
    by_cause: Counts
    failures: list[Failure]
    """Scenes, seeds, replies or pairs that failed as a whole, in their order."""


class _Envelope(_Part):
    version: Literal[1]
    settings: Row
    """How it was played and judged, and on what data (`data`: source, split, count, digest)."""
    missing: MissingPart


# -- coser


class CoserJudged(_Part):
    """Counts of what judges said."""

    scored: Counts
    """By dimension, scenes with a score."""
    unscored: Counts
    left_out: Counts
    """By dimension, scenes that only some of several judges scored."""
    missing_by_dimension: Counts
    repaired: int
    flaws: dict[str, dict[str, Counts]]
    """By dimension, type and severity."""
    flaws_without_severity: int
    flaws_of_another_type: int


class CoserCounts(_Part):
    """What was played."""

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
    """Scores of some of the scenes, or by one judge."""

    scores: Scores
    cases: Counts
    missing: Counts


class CoserFigures(_Part):
    """Scores, and what needs no judge; scores are `None` where nobody judged."""

    scores: Scores | None
    by_judge: dict[str, CoserGroup] | None
    by_tag: dict[str, CoserGroup] | None
    by_book: dict[str, CoserGroup] | None
    agreement: Row | None
    """Krippendorff's alpha and the mean difference by dimension; `None` with one rater."""
    overlap: Scores
    form: Row | None


class CoserCase(_Part):
    """One scene that was played to its end; with the score of each dimension under its code."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float | None]

    key: list[str | int]
    tag: str
    language: str
    character_turns: int
    bleu: float | None
    rouge_l: float | None
    avg: float | None
    judges: dict[str, Scores]

    @model_validator(mode="after")
    def _has_each_dimension(self) -> CoserCase:
        if set(self.__pydantic_extra__) != set(DIMENSIONS):
            wanted, got = sorted(DIMENSIONS), sorted(self.__pydantic_extra__)
            raise ValueError(f"a case must have a score for each of {wanted} and no other field, got {got}")
        return self


class CoserResults(_Envelope):
    """Results of `her-hf eval coser`."""

    evaluation: Literal["coser"]
    counts: CoserCounts
    figures: CoserFigures
    intervals: dict[str, Interval] | None
    cases: list[CoserCase]


# -- minimax


class MinimaxJudged(_Part):
    """Counts of what was judged."""

    seeds: int
    missing_seeds: int
    sessions: int
    missing_sessions: int
    errors: dict[str, Counts]
    """By column and severity."""
    repaired: int
    quotes_not_found: int
    errors_without_severity: int


class MinimaxCounts(_Part):
    """What was played."""

    seeds: int
    sessions: int
    turns: int
    ended_by: Counts
    empty_turns: Counts
    asked_again: int
    sessions_with_dropped_turns: Counts
    judged: MinimaxJudged | None


class MinimaxScores(_Part):
    """Scores of all or some seeds."""

    overall: float | None
    pillars: Scores | None
    columns: Scores | None


class MinimaxIntervals(_Part):
    """95% intervals over seeds."""

    overall: Interval
    pillars: dict[str, Interval]
    columns: dict[str, Interval]


class CurvePoint(_Part):
    """Quality of one stretch of turns."""

    first_turn: int
    last_turn: int
    mean: float | None
    n: int


class MinimaxLanguage(_Part):
    """One language."""

    scores: MinimaxScores
    intervals: MinimaxIntervals
    seeds: int
    missing_seeds: int
    sessions: int
    missing_sessions: int
    curve: list[CurvePoint]


class MinimaxFigures(_Part):
    """Scores; all of it is `None` where nobody judged."""

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
    """What was measured."""

    replies: int
    patterns: Counts
    """Replies with each order of layers."""


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
    """What was judged."""

    pairs: int
    """Pairs with a label and a verdict."""
    orders: int
    repaired: int | None
    first_unreadable: int | None
    circumstances_from_prompt: int
    """Pairs that carry no circumstances of their own."""


class RewardGroup(_Part):
    """Some of the pairs."""

    accuracy: float | None
    interval: Interval
    half_credit: float | None
    position_consistency: float | None
    pairs: int


class RewardFigures(_Part):
    """Against the labels; `None` where no pair counts."""

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
