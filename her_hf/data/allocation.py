"""Labelled pairs to the sets of the reward model: no scene in two of them, orders balanced, lengths contrasted.

Source: HER (arXiv 2601.21459): of its SFT pairs half have principles won by both sides, half by one; the rest go to
RL, a few to a test. Sets by scene, the balance of lengths and the counts are our own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from her_hf.durable import derive_seed
from her_hf.judging.pairs import Pair

SETS = ("rm_sft", "rm_rl", "test")
SHARES: Mapping[str, float] = {"rm_sft": 0.5, "rm_rl": 0.4, "test": 0.1}
MOST_ALIKE = 0.6
"""In no set is the longer reply the better one, or the shorter one, in a larger share of pairs."""


@dataclass(frozen=True)
class Allocated:
    """The sets.

    Args:
        sets (`dict[str, list[Pair]]`): Pairs of each set, in the order in which they are shown to a judge.
        left_out (`dict[str, int]`): Pairs in no set, by cause: `bucket` (beyond the balance of rm_sft), `length`.
    """

    sets: dict[str, list[Pair]]
    left_out: Counter[str] = field(default_factory=Counter)

    def figures(self) -> dict[str, Any]:
        """Of each set its pairs, scenes, labels, buckets, and how often the longer reply is the better one."""
        return {
            name: {
                "pairs": len(pairs),
                "scenes": len({pair.extra["scene_key"] for pair in pairs}),
                "labels": dict(sorted(Counter(str(pair.label) for pair in pairs).items())),
                "buckets": dict(sorted(Counter(str(pair.extra["bucket"]) for pair in pairs).items())),
                "longer_is_better": _share([longer for pair in pairs if (longer := longer_wins(pair)) is not None]),
            }
            for name, pairs in self.sets.items()
        }


def allocate(
    pairs: Sequence[Pair], *, shares: Mapping[str, float] = SHARES, most_alike: float = MOST_ALIKE, seed: int = 42
) -> Allocated:
    """Deals labelled pairs out; the result does not depend on their order.

    Args:
        pairs (`Sequence[Pair]`): Pairs with `label`, and with `scene_key` and `bucket` in `extra`.
        shares (`Mapping[str, float]`, *optional*): Share of the pairs that each set shall get, as near as whole scenes
            allow.
        most_alike (`float`, *optional*, defaults to 0.6): See `MOST_ALIKE`.
        seed (`int`, *optional*, defaults to 42): Of every choice, with the pair's or scene's own text.

    Returns:
        [`Allocated`]: Each pair at most once.

    Raises:
        `ValueError`: If a share is below 0, all are 0, a set is unknown, or `most_alike` is not from 0.5 to 1.
    """
    if set(shares) - set(SETS) or min(shares.values(), default=0) < 0 or not sum(shares.values()):
        raise ValueError(f"shares must name some of {list(SETS)}, from 0 up and not all 0, got {dict(shares)}")
    if not 0.5 <= most_alike <= 1:
        raise ValueError(f"most_alike must be from 0.5 to 1, got {most_alike}")
    ordered = sorted(pairs, key=lambda pair: (derive_seed(seed, pair.key), pair.key))
    homes = _homes(ordered, shares, seed)
    left_out: Counter[str] = Counter()
    sets: dict[str, list[Pair]] = {}
    for name in SETS:
        own = [pair for pair in ordered if homes[pair.extra["scene_key"]] == name]
        if name == "rm_sft":
            own = _counted(own, _balanced_buckets(own), left_out, "bucket")
        own = _counted(own, _contrasted(own, most_alike), left_out, "length")
        sets[name] = _balanced_orders(own)
    return Allocated(sets, left_out)


def longer_wins(pair: Pair) -> bool | None:
    """Whether the longer reply is the better one; `None` for a tie or replies of one length."""
    one, two = len(pair.cand_1), len(pair.cand_2)
    if pair.label not in ("cand_1", "cand_2") or one == two:
        return None
    return (one > two) == (pair.label == "cand_1")


def _homes(pairs: Sequence[Pair], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """The set of each scene: the next scene goes to the set that is furthest behind its share."""
    sizes = Counter(str(pair.extra["scene_key"]) for pair in pairs)
    wanted = {name: shares.get(name, 0.0) / sum(shares.values()) * len(pairs) for name in SETS}
    has: dict[str, int] = defaultdict(int)
    homes = {}
    for scene in sorted(sizes, key=lambda key: (derive_seed(seed, key), key)):
        open_sets = [name for name in SETS if wanted[name]]
        home = max(open_sets, key=lambda name: (wanted[name] - has[name], -SETS.index(name)))
        homes[scene] = home
        has[home] += sizes[scene]
    return homes


def _balanced_buckets(pairs: Sequence[Pair]) -> list[Pair]:
    """As many pairs whose principles both sides win as such that one side wins alone; ties teach no side."""
    both = [pair for pair in pairs if pair.extra["bucket"] == "both"]
    one = [pair for pair in pairs if pair.extra["bucket"] == "one"]
    least = min(len(both), len(one))
    kept = {id(pair) for pair in (*both[:least], *one[:least])} if least else set(map(id, both or one))
    return [pair for pair in pairs if id(pair) in kept]


def _contrasted(pairs: Sequence[Pair], most: float) -> list[Pair]:
    """Leaves out as few pairs as keep length from telling the label."""
    longer = [pair for pair in pairs if longer_wins(pair) is True]
    shorter = [pair for pair in pairs if longer_wins(pair) is False]
    common, rare = (longer, shorter) if len(longer) >= len(shorter) else (shorter, longer)
    # common / (common + rare) <= most
    room = len(common) if most == 1 or not rare else int(len(rare) * most / (1 - most) + 1e-9)
    surplus = set(map(id, common[room:]))
    return [pair for pair in pairs if id(pair) not in surplus]


def _balanced_orders(pairs: Sequence[Pair]) -> list[Pair]:
    """Each pair once, turned so that either place wins as often as the other, up to one."""
    turned, wins = [], 0
    for pair in pairs:
        if pair.label in ("cand_1", "cand_2"):
            wanted = "cand_1" if wins % 2 == 0 else "cand_2"
            wins += 1
            pair = pair if pair.label == wanted else pair.swapped()
        turned.append(pair)
    return turned


def _counted(before: Sequence[Pair], after: list[Pair], left_out: Counter[str], cause: str) -> list[Pair]:
    if lost := len(before) - len(after):
        left_out[cause] += lost
    return after


def _share(values: Sequence[bool]) -> float | None:
    return sum(values) / len(values) if values else None
