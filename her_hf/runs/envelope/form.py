"""Results of `her-hf eval form`, and the form of replies in played dialogues."""

from __future__ import annotations

from typing import Literal

from .parts import Counts, Envelope, Interval, Part


class Patterns(Part):
    """Orders of layers."""

    count: int
    distinct: int
    top: str | None
    top_share: float
    entropy: float
    """In nats (natural logarithm)."""


class Leaks(Part):
    """Shares of replies."""

    spoken_thoughts: float
    known_secrets: float | None
    """`None` where nobody knows what the others thought."""


class Lengths(Part):
    """Mean characters of each layer in a reply."""

    system_thinking: float
    role_thinking: float
    role_action: float
    role_speech: float


class FormFigures(Part):
    """What needs no judge."""

    replies: int
    well_formed: float
    own_role: float
    ended: float
    visible: float
    leak_rate: float
    leaks: Leaks
    issues: Counts
    patterns: Patterns
    self_bleu: float | None
    characters: Lengths


class DialogueForm(FormFigures):
    """The same of dialogues."""

    dialogues: int


class LeakIntervals(Part):
    """95% intervals of [`Leaks`]."""

    spoken_thoughts: Interval
    known_secrets: Interval


class LengthIntervals(Part):
    """95% intervals of [`Lengths`]."""

    system_thinking: Interval
    role_thinking: Interval
    role_action: Interval
    role_speech: Interval


class FormIntervals(Part):
    """95% intervals of the figures."""

    well_formed: Interval
    own_role: Interval
    ended: Interval
    visible: Interval
    leak_rate: Interval
    top_share: Interval
    leaks: LeakIntervals
    characters: LengthIntervals


class FormCounts(Part):
    """What was measured."""

    replies: int
    patterns: Counts
    """Replies with each order of layers."""


class FormCase(Part):
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


class FormResults(Envelope):
    """Results of `her-hf eval form`; without a reply there are no figures."""

    evaluation: Literal["form"]
    counts: FormCounts
    figures: FormFigures | None
    intervals: FormIntervals | None
    cases: list[FormCase]
