"""Computes `results.json` from dialogues and judgements: a pure function, so equal rows give equal results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from her_hf.judging.critics.minimax import OPENING_TURNS, chunks_of
from her_hf.runs.results import envelope, missing_part
from her_hf.scoring.minimax import (
    COLUMNS,
    PENALTIES,
    PILLARS,
    WEIGHTS,
    Columns,
    curve,
    overall,
    pillars,
    seed_columns,
    session_scores,
    summarize_sessions,
)
from her_hf.scoring.statistics import bootstrap_interval
from her_hf.simulation.minimax import NPC, USER

from ..rows import Row
from .judging import Judged, dialogue_key, read_judgements

Chunks = Sequence[Columns | None]


def minimax_results(
    dialogues: Iterable[Row],
    judgements: Iterable[Row] | None,
    settings: Mapping[str, Any],
    *,
    turns: int,
    chunk: int,
) -> Row:
    """The results of one evaluation.

    Args:
        dialogues (`Iterable[dict]`): Rows of `dialogues.jsonl`, read once; no transcript is kept.
        judgements (`Iterable[dict]`, *optional*): Rows of `judgements.jsonl`, read once; `None` without a judge.
        settings (`Mapping`): The settings of simulation and judge.
        turns (`int`): Generated turns of a complete dialogue.
        chunk (`int`): Turns that are judged together.

    Returns:
        `dict`: The envelope, see [`~her_hf.runs.envelope.MinimaxResults`]. Without a judge it has no scores, and
            `missing` counts dialogues; otherwise it counts judgements. The settings include `penalties` and
            `weights`, because runs that differ in them are not comparable.
    """
    played = list(map(_played, dialogues))
    failures = [
        {"key": _case_key(row), "cause": row["failure"]["cause"], "detail": row["failure"]["detail"]}
        for row in played
        if row["failure"]
    ]
    given = read_judgements(judgements or ())
    judged: Row = {"counts": None, "intervals": None, "figures": dict.fromkeys(("scores", "by_language", "curve"))}
    missing = missing_part("dialogue", len(played), Counter(one["cause"] for one in failures), failures)
    if judgements is not None:
        judged = _judged(played, given, turns, chunk)
        missing = _missing(given, planned_chunks(turns, chunk), failures)
    return envelope(
        "minimax",
        settings={**settings, "penalties": dict(PENALTIES), "weights": dict(WEIGHTS)},
        counts={**_counts(played), "judged": judged["counts"]},
        missing=missing,
        figures=judged["figures"],
        intervals=judged["intervals"],
        cases=[_case(row, given.columns.get(dialogue_key(row), [])) for row in played],
    )


def _case_key(row: Row) -> list[str | int]:
    return [str(row["language"]), str(row["seed_id"]), int(row["run"])]


def _played(row: Row) -> Row:
    """A dialogue without its text: its key, how it ended, and counts."""
    generated = row["turns"][OPENING_TURNS:]
    empty = Counter(turn["role"] for turn in generated if not turn["text"])
    return {
        **{name: row[name] for name in ("language", "seed_id", "run", "ended_by", "repeated_calls", "dropped_turns")},
        "failure": row.get("failure"),
        "turns": len(row["turns"]),
        "generated": len(generated),
        "empty": empty,
    }


def _counts(dialogues: Sequence[Row]) -> Row:
    return {
        "seeds": len({(row["language"], row["seed_id"]) for row in dialogues}),
        "sessions": len(dialogues),
        "turns": sum(row["generated"] for row in dialogues),
        "ended_by": dict(sorted(Counter(str(row["ended_by"]) for row in dialogues).items())),
        "empty_turns": {role: sum(row["empty"][role] for row in dialogues) for role in (NPC, USER)},
        "repeated_calls": sum(row["repeated_calls"] for row in dialogues),
        "sessions_with_dropped_turns": {
            role: sum(row["dropped_turns"][role] > 0 for row in dialogues) for role in (NPC, USER)
        },
    }


def _judged(dialogues: Sequence[Row], given: Judged, turns: int, size: int) -> Row:
    """Scores, intervals, curve and counts of all dialogues and of each language."""
    scored = given.columns
    total = _scores(dialogues, scored, turns, size)
    languages = sorted({str(row["language"]) for row in dialogues})
    return {
        "figures": {
            "scores": total["scores"],
            "curve": total["curve"],
            "by_language": {
                language: _scores([row for row in dialogues if row["language"] == language], scored, turns, size)
                for language in languages
            },
        },
        "intervals": total["intervals"],
        "counts": {
            **{name: total[name] for name in _COUNTED},
            "errors": {
                column: {severity: given.errors[column, severity] for severity in PENALTIES} for column in COLUMNS
            },
            "repaired": given.repaired,
            "quotes_not_found": given.quotes_not_found,
            "errors_without_severity": given.unrated,
        },
    }


_COUNTED = ("seeds", "missing_seeds", "sessions", "missing_sessions")


def _scores(dialogues: Sequence[Row], scored: Mapping[tuple[Any, ...], Chunks], turns: int, size: int) -> Row:
    """Scores, intervals and curve of the dialogues; one that failed or has no judgement counts as missing."""
    seeds: dict[str, list[Columns | None]] = {}
    for row in dialogues:
        chunks = scored.get(dialogue_key(row))
        columns = session_scores(chunks).columns if chunks else None
        seeds.setdefault(f"{row['language']}/{row['seed_id']}", []).append(columns)
    total = summarize_sessions(seeds)
    stretches = [scored[key] for key in map(dialogue_key, dialogues) if key in scored]
    return {
        "scores": {name: total[name] for name in ("overall", "pillars", "columns")},
        "intervals": _intervals(list(seed_columns(seeds).values())),
        **{name: total[name] for name in _COUNTED},  # type: ignore[literal-required]
        "curve": [point._asdict() for point in curve(stretches, size, turns=turns)],
    }


def _intervals(rows: Sequence[Columns | None]) -> Row:
    """95% bootstrap intervals over seeds; `None` if fewer than two seeds have a score."""

    def of(values: Sequence[float | None]) -> list[float] | None:
        ends = bootstrap_interval(values)
        return list(ends) if ends else None

    by_pillar = [pillars(row) if row else None for row in rows]
    return {
        "overall": of([overall(row) if row else None for row in rows]),
        "pillars": {name: of([row[name] if row else None for row in by_pillar]) for name in PILLARS},
        "columns": {name: of([row[name] if row else None for row in rows]) for name in COLUMNS},
    }


def _missing(given: Judged, planned: int, failures: Sequence[Row]) -> Row:
    """Missing judgements, including those of failed dialogues."""
    causes = Counter(given.causes)
    failed = len(failures) * planned
    if failures:
        causes["dialogue"] = failed
    return missing_part("judgement", given.total + failed, causes, failures)


def planned_chunks(turns: int, size: int) -> int:
    """The number of chunks of a complete dialogue."""
    roles = (NPC, USER)
    lines = [{"role": roles[number % 2], "round": number, "text": ""} for number in range(turns + OPENING_TURNS)]
    return len(chunks_of(lines, size))


def _case(row: Row, chunks: Chunks) -> Row:
    scores = session_scores(chunks) if chunks else None
    columns = scores.columns if scores else None
    return {
        **{name: row[name] for name in ("language", "seed_id", "run", "ended_by")},
        "turns": row["turns"],
        "overall": overall(columns) if columns else None,
        "columns": columns,
        "chunks": [overall(chunk) if chunk else None for chunk in chunks],
    }
