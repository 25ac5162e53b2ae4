"""How much texts repeat each other: Self-BLEU and shingles.

Self-BLEU is written here because nltk's `sentence_bleu` counts all other texts again for each text: 200 texts of 60
words take 5.8 s with it and 0.06 s here, with the same result to the last digit.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

from her_hf.dual_layer import ZERO_WIDTH_SPACE

CJK = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
"""Ranges of Chinese, Japanese and Korean characters, for a pattern: these are tokens by themselves."""

_CJK_TOKEN = re.compile(rf"[{CJK}]")
_WORD = rf"[{CJK}]|[^\W_{CJK}]+(?:['’][^\W_{CJK}]+)*"
_TOKEN = re.compile(_WORD)
_TOKEN_OR_MARK = re.compile(rf"{_WORD}|[^\w\s{ZERO_WIDTH_SPACE}]|_")

Gram = tuple[str, ...]


def tokenize(text: str, *, punctuation: bool = False) -> list[str]:
    """Words in lower case; for Chinese, Japanese and Korean, single characters.

    Args:
        text (`str`): Any text.
        punctuation (`bool`, *optional*, defaults to `False`): Whether punctuation marks are tokens; otherwise they are
            dropped.

    Example:

    ```python
    >>> tokenize("Don't look, 老孙!")
    ["don't", 'look', '老', '孙']
    ```
    """
    return (_TOKEN_OR_MARK if punctuation else _TOKEN).findall(text.lower())


def is_cjk(token: str) -> bool:
    """Whether a token of [`tokenize`] is a Chinese, Japanese or Korean character."""
    return _CJK_TOKEN.fullmatch(token) is not None


def shingles(tokens: Sequence[str], size: int) -> set[Gram]:
    """All runs of `size` tokens; for a shorter text the run of all its tokens, for an empty text none.

    Args:
        tokens (`Sequence[str]`): Tokens in order.
        size (`int`): Length of a run, at least 1.

    Raises:
        `ValueError`: If `size` is below 1.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    return set(grams(tokens, min(size, len(tokens)))) if tokens else set()


def self_bleu(texts: Sequence[str], order: int = 4) -> float:
    """Mean BLEU of each text against all others: 0 if no run of `order` tokens is shared, 1 if all are the same.

    Sentence BLEU without smoothing: equal weights, counts clipped by the largest count in any other text, brevity
    penalty against the reference of the closest length (the shorter one if two are equally close). A text shorter than
    `order` tokens scores 0. The time is linear in the total length.

    Args:
        texts (`Sequence[str]`): At least two texts; [`tokenize`] splits them.
        order (`int`, *optional*, defaults to 4): Maximum length of the runs compared.

    Returns:
        `float`: Between 0 and 1; it grows with the number of texts, so compare only sets of similar size.

    Raises:
        `ValueError`: If there are fewer than two texts or `order` is below 1.

    Example:

    ```python
    >>> self_bleu(["the cat sat on the mat", "the cat sat on the mat"])
    1.0
    ```

    Source: Self-BLEU, Zhu et al. 2018 (arXiv 1802.01886); BLEU, Papineni et al. 2002.
    """
    if len(texts) < 2:
        raise ValueError(f"self_bleu compares texts with each other and needs at least two, got {len(texts)}.")
    if order < 1:
        raise ValueError(f"order must be at least 1, got {order}")
    documents = [tokenize(text) for text in texts]
    logs = [0.0] * len(documents)
    for size in range(1, order + 1):
        counts = [Counter(grams(document, size)) for document in documents]
        best = _two_largest(counts)
        for index, own in enumerate(counts):
            total = sum(own.values())
            shared = sum(min(count, _largest_elsewhere(best[gram], index)) for gram, count in own.items())
            logs[index] += math.log(shared / total) / order if shared else -math.inf
    lengths = sorted(map(len, documents))
    scores = [
        math.exp(log + _brevity(len(document), lengths))
        for log, document in zip(logs, documents, strict=True)
        if document
    ]
    return sum(scores) / len(documents)


def grams(tokens: Sequence[str], size: int) -> list[Gram]:
    """All runs of `size` tokens in order, including repeated ones; none if there are fewer tokens."""
    return [tuple(tokens[start : start + size]) for start in range(len(tokens) - size + 1)]


def _two_largest(counts: Sequence[Counter[Gram]]) -> dict[Gram, tuple[int, int, int]]:
    """For each run: its largest count in a text, the index of that text, and the largest count in any other text."""
    best: dict[Gram, tuple[int, int, int]] = {}
    for index, own in enumerate(counts):
        for gram, count in own.items():
            first, owner, second = best.get(gram, (0, -1, 0))
            best[gram] = (count, index, first) if count > first else (first, owner, max(second, count))
    return best


def _largest_elsewhere(entry: tuple[int, int, int], index: int) -> int:
    first, owner, second = entry
    return second if owner == index else first


def _brevity(length: int, lengths: Sequence[int]) -> float:
    """Log of the brevity penalty; `lengths` are all lengths in order, including its own."""
    at = bisect_left(lengths, length)
    near = [lengths[other] for other in (at - 1, at + 1) if 0 <= other < len(lengths)]
    closest = min(near, key=lambda other: (abs(other - length), other))
    return min(0.0, 1 - closest / length)
