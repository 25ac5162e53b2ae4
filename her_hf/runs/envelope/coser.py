"""Results of `her-hf eval coser`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, model_validator

from her_hf.scoring.coser_dimensions import DIMENSIONS

from .form import DialogueForm
from .parts import Counts, Envelope, Interval, Part, Row, Scores, each

_BY_DIMENSION = AfterValidator(each(DIMENSIONS))
_WITH_AVERAGE = AfterValidator(each((*DIMENSIONS, "avg")))


class CoserJudged(Part):
    """Counts of what judges said."""

    scored: Annotated[Counts, _BY_DIMENSION]
    """By dimension, scenes with a score."""
    unscored: Annotated[Counts, _BY_DIMENSION]
    left_out: Annotated[Counts, _BY_DIMENSION]
    """By dimension, scenes that only some of several judges scored."""
    missing_by_dimension: Annotated[Counts, _BY_DIMENSION]
    repaired: int
    flaws: dict[str, dict[str, Counts]]
    """By dimension, type and severity."""
    flaws_without_severity: int
    flaws_of_another_type: int


class CoserCounts(Part):
    """What was played."""

    scenes: int
    turns: int
    character_turns: int
    ended_by: Counts
    next_speaker_named: int
    next_speaker_drawn: int
    empty_turns: int
    repeated_calls: int
    cut_where_another_speaks: int
    turns_dropped_to_fit: int
    not_ended_by_model: int
    judged: CoserJudged | None


class CoserGroup(Part):
    """Scores of some of the scenes, or by one judge."""

    scores: Annotated[Scores, _WITH_AVERAGE]
    cases: Annotated[Counts, _BY_DIMENSION]
    missing: Annotated[Counts, _BY_DIMENSION]


class CoserFigures(Part):
    """Scores, and what needs no judge; scores are `None` where nobody judged."""

    scores: Annotated[Scores, _WITH_AVERAGE] | None
    by_judge: dict[str, CoserGroup] | None
    by_tag: dict[str, CoserGroup] | None
    by_book: dict[str, CoserGroup] | None
    agreement: Row | None
    """Krippendorff's alpha and the mean difference by dimension; `None` with one rater."""
    overlap: Scores
    form: DialogueForm | None


class CoserCase(Part):
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


class CoserResults(Envelope):
    """Results of `her-hf eval coser`."""

    evaluation: Literal["coser"]
    counts: CoserCounts
    figures: CoserFigures
    intervals: Annotated[dict[str, Interval], _WITH_AVERAGE] | None
    cases: list[CoserCase]
