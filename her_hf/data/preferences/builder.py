"""Builds the reward model's sets from scenes, a policy and a teacher: candidates, pairs, judgements, sets, report.

In the output folder: `run.json` (the settings), `ledger.sqlite` (every answer of both models), `candidates.jsonl`,
`pairs.jsonl` (without labels), `judgements.jsonl`, `sets/rm_sft.jsonl`, `sets/rm_rl.jsonl`, `sets/test.jsonl`,
`report.json`, `report.md`, `sessions.jsonl` (one line per start: seconds and tokens spent).

Other settings need another folder. A copy of `ledger.sqlite` in it saves all calls that were answered before.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from her_hf.concurrency import WINDOW
from her_hf.durable import claim, digest, new_contents, replace_text, write_json
from her_hf.evaluation.reward.run import LEDGER_FILES
from her_hf.inference import Caller
from her_hf.journal import Journal, Row, Rows
from her_hf.judging import Pair, PairVerdict, PairwiseJudge
from her_hf.judging.pairwise.pairs import Compared
from her_hf.judging.pairwise.verdicts import MIN_COMPARED
from her_hf.runs.progress import Progress
from her_hf.runs.starts import Clock, Notes, note_start, notes_in, run_now
from her_hf.runs.units import Cause, Stage, run_units
from her_hf.scenes import Scene
from her_hf.scoring.missing import Missing
from her_hf.settings import setting

from .allocation import BOTH_SHARE, MAX_LENGTH_BIAS, SETS, Allocated, allocate, check_shares, read_shares
from .candidates import Moment, Policy, moments_of, sample_candidates
from .pairing import Candidate, bucket_of, kept_because, pairs_of, read_candidate
from .report import CandidateCounts, judged_counts, missing_shares, render_report

CANDIDATES_FILE, PAIRS_FILE, JUDGEMENTS_FILE = "candidates.jsonl", "pairs.jsonl", "judgements.jsonl"
REPORT_FILE, REPORT_TEXT, SETS_FOLDER = "report.json", "report.md", "sets"


@dataclass(frozen=True)
class PairSettings:
    """How replies become labelled pairs and sets.

    Args:
        pairing (`str`, *optional*, defaults to `"adjacent"`): See [`~her_hf.data.preferences.pairing.places`].
        max_replies (`int`, *optional*): Maximum number of turns that are replied to.
        well_formed (`bool`, *optional*, defaults to `False`): Whether pairs with an ill-formed side are left out.
        min_principles (`int`, *optional*, defaults to 3): Pairs with fewer compared principles are left out.
        shares (`str`, *optional*): See [`~her_hf.data.preferences.allocation.read_shares`].
        max_length_bias (`float`, *optional*, defaults to 0.6): See
            [`~her_hf.data.preferences.allocation.allocate`].
        both_share (`float`, *optional*, defaults to 0.5): See there.
        seed (`int`, *optional*, defaults to 42): Of the sets.
    """

    pairing: str = setting(
        "adjacent",
        choices=("adjacent", "all"),
        help="Which candidates are paired: adjacent (0,1)(2,3)…, as in HER, or all pairs.",
    )
    max_replies: int | None = setting(None, help="Maximum turns to reply to, spread over all scenes.", min=1)
    well_formed: bool = setting(False, help="Leave out pairs with an ill-formed side.")
    min_principles: int = setting(MIN_COMPARED, help="Leave out pairs with fewer compared principles.", min=0)
    shares: str = setting(
        "rm_sft=0.5,rm_rl=0.4,test=0.1",
        help="What each set gets: a share with a point, or a whole number of pairs (test=200).",
        metavar="NAME=N,…",
    )
    max_length_bias: float = setting(
        MAX_LENGTH_BIAS,
        help="Largest share of a set in which the longer (or the shorter) reply may be the better one.",
        min=0.5,
        max=1,
    )
    both_share: float | None = setting(
        BOTH_SHARE, help="Share of rm_sft in which both sides win principles.", min=0, max=1
    )
    seed: int = setting(42, help="Seed of all sampling and drawing; every call derives its own from it.")

    def __post_init__(self) -> None:
        check_shares(read_shares(self.shares))


@dataclass
class PairRun:
    """One run of the builder.

    Args:
        scenes (`Sequence[Scene]`): Scenes with their dialogues.
        out (`Path`): Output folder.
        policy ([`Policy`]): Writes the candidates.
        teacher ([`~her_hf.judging.PairwiseJudge`]): Labels the pairs.
        settings ([`PairSettings`], *optional*): How pairs are made of them.
        window (`int`, *optional*, defaults to 256): Maximum replies or pairs in progress at a time.
        show (`bool`, *optional*, defaults to `True`): Whether to show progress bars.
    """

    scenes: Sequence[Scene]
    out: Path
    policy: Policy
    teacher: PairwiseJudge
    settings: PairSettings = PairSettings()
    window: int = WINDOW
    show: bool = True


async def build_pairs(run: PairRun) -> Row:
    """Runs all stages; finished work is not repeated.

    Args:
        run ([`PairRun`]): The run.

    Returns:
        `dict`: Contents of `report.json`: the counts of each step.

    Raises:
        [`~her_hf.durable.OtherRunError`]: If the folder contains a run with other settings.
        `ModelError`: If a model cannot be reached or identified.
        `ValueError`: If there is no turn to reply to, a scene is repeated, or a setting is out of range.
    """
    clock = Clock()
    twice = sorted(key for key, count in Counter(scene.key for scene in run.scenes).items() if count > 1)
    if twice:
        raise ValueError(f"scenes are identified by (book, i_p, i_c), but these keys are repeated: {twice[:5]}")
    moments, turns = moments_of(run.scenes, run.settings.max_replies)
    settings = await _settings(run, moments)
    claim(
        run.out,
        settings,
        has_results=lambda folder: (folder / CANDIDATES_FILE).exists(),
        allowed=LEDGER_FILES,
    )
    try:
        file, made_by = run.out / CANDIDATES_FILE, digest(settings)
        rows = await sample_candidates(run.policy, moments, file, made_by=made_by, window=run.window, show=run.show)
        clock.lap("candidates")
        pairs = _Pairs(run, moments, rows, str(settings["policy"]["model"]["model"]))
        asked, made, dropped = _write_pairs(run.out / PAIRS_FILE, pairs)
        judged = await _judge(run, pairs, made, made_by)
        clock.lap("judging")
        labelled, left_out, buckets = _labelled(pairs, judged, run.settings.min_principles)
        allocated = allocate(
            labelled,
            shares=read_shares(run.settings.shares),
            max_length_bias=run.settings.max_length_bias,
            both_share=run.settings.both_share,
            seed=run.settings.seed,
        )
        await Notes(run.out, _callers(run)).keep()
        verdicts = judged_counts(judged)
        report = {
            "settings": settings,
            "turns": {"scenes": len(run.scenes), **turns},
            "candidates": asked,
            "pairs": {"made": made, "dropped": dict(sorted(dropped.items()))},
            "judged": verdicts,
            "missing": missing_shares(asked, verdicts),
            "left_out": dict(sorted(left_out.items())),
            "buckets": dict(sorted(buckets.items())),
            "allocated": {"left_out": allocated.left_out, "sets": allocated.figures()},
            "notes": notes_in(run.out),
        }
        _write_results(run.out, allocated, report)
        clock.lap("allocating")
        return report
    finally:
        note_start(run.out, clock, _callers(run))


async def _settings(run: PairRun, moments: Sequence[Moment]) -> Row:
    """Everything that determines the files."""
    return {
        "builder": "pairs",
        "policy": {**run.policy.settings.as_dict(), "model": await run.policy.model.fingerprint()},
        "teacher": {**run.teacher.settings.as_dict(), "model": await run.teacher.caller.fingerprint()},
        "pairing": run.settings.pairing,
        "well_formed": run.settings.well_formed,
        "min_principles": run.settings.min_principles,
        "shares": {
            name: str(value) for name, value in read_shares(run.settings.shares).items()
        },  # 1 is a number of pairs, 1.0 a share
        "max_length_bias": run.settings.max_length_bias,
        "both_share": run.settings.both_share,
        "seed": run.settings.seed,
        "moments": digest([moment.key for moment in moments]),
    }


def _callers(run: PairRun) -> dict[str, Caller]:
    return {"policy": run.policy.model, "teacher": run.teacher.caller}


def build_pairs_now(run: PairRun) -> Row:
    """[`build_pairs`] from code that is not asynchronous; connections are closed at the end."""
    return run_now(build_pairs(run), _callers(run))


class _Pairs:
    """The pairs of all candidates, made of the rows one turn at a time, and again whenever they are iterated."""

    def __init__(self, run: PairRun, moments: Sequence[Moment], rows: Rows, source: str) -> None:
        self._run, self._moments, self._rows, self._source = run, moments, rows, source

    def by_turn(self) -> Iterator[tuple[list[Row], list[Candidate], list[Pair], Counter[str]]]:
        """Of each turn the rows, the candidates, the pairs, and how many are dropped by cause."""
        settings, policy = self._run.settings, self._run.policy.settings
        rows = iter(self._rows)
        for moment in self._moments:
            own = list(islice(rows, policy.candidates))
            read = [read_candidate(row, moment, policy.how) for row in own]
            found = pairs_of(
                moment, read, pairing=settings.pairing, source=self._source, well_formed=settings.well_formed
            )
            yield own, read, *found

    def __iter__(self) -> Iterator[Pair]:
        for _, _, pairs, _ in self.by_turn():
            yield from pairs


def _write_pairs(file: Path, pairs: _Pairs) -> tuple[Row, int, Counter[str]]:
    """Writes the pairs; returns the counts of candidates, the number of pairs, and how many are dropped by cause."""
    asked, made = CandidateCounts(), 0
    dropped: Counter[str] = Counter()
    with new_contents(file) as stream:
        for rows, candidates, found, unpaired in pairs.by_turn():
            asked.add(rows, candidates)
            stream.writelines(map(_line, found))
            made += len(found)
            dropped += unpaired
    return asked.as_row(), made, dropped


def _place(row: Mapping[str, Any]) -> tuple[str, int, int, int]:
    """What identifies a pair: its scene, turn and candidates, so that additional pairs do not shift others."""
    first, second = row["candidates"]
    return str(row["scene_key"]), int(row["turn"]), int(first), int(second)


class _Shape(BaseModel):
    scene_key: str
    turn: int
    candidates: list[int]
    judged: str
    verdict: str | None
    confidence: float | None
    principles: list[Any]
    evidence: Any
    agreed: bool | None
    missing: Cause | None


async def _judge(run: PairRun, pairs: Iterable[Pair], count: int, judged_by: str) -> Rows:
    """Rows of `judgements.jsonl` in the order of the pairs; one without a verdict is judged again at the next start.

    Earlier answers come from the ledger, so only requests that failed, in either order, are really made.
    """

    async def one(pair: Pair) -> Row:
        found = await run.teacher.judge(pair)
        place = {name: pair.extra[name] for name in ("scene_key", "turn", "candidates")}
        return {**place, "judged": pair.key, "settings": judged_by, **found.as_dict()}

    stage = Stage(
        Journal(run.out / JUDGEMENTS_FILE, key=_place, shape=_Shape, same={"settings": judged_by}),
        key=lambda pair: _place(pair.extra),
        make=one,
        is_valid=lambda pair, row: not row["missing"] and bool(row["judged"] == pair.key),
        progress=Progress("judging", "pair", total=count, show=run.show),
    )
    return await run_units(pairs, stage, window=run.window)


def _labelled(
    pairs: Iterable[Pair], judged: Iterable[Row], least: int
) -> tuple[list[Pair], Counter[str], Counter[str]]:
    """Pairs with the teacher's labels, how many were left out by cause, and the buckets of those that are kept.

    The labelled pairs are held in memory: the sets are balanced over all of them.
    """
    kept: list[Pair] = []
    left_out: Counter[str] = Counter()
    buckets: Counter[str] = Counter()
    for pair, row in zip(pairs, judged, strict=True):
        found = _verdict(row)
        if cause := kept_because(found, least):
            left_out[cause] += 1
            continue
        bucket = bucket_of(found)
        buckets[bucket] += 1
        extra = {**pair.extra, "bucket": bucket, "confidence": found.confidence, "agreed": found.agreed}
        kept.append(
            replace(pair, label=found.verdict, principles=found.principles, evidence=found.evidence, extra=extra)
        )
    return kept, left_out, buckets


def _verdict(row: Row) -> PairVerdict:
    """The verdict on the whole pair in a line of `judgements.jsonl`."""
    missing = row["missing"]
    return PairVerdict(
        row["verdict"],
        row["confidence"],
        tuple(Compared(**one) for one in row["principles"]),
        row["evidence"],
        agreed=row["agreed"],
        missing=Missing(**missing) if missing else None,
    )


def _write_lines(file: Path, pairs: Iterable[Pair]) -> None:
    with new_contents(file) as stream:
        stream.writelines(map(_line, pairs))


def _line(pair: Pair) -> bytes:
    return json.dumps(pair.to_row(), ensure_ascii=False).encode("utf-8") + b"\n"


def _write_results(out: Path, allocated: Allocated, report: Row) -> None:
    """Writes sets and report. Earlier ones are deleted first, so that a kill never leaves a mix of two allocations."""
    folder = out / SETS_FOLDER
    folder.mkdir(exist_ok=True)
    for file in (out / REPORT_FILE, out / REPORT_TEXT, *(folder / f"{name}.jsonl" for name in SETS)):
        file.unlink(missing_ok=True)
    for name in SETS:
        _write_lines(folder / f"{name}.jsonl", allocated.sets[name])
    replace_text(out / REPORT_TEXT, render_report(report))
    write_json(out / REPORT_FILE, report)
