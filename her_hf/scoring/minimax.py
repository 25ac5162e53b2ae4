"""Scores in the manner of MiniMax's Role-Play Bench: columns, pillars and overall score from a judge's errors.

The columns, the pillars and their weights, chunks of 20 turns, and scores from 100 down to 0 are published. The
penalty of an error and the weights of columns within a pillar are not: [`PENALTIES`] and the equal weights are ours.
So scores can be compared with each other, but not with published ones. Standard library only.

Source: MiniMax's post on M2-her (2026-01-27); dataset card MiniMaxAI/role-play-bench.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypedDict

PILLARS: dict[str, tuple[str, ...]] = {
    "worlds": ("basics_score", "logic_score", "knowledge_score"),
    "stories": ("diversity_score", "content_logic_score"),
    "preferences": ("interaction_score",),
}
"""Columns of each pillar. A pillar is the mean of its columns, which is an assumption: no weights are published."""
WEIGHTS = {"worlds": 0.50, "stories": 0.25, "preferences": 0.25}
COLUMNS = tuple(column for columns in PILLARS.values() for column in columns)

PENALTIES = {"minor": 5.0, "major": 15.0, "critical": 40.0}
"""Points that an error takes from its column in its chunk. These are ours: three minor errors, which are noticed,
weigh as much as a major one, which disrupts reading; three critical ones, which break the scene, use up a chunk."""

CHUNK_TURNS = 20
"""Number of turns that are judged together."""

Columns = Mapping[str, float]
"""Score of each of the six columns, 0 to 100."""


class SessionScores(NamedTuple):
    """Scores of one dialogue.

    Args:
        columns (`dict[str, float]`, *optional*): Mean of each column; `None` if no chunk was judged.
        judged (`int`): Number of chunks with a judgement.
        missing (`int`): Number of chunks without one.
    """

    columns: dict[str, float] | None
    judged: int
    missing: int


class CurvePoint(NamedTuple):
    """Quality in one range of turns.

    Args:
        first_turn, last_turn (`int`): The range, turns counted from 1.
        mean (`float`, *optional*): Mean overall score; `None` if no dialogue was judged there.
        n (`int`): Number of dialogues that were judged there.
    """

    first_turn: int
    last_turn: int
    mean: float | None
    n: int


class Summary(TypedDict):
    """Scores of a model over seeds; the scores are `None` if no seed has any."""

    overall: float | None
    pillars: dict[str, float] | None
    columns: dict[str, float] | None
    seeds: int
    missing_seeds: int
    sessions: int
    missing_sessions: int


def chunk_scores(errors: Sequence[Mapping[str, object]]) -> dict[str, float]:
    """Scores of one judged chunk: each column starts at 100 and loses [`PENALTIES`] for its errors, down to 0.

    Args:
        errors (`Sequence[Mapping]`): Each with `column` and `severity` (`"minor"`, `"major"` or `"critical"`); other
            keys, such as the quote and the turn, are ignored. An empty list is a judgement: 100 everywhere.

    Returns:
        `dict[str, float]`: Score of each column, 0 to 100.

    Raises:
        `ValueError`: If an error is not an object, or its column or severity is unknown. The chunk is then missing.

    Example:

    ```python
    >>> chunk_scores([{"column": "logic_score", "severity": "major"}])["logic_score"]
    85.0
    ```
    """
    if isinstance(errors, str | Mapping) or not isinstance(errors, Sequence):
        raise ValueError(f"errors must be a list of objects, got {type(errors).__name__}; [] means no errors.")
    lost = dict.fromkeys(COLUMNS, 0.0)
    for index, error in enumerate(errors):
        if not isinstance(error, Mapping):
            raise ValueError(f"error {index} must be an object with column and severity, got {error!r:.80}.")
        lost[_known(index, error, "column", COLUMNS)] += PENALTIES[_known(index, error, "severity", tuple(PENALTIES))]
    return {column: max(0.0, 100 - points) for column, points in lost.items()}


def _known(index: int, error: Mapping[str, object], key: str, choices: Sequence[str]) -> str:
    value = error.get(key)
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"error {index}: {key} must be one of {list(choices)}, got {value!r:.80}.")
    return value


def session_scores(chunks: Sequence[Columns | None]) -> SessionScores:
    """Scores of one dialogue: the mean over its judged chunks, all of equal weight.

    Args:
        chunks (`Sequence[Mapping[str, float] | None]`): From [`chunk_scores`], in order; `None` where the judgement is
            missing.

    Raises:
        `ValueError`: If there are no chunks, or a chunk lacks a column.
    """
    if not chunks:
        raise ValueError("a session needs at least one chunk, got none.")
    judged = [_checked(chunk) for chunk in chunks if chunk is not None]
    return SessionScores(_mean(judged) if judged else None, len(judged), len(chunks) - len(judged))


def pillars(columns: Columns) -> dict[str, float]:
    """Worlds, stories and preferences, 0 to 100: the plain means of their columns.

    Raises:
        `ValueError`: If a column is absent, unknown, or not a score from 0 to 100.
    """
    checked = _checked(columns)
    return {name: math.fsum(checked[column] for column in own) / len(own) for name, own in PILLARS.items()}


def overall(columns: Columns) -> float:
    """The overall score, 0 to 100: 0.50 worlds + 0.25 stories + 0.25 preferences.

    Raises:
        `ValueError`: As [`pillars`].
    """
    return math.fsum(WEIGHTS[name] * score for name, score in pillars(columns).items())


def seed_columns(seeds: Mapping[str, Sequence[Columns | None]]) -> dict[str, dict[str, float] | None]:
    """The mean over the runs of each seed; `None` if all are missing.

    Args:
        seeds (`Mapping[str, Sequence[Mapping[str, float] | None]]`): By seed the columns of each run, `None` for a run
            without scores.

    Returns:
        `dict[str, dict[str, float] | None]`: In alphabetical order, the rows for intervals and paired tests.

    Raises:
        `ValueError`: If there are no seeds, a seed has no runs, or a run's columns are wrong.
    """
    if not seeds:
        raise ValueError("needs at least one seed, got none.")
    means: dict[str, dict[str, float] | None] = {}
    for seed, runs in sorted(seeds.items()):
        if not runs:
            raise ValueError(f"seed {seed!r} has no runs; give None for a missing run.")
        scored = [_checked(run) for run in runs if run is not None]
        means[seed] = _mean(scored) if scored else None
    return means


def summarize_sessions(seeds: Mapping[str, Sequence[Columns | None]]) -> Summary:
    """Scores of a model: the mean over the runs of each seed, then over seeds. Missing ones are excluded and counted.

    Args:
        seeds (`Mapping[str, Sequence[Mapping[str, float] | None]]`): As in [`seed_columns`].

    Returns:
        `dict`: `overall`, `pillars` and `columns` (0 to 100, or `None` if nothing was scored), `seeds` and `sessions`
            (numbers of scored ones), `missing_seeds` and `missing_sessions`.

    Raises:
        `ValueError`: As [`seed_columns`].
    """
    means = seed_columns(seeds)
    scored = [columns for columns in means.values() if columns is not None]
    columns = _mean(scored) if scored else None
    sessions = sum(run is not None for runs in seeds.values() for run in runs)
    return {
        "overall": overall(columns) if columns else None,
        "pillars": pillars(columns) if columns else None,
        "columns": columns,
        "seeds": len(scored),
        "missing_seeds": len(means) - len(scored),
        "sessions": sessions,
        "missing_sessions": sum(map(len, seeds.values())) - sessions,
    }


def curve(
    sessions: Sequence[Sequence[Columns | None]], chunk_turns: int = CHUNK_TURNS, *, turns: int | None = None
) -> list[CurvePoint]:
    """Quality by turn number.

    Args:
        sessions (`Sequence[Sequence[Mapping[str, float] | None]]`): The chunks of each dialogue, in order.
        chunk_turns (`int`, *optional*, defaults to 20): Turns of a chunk; the last one of a dialogue may have fewer.
        turns (`int`, *optional*): Turns of a whole dialogue, the end of the last range; by default that range is full.

    Returns:
        `list[CurvePoint]`: A point for each chunk position of the longest dialogue.
    """
    points = []
    for index in range(max(map(len, sessions), default=0)):
        chunks = [chunks[index] for chunks in sessions if index < len(chunks)]
        scores = [overall(chunk) for chunk in chunks if chunk is not None]
        mean = math.fsum(scores) / len(scores) if scores else None
        last = (index + 1) * chunk_turns
        points.append(CurvePoint(index * chunk_turns + 1, min(last, turns or last), mean, len(scores)))
    return points


def _checked(columns: Columns) -> dict[str, float]:
    if set(columns) != set(COLUMNS):
        raise ValueError(f"scores need the columns {list(COLUMNS)}, got {list(columns)}.")
    for column in COLUMNS:
        score = columns[column]
        if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 100:
            raise ValueError(f"{column} must be a score from 0 to 100, got {score!r:.80}.")
    return {column: float(columns[column]) for column in COLUMNS}


def _mean(rows: Sequence[Columns]) -> dict[str, float]:
    return {column: math.fsum(row[column] for row in rows) / len(rows) for column in COLUMNS}
