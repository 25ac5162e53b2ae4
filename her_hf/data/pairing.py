"""Candidates to pairs, and judged pairs to buckets. Pure functions; nothing is dropped without being counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

from her_hf.dual_layer import Turn, View
from her_hf.judging.pairs import Pair
from her_hf.judging.pairwise import PairVerdict
from her_hf.judging.verdicts import LEAST_COMPARED
from her_hf.scenes import read_turn
from her_hf.scenes.messages import labelled

from .candidates import Moment

PAIRINGS = ("adjacent", "all")
BUCKETS = ("both", "one", "tie")
"""Who wins principles: each side some; one side alone; nobody, or the verdict is a tie."""


def places(count: int, pairing: str) -> list[tuple[int, int]]:
    """Which candidates make a pair.

    Args:
        count (`int`): How many candidates there are.
        pairing (`str`): `"adjacent"`: (0, 1), (2, 3), …, as in HER; `"all"`: every two.

    Raises:
        `ValueError`: If the pairing is unknown.

    Example:

    ```python
    >>> places(8, "adjacent")
    [(0, 1), (2, 3), (4, 5), (6, 7)]
    ```
    """
    if pairing not in PAIRINGS:
        raise ValueError(f"pairing must be one of {list(PAIRINGS)}, got {pairing!r}")
    if pairing == "all":
        return list(combinations(range(count), 2))
    return [(first, first + 1) for first in range(0, count - 1, 2)]


def as_candidate(text: str, moment: Moment, notation: str) -> str:
    """A reply as a candidate: `Name: ` and the turn in SELF view, in HER notation; `""` if nothing is left of it."""
    turn: Turn = read_turn(text, moment.character, notation=notation)
    return labelled(turn, View.SELF) if turn.render(view="self").partition(":")[2].strip() else ""


def pairs_of(
    moment: Moment, texts: Sequence[str | None], *, notation: str, pairing: str, source: str
) -> tuple[list[Pair], Counter[str]]:
    """The pairs of one turn's candidates.

    Args:
        moment ([`Moment`]): The turn.
        texts (`Sequence[str | None]`): Replies in order; `None` where there is none.
        notation (`str`): `"her"` or `"coser"`: how they are written.
        pairing (`str`): See [`places`].
        source (`str`): Name of the policy.

    Returns:
        `tuple[list[Pair], Counter]`: The pairs, without labels; and how many were dropped, by cause: `failed` (no
            reply), `empty` (nothing but system thinking), `same` (both sides equal).
    """
    dropped: Counter[str] = Counter()
    found = []
    candidates = [None if text is None else as_candidate(text, moment, notation) for text in texts]
    prompt = moment.scene.messages_for(moment.character, turns=moment.index, system_thinking=False)
    for one, two in places(len(texts), pairing):
        first, second = candidates[one], candidates[two]
        if first is None or second is None:
            dropped["failed"] += 1
        elif not first or not second:
            dropped["empty"] += 1
        elif first.strip() == second.strip():
            dropped["same"] += 1
        else:
            extra = {
                "scene_key": moment.scene_key,
                "turn": moment.index,
                "candidates": [one, two],
                "source": source,
            }
            found.append(Pair(tuple(prompt), first, second, None, moment.character, extra=extra))
    return found, dropped


def bucket_of(found: PairVerdict) -> str:
    """Who wins principles: `"both"` sides, `"one"` alone, or `"tie"`.

    A tie is a verdict that is one, or no principle with a winner; such pairs teach no side.
    """
    winners = {one.winner for one in found.principles} - {"tie"}
    if found.verdict == "tie" or not winners:
        return "tie"
    return "both" if len(winners) > 1 else "one"


def kept_because(found: PairVerdict, least: int = LEAST_COMPARED) -> str | None:
    """Why a judged pair is left out: `"missing"` (no verdict) or `"few_principles"`; `None` if it is kept.

    Args:
        found ([`~her_hf.judging.PairVerdict`]): The judgement.
        least (`int`, *optional*, defaults to 3): Fewest principles that must be compared (HER).
    """
    if found.verdict is None:
        return "missing"
    return "few_principles" if len(found.principles) < least else None
