"""From scenes, a policy and a teacher to the reward model's sets: candidates, pairs, judgements, sets, report.

In the output folder: `run.json` (the settings), `ledger.sqlite` (every answer of both models), `candidates.jsonl`,
`judged.jsonl`, `sets/rm_sft.jsonl`, `sets/rm_rl.jsonl`, `sets/test.jsonl`, `report.json`, `report.md`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from her_hf.durable import claim, digest, replace_text, write_json
from her_hf.evaluation.rm import judge_pairs
from her_hf.evaluation.starts import run_now
from her_hf.judging import Pair, PairVerdict, PairwiseJudge
from her_hf.judging.missing import CAUSES, Missing
from her_hf.judging.pairs import Compared
from her_hf.judging.verdicts import LEAST_COMPARED
from her_hf.scenes import Scene

from .allocation import MOST_ALIKE, SETS, SHARES, Allocated, allocate
from .candidates import Moment, Policy, moments_of, sample_candidates
from .pairing import bucket_of, kept_because, pairs_of

CANDIDATES_FILE, JUDGED_FILE, REPORT_FILE = "candidates.jsonl", "judged.jsonl", "report.json"
SETS_FOLDER = "sets"

Row = dict[str, Any]


@dataclass
class PairRun:
    """One run of the builder.

    Args:
        scenes (`Sequence[Scene]`): Scenes with their dialogues.
        out (`Path`): Output folder.
        policy ([`Policy`]): Who writes candidates.
        teacher ([`~her_hf.judging.PairwiseJudge`]): Who labels.
        pairing (`str`, *optional*, defaults to `"adjacent"`): See [`~her_hf.data.pairing.places`].
        limit (`int`, *optional*): Most turns that are replied to.
        least_principles (`int`, *optional*, defaults to 3): A pair with fewer compared principles is left out.
        shares (`Mapping[str, float]`, *optional*): See [`~her_hf.data.allocation.allocate`].
        most_alike (`float`, *optional*, defaults to 0.6): See there.
        seed (`int`, *optional*, defaults to 42): Of the sets.
        at_once (`int`, *optional*, defaults to 256): Most replies or pairs in hand at a time.
        show (`bool`, *optional*, defaults to `True`): Whether to show progress bars.
    """

    scenes: Sequence[Scene]
    out: Path
    policy: Policy
    teacher: PairwiseJudge
    pairing: str = "adjacent"
    limit: int | None = None
    least_principles: int = LEAST_COMPARED
    shares: Mapping[str, float] = field(default_factory=lambda: dict(SHARES))
    most_alike: float = MOST_ALIKE
    seed: int = 42
    at_once: int = 256
    show: bool = True


async def build_pairs(run: PairRun) -> Row:
    """Runs all stages; what is there already is not done again.

    Args:
        run ([`PairRun`]): The run.

    Returns:
        `dict`: Contents of `report.json`: the counts of each step.

    Raises:
        [`~her_hf.durable.OtherRunError`]: If the folder holds a run of other settings.
        `ModelError`: If a model cannot even be asked what it is.
        `ValueError`: If there is no turn to reply to, a scene comes twice, or a setting is out of range.
    """
    moments = moments_of(run.scenes, run.limit)
    twice = sorted(key for key, count in Counter(scene.key for scene in run.scenes).items() if count > 1)
    if twice:
        raise ValueError(f"scenes are known by (book, i_p, i_c), but these keys come more than once: {twice[:5]}")
    settings = {
        "builder": "pairs",
        "policy": {**run.policy.as_dict(), "model": await run.policy.model.fingerprint()},
        "teacher": {**run.teacher.settings.as_dict(), "model": await run.teacher.caller.fingerprint()},
        "pairing": run.pairing,
        "least_principles": run.least_principles,
        "shares": dict(run.shares),
        "most_alike": run.most_alike,
        "seed": run.seed,
        "moments": digest([moment.key for moment in moments]),
    }
    claim(run.out, settings, begun=lambda folder: (folder / CANDIDATES_FILE).exists(), beside=("ledger.sqlite",))
    file = run.out / CANDIDATES_FILE
    candidates = await sample_candidates(run.policy, moments, file, at_once=run.at_once, show=run.show)
    pairs, dropped = _pairs(run, moments, candidates)
    judged = await judge_pairs(run.teacher, pairs, run.out / JUDGED_FILE, at_once=run.at_once, show=run.show)
    labelled, left_out, buckets = _labelled(pairs, judged, run.least_principles)
    allocated = allocate(labelled, shares=run.shares, most_alike=run.most_alike, seed=run.seed)
    _write_sets(allocated, run.out / SETS_FOLDER)
    report = {
        "settings": settings,
        "turns": len(moments),
        "candidates": _candidate_counts(candidates),
        "pairs": {"made": len(pairs), "dropped": dict(sorted(dropped.items()))},
        "judged": _judged_counts(judged),
        "left_out": dict(sorted(left_out.items())),
        "buckets": dict(sorted(buckets.items())),
        "allocated": {"left_out": dict(sorted(allocated.left_out.items())), "sets": allocated.figures()},
    }
    write_json(run.out / REPORT_FILE, report)
    replace_text(run.out / "report.md", render_report(report))
    return report


def build_pairs_now(run: PairRun) -> Row:
    """[`build_pairs`] from code that is not asynchronous; connections are closed at the end."""
    return run_now(build_pairs(run), {"policy": run.policy.model, "teacher": run.teacher.caller})


def _pairs(run: PairRun, moments: Sequence[Moment], candidates: Sequence[Row]) -> tuple[list[Pair], Counter[str]]:
    texts = {tuple(row["key"]): row["text"] for row in candidates}
    pairs: list[Pair] = []
    dropped: Counter[str] = Counter()
    for moment in moments:
        made, lost = pairs_of(
            moment,
            [texts.get((*moment.key, number)) for number in range(run.policy.candidates)],
            notation=run.policy.style.notation,
            pairing=run.pairing,
            source=run.policy.model.name,
        )
        pairs += made
        dropped += lost
    return pairs, dropped


def _labelled(
    pairs: Sequence[Pair], judged: Sequence[Row], least: int
) -> tuple[list[Pair], Counter[str], Counter[str]]:
    """Pairs with the teacher's labels; how many were left out, by cause; and the buckets of those that are kept."""
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
    """What a line of `judged.jsonl` says of its pair as a whole."""
    missing = row["missing"]
    return PairVerdict(
        row["verdict"],
        row["confidence"],
        tuple(Compared(**one) for one in row["principles"]),
        row["evidence"],
        agreed=row["agreed"],
        missing=Missing(**missing) if missing else None,
    )


