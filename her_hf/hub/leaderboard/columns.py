"""The columns of the leaderboard for each evaluation, and their values in an envelope."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from her_hf.runs.report.headline import SHARES
from her_hf.scoring.coser_dimensions import DIMENSIONS
from her_hf.scoring.minimax import PILLARS

Results = Mapping[str, Any]


class Value(NamedTuple):
    """A figure of a run, on a scale from 0 to 100.

    Args:
        value (`float`, *optional*): The figure; `None` if it could not be computed.
        low, high (`float`, *optional*): The ends of its 95% interval; `None` without one.
        n (`int`, *optional*): Number of scenes, seeds, replies or pairs that it is a mean over.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Args:
        name (`str`): Its key in the data of the page.
        label (`str`): Its heading.
        lower (`bool`, *optional*, defaults to `False`): Whether lower values are better.
        axis (`bool`, *optional*, defaults to `True`): Whether it is an axis of the radar.
    """

    name: str
    label: str
    lower: bool = False
    axis: bool = True


@dataclass(frozen=True)
class Board:
    """What the leaderboard shows of one evaluation.

    Args:
        columns (`Sequence[Column]`): The columns; the first one ranks.
        tested (`str`): The score of [`~her_hf.runs.scores`] whose differences are tested.
        values (`Callable`): Returns the values of a run by the name of the column.
        breakdown (`str`): What the second table is by.
        parts (`Callable`): Returns the first column's value for each part of the data.
    """

    columns: Sequence[Column]
    tested: str
    values: Callable[[Results], dict[str, Value]]
    breakdown: str
    parts: Callable[[Results], dict[str, Value]]


def _value(
    value: float | None, ends: Sequence[float] | None = None, count: int | None = None, scale: int = 1
) -> Value:
    low, high = [end * scale for end in ends] if ends else (None, None)
    return Value(None if value is None else value * scale, low, high, count)


def _coser(results: Results) -> dict[str, Value]:
    scores, ends = results["figures"]["scores"], results["intervals"]
    counts = results["counts"]["judged"]["scored"]
    return {name: _value(scores[name], ends[name], counts.get(name)) for name in ("avg", *DIMENSIONS)}


def _coser_books(results: Results) -> dict[str, Value]:
    books = results["figures"]["by_book"] or {}
    return {book: Value(own["scores"]["avg"], n=max(own["cases"].values())) for book, own in sorted(books.items())}


def _minimax(results: Results) -> dict[str, Value]:
    scores, ends, count = results["figures"]["scores"], results["intervals"], results["counts"]["judged"]["seeds"]
    pillars = scores["pillars"] or {}
    found = {name: _value(pillars.get(name), ends["pillars"][name], count) for name in PILLARS}
    return {"overall": _value(scores["overall"], ends["overall"], count), **found}


def _minimax_languages(results: Results) -> dict[str, Value]:
    languages = results["figures"]["by_language"] or {}
    return {
        name: _value(own["scores"]["overall"], own["intervals"]["overall"], own["seeds"])
        for name, own in sorted(languages.items())
    }


def _form(results: Results) -> dict[str, Value]:
    figures, ends = results["figures"], results["intervals"]
    return {name: _value(figures[name], ends[name], figures["replies"], 100) for name in SHARES}


def _form_books(results: Results) -> dict[str, Value]:
    books: dict[str, list[bool]] = defaultdict(list)
    for case in results["cases"]:
        books[str(case["key"][0])].append(case["well_formed"])
    return {book: Value(100 * sum(own) / len(own), n=len(own)) for book, own in sorted(books.items())}


def _reward(results: Results) -> dict[str, Value]:
    figures, pairs = results["figures"], results["counts"]["pairs"]
    groups = {
        name: _value(own["accuracy"], own["interval"], own["pairs"], 100) for name, own in figures["by_group"].items()
    }
    return {
        "accuracy": _value(figures["accuracy"], results["intervals"]["accuracy"], pairs, 100),
        "seen": groups.get("seen", Value(None)),
        "unseen": groups.get("unseen", Value(None)),
        "position_consistency": _value(figures["position_consistency"], None, pairs, 100),
        "calibration": _value(figures["calibration"]["error"], None, pairs, 100),
    }


def _reward_kinds(results: Results) -> dict[str, Value]:
    kinds = sorted(results["figures"]["by_kind"].items())
    return {name: _value(own["accuracy"], own["interval"], own["pairs"], 100) for name, own in kinds}


BOARDS: Mapping[str, Board] = {
    "coser": Board(
        (Column("avg", "average", axis=False), *(Column(code, label) for code, label in DIMENSIONS.items())),
        "avg",
        _coser,
        "book",
        _coser_books,
    ),
    "minimax": Board(
        (Column("overall", "overall", axis=False), *(Column(name, name) for name in PILLARS)),
        "overall",
        _minimax,
        "language",
        _minimax_languages,
    ),
    "form": Board(
        tuple(Column(name, label, lower=name == "leak_rate") for name, label in SHARES.items()),
        "well_formed",
        _form,
        "book",
        _form_books,
    ),
    "reward": Board(
        (
            Column("accuracy", "accuracy"),
            Column("seen", "seen kinds"),
            Column("unseen", "unseen kinds"),
            Column("position_consistency", "orders agree"),
            Column("calibration", "calibration error", lower=True),
        ),
        "accuracy",
        _reward,
        "kind of pair",
        _reward_kinds,
    ),
}
"""By evaluation, in the order of the page."""
