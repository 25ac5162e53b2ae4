"""Allocates labelled pairs to the sets of the reward model: no scene in two sets, orders and lengths balanced.

Source: HER (arXiv 2601.21459). In half of its SFT pairs both sides win principles, in a quarter each one side alone;
the other pairs go to RL, and a few to a test set. Sets by scene, the balance of lengths and the counts are our own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from her_hf.durable import derive_seed
from her_hf.judging.pairwise.pairs import Pair

from .pairing import turned

SETS = ("rm_sft", "rm_rl", "test")
SHARES: Mapping[str, float] = {"rm_sft": 0.5, "rm_rl": 0.4, "test": 0.1}
MAX_LENGTH_BIAS = 0.6
"""Largest share of a set's pairs in which the longer reply is the better one, or in which the shorter one is."""
BOTH_SHARE = 0.5
"""Share of the pairs of rm_sft in which both sides win principles."""

_NO_SET = "no_set"
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Allocated:
    """The sets.

    Args:
        sets (`dict[str, list[Pair]]`): Pairs of each set, with the sides in the order in which a judge sees them.
        left_out (`dict[str, dict[str, int]]`): Under each set, pairs of its scenes that are in no set, by cause:
            `tie` and `buckets` (beyond the mix of rm_sft), `size` (beyond the requested number), `lengths`. Under
            `"no_set"`, pairs of scenes that no set needs.
    """

    sets: dict[str, list[Pair]]
    left_out: dict[str, dict[str, int]]

    def figures(self) -> dict[str, Any]:
        """For each set its pairs, scenes, labels, buckets, what was left out, and how lengths relate to labels."""
        return {name: {**set_figures(pairs), "left_out": self.left_out[name]} for name, pairs in self.sets.items()}


