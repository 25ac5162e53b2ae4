"""Judge-free figures of replies: form, role, leaks, patterns, repetition, lengths."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from her_hf.dual_layer import Issue, Layer, Turn, View, parse_turn

from .diversity import self_bleu
from .leaks import spoken_thoughts


@dataclass(frozen=True)
class SampledReply:
    """One sampled reply.

    Args:
        text (`str`): The reply with its system thinking inline, opening tag included (as in `her_hf.inference`),
            without the end-of-turn token.
        speaker (`str`): Who should speak.
        names (`tuple[str, ...]`): The scene's cast.
        ended (`bool`): Whether the end-of-turn token ended it; a reply truncated at the token limit did not end.
        notation (`str`, *optional*, defaults to `"her"`): `"her"` (tags) or `"coser"` (`[thought]`, `(action)`).
    """

    text: str
    speaker: str
    names: tuple[str, ...]
    ended: bool
    notation: str = "her"

    @cached_property
    def turn(self) -> Turn:
        return parse_turn(self.text, notation=self.notation, speaker=self.speaker, names=self.names)


def is_well_formed(reply: SampledReply) -> bool:
    """One closed system block, the own label, a visible layer, no issues, ended by the end-of-turn token."""
    return reply.ended and reply.turn.well_formed


def stays_in_role(reply: SampledReply) -> bool:
    """Whether the reply is labelled with its own character's name and speaks for no one else."""
    turn = reply.turn
    return turn.name == reply.speaker and Issue.FOREIGN_SPEAKER not in turn.issues


def pattern_statistics(patterns: Iterable[str]) -> dict[str, float | int | str]:
    """Diversity of layer patterns; turns without a segment do not count.

    Args:
        patterns (`Iterable[str]`): Patterns such as `"TAST"`.

    Returns:
        `dict`: `count`, `distinct`, `top` (the most frequent pattern, alphabetically first among equals), `top_share`
        (0 to 1), `entropy` (Shannon, natural logarithm, in nats).

    Example:

    ```python
    >>> pattern_statistics(["TS", "TS", "AS", "S"])["top_share"]
    0.5
    ```

    Source: HER, arXiv 2601.21459, the section on pattern collapse.
    """
    counts = Counter(pattern for pattern in patterns if pattern)
    total = sum(counts.values())
    if not total:
        return {"count": 0, "distinct": 0, "top": "", "top_share": 0.0, "entropy": 0.0}
    top = min(counts, key=lambda pattern: (-counts[pattern], pattern))
    entropy = -sum(n / total * math.log(n / total) for n in counts.values())
    return {
        "count": total,
        "distinct": len(counts),
        "top": top,
        "top_share": counts[top] / total,
        "entropy": abs(entropy),
    }


def layer_lengths(turns: Sequence[Turn]) -> dict[str, float]:
    """Mean characters per turn of each layer; a layer that a turn lacks counts as 0 characters."""
    names = {layer.value: [layer] for layer in (Layer.ROLE_THINKING, Layer.ROLE_ACTION, Layer.SPEECH)}
    lengths = {Layer.SYSTEM_THINKING.value: [len(turn.system_thinking or "") for turn in turns]}
    for name, layers in names.items():
        lengths[name] = [len(turn.text_of(layers)) for turn in turns]
    return {name: sum(values) / len(values) if values else 0.0 for name, values in lengths.items()}


def reply_repetition(turns: Sequence[Turn]) -> float | None:
    """Self-BLEU-4 of turns in SELF view, without tags and labels.

    Returns:
        `float` or `None`: 0 to 1, lower is more varied; it grows with the number of turns, so compare only sets of
            similar size. `None` for fewer than two turns.
    """
    shown = [layer for layer in Layer if View.SELF.shows(layer)]
    return self_bleu([turn.text_of(shown) for turn in turns]) if len(turns) > 1 else None


def score_replies(replies: Sequence[SampledReply]) -> dict[str, object]:
    """All judge-free figures of a set of replies; [`her_hf.scoring.dialogues.score_dialogues`] has those of dialogues.

    Returns:
        `dict`: `replies` (count), `well_formed`, `own_role`, `ended`, `visible`, `leak_rate` (shares, 0 to 1; a leak
            is thinking in speech or actions, see [`her_hf.scoring.leaks.spoken_thoughts`]), `issues` (number of
            replies with each issue), `patterns` (see [`pattern_statistics`]), `self_bleu` (see [`reply_repetition`]),
            `characters` (see [`layer_lengths`]).

    Raises:
        `ValueError`: If there are no replies.
    """
    if not replies:
        raise ValueError("score_replies needs at least one reply, got none.")
    turns = [reply.turn for reply in replies]
    total = len(replies)
    issues = Counter(str(issue) for turn in turns for issue in turn.issues)
    shown = sum(any(View.OTHERS.shows(segment.layer) for segment in turn.segments) for turn in turns)
    return {
        "replies": total,
        "well_formed": sum(map(is_well_formed, replies)) / total,
        "own_role": sum(map(stays_in_role, replies)) / total,
        "ended": sum(reply.ended for reply in replies) / total,
        "visible": shown / total,
        "leak_rate": sum(bool(spoken_thoughts(turn)) for turn in turns) / total,
        "issues": dict(sorted(issues.items())),
        "patterns": pattern_statistics(turn.pattern for turn in turns),
        "self_bleu": reply_repetition(turns),
        "characters": layer_lengths(turns),
    }
