"""The reward evaluation: a reward model, or any judge, on labelled pairs.

Output folder: `run.json` (the settings), `ledger.sqlite` (all answers), `judged.jsonl` (one line per pair),
`results.json`, `sessions.jsonl` (one line per start: time and tokens), `notes.json` (notes of the judge, if any).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from her_hf.concurrency import WINDOW
from her_hf.durable import RUN_FILE, OtherRunError, claim, digest, new_contents
from her_hf.inference import Caller
from her_hf.inference.wire import whole_characters
from her_hf.journal import Journal, Rows
from her_hf.judging import BadPair, Pair, PairVerdict, PairwiseJudge
from her_hf.judging.pairwise.circumstances import candidate_body
from her_hf.judging.pairwise.pair_files import Pairs
from her_hf.runs.addresses import missing_row
from her_hf.runs.progress import Progress
from her_hf.runs.results import data_of, write_results
from her_hf.runs.starts import Clock, Notes, note_start, run_now
from her_hf.runs.units import Cause, Stage, run_units

from ..rows import Row
from .results import reward_results

JUDGED = "judged.jsonl"
LEDGER_FILES = ("ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm")
"""Files that a new folder may have: a copied ledger saves the calls that it contains."""

_OF_THE_JUDGE = tuple(field.name for field in fields(PairVerdict))


@dataclass
class RewardRun:
    """One reward evaluation.

    Args:
        pairs (`Pairs`): The pairs, in order; those of a [`~her_hf.judging.PairFile`] are read one
            at a time.
        out (`Path`): Output folder.
        judge ([`~her_hf.judging.PairwiseJudge`]): The judge.
        unseen (`Sequence[str]`, *optional*): Kinds that are not in the training data; they form a separate group.
        source, split (`str`, *optional*): Source and split of the pairs, for the results.
        window (`int`, *optional*, defaults to 256): Maximum pairs in progress.
        show (`bool`, *optional*, defaults to `True`): Whether to show a progress bar.
    """

    pairs: Pairs
    out: Path
    judge: PairwiseJudge
    unseen: Sequence[str] = ()
    source: str = ""
    split: str | None = None
    window: int = WINDOW
    show: bool = True


Unit = tuple[tuple[int, str], Pair | BadPair]
"""A pair with its index and key."""


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
    pairs: Pairs,
    file: Path,
    *,
    judged_by: str,
    window: int = WINDOW,
    show: bool = True,
) -> Rows:
    """Judges pairs and writes the verdicts to a JSONL file, each one as it arrives.

    Args:
        judge ([`~her_hf.judging.PairwiseJudge`]): The judge.
        pairs (`Pairs`): The pairs; of a [`~her_hf.judging.PairFile`] a window is in memory.
        file (`Path`): The file. Existing verdicts are used, except those whose request failed; these are repeated.
            The other fields of a line (label, kind, …) are always those of the given pair.
        judged_by (`str`): Digest of all settings, which each line has.
        window (`int`, *optional*, defaults to 256): Maximum pairs in progress.
        show (`bool`, *optional*, defaults to `True`): Whether to show a progress bar.

    Returns:
        [`~her_hf.journal.Rows`]: The lines in the order of the pairs: `index`, `key`, `settings`, fields of the pair,
            and [`~her_hf.judging.PairVerdict`] as JSON.

    Raises:
        `ValueError`: If a line of the file has another shape or other settings.
    """
    journal = Journal(file, key=lambda row: (row["index"], row["key"]), shape=_Shape, same={"settings": judged_by})

    def line(unit: Unit, verdict: Row) -> Row:
        return _line(*unit, {"settings": judged_by, **verdict})

    def known(unit: Unit) -> Row | None:
        """The line of a pair with its existing verdict, if that is valid."""
        row = journal.get(unit[0])
        return line(unit, {name: row[name] for name in _OF_THE_JUDGE}) if row and _is_judged(row, unit[1]) else None

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
    return await run_units(units, stage, window=window)


def pair_key(pair: Pair | BadPair) -> str:
    """The key of a pair. Invalid rows share one, because their error contains the path of the file, which may change
    between starts."""
    return pair.key if isinstance(pair, Pair) else digest("bad pair")


def _is_judged(row: Row, pair: Pair | BadPair) -> bool:
    """Whether a verdict is valid: a failed request is repeated, and so is a verdict on another character or other
    circumstances, which are not in the key."""
    if isinstance(pair, BadPair) or row.get("shown") != pair.shown_key:
        return False
    lost = [row["missing"], *(one["missing"] for one in row["per_order"])]
    return not any(missing is not None and missing["cause"] == "request" for missing in lost)


def _line(key: tuple[int, str], pair: Pair | BadPair, verdict: Row) -> Row:
    """A line as read back from JSON, without lone surrogates, which a judge or a file may escape."""
    row = {"index": key[0], "key": key[1], **_about(pair), **_unaddressed(verdict)}
    plain: Row = json.loads(whole_characters(json.dumps(row, ensure_ascii=False, default=str)))
    return plain


def _unaddressed(verdict: Row) -> Row:
    """A verdict without addresses of servers in its failures."""
    orders = [_unaddressed_order(one) for one in verdict["per_order"]]
    return _unaddressed_order({**verdict, "per_order": orders})


def _unaddressed_order(row: Row) -> Row:
    return {**row, "missing": row["missing"] and missing_row(row["missing"])}


def _about(pair: Pair | BadPair) -> Row:
    if isinstance(pair, BadPair):
        return {"label": None}
    named = {name: pair.extra.get(name) for name in ("kind", "source", "scene_key")}
    # Names of groups are text, whatever type a file of human labels has.
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
    """Judges the remaining pairs and writes `results.json`.

    Args:
        run ([`RewardRun`]): The evaluation.

    Returns:
        `dict`: See [`~her_hf.evaluation.reward.results.reward_results`].

    Raises:
        [`~her_hf.durable.OtherRunError`]: If the folder has a run with other settings or pairs.
        `ModelError`: If the judge cannot be identified, or probabilities are to be read from a server without them.
        `ValueError`: If no pair has a label.
    """
    keys, labelled = [], False
    for pair in run.pairs:
        keys.append(pair_key(pair))
        labelled = labelled or (isinstance(pair, Pair) and pair.label is not None)
    if not labelled:
        raise ValueError(f"none of {len(keys)} pairs has a label, which the evaluation needs: name labelled pairs")
    settings = {
        "evaluation": "reward",
        "model": await run.judge.caller.fingerprint(),
        **run.judge.settings.as_dict(),
        "pairs": digest(keys),
        "unseen": sorted(run.unseen),
    }
    claim(run.out, settings, has_results=lambda folder: (folder / JUDGED).exists(), allowed=LEDGER_FILES)
    clock, callers = Clock(), {"judge": run.judge.caller}
    file, judged_by = run.out / JUDGED, digest(settings)
    try:
        rows = await judge_pairs(run.judge, run.pairs, file, judged_by=judged_by, window=run.window, show=run.show)
        clock.lap("judging")
        data = data_of(run.source, run.split, keys)
        results = reward_results(rows, {**settings, "data": data})
        write_results(run.out, results)
        return results
    finally:
        await Notes(run.out, callers).keep()
        note_start(run.out, clock, callers)


def run_reward_now(run: RewardRun) -> Row:
    """Synchronous version of [`run_reward`], which closes the connections at the end."""
    callers: dict[str, Caller] = {"judge": run.judge.caller}
    return run_now(run_reward(run), callers)


async def judge_file(judge: PairwiseJudge, pairs: Pairs, file: Path, *, show: bool = True) -> Rows:
    """Calls [`judge_pairs`] with a file for one judge and its settings, which are recorded in `FILE.run`.

    At the end the file has exactly one line per pair, in the order of the pairs; these are returned.

    Raises:
        [`~her_hf.durable.OtherRunError`]: If the file has verdicts of another judge or other settings, or was not
            written by this command; it is not changed.
        `ModelError`: If the judge cannot be identified, or probabilities are to be read from a server without them.
    """
    settings = {"model": await judge.caller.fingerprint(), **judge.settings.as_dict()}
    note = file.with_name(f"{file.name}.run")
    if file.exists() and not (note / RUN_FILE).exists():
        raise OtherRunError(
            f"{file} exists, but not {note.name}, so it was not written by this command. Name another file, or delete "
            "this one."
        )
    claim(note, settings, has_results=lambda _: file.exists())
    rows = await judge_pairs(judge, pairs, file, judged_by=digest(settings), show=show)
    await asyncio.to_thread(_keep_only, file, rows)
    return rows


def _keep_only(file: Path, rows: Rows) -> None:
    """Removes the lines of other pairs."""
    with new_contents(file) as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n" for row in rows)


def judge_file_now(judge: PairwiseJudge, pairs: Pairs, file: Path, *, show: bool = True) -> Rows:
    """Synchronous version of [`judge_file`], which closes the connections at the end."""
    return run_now(judge_file(judge, pairs, file, show=show), {"judge": judge.caller})
