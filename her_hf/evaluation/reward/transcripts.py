"""Verdicts of a reward run for `report.html`: wrong ones first, by decreasing confidence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from her_hf.runs.report.transcripts import Flaw, Move, Transcript, rows_in, worst

from ..rows import Row
from .run import JUDGED, VerdictShape


def reward_transcripts(results: Mapping[str, Any], out: Path) -> list[Transcript]:
    """The judge's answers for each pair. The replies are in the file of pairs.

    Args:
        results (`Mapping`): The envelope.
        out (`Path`): The folder of the run.
    """
    chosen = worst(results["cases"], _rank)
    rows = rows_in(out / JUDGED, lambda row: row["index"], (case["key"][0] for case in chosen), VerdictShape)
    return [_transcript(case, row[-1]) for case in chosen if (row := rows[case["key"][0]])]


def _rank(case: Mapping[str, Any]) -> float | None:
    """Ranks from confident wrong verdicts over ties to confident correct ones; `None` without a verdict or label."""
    if case["verdict"] is None or case["label"] is None:
        return None
    confidence = case["confidence"] or 0.0
    if case["verdict"] == case["label"]:
        return 1.0 + confidence
    return 0.5 if case["verdict"] == "tie" else -confidence


def _transcript(case: Row, row: Row) -> Transcript:
    moves = [_move(one) for one in row["per_order"]]
    wrong = None not in (case["label"], case["verdict"]) and case["label"] != case["verdict"]
    if wrong:
        level = "mid" if case["verdict"] == "tie" else "high"
        moves[0].flaws.append(Flaw("wrong", "", level, quote=f"{case['verdict']}, labelled {case['label']}"))
    missing = row["missing"]
    kinds = [str(case[name]) for name in ("kind", "source", "length") if case[name] is not None]
    confidence = [f"confidence {case['confidence']:.2f}"] if case["confidence"] is not None else []
    return Transcript(
        f"pair {case['key'][0] + 1}: {case['verdict'] or 'no verdict'}",
        [f"label {case['label'] or 'none'}", *confidence, *kinds],
        moves,
        failure=f"{missing['cause']}: {missing['detail']}" if missing else "",
    )


def _move(order: Row) -> Move:
    shown = "original order" if order["order"] == "12" else "reversed order"
    principles = [f"{one['name']}: {one['winner']}" for one in order["principles"]]
    layers = [("speech", "\n".join([f"Verdict: {order['verdict'] or 'none'}", *principles]))]
    if order["evidence"]:
        layers.append(("evidence", order["evidence"]))
    return Move(shown, layers)
