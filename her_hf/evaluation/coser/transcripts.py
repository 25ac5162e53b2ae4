"""Transcripts of a CoSER run for `report.html`: turns, and the flaws that each judge found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from her_hf.runs.report.markdown import points
from her_hf.runs.report.transcripts import Flaw, Move, Transcript, layers_of, place_flaws, rows_in, worst
from her_hf.scenes import read_turn
from her_hf.scoring.coser import read_severity
from her_hf.scoring.coser_dimensions import DIMENSIONS

from ..rows import DialogueShape, JudgementShape, Row, SceneKey, failure_in, scene_key
from .run import DIALOGUES, JUDGEMENTS

_MID, _HIGH = 3.0, 5.0
"""Lowest severities of the levels `mid` and `high`."""


def coser_transcripts(results: Mapping[str, Any], out: Path) -> list[Transcript]:
    """The scenes with the lowest averages; failed ones come last.

    Args:
        results (`Mapping`): The envelope.
        out (`Path`): The folder of the run.
    """
    failed = [{"key": one["key"], "avg": None} for one in results["missing"]["failures"]]
    chosen = worst([*results["cases"], *failed], lambda case: case["avg"])
    keys = [scene_key(case) for case in chosen]
    dialogues = rows_in(out / DIALOGUES, scene_key, keys, DialogueShape)
    judgements = rows_in(out / JUDGEMENTS, scene_key, keys, JudgementShape)
    return [
        _transcript(case, dialogues[key][-1], judgements[key])
        for case, key in zip(chosen, keys, strict=True)
        if dialogues[key]
    ]


def title_of(key: SceneKey) -> str:
    """The title of a scene."""
    book, i_p, i_c = key
    return f"{book} · {i_p}/{i_c}"


def moves_of(row: Row) -> list[Move]:
    """The turns of a dialogue."""
    return [
        Move(
            entry["name"],
            layers_of(read_turn(entry["text"], entry["name"]), entry.get("system_thinking")),
            note="" if entry.get("origin", "model") == "model" else "from the original",
        )
        for entry in row.get("turns") or []
    ]


def _transcript(case: Row, row: Row, judgements: Sequence[Row]) -> Transcript:
    moves = moves_of(row)
    rest = place_flaws([flaw for one in judgements for flaw in _flaws(one)], moves)
    failure = failure_in(row)
    missing = [f"{DIMENSIONS[one['dimension']]} by {one['judge']}" for one in judgements if one["missing"]]
    cause = f"{failure['cause']}: {failure['detail']}" if failure else ""
    scores = [] if failure else [f"{code} {points(case[code])}" for code in (*DIMENSIONS, "avg")]
    return Transcript(
        title_of(scene_key(row)),
        scores if judgements else [],
        moves,
        rest,
        cause or (f"Missing judgements: {', '.join(missing)}" if missing else ""),
    )


def _flaws(judgement: Row) -> list[Flaw]:
    found = []
    for flaw in judgement["flaws"] or []:
        severity = read_severity(flaw)
        level = "high" if severity >= _HIGH else "mid" if severity >= _MID else "low"
        kind = f"{judgement['dimension']} · {flaw.get('type') or 'no type'}"
        quote = str(flaw.get("instance") or "")
        found.append(Flaw(kind, f"{severity:g}", level, quote=quote, judge=str(judgement["judge"])))
    return sorted(found, key=lambda one: -float(one.severity))