def set_figures(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Counts of one set; `longer_is_better` is `None` if no pair has both a better and a longer side."""
    lengths = [longer for pair in pairs if (longer := longer_wins(pair)) is not None]
    return {
        "pairs": len(pairs),
        "scenes": len({pair.extra["scene_key"] for pair in pairs}),
        "labels": dict(sorted(Counter(str(pair.label) for pair in pairs).items())),
        "buckets": dict(sorted(Counter(str(pair.extra["bucket"]) for pair in pairs).items())),
        "longer_is_better": sum(lengths) / len(lengths) if lengths else None,
    }


def allocate(
    pairs: Sequence[Pair],
    *,
    shares: Mapping[str, float] = SHARES,
    max_length_bias: float = MAX_LENGTH_BIAS,
    both_share: float | None = BOTH_SHARE,
    seed: int = 42,
) -> Allocated:
    """Allocates labelled pairs to sets; the result does not depend on their order.

    All pairs of a scene go to one set. What that set leaves out to be balanced goes to no other set, as its scene
    would then be in two.

    Args:
        pairs (`Sequence[Pair]`): Pairs with `label`, and with `scene_key` and `bucket` in `extra`.
        shares (`Mapping[str, float]`, *optional*): The size of each set, as closely as whole scenes allow: an `int`
            is a number of pairs, never exceeded; a `float` is a share of the pairs that those numbers leave, relative
            to the other shares.
        max_length_bias (`float`, *optional*, defaults to 0.6): See `MAX_LENGTH_BIAS`; 1 disables it. If no pair
            contradicts the more common kind, no pair of that kind can be kept.
        both_share (`float`, *optional*, defaults to 0.5): See `BOTH_SHARE`; `None` disables it and keeps ties.
        seed (`int`, *optional*, defaults to 42): Every choice is seeded by this and the pair's or scene's own text.

    Returns:
        [`Allocated`]: Each pair at most once.

    Raises:
        `ValueError`: If a share is negative, all are 0, a set is unknown, or another value is out of range.
    """
    check_shares(shares)
    if not 0.5 <= max_length_bias <= 1:
        raise ValueError(f"max_length_bias must be from 0.5 to 1, got {max_length_bias}")
    if both_share is not None and not 0 <= both_share <= 1:
        raise ValueError(f"both_share must be from 0 to 1, got {both_share}")
    ordered = sorted(pairs, key=lambda pair: (derive_seed(seed, key := pair.key), key))
    homes = _homes(ordered, shares, seed)
    sets: dict[str, list[Pair]] = {}
    left_out: dict[str, dict[str, int]] = {}
    for name in SETS:
        own = [pair for pair in ordered if homes[_scene(pair)] == name]
        wanted = shares.get(name)
        mix = both_share if name == "rm_sft" else None
        kept, left_out[name] = _chosen(own, mix, wanted if isinstance(wanted, int) else None, max_length_bias)
        sets[name] = _balanced_orders(kept, first=derive_seed(seed, name) % 2)
    if unallocated := sum(homes[_scene(pair)] == _NO_SET for pair in ordered):
        left_out[_NO_SET] = {"not_asked_for": unallocated}
    return Allocated(sets, left_out)


def longer_wins(pair: Pair) -> bool | None:
    """Whether the longer reply is the better one; `None` for a tie or replies of one length."""
    one, two = len(pair.cand_1), len(pair.cand_2)
    if pair.label not in ("cand_1", "cand_2") or one == two:
        return None
    return (one > two) == (pair.label == "cand_1")


def _scene(pair: Pair) -> str:
    return str(pair.extra["scene_key"])


# -- scenes to sets


def _homes(pairs: Sequence[Pair], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """The set of each scene: the next scene goes to the set that lacks the most pairs."""
    sizes = Counter(map(_scene, pairs))
    numbers = {name: value for name, value in shares.items() if isinstance(value, int)}
    parts = {name: value for name, value in shares.items() if not isinstance(value, int)}
    rest, whole = max(0, len(pairs) - sum(numbers.values())), sum(parts.values())
    wanted = {**numbers, **({name: value / whole * rest for name, value in parts.items()} if whole else {})}
    if not whole and rest:
        wanted[_NO_SET] = rest
    names = [name for name in (*SETS, _NO_SET) if wanted.get(name)]
    has: Counter[str] = Counter()
    homes = {}
    for scene in sorted(sizes, key=lambda key: (derive_seed(seed, key), key)):
        home = max(names, key=lambda name: wanted[name] - has[name])  # of equals, the first
        homes[scene] = home
        has[home] += sizes[scene]
    return homes


# -- what a set keeps


@dataclass(frozen=True)
class _Stock:
    """Pairs of one kind of bucket: the longer reply is better, the shorter one, or neither."""

    longer: list[Pair]
    shorter: list[Pair]
    even: list[Pair]

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> _Stock:
        kinds: dict[bool | None, list[Pair]] = {True: [], False: [], None: []}
        for pair in pairs:
            kinds[longer_wins(pair)].append(pair)
        return cls(kinds[True], kinds[False], kinds[None])

    def __len__(self) -> int:
        return len(self.longer) + len(self.shorter) + len(self.even)


def _chosen(
    pairs: Sequence[Pair], both_share: float | None, limit: int | None, max_length_bias: float
) -> tuple[list[Pair], dict[str, int]]:
    """As many pairs as the mix of buckets, the requested number and the balance of lengths allow together."""
    left_out: Counter[str] = Counter()
    kinds = [list(pairs)]
    if both_share is not None:
        kinds = [[p for p in pairs if p.extra["bucket"] == "both"]]
        kinds += [[p for p in pairs if p.extra["bucket"] in ("cand_1", "cand_2")]]
        left_out["tie"] = len(pairs) - sum(map(len, kinds))
    stocks = [_Stock.of(kind) for kind in kinds]
    total = sum(map(len, stocks))
    size = next(size for size in range(total, -1, -1) if _fits(stocks, _parts(size, both_share)))
    left_out["buckets"] = total - size
    if limit is not None and size > limit:
        left_out["size"] = size - limit
        size = limit
    for smaller in range(size, -1, -1):
        parts = _parts(smaller, both_share)
        kept = _contrasted(stocks, parts, max_length_bias) if _fits(stocks, parts) else None
        if kept is not None:
            left_out["lengths"] = size - smaller
            break
    ids = set(map(id, kept or ()))
    return [pair for pair in pairs if id(pair) in ids], {cause: count for cause, count in left_out.items() if count}


def _parts(size: int, both_share: float | None) -> list[int]:
    """How many pairs of each stock a set of this size takes."""
    if both_share is None:
        return [size]
    both = int(size * both_share + 0.5)
    return [both, size - both]


def _fits(stocks: Sequence[_Stock], parts: Sequence[int]) -> bool:
    return all(part <= len(stock) for stock, part in zip(stocks, parts, strict=True))


def _contrasted(stocks: Sequence[_Stock], parts: Sequence[int], max_length_bias: float) -> list[Pair] | None:
    """This many pairs of each stock, with lengths as balanced as possible; `None` if that exceeds the bias allowed."""
    evens = [min(len(stock.even), part) for stock, part in zip(stocks, parts, strict=True)]
    rests = [part - even for part, even in zip(parts, evens, strict=True)]
    lows = [max(0, rest - len(stock.shorter)) for stock, rest in zip(stocks, rests, strict=True)]
    highs = [min(len(stock.longer), rest) for stock, rest in zip(stocks, rests, strict=True)]
    total = sum(rests)
    longer = min(max((total + 1) // 2, sum(lows)), sum(highs))
    if max(longer, total - longer) > max_length_bias * total + _ROUNDING:
        return None
    shared = [min(max((rest + 1) // 2, low), high) for rest, low, high in zip(rests, lows, highs, strict=True)]
    for at, (low, high) in enumerate(zip(lows, highs, strict=True)):
        gap = longer - sum(shared)
        shared[at] += min(max(gap, low - shared[at]), high - shared[at])
    kept: list[Pair] = []
    for stock, even, rest, share in zip(stocks, evens, rests, shared, strict=True):
        kept += [*stock.even[:even], *stock.longer[:share], *stock.shorter[: rest - share]]
    return kept


def _balanced_orders(pairs: Sequence[Pair], *, first: int) -> list[Pair]:
    """Each pair once, turned so that either position wins equally often, up to one pair.

    Positions alternate within each bucket and kind of length too, so that neither reveals the position.
    """
    kinds = sorted(range(len(pairs)), key=lambda at: (_kind(pairs[at]), at))
    found = list(pairs)
    for count, at in enumerate(kinds, start=first):
        pair = pairs[at]
        place = ("cand_1", "cand_2")[count % 2]
        if pair.label == "tie":
            found[at] = turned(pair) if count % 2 else pair
        else:
            found[at] = pair if pair.label == place else turned(pair)
    return found


def _kind(pair: Pair) -> tuple[bool, bool, bool, str]:
    """Sorts ties last, so that they do not interrupt the alternation of positions."""
    bucket = pair.extra["bucket"]
    return pair.label == "tie", bucket in ("cand_1", "cand_2"), bucket == pair.label, str(longer_wins(pair))


def check_shares(shares: Mapping[str, float]) -> None:
    """Refuses shares that no allocation can have.

    Raises:
        `ValueError`: If a set is unknown, a value is negative, or all are 0.
    """
    if set(shares) - set(SETS) or min(shares.values(), default=0) < 0 or not any(shares.values()):
        raise ValueError(
            f"shares must name some of {list(SETS)}, with values from 0 up that are not all 0, got {dict(shares)}"
        )


def read_shares(text: str) -> dict[str, float]:
    """Reads `rm_sft=0.5,rm_rl=0.5,test=200`: a whole number is one of pairs (an `int`), any other a share.

    Raises:
        `ValueError`: If it is not of that form.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        try:
            number = int(value) if value.isdecimal() else float(value)
        except ValueError:
            number = math.nan
        if not name or name in found or not math.isfinite(number):
            raise ValueError(f"shares must look like rm_sft=0.5,rm_rl=0.4,test=0.1 or test=200; got {part!r}")
        found[name] = number
    return found
