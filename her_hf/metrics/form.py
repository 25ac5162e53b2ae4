"""Dual-layer form of replies, without a judge, computed for `spaces/dual_layer`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from her_hf.evaluation.rows import Row
from her_hf.scoring.leaks import spoken_thoughts
from her_hf.scoring.replies import SampledReply, is_well_formed, score_replies, stays_in_role
from her_hf.scoring.statistics import wilson_interval

from .coser import NOTATIONS
from .values import parsed, same_length, shown

KEYS = ("speaker", "names", "ended", "notation")


def dual_layer(replies: Sequence[Any], contexts: Sequence[Any]) -> Row:
    """Dual-layer form of replies; no judge is needed.

    Args:
        replies (`Sequence[str]`): Replies with system thinking inline, opening tag included.
        contexts (`Sequence`): For each reply an object with `speaker` (who should speak) and, *optional*, `names` (the
            cast), `ended` (whether the model itself ended its turn; defaults to `True`) and `notation` (`"her"`, the
            default, or `"coser"`).

    Returns:
        `dict`: `replies` (count); the shares `well_formed`, `own_role`, `ended` (`None` unless every context has it),
            `visible` and `leak_rate` (own thinking that leaked into speech), 0 to 1; `pattern_entropy` (nats),
            `distinct_patterns`, `top_pattern`, `top_share`; `self_bleu` (0 to 1, `None` for one reply); `characters`
            (mean length of each layer); `issues` (number of replies with each); `intervals` (95% Wilson, of the
            shares); and `cases`, one per reply.

    Raises:
        `ValueError`: If lengths differ or a value has the wrong form.
    """
    same_length("predictions", replies, "references", contexts)
    given = [_context(f"references[{at}]", value) for at, value in enumerate(contexts)]
    found = [_reply(f"predictions[{at}]", text, given[at]) for at, text in enumerate(replies)]
    figures: Row = dict(score_replies(found))
    patterns = figures.pop("patterns")
    if any(context.get("ended") is None for context in given):
        figures["ended"] = None
    shares = {name: figures[name] for name in ("well_formed", "own_role", "ended", "visible", "leak_rate")}
    counted = {name: (share, len(found)) for name, share in shares.items()}
    counted["top_share"] = (patterns["top_share"] if patterns["count"] else None, patterns["count"])
    return {
        **figures,
        "pattern_entropy": patterns["entropy"],
        "distinct_patterns": patterns["distinct"],
        "top_pattern": patterns["top"],
        "top_share": patterns["top_share"],
        "intervals": {
            name: None if share is None else list(wilson_interval(share, count))
            for name, (share, count) in counted.items()
        },
        "cases": list(map(_case, found)),
    }


def _context(where: str, value: Any) -> Mapping[str, Any]:
    given = parsed(where, value)
    if not isinstance(given, Mapping) or not isinstance(given.get("speaker"), str) or not given["speaker"].strip():
        raise ValueError(f"{where} must be an object with the text `speaker`, who should speak, got {shown(given)}.")
    unknown = sorted(set(given) - set(KEYS))
    if unknown:
        raise ValueError(f"{where} has unknown keys {unknown}; use {list(KEYS)}.")
    names = given.get("names") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{where}: names must be a list of texts, got {shown(names)}.")
    if names and given["speaker"] not in names:
        raise ValueError(f"{where}: speaker {given['speaker']!r} is not among names {names}: name the whole cast.")
    if not isinstance(given.get("ended"), bool | None):
        raise ValueError(f"{where}: ended must be true or false, got {shown(given['ended'])}.")
    if given.get("notation") not in (None, *NOTATIONS):
        raise ValueError(f"{where}: notation must be one of {list(NOTATIONS)}, got {shown(given['notation'])}.")
    return given


def _reply(where: str, text: Any, context: Mapping[str, Any]) -> SampledReply:
    if not isinstance(text, str):
        raise ValueError(f"{where} must be a reply, a text, got {shown(text)}.")
    return SampledReply(
        text,
        context["speaker"],
        tuple(context.get("names") or ()),
        context.get("ended") is not False,
        notation=context.get("notation") or "her",
    )


def _case(reply: SampledReply) -> Row:
    turn = reply.turn
    return {
        "well_formed": is_well_formed(reply),
        "own_role": stays_in_role(reply),
        "pattern": turn.pattern,
        "leaks": spoken_thoughts(turn),
        "issues": [str(issue) for issue in turn.issues],
    }
