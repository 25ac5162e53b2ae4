"""Computes `results.json` of form from replies: a pure function, so equal rows give equal results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from her_hf.dual_layer import View
from her_hf.runs.results import envelope, missing_part
from her_hf.scoring.leaks import spoken_thoughts
from her_hf.scoring.replies import ReplyScores, SampledReply, is_well_formed, layer_lengths, stays_in_role
from her_hf.scoring.statistics import bootstrap_interval, wilson_interval

from ..rows import Row

SHARES = ("well_formed", "own_role", "ended", "visible", "leak_rate", "top_share")
"""Shares of replies with an interval; `top_share` is that of the most frequent pattern."""


@dataclass(frozen=True)
class FormedReply:
    """A reply with its key.

    Args:
        key (`list`): Key of the reply.
        reply ([`~her_hf.scoring.replies.SampledReply`]): The reply.
        knows_secret (`bool`, *optional*): Whether it uses another's thought; `None` if that is unknown.
    """

    key: list[Any]
    reply: SampledReply
    knows_secret: bool | None


def form_results(
    replies: Iterable[FormedReply], settings: Mapping[str, Any], *, expected: int, failures: Iterable[Row] = ()
) -> Row:
    """The results of a set of replies.

    Args:
        replies (`Iterable[FormedReply]`): The replies, read once; no reply is kept, but the text that Self-BLEU
            compares.
        settings (`Mapping`): The settings.
        expected (`int`): Expected number of replies (or dialogues).
        failures (`Iterable[dict]`, *optional*): The missing ones, each with `key` and `failure`; read once.

    Returns:
        `dict`: The envelope, see [`~her_hf.runs.envelope.FormResults`]. If there are replies, `figures` has those of
            [`~her_hf.scoring.replies.score_replies`], `leak_rate` (share of replies with a leak of either kind) and
            `leaks` (by kind; `known_secrets` is `None` if it was not looked for). `intervals` are 95%: Wilson for
            shares, bootstrap over replies for mean lengths.
    """
    cases, lengths, scores = [], [], ReplyScores()
    for one in replies:
        cases.append(_case(one))
        lengths.append(layer_lengths([one.reply.turn]))
        scores.add(one.reply)
    patterns = Counter(case["pattern"] for case in cases if case["pattern"])
    figures = _figures(scores, cases) if cases else None
    missing = [{"key": list(row["key"]), **{name: row["failure"][name] for name in _CAUSE}} for row in failures]
    return envelope(
        "form",
        settings=settings,
        counts={
            "replies": len(cases),
            "patterns": dict(sorted(patterns.items(), key=lambda item: (-item[1], item[0]))),
        },
        missing=missing_part(
            "dialogue" if "dialogues" in settings else "reply",
            expected,
            Counter(one["cause"] for one in missing),
            missing,
        ),
        figures=figures,
        intervals=_intervals(figures, lengths) if figures else None,
        cases=cases,
    )


_CAUSE = ("cause", "detail")


def _figures(scores: ReplyScores, cases: Sequence[Row]) -> Row:
    looked_for = all(case["knows_secret"] is not None for case in cases)
    total = len(cases)
    counts = {name: sum(bool(case[name]) for case in cases) for name in ("spoken_thoughts", "knows_secret", "leak")}
    return {
        **scores.figures(),
        "leak_rate": counts["leak"] / total,
        "leaks": {
            "spoken_thoughts": counts["spoken_thoughts"] / total,
            "known_secrets": counts["knows_secret"] / total if looked_for else None,
        },
    }


def _case(one: FormedReply) -> Row:
    turn = one.reply.turn
    spoken = spoken_thoughts(turn)
    return {
        "key": one.key,
        "character": one.reply.speaker,
        "well_formed": is_well_formed(one.reply),
        "own_role": stays_in_role(one.reply),
        "ended": one.reply.ended,
        "visible": any(View.OTHERS.shows(segment.layer) for segment in turn.segments),
        "pattern": turn.pattern,
        "issues": [str(issue) for issue in turn.issues],
        "spoken_thoughts": spoken,
        "knows_secret": one.knows_secret,
        "leak": bool(spoken or one.knows_secret),
    }


def _intervals(figures: Row, lengths: Sequence[Mapping[str, float]]) -> Row:
    """95% intervals: Wilson for shares, bootstrap for mean lengths."""
    total, patterns = figures["replies"], figures["patterns"]
    shares: Row = {
        name: list(wilson_interval(share_of(figures, name), total)) for name in SHARES if name != "top_share"
    }
    shares["top_share"] = (
        list(wilson_interval(patterns["top_share"], patterns["count"])) if patterns["count"] else None
    )
    leaks = {
        name: None if share is None else list(wilson_interval(share, total))
        for name, share in figures["leaks"].items()
    }
    characters = {}
    for layer in figures["characters"]:
        ends = bootstrap_interval([row[layer] for row in lengths])
        characters[layer] = list(ends) if ends else None
    return {**shares, "leaks": leaks, "characters": characters}


def share_of(figures: Mapping[str, Any], name: str) -> float:
    """A share by its name in [`SHARES`]."""
    return float(figures["patterns"]["top_share"] if name == "top_share" else figures[name])