def _write_sets(allocated: Allocated, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name in SETS:
        lines = (json.dumps(pair.to_row(), ensure_ascii=False) + "\n" for pair in allocated.sets[name])
        replace_text(folder / f"{name}.jsonl", "".join(lines))


def _candidate_counts(rows: Sequence[Row]) -> Row:
    causes = Counter(row["failure"]["cause"] for row in rows if row["failure"])
    return {"asked": len(rows), "failed": sum(causes.values()), "by_cause": dict(sorted(causes.items()))}


def _judged_counts(rows: Sequence[Row]) -> Row:
    causes = Counter(row["missing"]["cause"] for row in rows if row["missing"])
    orders = [one for row in rows for one in row["per_order"]]
    return {
        "pairs": len(rows),
        "missing": sum(causes.values()),
        "by_cause": dict(sorted(causes.items())),
        "disagreeing_orders": sum(row["agreed"] is False for row in rows),
        "repaired_answers": sum(one["repaired"] for one in orders),
        "asked_again": sum(one["attempts"] - 1 for one in orders),
    }


def render_report(report: Mapping[str, Any]) -> str:
    """`report.md`: what every step took in and gave out."""
    pairs, judged, allocated = report["pairs"], report["judged"], report["allocated"]
    asked = report["candidates"]
    lines = [
        "# Pairs for a reward model",
        "",
        "| step | count |",
        "|---|---:|",
        f"| turns replied to | {report['turns']} |",
        f"| candidates asked for | {asked['asked']} |",
        *(f"| · failed: {cause} | {count} |" for cause, count in asked["by_cause"].items()),
        f"| pairs made | {pairs['made']} |",
        *(f"| · dropped: {cause} | {count} |" for cause, count in pairs["dropped"].items()),
        f"| pairs judged | {judged['pairs'] - judged['missing']} |",
        *(f"| · no verdict: {cause} ({CAUSES[cause]}) | {count} |" for cause, count in judged["by_cause"].items()),
        f"| · orders disagree (a tie) | {judged['disagreeing_orders']} |",
        f"| · answers mended / asked again | {judged['repaired_answers']} / {judged['asked_again']} |",
        *(f"| left out: {cause.replace('_', ' ')} | {count} |" for cause, count in report["left_out"].items()),
        *(f"| bucket: {bucket} | {count} |" for bucket, count in report["buckets"].items()),
        *(f"| left out for balance: {cause} | {count} |" for cause, count in allocated["left_out"].items()),
        "",
        "| set | pairs | scenes | labels | buckets | longer is better |",
        "|---|---:|---:|---|---|---:|",
    ]
    for name, own in allocated["sets"].items():
        labels = ", ".join(f"{label} {count}" for label, count in own["labels"].items()) or "–"
        buckets = ", ".join(f"{bucket} {count}" for bucket, count in own["buckets"].items()) or "–"
        longer = "–" if own["longer_is_better"] is None else f"{own['longer_is_better']:.1%}"
        lines.append(f"| {name} | {own['pairs']} | {own['scenes']} | {labels} | {buckets} | {longer} |")
    lines += ["", "No scene is in two sets. A pair without a verdict is in none of them; the same command asks again."]
    return "\n".join(lines) + "\n"
