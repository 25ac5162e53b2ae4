"""Measuring a reward model, or any judge, on labelled pairs.

In the output folder: `run.json` (the settings), `ledger.sqlite` (every answer), `judged.jsonl` (a line a pair),
`results.json`, `sessions.jsonl` (one line a start: seconds and tokens spent), `notes.json` (what the judge noted, if
anything).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from her_hf.durable import RUN_FILE, OtherRunError, claim, digest, replace_text
from her_hf.inference import Caller
from her_hf.inference.wire import whole_characters
from her_hf.journal import Journal
from her_hf.judging import BadPair, Pair, PairVerdict, PairwiseJudge
from her_hf.judging.pairwise.circumstances import candidate_body
from her_hf.runs.addresses import missing_row
from her_hf.runs.progress import Progress
from her_hf.runs.results import data_of, write_results
from her_hf.runs.starts import Clock, keep_notes, note_start, run_now
from her_hf.runs.units import WINDOW, Cause, Stage, run_units

from ..rows import Row
from .results import reward_results

JUDGED = "judged.jsonl"
LEDGER_FILES = ("ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm")
"""May be in a new folder already: a copied ledger saves the calls that it holds."""

_OF_THE_JUDGE = tuple(field.name for field in fields(PairVerdict))


@dataclass
class RewardRun:
    """One measurement.

    Args:
        pairs (`Sequence[Pair | BadPair]`): The pairs, in order.
        out (`Path`): Output folder.
        judge ([`~her_hf.judging.PairwiseJudge`]): Who judges.
        unseen (`Sequence[str]`, *optional*): Kinds that training never saw; they make a group of their own.
        source, split (`str`, *optional*): Where the pairs come from, for the results.
        window (`int`, *optional*, defaults to 256): Most pairs in hand at a time.
        show (`bool`, *optional*, defaults to `True`): Whether to show a progress bar.
    """

    pairs: Sequence[Pair | BadPair]
    out: Path
    judge: PairwiseJudge
    unseen: Sequence[str] = ()
    source: str = ""
    split: str | None = None
    window: int = WINDOW
    show: bool = True


Unit = tuple[tuple[int, str], Pair | BadPair]
"""A pair with its place and what identifies it."""


class _Principle(BaseModel):
    name: str
    winner: str


class _Order(BaseModel):
    order: str
    verdict: str | None
    evidence: str
    principles: list[_Principle]
    missing: Cause | None


class VerdictShape(BaseModel):
    """What a page reads of a row of `judged.jsonl`."""

    index: int
    key: str
    per_order: list[_Order]
    missing: Cause | None


class _Shape(VerdictShape):
    verdict: str | None
    confidence: float | None
    principles: list[Any]
    evidence: Any
    agreed: bool | None


async def judge_pairs(
    judge: PairwiseJudge,
    pairs: Sequence[Pair | BadPair],
    file: Path,
    *,
    judged_by: str,
    window: int = WINDOW,
    show: bool = True,
) -> list[Row]:
    """Judges pairs into a JSONL file, each line durably as it comes.

    Args:
        judge ([`~her_hf.judging.PairwiseJudge`]): Who judges.
        pairs (`Sequence[Pair | BadPair]`): The pairs.
        file (`Path`): The file. Verdicts that are there count, but for those whose request failed; those are asked
            again. What the lines say of a pair (label, kind, …) is always what the pair says now.
        judged_by (`str`): Digest of all settings, which each line carries.
        window (`int`, *optional*, defaults to 256): Most pairs in hand at a time.
        show (`bool`, *optional*, defaults to `True`): Whether to show a progress bar.

    Returns:
        `list[dict]`: The lines in the order of the pairs: `index`, `key`, `settings`, what is known of the pair, and
            [`~her_hf.judging.PairVerdict`] as JSON.

    Raises:
        `ValueError`: If a line of the file is of another shape or of other settings.
    """
    journal = Journal(file, key=lambda row: (row["index"], row["key"]), shape=_Shape, same={"settings": judged_by})

    def line(unit: Unit, verdict: Row) -> Row:
        return _line(*unit, {"settings": judged_by, **verdict})

    def known(unit: Unit) -> Row | None:
        """The line of a pair with the verdict that is there, if it counts."""
        row = journal.get(unit[0])
        return line(unit, {name: row[name] for name in _OF_THE_JUDGE}) if row and _settled(row, unit[1]) else None

    async def one(unit: Unit) -> Row:
        return known(unit) or line(unit, (await judge.judge(unit[1])).as_dict())

    stage = Stage(
        journal,
        key=lambda unit: unit[0],
        make=one,
        is_valid=lambda unit, row: row == known(unit),
        progress=Progress("pairs", "pair", total=len(pairs), show=show),
    )
    units = (((index, pair_key(pair)), pair) for index, pair in enumerate(pairs))
    return list(await run_units(units, stage, window=window))


def pair_key(pair: Pair | BadPair) -> str:
    """What identifies a pair. Rows that are none share one: what is said of them names the file's path, which may be
    another at the next start."""
    return pair.key if isinstance(pair, Pair) else digest("bad pair")


def _settled(row: Row, pair: Pair | BadPair) -> bool:
    """Whether a verdict counts: one whose request failed is asked again, and so is one of which the judge was told
    another character or other circumstances, which are not in the key."""
    if isinstance(pair, BadPair) or row.get("shown") != pair.shown_key:
        return False
    lost = [row["missing"], *(one["missing"] for one in row["per_order"])]
    return not any(missing is not None and missing["cause"] == "request" for missing in lost)


def _line(key: tuple[int, str], pair: Pair | BadPair, verdict: Row) -> Row:
    """A line as JSON gives it back. Half characters, which a judge or a file may escape, would not go into a file."""
    row = {"index": key[0], "key": key[1], **_about(pair), **_unaddressed(verdict)}
    plain: Row = json.loads(whole_characters(json.dumps(row, ensure_ascii=False, default=str)))
    return plain


def _unaddressed(verdict: Row) -> Row:
    """A verdict without the address of the server that failed, if one did."""
    said = {**verdict, "per_order": [_unaddressed_order(one) for one in verdict["per_order"]]}
    return _unaddressed_order(said)


def _unaddressed_order(said: Row) -> Row:
    return {**said, "missing": said["missing"] and missing_row(said["missing"])}


def _about(pair: Pair | BadPair) -> Row:
    if isinstance(pair, BadPair):
        return {"label": None}
    named = {name: pair.extra.get(name) for name in ("kind", "source", "scene_key")}
    # Groups are known by name, whatever a file of people's labels holds.
    named |= {name: str(named[name]) for name in ("kind", "source") if named[name] is not None}
    return {
        "label": pair.label,
        "character": pair.character,
        "shown": pair.shown_key,
        "circumstances": "from_prompt" if pair.carried is None else "carried",
        **{name: value for name, value in named.items() if value is not None},
        "characters": [len(candidate_body(side, pair.character)) for side in (pair.cand_1, pair.cand_2)],
    }


async def run_reward(run: RewardRun) -> Row:
    """Judges what is not judged yet and writes `results.json`.

    Args:
        run ([`RewardRun`]): The measurement.

    Returns:
        `dict`: See [`~her_hf.evaluation.reward.results.reward_results`].

    Raises:
        [`~her_hf.durable.OtherRunError`]: If the folder holds a run of other settings or pairs.
        `ModelError`: If the judge cannot even be asked what it is.
        `ValueError`: If no pair has a label, or probabilities are asked of a server.
    """
    if not any(isinstance(pair, Pair) and pair.label is not None for pair in run.pairs):
        raise ValueError(f"none of {len(run.pairs)} pairs has a label: there is nothing to measure against")
    settings = {
        "evaluation": "reward",
        "model": await run.judge.caller.fingerprint(),
        **run.judge.settings.as_dict(),
        "pairs": digest([pair_key(pair) for pair in run.pairs]),
        "unseen": sorted(run.unseen),
    }
    claim(run.out, settings, has_results=lambda folder: (folder / JUDGED).exists(), allowed=LEDGER_FILES)
    clock, callers = Clock(), {"judge": run.judge.caller}
    file, judged_by = run.out / JUDGED, digest(settings)
    try:
        rows = await judge_pairs(run.judge, run.pairs, file, judged_by=judged_by, window=run.window, show=run.show)
        clock.lap("judging")
        data = data_of(run.source, run.split, [pair_key(pair) for pair in run.pairs])
        results = reward_results(rows, {**settings, "data": data})
        write_results(run.out, results)
        return results
    finally:
        keep_notes(run.out, callers)
        note_start(run.out, clock, callers)


def run_reward_now(run: RewardRun) -> Row:
    """[`run_reward`] from code that is not asynchronous; connections are closed at the end."""
    callers: dict[str, Caller] = {"judge": run.judge.caller}
    return run_now(run_reward(run), callers)


async def judge_file(
    judge: PairwiseJudge, pairs: Sequence[Pair | BadPair], file: Path, *, show: bool = True
) -> list[Row]:
    """[`judge_pairs`] into a file that belongs to one judge and its settings, which `FILE.run` notes.

    At the end the file holds a line for each of these pairs, in their order, and no other.

    Raises:
        [`~her_hf.durable.OtherRunError`]: If the file holds verdicts of another judge or other settings, or is none of
            this command's; it is not touched.
        `ModelError`: If the judge cannot even be asked what it is.
    """
    settings = {"model": await judge.caller.fingerprint(), **judge.settings.as_dict()}
    note = file.with_name(f"{file.name}.run")
    if file.exists() and not (note / RUN_FILE).exists():
        raise OtherRunError(
            f"{file} is there already, and no {note.name} beside it says that this command wrote it. Name another "
            "file, or delete this one."
        )
    claim(note, settings, has_results=lambda _: file.exists())
    rows = await judge_pairs(judge, pairs, file, judged_by=digest(settings), show=show)
    replace_text(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return rows


def judge_file_now(
    judge: PairwiseJudge, pairs: Sequence[Pair | BadPair], file: Path, *, show: bool = True
) -> list[Row]:
    """[`judge_file`] from code that is not asynchronous; connections are closed at the end."""
    return run_now(judge_file(judge, pairs, file, show=show), {"judge": judge.caller})
