"""From played dialogues and judgements to `results.json`: pure, so that the same rows give the same results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from her_hf.judging.critics.minimax import OPENING_TURNS, chunks_of
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
from .judging import SCALE, chunk_columns, dialogue_key

Chunks = Sequence[Columns | None]


def minimax_results(
    dialogues: Sequence[Row],
    judgements: Sequence[Row] | None,
    settings: Mapping[str, Any],
    *,
    turns: int,
    chunk: int,
) -> Row:
    """All figures of one evaluation.

    Args:
        dialogues (`Sequence[dict]`): Rows of `dialogues.jsonl`.
        judgements (`Sequence[dict]`, *optional*): Rows of `judgements.jsonl`; `None` if nobody was asked to judge.
        settings (`Mapping`): How it was played and judged.
        turns (`int`): Generated turns of a whole dialogue.
        chunk (`int`): Turns that are judged together.

    Returns:
        `dict`: `evaluation`, `scale` (what the numbers may be compared with), `settings`, `played` (counts) and, if
            judged, `scores` and `intervals` (95% bootstrap over seeds), each with `overall`, `pillars` and `columns`;
            `seeds` and `sessions` that were scored or not; `by_language` (the same for each language, with its curve);
            `curve` (quality against turn number); `errors` (by column and severity); `missing` (judgements that are
            not there, by cause, and counts of what was odd); `cases` (one a dialogue); `penalties`, `weights`.
    """
    results: Row = {
        "evaluation": "minimax",
        "scale": SCALE,
        "settings": dict(settings),
        "played": _played(dialogues),
    }
    if judgements is None:
        return results
    scored = chunk_columns(judgements)
    languages = sorted({str(row["language"]) for row in dialogues})
    by_language = {
        language: _scores([row for row in dialogues if row["language"] == language], scored, turns, chunk)
        for language in languages
    }
    return {
        **results,
        **_scores(dialogues, scored, turns, chunk),
        "by_language": by_language,
        "errors": _errors(judgements),
        "missing": _missing(dialogues, judgements, turns, chunk),
        "cases": [_case(row, scored.get(dialogue_key(row), [])) for row in dialogues],
        "penalties": dict(PENALTIES),
        "weights": dict(WEIGHTS),
    }


def _played(dialogues: Sequence[Row]) -> Row:
    generated = [turn for row in dialogues for turn in row["turns"][OPENING_TURNS:]]
    return {
        "seeds": len({(row["language"], row["seed_id"]) for row in dialogues}),
        "sessions": len(dialogues),
        "turns": len(generated),
        "ended_by": dict(sorted(Counter(str(row["ended_by"]) for row in dialogues).items())),
        "failed": [
            {**{name: row[name] for name in ("language", "seed_id", "run")}, **row["failure"]}
            for row in dialogues
            if row.get("failure")
        ],
        "empty_turns": {
            role: sum(turn["role"] == role and not turn["text"] for turn in generated) for role in (NPC, USER)
        },
        "asked_again": sum(row["asked_again"] for row in dialogues),
        "sessions_with_dropped_turns": {
            role: sum(row["dropped_turns"][role] > 0 for row in dialogues) for role in (NPC, USER)
        },
    }


def _scores(dialogues: Sequence[Row], scored: Mapping[tuple[Any, ...], Chunks], turns: int, size: int) -> Row:
    """Scores, intervals and curve of some dialogues; one that broke off or has no judgement counts as missing."""
    seeds: dict[str, list[Columns | None]] = {}
    for row in dialogues:
        chunks = scored.get(dialogue_key(row))
        columns = session_scores(chunks).columns if chunks else None
        seeds.setdefault(f"{row['language']}/{row['seed_id']}", []).append(columns)
    total = summarize_sessions(seeds)
    counts = ("seeds", "missing_seeds", "sessions", "missing_sessions")
    stretches = [scored[key] for key in map(dialogue_key, dialogues) if key in scored]
    return {
        "scores": {name: total[name] for name in ("overall", "pillars", "columns")},
        "intervals": _intervals(list(seed_columns(seeds).values())),
        **{name: total[name] for name in counts},  # type: ignore[literal-required]
        "curve": [point._asdict() for point in curve(stretches, size, turns=turns)],
    }


def _intervals(rows: Sequence[Columns | None]) -> Row:
    """95% bootstrap intervals over seeds; `None` where fewer than two seeds have a score."""

    def of(values: Sequence[float | None]) -> list[float] | None:
        ends = bootstrap_interval(values)
        return list(ends) if ends else None

    by_pillar = [pillars(row) if row else None for row in rows]
    return {
        "overall": of([overall(row) if row else None for row in rows]),
        "pillars": {name: of([row[name] if row else None for row in by_pillar]) for name in PILLARS},
        "columns": {name: of([row[name] if row else None for row in rows]) for name in COLUMNS},
    }


def _errors(judgements: Sequence[Row]) -> Row:
    """How many errors there are, by column and severity."""
    found = Counter(
        (error["column"], error["severity"]) for row in judgements if row["errors"] for error in row["errors"]
    )
    return {column: {severity: found[column, severity] for severity in PENALTIES} for column in COLUMNS}


def _missing(dialogues: Sequence[Row], judgements: Sequence[Row], turns: int, size: int) -> Row:
    """Judgements that are not there, those of dialogues that broke off among them, and what was odd about the rest."""
    planned = planned_chunks(turns, size)
    failed = sum(bool(row.get("failure")) for row in dialogues)
    causes = Counter(row["missing"]["cause"] for row in judgements if row["missing"])
    if failed:
        causes["dialogue"] = failed * planned
    there = [row for row in judgements if not row["missing"]]
    expected = len(judgements) + failed * planned
    return {
        "expected": expected,
        "missing": causes.total(),
        "share": causes.total() / expected if expected else 0.0,
        "by_cause": dict(sorted(causes.items())),
        "repaired": sum(bool(row["repaired"]) for row in there),
        "errors": sum(len(row["errors"]) for row in there),
        "quotes_not_found": sum(row["quotes_not_found"] for row in there),
        "errors_without_severity": sum(row["unrated"] for row in there),
    }


def planned_chunks(turns: int, size: int) -> int:
    """How many chunks a whole dialogue is judged in."""
    roles = (NPC, USER)
    lines = [{"role": roles[number % 2], "round": number, "text": ""} for number in range(turns + OPENING_TURNS)]
    return len(chunks_of(lines, size))


def _case(row: Row, chunks: Chunks) -> Row:
    scores = session_scores(chunks) if chunks else None
    columns = scores.columns if scores else None
    return {
        **{name: row[name] for name in ("language", "seed_id", "run", "ended_by")},
        "overall": overall(columns) if columns else None,
        "columns": columns,
        "chunks": [overall(chunk) if chunk else None for chunk in chunks],
    }
