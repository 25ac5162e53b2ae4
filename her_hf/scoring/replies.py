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

_SHOWN = [layer for layer in Layer if View.SELF.shows(layer)]


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


class ReplyScores:
    """The figures of [`score_replies`] over replies that are added one at a time.

    Of each reply only its text in SELF view is kept, without tags and label, because Self-BLEU compares every text
    with all others.
    """

    def __init__(self) -> None:
        self.total = 0
        self._shares: Counter[str] = Counter()
        self._issues: Counter[str] = Counter()
        self._patterns: Counter[str] = Counter()
        self._characters: Counter[str] = Counter()
        self._texts: list[str] = []

    def add(self, reply: SampledReply) -> None:
        """Adds one reply."""
        turn = reply.turn
        self.total += 1
        found = {
            "well_formed": is_well_formed(reply),
            "own_role": stays_in_role(reply),
            "ended": reply.ended,
            "visible": any(View.OTHERS.shows(segment.layer) for segment in turn.segments),
            "leak_rate": bool(spoken_thoughts(turn)),
        }
        self._shares.update({name: int(value) for name, value in found.items()})
        self._issues.update(map(str, turn.issues))
        self._patterns[turn.pattern] += 1
        self._characters.update({name: int(length) for name, length in layer_lengths([turn]).items()})
        self._texts.append(turn.text_of(_SHOWN))

    def figures(self) -> dict[str, object]:
        """See [`score_replies`].

        Raises:
            `ValueError`: If there are no replies.
        """
        if not self.total:
            raise ValueError("score_replies needs at least one reply, got none.")
        return {
            "replies": self.total,
            **{name: count / self.total for name, count in self._shares.items()},
            "issues": dict(sorted(self._issues.items())),
            "patterns": pattern_statistics(self._patterns.elements()),
            "self_bleu": self_bleu(self._texts) if self.total > 1 else None,
            "characters": {name: count / self.total for name, count in self._characters.items()},
        }


def score_replies(replies: Iterable[SampledReply]) -> dict[str, object]:
    """All judge-free figures of a set of replies; [`her_hf.scoring.dialogues.score_dialogues`] has those of dialogues.

    Returns:
        `dict`: `replies` (count), `well_formed`, `own_role`, `ended`, `visible`, `leak_rate` (shares, 0 to 1; a leak
            is thinking in speech or actions, see [`her_hf.scoring.leaks.spoken_thoughts`]), `issues` (number of
            replies with each issue), `patterns` (see [`pattern_statistics`]), `self_bleu` (Self-BLEU-4 of what
            the speaker sees of each reply, 0 to 1, lower is more varied; it grows with the number of replies, so
            compare only sets of similar size; `None` for fewer than two), `characters` (see [`layer_lengths`]).

    Raises:
        `ValueError`: If there are no replies.
    """
    scores = ReplyScores()
    for reply in replies:
        scores.add(reply)
    return scores.figures()
