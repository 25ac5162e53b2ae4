"""Rows of `dialogues.jsonl`, which simulations write and judges read."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from her_hf.dual_layer import Turn
from her_hf.runs.units import Cause
from her_hf.simulation.coser import replayed
from her_hf.simulation.styles import style_named

Row = dict[str, Any]
SceneKey = tuple[str, int, int]


class TurnShape(BaseModel):
    """What is read of a turn in `dialogues.jsonl`; all but name and text may be absent where others wrote it."""

    name: str
    text: str
    origin: str = "model"
    system_thinking: str | None = None
    raw: str = ""
    ended: bool = True
    cut: bool = False
    attempts: int = 1
    dropped: int = 0


class DialogueShape(BaseModel):
    """What is read of a row of CoSER's `dialogues.jsonl`."""

    key: list[Any]
    turns: list[TurnShape]
    ended_by: str = ""
    failure: Any = None  # see failure_in
    named: int = 0
    drawn: int = 0
    settings: dict[str, Any] | None = None


class JudgementShape(BaseModel):
    """What is read of a row of CoSER's `judgements.jsonl`."""

    key: list[Any]
    dimension: str
    judge: str
    flaws: list[dict[str, Any]] | None
    missing: Cause | None


def scene_key(row: Row) -> SceneKey:
    """The key of a row of `dialogues.jsonl` or `judgements.jsonl`.

    Raises:
        `ValueError`: If the row has no valid key.
    """
    try:
        book, i_p, i_c = row["key"]
        return str(book), int(i_p), int(i_c)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"a row must have `key`: [book, i_p, i_c], got {str(row)[:80]}. Correct it.") from error


def failure_in(row: Row) -> dict[str, str] | None:
    """The cause of a failed dialogue according to its row; `None` if it did not fail.

    Raises:
        `ValueError`: If the failure has another shape, as written by older versions.
    """
    failure = row.get("failure")
    if failure is None:
        unknown = {"cause": "unknown", "detail": "the row does not state a cause"}
        return unknown if row.get("ended_by") == "failed" else None
    if not isinstance(failure, dict) or not {"cause", "detail"} <= failure.keys():
        raise ValueError(
            f"dialogue {str(row.get('key'))[:80]}: failure must have `cause` and `detail`, got {str(failure)[:80]}. "
            "An older her_hf wrote it: simulate the scene again (without --judge-only), or delete the row."
        )
    return {"cause": str(failure["cause"]), "detail": str(failure["detail"])}


def turns_of(row: Row) -> list[Turn]:
    """The turns of a row of `dialogues.jsonl`, without system thinking.

    Raises:
        `ValueError`: If a turn has no name or text; the message names the scene and the turn.
    """
    turns = []
    for index, entry in enumerate(row.get("turns") or []):
        name, text = entry.get("name"), entry.get("text")
        if not isinstance(name, str) or not name.strip() or not isinstance(text, str):
            raise ValueError(
                f"dialogue {row.get('key')}, turn {index}: must have `name` and `text`, got {sorted(entry)}. Correct "
                "it."
            )
        turns.append(replayed(name, text))
    return turns


def notation_of(row: Row) -> str:
    """The notation of the models' replies in a row of `dialogues.jsonl`, which follows from the prompt style.

    Raises:
        `ValueError`: If the style is unknown.
    """
    return style_named((row.get("settings") or {}).get("style", "her")).notation
