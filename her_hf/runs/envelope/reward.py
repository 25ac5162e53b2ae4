"""Results of `her-hf eval reward`."""

from __future__ import annotations

from typing import Literal

from .parts import Envelope, Interval, Part


class RewardCounts(Part):
    """What was judged."""

    pairs: int
    """Pairs with a label and a verdict."""
    orders: int
    repaired: int | None
    first_unreadable: int | None
    circumstances_from_prompt: int
    """Pairs that carry no circumstances of their own."""


class RewardGroup(Part):
    """Some of the pairs."""

    accuracy: float | None
    interval: Interval
    half_credit: float | None
    position_consistency: float | None
    pairs: int


class Ties(Part):
    """Shares of ties."""

    judge: float | None
    labels: float | None


class RewardAgreement(Part):
    """Of verdicts with labels."""

    kappa: float | None
    """Cohen's."""
    alpha: float | None
    """Krippendorff's."""


class CalibrationBin(Part):
    """Verdicts with a confidence in this range."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


class Calibration(Part):
    """Whether confidence predicts how often a verdict is right."""

    bins: list[CalibrationBin]
    error: float | None
    """The expected calibration error."""


class RewardFigures(Part):
    """Against the labels; `None` where no pair counts."""

    accuracy: float | None
    accuracy_decided: float | None
    half_credit: float | None
    ties: Ties
    position_consistency: float | None
    first_position: float | None
    per_order_accuracy: float | None
    first_unreadable_share: float | None
    agreement: RewardAgreement
    calibration: Calibration
    by_kind: dict[str, RewardGroup]
    by_group: dict[str, RewardGroup]
    by_source: dict[str, RewardGroup]
    by_length: dict[str, RewardGroup]


class RewardIntervals(Part):
    """95% intervals over pairs."""

    accuracy: Interval


class RewardCase(Part):
    """One pair."""

    key: list[str | int]
    label: str | None
    verdict: str | None
    orders: list[str | None]
    confidence: float | None
    kind: str | None
    source: str | None
    length: str | None


class RewardResults(Envelope):
    """Results of `her-hf eval reward`."""

    evaluation: Literal["reward"]
    counts: RewardCounts
    figures: RewardFigures
    intervals: RewardIntervals
    cases: list[RewardCase]
