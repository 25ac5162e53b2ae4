"""Forms pairs of candidates, and sorts judged pairs into buckets. Pure functions that count whatever they drop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from her_hf.dual_layer import View, parse_turn, visible_runs
from her_hf.judging.pairwise.circumstances import circumstances_of
from her_hf.judging.pairwise.judge import PairVerdict
from her_hf.judging.pairwise.pairs import Pair, swap
from her_hf.judging.pairwise.verdicts import MIN_COMPARED
from her_hf.scenes import read_turn
from her_hf.scenes.messages import labelled
from her_hf.simulation.styles import Style

from .candidates import Moment

PAIRINGS = ("adjacent", "all")


@dataclass(frozen=True)
class Candidate:
    """A reply as a side of pairs.

    Args:
        text (`str`): `Name: ` and the turn in SELF view, in HER notation; `""` if nothing remains.
        fault (`str`, *optional*): `"failed"` (no reply), `"empty"` (only system thinking) or `"ill_formed"`.
        cut (`bool`, *optional*): Whether it ended at the token limit.
    """

    text: str = ""
    fault: str | None = None
    cut: bool = False


def places(count: int, pairing: str) -> list[tuple[int, int]]:
    """Which candidates form a pair.

    Args:
        count (`int`): How many candidates there are.
        pairing (`str`): `"adjacent"`: (0, 1), (2, 3), …, as in HER; `"all"`: every combination of two.

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


def read_candidate(row: Mapping[str, Any], moment: Moment, style: Style) -> Candidate:
    """A line of `candidates.jsonl` as a candidate.

    It is ill-formed if it was cut, has an issue, or lacks its own label, anything that others see, or, from a policy
    that plans first, a closed system block.
    """
    if row["text"] is None:
        return Candidate(fault="failed")
    cut = not row["ended"]
    turn = read_turn(row["text"], moment.character, notation=style.notation)
    if not visible_runs(turn.segments, View.SELF):
        return Candidate(fault="empty", cut=cut)
    names = tuple(member.name for member in moment.scene.cast)
    strict = parse_turn(row["text"], notation=style.notation, speaker=moment.character, names=names)
    shown = any(View.OTHERS.shows(segment.layer) for segment in strict.segments)
    formed = strict.well_formed if style.thinking else shown and not strict.issues
    sound = not cut and formed and strict.name == moment.character
    return Candidate(labelled(turn, View.SELF), None if sound else "ill_formed", cut)


def pairs_of(
    moment: Moment, candidates: Sequence[Candidate], *, pairing: str, source: str, well_formed: bool = False
) -> tuple[list[Pair], Counter[str]]:
    """The pairs of one turn's candidates.

    Args:
        moment ([`Moment`]): The turn.
        candidates (`Sequence[Candidate]`): In order of their numbers.
        pairing (`str`): See [`places`].
        source (`str`): Name of the policy.
        well_formed (`bool`, *optional*, defaults to `False`): Whether ill-formed candidates are dropped as well.

    Returns:
        `tuple[list[Pair], Counter]`: The pairs, without labels, and how many were dropped by cause: the fault of a
            side, `same` (both sides are equal) or `repeated` (the same two texts as in an earlier pair of the turn).
    """
    dropped: Counter[str] = Counter()
    found = []
    seen: set[frozenset[str]] = set()
    prompt = moment.scene.messages_for(moment.character, turns=moment.index, system_thinking=False)
    circumstances = circumstances_of(moment.scene, moment.character, turns=moment.index)
    for one, two in places(len(candidates), pairing):
        first, second = candidates[one], candidates[two]
        faults = {first.fault, second.fault}
        texts = frozenset(" ".join(side.text.split()) for side in (first, second))
        wrong = ("failed", "empty", *(["ill_formed"] if well_formed else []))
        cause = next((fault for fault in wrong if fault in faults), None)
        cause = cause or ("same" if len(texts) == 1 else "repeated" if texts in seen else None)
        if cause:
            dropped[cause] += 1
            continue
        seen.add(texts)
        extra = {"scene_key": moment.scene.key_text, "turn": moment.index, "candidates": [one, two], "source": source}
        found.append(
            Pair(tuple(prompt), first.text, second.text, None, moment.character, extra=extra, carried=circumstances)
        )
    return found, dropped


def turned(pair: Pair) -> Pair:
    """The pair in the other order, including the fields of its row that refer to sides."""
    extra = dict(pair.extra)
    if "bucket" in extra:
        extra["bucket"] = swap(extra["bucket"])
    if "candidates" in extra:
        extra["candidates"] = extra["candidates"][::-1]
    return replace(pair.swapped(), extra=extra)


def bucket_of(found: PairVerdict) -> str:
    """Who wins principles: `"both"` sides, `"cand_1"` or `"cand_2"` alone, or `"tie"`.

    `"tie"` if the verdict is a tie or no principle has a winner; such pairs favour no side.
    """
    winners = {one.winner for one in found.principles} - {"tie"}
    if found.verdict == "tie" or not winners:
        return "tie"
    return "both" if len(winners) > 1 else winners.pop()


def kept_because(found: PairVerdict, least: int = MIN_COMPARED) -> str | None:
    """Why a judged pair is left out: `"missing"` (no verdict) or `"few_principles"`; `None` if it is kept.

    Args:
        found ([`~her_hf.judging.PairVerdict`]): The judgement.
        least (`int`, *optional*, defaults to 3): Fewest principles that must be compared (HER).
    """
    if found.verdict is None:
        return "missing"
    return "few_principles" if len(found.principles) < least else None
