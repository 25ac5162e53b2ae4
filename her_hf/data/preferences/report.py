"""The report of the pair builder: what each step received, produced and left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from her_hf.runs.report.markdown import table
from her_hf.scoring.missing import CAUSES

from .pairing import Candidate

Row = dict[str, Any]

_SHOWN = 300


class CandidateCounts:
    """Candidates by outcome, added a turn at a time; those that are cut or ill-formed may still be sides of pairs."""

    def __init__(self) -> None:
        self._asked = self._cut = 0
        self._causes: Counter[str] = Counter()
        self._faults: Counter[str | None] = Counter()
        self._first = ""

    def add(self, rows: Sequence[Row], candidates: Sequence[Candidate]) -> None:
        """Adds lines of `candidates.jsonl`, and the candidates that they are."""
        self._asked += len(rows)
        for failure in (row["failure"] for row in rows if row["failure"]):
            self._first = failure["detail"] if not self._causes else self._first
            self._causes[failure["cause"]] += 1
        self._faults.update(candidate.fault for candidate in candidates)
        self._cut += sum(candidate.cut for candidate in candidates)

    def as_row(self) -> Row:
        return {
            "asked": self._asked,
            "failed": self._causes.total(),
            "by_cause": _sorted(self._causes),
            "first": self._first,
            "empty": self._faults["empty"],
            "ill_formed": self._faults["ill_formed"],
            "cut": self._cut,
        }


def judged_counts(rows: Iterable[Row]) -> Row:
    """Judgements by outcome, and the quality of the teacher's single answers; the rows are read once."""
    counts: Counter[str] = Counter()
    causes: Counter[str] = Counter()
    verdicts: Counter[str] = Counter()
    first = ""
    for row in rows:
        counts["pairs"] += 1
        if missing := row["missing"]:
            first = missing["detail"] if not causes else first
            causes[missing["cause"]] += 1
        if row["verdict"]:
            verdicts[row["verdict"]] += 1
        counts["disagreeing_orders"] += row["agreed"] is False
        counts["against_its_principles"] += _contradicts(row)
        counts["repaired_answers"] += sum(one["repaired"] for one in row["per_order"])
        counts["repeated_calls"] += sum(one["attempts"] - 1 for one in row["per_order"])
    return {
        "pairs": counts["pairs"],
        "missing": causes.total(),
        "by_cause": _sorted(causes),
        "first": first,
        "verdicts": _sorted(verdicts),
        **{name: counts[name] for name in _OF_ANSWERS},
    }


_OF_ANSWERS = ("disagreeing_orders", "against_its_principles", "repaired_answers", "repeated_calls")


def missing_shares(candidates: Row, judged: Row) -> Row:
    """Missing shares of the candidates and judgements requested; `share` is the larger one."""
    shares = {
        "candidates": candidates["failed"] / candidates["asked"],
        "judgements": judged["missing"] / judged["pairs"] if judged["pairs"] else 0.0,
    }
    return {**shares, "share": max(shares.values())}


def _contradicts(row: Row) -> bool:
    """Whether the verdict names a side while only the other one wins principles."""
    winners = {one["winner"] for one in row["principles"]} - {"tie"}
    return row["verdict"] in ("cand_1", "cand_2") and len(winners) == 1 and row["verdict"] not in winners


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items()))


def render_report(report: Mapping[str, Any]) -> str:
    """Renders `report.md`."""
    settings, asked, judged = report["settings"], report["candidates"], report["judged"]
    lines = [
        "# Pairs for a reward model",
        f"Candidates by {_code(settings['policy']['model'].get('model'))}, labels by "
        f"{_code(settings['teacher']['model'].get('model'))}.",
        table(["step", "count"], _steps(report)),
        *(f"The first {what} that failed: {_code(detail)}" for what, detail in _firsts(asked, judged)),
        table(["set", "pairs", "scenes", "labels", "buckets", "longer is better", "left out"], _sets(report)),
        "No scene is in two sets. A pair that a set leaves out is in no other set, as its scene would be in two. A "
        "pair without a verdict is in no set; the same command asks again for what failed.",
        *(f"- {_code(note)}" for note in report["notes"]),
    ]
    return "\n\n".join(lines) + "\n"


def _steps(report: Mapping[str, Any]) -> list[list[object]]:
    turns, asked, pairs, judged = report["turns"], report["candidates"], report["pairs"], report["judged"]
    return [
        ["scenes", turns["scenes"]],
        ["turns of characters", turns["of_characters"]],
        ["· without a context", turns["without_context"]],
        ["· beyond the limit", turns["beyond_limit"]],
        ["turns replied to", turns["replied_to"]],
        ["candidates asked for", asked["asked"]],
        *([f"· failed: {cause}", count] for cause, count in asked["by_cause"].items()),
        *([f"· {name.replace('_', '-')}", asked[name]] for name in ("empty", "cut", "ill_formed")),
        ["pairs made", pairs["made"]],
        *([f"· dropped: {cause}", count] for cause, count in pairs["dropped"].items()),
        ["pairs judged", judged["pairs"] - judged["missing"]],
        *([f"· no verdict: {cause} ({CAUSES[cause]})", count] for cause, count in judged["by_cause"].items()),
        *([f"· verdict {verdict}", count] for verdict, count in judged["verdicts"].items()),
        ["· orders disagree (a tie)", judged["disagreeing_orders"]],
        ["· verdict against its own principles", judged["against_its_principles"]],
        ["· answers repaired / asked again", f"{judged['repaired_answers']} / {judged['repeated_calls']}"],
        *([f"left out: {cause.replace('_', ' ')}", count] for cause, count in report["left_out"].items()),
        *([f"bucket: {bucket}", count] for bucket, count in report["buckets"].items()),
    ]


def _sets(report: Mapping[str, Any]) -> list[list[object]]:
    rows: list[list[object]] = []
    for name, own in report["allocated"]["sets"].items():
        longer = "–" if own["longer_is_better"] is None else f"{own['longer_is_better']:.1%}"
        counts = [_counts(own[what]) for what in ("labels", "buckets")]
        rows.append([name, own["pairs"], own["scenes"], *counts, longer, _counts(own["left_out"])])
    if unallocated := report["allocated"]["left_out"].get("no_set"):
        rows.append(["no set", "–", "–", "–", "–", "–", _counts(unallocated)])
    return rows


def _firsts(asked: Row, judged: Row) -> list[tuple[str, str]]:
    found = (("candidate", asked["first"]), ("judgement", judged["first"]))
    return [(what, detail) for what, detail in found if detail]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "–"


def _code(text: object) -> str:
    """Foreign text as one line that Markdown shows literally."""
    shown = " ".join(str(text).replace("`", "'").split())
    return f"`{shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + '…'}`"
