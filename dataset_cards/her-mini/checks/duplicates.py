"""Near-duplicate turns: MinHash finds candidates, the exact Jaccard similarity of their shingles decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datasketch import MinHash, MinHashLSH

from her_hf.scoring.diversity import Gram, shingles, tokenize

from .measure import reply_of

SHINGLE = {"en": 3, "zh": 4}
"""Tokens of a shingle: words in English, characters in Chinese."""
CANDIDATE = 0.15
"""Similarity from which MinHash (128 permutations) is asked to find a pair."""
_PERMUTATIONS = 128


@dataclass(frozen=True)
class Pair:
    """Two turns, each (index of the scene, index of the turn), of which one part is alike."""

    part: str
    first: tuple[int, int]
    second: tuple[int, int]
    similarity: float


def near_duplicates(scenes: Sequence[Mapping[str, Any]]) -> list[Pair]:
    """Candidate pairs of turns with their exact similarity, the most alike first.

    System thinking and the reply (role thinking, actions, speech) are compared each with its like, across all splits.
    """
    pairs: list[Pair] = []
    for part in ("system thinking", "reply"):
        index = MinHashLSH(threshold=CANDIDATE, num_perm=_PERMUTATIONS)
        seen: dict[tuple[int, int], set[Gram]] = {}
        for at, scene in enumerate(scenes):
            size = SHINGLE.get(scene["language"], SHINGLE["en"])
            for turn, dialogue in enumerate(scene["dialogues"]):
                text = dialogue["sys_thinking_revised"] if part == "system thinking" else reply_of(dialogue)
                own = shingles(tokenize(text), size)
                sketch = MinHash(num_perm=_PERMUTATIONS, seed=1)
                sketch.update_batch([" ".join(gram).encode() for gram in own])
                for other in index.query(sketch):
                    together = len(own & seen[other]) / len(own | seen[other])
                    pairs.append(Pair(part, (at, turn), other, together))
                index.insert((at, turn), sketch)
                seen[at, turn] = own
    return sorted(pairs, key=lambda pair: (-pair.similarity, pair.part, pair.first, pair.second))
