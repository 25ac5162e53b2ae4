"""Computes `results.json` from judged pairs: a pure function, so equal rows give equal results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from her_hf.durable import digest
from her_hf.runs.results import envelope, missing_part
from her_hf.scoring.reward import Judged, accuracy_figures, agreement_figures, calibration, order_figures

from ..rows import Row

LENGTHS = ("much shorter", "shorter", "like", "longer", "much longer")
"""Groups of [`length_group`], in order."""

_TWENTIETH, _FIFTH = 1.05, 1.2


def reward_results(rows: Iterable[Row], settings: Row) -> Row:
    """The results of judged pairs.

    Args:
        rows (`Iterable[dict]`): Lines of `judged.jsonl`, read once; of each only its case is kept.
        settings (`dict`): The settings; kinds named in `unseen` form a separate group.

    Returns:
        `dict`: The envelope, see [`~her_hf.runs.envelope.RewardResults`]: figures of [`~her_hf.scoring.reward`] over
            all pairs; `by_kind`, `by_group` (seen, unseen), `by_source` and `by_length`, each with `accuracy`,
            `interval`, `half_credit` and `pairs`; `agreement`; `calibration`. The settings include
            `labels`, a digest.
    """
    read = _Read()
    for row in rows:
        read.add(row)
    cases = read.cases
    unseen = set(settings.get("unseen") or ())
    judged = [_judged(case) for case in cases]
    # In a pointwise comparison each reply is rated alone, so there is no position.
    placed = [] if settings.get("comparison") == "pointwise" else judged

    def group(case: Row) -> str | None:
        if case["kind"] is None or not unseen:
            return None
        return "unseen" if case["kind"] in unseen else "seen"

    accuracy, answers = accuracy_figures(judged), read.answers(settings)
    interval = accuracy.pop("interval")
    return envelope(
        "reward",
        settings={**settings, "labels": digest([case["label"] for case in cases])},
        counts={
            "pairs": accuracy.pop("pairs"),
            **{name: answers[name] for name in _COUNTED},
            "circumstances_from_prompt": read.from_prompt,
        },
        missing=missing_part("judgement", len(cases), Counter(one["cause"] for one in read.failures), read.failures),
        figures={
            **accuracy,
            **order_figures(placed),
            "first_unreadable_share": answers["first_unreadable_share"],
            "by_kind": _grouped(cases, lambda case: case["kind"]),
            "by_group": _grouped(cases, group),
            "by_source": _grouped(cases, lambda case: case["source"]),
            "by_length": _grouped(cases, lambda case: case["length"], LENGTHS),
            "agreement": agreement_figures(judged),
            "calibration": calibration(judged),
        },
        intervals={"accuracy": interval},
        cases=cases,
    )


@dataclass
class _Read:
    """What the results need of the lines."""

    cases: list[Row] = field(default_factory=list)
    failures: list[Row] = field(default_factory=list)
    from_prompt: int = 0
    orders: int = 0
    repaired: int = 0
    unreadable: int = 0

    def add(self, row: Row) -> None:
        self.cases.append(_case(row))
        self.from_prompt += row.get("circumstances") == "from_prompt"
        if row["missing"] is not None:
            cause, detail = row["missing"]["cause"], row["missing"]["detail"]
            self.failures.append({"key": [row["index"], row["key"]], "cause": cause, "detail": detail})
        for one in row["per_order"]:
            if one["missing"] is None or one["missing"]["cause"] != "request" or one["attempts"] > 1:
                self.orders += 1
                self.repaired += one["repaired"]
                self.unreadable += one["missing"] is not None or one["attempts"] > 1

    def answers(self, settings: Row) -> Row:
        """Counts of the judge's answers, except orders whose first request failed.

        If probabilities were read there is no text, so the counts of unreadable and repaired answers are `None`.
        """
        if settings.get("read") == "probability":
            return {"orders": self.orders, **dict.fromkeys((*_COUNTED[1:], "first_unreadable_share"))}
        return {
            "orders": self.orders,
            "repaired": self.repaired,
            "first_unreadable": self.unreadable,
            "first_unreadable_share": self.unreadable / self.orders if self.orders else None,
        }


_COUNTED = ("orders", "repaired", "first_unreadable")


def _case(row: Row) -> Row:
    return {
        "key": [row["index"], row["key"]],
        "label": row["label"],
        "verdict": row["verdict"],
        "orders": [one["verdict"] for one in row["per_order"]],
        "confidence": row["confidence"],
        "kind": row.get("kind"),
        "source": row.get("source"),
        "length": length_group(row),
    }


def length_group(row: Row) -> str | None:
    """Length of the better reply relative to the other: shorter or longer by at least 5% (`much`: 20%), else `like`.

    In characters that the judge sees; `None` if the label is a tie or missing.
    """
    if row.get("label") not in ("cand_1", "cand_2"):
        return None
    one, two = row["characters"]
    better, other = (one, two) if row["label"] == "cand_1" else (two, one)
    word, (less, more) = ("longer", (other, better)) if better > other else ("shorter", (better, other))
    if more >= less * _FIFTH:
        return f"much {word}"
    return word if more >= less * _TWENTIETH else "like"


def _judged(case: Row) -> Judged:
    return Judged(case["label"], case["verdict"], tuple(case["orders"]), case["confidence"])


def _grouped(
    cases: Sequence[Row], key: Callable[[Row], str | None], order: Sequence[str] | None = None
) -> dict[str, Row]:
    names = sorted({name for case in cases if (name := key(case)) is not None}, key=order.index if order else None)
    found = {}
    for name in names:
        judged = [_judged(case) for case in cases if key(case) == name]
        own = {**accuracy_figures(judged), **order_figures(judged)}
        shown = ("accuracy", "interval", "half_credit", "position_consistency", "pairs")
        found[name] = {figure: own[figure] for figure in shown}
    return found
