"""Transcripts of a minimax run for `report.html`: turns, and the errors that the judge found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from her_hf.runs.report.markdown import points
from her_hf.runs.report.transcripts import Flaw, Move, Transcript, layers_of, rows_in, worst
from her_hf.scenes import read_turn

from ..rows import Row
from .judging import ChunkShape, dialogue_key
from .run import DIALOGUES, JUDGEMENTS, DialogueShape

_LEVELS = {"minor": "low", "major": "mid", "critical": "high"}


def minimax_transcripts(results: Mapping[str, Any], out: Path) -> list[Transcript]:
    """The dialogues with the lowest overall scores; those without a score come last.

    Args:
        results (`Mapping`): The envelope.
        out (`Path`): The folder of the run.
    """
    chosen = worst(results["cases"], lambda case: case["overall"])
    keys = [dialogue_key(case) for case in chosen]
    dialogues = rows_in(out / DIALOGUES, dialogue_key, keys, DialogueShape)
    judgements = rows_in(out / JUDGEMENTS, dialogue_key, keys, ChunkShape)
    return [
        _transcript(case, dialogues[key][-1], judgements[key])
        for case, key in zip(chosen, keys, strict=True)
        if dialogues[key]
    ]


def _transcript(case: Row, row: Row, judgements: Sequence[Row]) -> Transcript:
    by_round = {turn["round"]: _move(turn) for turn in row["turns"]}
    rest: list[Flaw] = []
    for error in (error for one in judgements for error in one["errors"] or []):
        flaw = _flaw(error)
        move = by_round.get(error["turn"])
        (rest if move is None else move.flaws).append(flaw)
    failure = row.get("failure")
    missing = [f"turns {one['rounds'][0]} to {one['rounds'][1]}" for one in judgements if one["missing"]]
    cause = f"{failure['cause']}: {failure['detail']}" if failure else ""
    return Transcript(
        f"{row['seed_id']} · {row['language']} · run {row['run']}",
        [f"overall {points(case['overall'])}"] if judgements else [],
        list(by_round.values()),
        rest,
        cause or (f"Missing judgements: {', '.join(missing)}" if missing else ""),
    )


def _move(turn: Row) -> Move:
    return Move(turn["name"], layers_of(read_turn(turn.get("reply") or turn["text"], turn["name"])))


def _flaw(error: Row) -> Flaw:
    kind = error["column"].removesuffix("_score").replace("_", " ")
    quote, reason = str(error.get("quote") or ""), str(error.get("reason") or "")
    return Flaw(kind, error["severity"], _LEVELS[error["severity"]], quote=quote, reason=reason)
