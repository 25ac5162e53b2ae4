"""What the results of all evaluations share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Row = dict[str, Any]
Counts = dict[str, int]
Scores = dict[str, float | None]
Interval = Annotated[list[float], Field(min_length=2, max_length=2)] | None
"""Both ends of a 95% interval; `None` where there is too little to draw from."""

T = TypeVar("T")


def each(names: Iterable[str]) -> Callable[[dict[str, T]], dict[str, T]]:
    """Checks that a table has these names and no other."""
    wanted = sorted(names)

    def checked(found: dict[str, T]) -> dict[str, T]:
        if sorted(found) != wanted:
            raise ValueError(f"must have each of {wanted} and no other, got {sorted(found)}")
        return found

    return checked


class Part(BaseModel):
    """Anything in `results.json`: exactly these fields, strictly of these types."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class Failure(Part):
    """Why something could not be had."""

    key: list[str | int]
    """What identifies it, as in its row of the run's JSONL file."""
    cause: str
    detail: str


class MissingPart(Part):
    """What could not be had. It is left out of every figure, and no number stands for it."""

    unit: Literal["dialogue", "judgement", "reply"]
    """What is counted here."""
    expected: int
    missing: int
    share: float
    by_cause: Counts
    failures: list[Failure]
    """Scenes, seeds, replies or pairs that failed as a whole, in their order."""


class Envelope(Part):
    """What stands around the figures of each evaluation."""

    version: Literal[1]
    settings: Row
    """How it was played and judged, and on what data (`data`: source, split, count, digest)."""
    missing: MissingPart
