"""Computes `results.json` from judged pairs: a pure function, so equal rows give equal results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from her_hf.durable import digest
from her_hf.runs.results import envelope, missing_part
from her_hf.scoring.reward import Judged, accuracy_figures, agreement_figures, calibration, order_figures

from ..rows import Row

LENGTHS = ("much shorter", "shorter", "like", "longer", "much longer")
"""Groups of [`length_group`], in order."""

_TWENTIETH, _FIFTH = 1.05, 1.2


def reward_results(rows: Sequence[Row], settings: Row) -> Row:
    """The results of judged pairs.

    Args:
        rows (`Sequence[dict]`): Lines of `judged.jsonl`.
        settings (`dict`): The settings; kinds named in `unseen` form a separate group.

    Returns:
        `dict`: The envelope, see [`~her_hf.runs.envelope.RewardResults`]: figures of [`~her_hf.scoring.reward`] over
            all pairs; `by_kind`, `by_group` (seen, unseen), `by_source` and `by_length`, each with `accuracy`,
            `interval`, `half_credit` and `pairs`; `agreement`; `calibration`. The settings include
            `labels`, a digest.
    """
    unseen = set(settings.get("unseen") or ())
    judged = [_judged(row) for row in rows]
    # In a pointwise comparison each reply is rated alone, so there is no position.
    placed = [] if settings.get("comparison") == "pointwise" else judged

    def group(row: Row) -> str | None:
        if row.get("kind") is None or not unseen:
            return None
        return "unseen" if row["kind"] in unseen else "seen"

    accuracy, answers = accuracy_figures(judged), _answers(rows, settings)
    interval = accuracy.pop("interval")
    return envelope(
        "reward",
        settings={**settings, "labels": digest([row["label"] for row in rows])},
        counts={
            "pairs": accuracy.pop("pairs"),
            **{name: answers[name] for name in _COUNTED},
            "circumstances_from_prompt": sum(row.get("circumstances") == "from_prompt" for row in rows),
        },
        missing=_missing(rows),
        figures={
            **accuracy,
            **order_figures(placed),
            "first_unreadable_share": answers["first_unreadable_share"],
            "by_kind": _grouped(rows, lambda row: row.get("kind")),
            "by_group": _grouped(rows, group),
            "by_source": _grouped(rows, lambda row: row.get("source")),
            "by_length": _grouped(rows, length_group, LENGTHS),
            "agreement": agreement_figures(judged),
            "calibration": calibration(judged),
        },
        intervals={"accuracy": interval},
        cases=[_case(row) for row in rows],
    )


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


def _judged(row: Row) -> Judged:
    orders = tuple(one["verdict"] for one in row["per_order"])
    return Judged(row["label"], row["verdict"], orders, row["confidence"])


def _grouped(
    rows: Sequence[Row], key: Callable[[Row], str | None], order: Sequence[str] | None = None
) -> dict[str, Row]:
    names = sorted({name for row in rows if (name := key(row)) is not None}, key=order.index if order else None)
    found = {}
    for name in names:
        judged = [_judged(row) for row in rows if key(row) == name]
        own = {**accuracy_figures(judged), **order_figures(judged)}
        shown = ("accuracy", "interval", "half_credit", "position_consistency", "pairs")
        found[name] = {figure: own[figure] for figure in shown}
    return found


def _answers(rows: Sequence[Row], settings: Row) -> Row:
    """Counts of the judge's answers, except orders whose first request failed.

    If probabilities were read there is no text, so the counts of unreadable and repaired answers are `None`.
    """
    orders = [
        one
        for row in rows
        for one in row["per_order"]
        if one["missing"] is None or one["missing"]["cause"] != "request" or one["attempts"] > 1
    ]
    if settings.get("read") == "probability":
        return {"orders": len(orders), "repaired": None, "first_unreadable": None, "first_unreadable_share": None}
    unreadable = sum(one["missing"] is not None or one["attempts"] > 1 for one in orders)
    return {
        "orders": len(orders),
        "repaired": sum(one["repaired"] for one in orders),
        "first_unreadable": unreadable,
        "first_unreadable_share": unreadable / len(orders) if orders else None,
    }


def _missing(rows: Sequence[Row]) -> Row:
    lost = [
        {"key": [row["index"], row["key"]], **{name: row["missing"][name] for name in ("cause", "detail")}}
        for row in rows
        if row["missing"] is not None
    ]
    return missing_part("judgement", len(rows), Counter(one["cause"] for one in lost), lost)
