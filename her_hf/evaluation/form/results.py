"""Computes `results.json` of form from replies: a pure function, so equal rows give equal results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from her_hf.dual_layer import Turn, View
from her_hf.runs.results import envelope, missing_part
from her_hf.scoring.leaks import spoken_thoughts
from her_hf.scoring.replies import SampledReply, is_well_formed, layer_lengths, score_replies, stays_in_role
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
    replies: Sequence[FormedReply], settings: Mapping[str, Any], *, expected: int, failures: Sequence[Row] = ()
) -> Row:
    """The results of a set of replies.

    Args:
        replies (`Sequence[FormedReply]`): The replies.
        settings (`Mapping`): The settings.
        expected (`int`): Expected number of replies (or dialogues).
        failures (`Sequence[dict]`, *optional*): The missing ones, each with `key` and `failure`.

    Returns:
        `dict`: The envelope, see [`~her_hf.runs.envelope.FormResults`]. If there are replies, `figures` has those of
            [`~her_hf.scoring.replies.score_replies`], `leak_rate` (share of replies with a leak of either kind) and
            `leaks` (by kind; `known_secrets` is `None` if it was not looked for). `intervals` are 95%: Wilson for
            shares, bootstrap over replies for mean lengths.
    """
    cases = [_case(one) for one in replies]
    patterns = Counter(case["pattern"] for case in cases if case["pattern"])
    figures = _figures(replies, cases) if replies else None
    unit = "dialogue" if "dialogues" in settings else "reply"
    return envelope(
        "form",
        settings=settings,
        counts={
            "replies": len(replies),
            "patterns": dict(sorted(patterns.items(), key=lambda item: (-item[1], item[0]))),
        },
        missing=missing_part(
            unit,
            expected,
            Counter(row["failure"]["cause"] for row in failures),
            [
                {"key": list(row["key"]), "cause": row["failure"]["cause"], "detail": row["failure"]["detail"]}
                for row in failures
            ],
        ),
        figures=figures,
        intervals=_intervals(figures, [one.reply.turn for one in replies]) if figures else None,
        cases=cases,
    )


def _figures(replies: Sequence[FormedReply], cases: Sequence[Row]) -> Row:
    looked_for = all(one.knows_secret is not None for one in replies)
    total = len(replies)
    counts = {name: sum(bool(case[name]) for case in cases) for name in ("spoken_thoughts", "knows_secret", "leak")}
    return {
        **score_replies([one.reply for one in replies]),
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


def _intervals(figures: Row, turns: Sequence[Turn]) -> Row:
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
    lengths = [layer_lengths([turn]) for turn in turns]
    characters = {}
    for layer in figures["characters"]:
        ends = bootstrap_interval([row[layer] for row in lengths])
        characters[layer] = list(ends) if ends else None
    return {**shares, "leaks": leaks, "characters": characters}


def share_of(figures: Mapping[str, Any], name: str) -> float:
    """A share by its name in [`SHARES`]."""
    return float(figures["patterns"]["top_share"] if name == "top_share" else figures[name])
