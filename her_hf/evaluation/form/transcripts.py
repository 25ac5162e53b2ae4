"""Replies of a form run for `report.html`; defective ones come first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from her_hf.runs.report.transcripts import Flaw, Move, Transcript, layers_of, rows_in, worst
from her_hf.scenes import read_turn
from her_hf.simulation.styles import style_named

from ..coser.transcripts import moves_of, title_of
from ..rows import DialogueShape, Row, scene_key
from .run import REPLIES, ReplyShape


def form_transcripts(results: Mapping[str, Any], out: Path) -> list[Transcript]:
    """The replies, or the turns of existing dialogues if their file still exists.

    Args:
        results (`Mapping`): The envelope.
        out (`Path`): The folder of the run.
    """
    settings = results["settings"]
    chosen = worst(results["cases"], _rank)
    if "dialogues" in settings:
        return _of_dialogues(chosen, Path(settings["dialogues"]))
    notation = style_named(settings["style"]).notation
    keys = [tuple(case["key"]) for case in chosen]
    rows = rows_in(out / REPLIES, lambda row: tuple(row["key"]), keys, ReplyShape)
    return [
        _transcript(
            case,
            [Move(case["character"], layers_of(read_turn(row[-1]["text"], case["character"], notation=notation)))],
        )
        for case in chosen
        if (row := rows[tuple(case["key"])])
    ]


def _of_dialogues(cases: list[Row], file: Path) -> list[Transcript]:
    rows = rows_in(file, scene_key, {tuple(case["key"][:3]) for case in cases}, DialogueShape)
    found = []
    for case in cases:
        row = rows[tuple(case["key"][:3])]
        if row and case["key"][3] < len(moves := moves_of(row[-1])):
            found.append(_transcript(case, [moves[case["key"][3]]]))
    return found


def _rank(case: Mapping[str, Any]) -> float:
    return float(case["well_formed"]) - 2 * float(case["leak"]) - 0.1 * len(case["issues"])


def _transcript(case: Row, moves: list[Move]) -> Transcript:
    book, i_p, i_c, turn = case["key"]
    moves[0].flaws += [
        *(Flaw("own thinking leaked into speech", "", "high", quote=quote) for quote in case["spoken_thoughts"]),
        *([Flaw("uses another's thought", "", "high")] if case["knows_secret"] else []),
        *(Flaw(issue.replace("_", " "), "", "mid") for issue in case["issues"]),
        *([] if case["own_role"] else [Flaw("not in role", "", "mid")]),
        *([] if case["ended"] else [Flaw("no end-of-turn token", "", "low")]),
        *([] if case["visible"] else [Flaw("nothing visible to others", "", "mid")]),
    ]
    shape = "well-formed" if case["well_formed"] else "not well-formed"
    return Transcript(
        f"{title_of((book, i_p, i_c))} · turn {turn}", [shape, *([case["pattern"]] if case["pattern"] else [])], moves
    )
