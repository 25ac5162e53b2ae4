"""How much of the reference dialogue a simulated one repeats: BLEU and ROUGE-L. No library is needed.

CoSER compares whole dialogues, each turn with its label (`Ann: Hello.`), see [`dialogue_text`]; both sides in the same
view. Its BLEU counts punctuation as tokens and its ROUGE-L does not, and so it is here. Words come from
[`her_hf.scoring.diversity.tokenize`], which cuts Chinese into characters; CoSER's cuts "don't" in two, so BLEU of the
same English dialogue can differ in the second decimal.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from .diversity import grams, tokenize

ORDER = 4
"""Longest run of tokens that BLEU compares."""


def dialogue_text(turns: Iterable[tuple[str, str]]) -> str:
    """A dialogue as one text to compare: a line for each turn, with its label.

    Args:
        turns (`Iterable[tuple[str, str]]`): Name and text of each turn; a text that has its label gets no second one.

    Example:

    ```python
    >>> dialogue_text([("Ann", "Hello."), ("Bob", "Bob: Hi.")])
    'Ann: Hello.\\nBob: Hi.'
    ```
    """
    return "\n".join(text if text.startswith(f"{name}:") else f"{name}: {text}" for name, text in turns)


def bleu(reference: str, candidate: str) -> float:
    """Sentence BLEU of one text against one reference: runs of 1 to 4 tokens, equal weights, no smoothing.

    Args:
        reference (`str`): What the book says.
        candidate (`str`): What the models said. Of fewer than four tokens, or without a common run of four, it is 0.

    Returns:
        `float`: Between 0 and 1.

    Raises:
        `ValueError`: If the reference holds no token.

    Example:

    ```python
    >>> bleu("Ann: Hello there.", "Ann: Hello there.")
    1.0
    ```

    Source: Papineni et al. 2002; CoSER (ICML 2025) reports it beside its scores.
    """
    expected, got = tokenize(reference, punctuation=True), tokenize(candidate, punctuation=True)
    _check(reference, expected)
    log = 0.0
    for size in range(1, ORDER + 1):
        own, allowed = Counter(grams(got, size)), Counter(grams(expected, size))
        shared = (own & allowed).total()
        if not shared:
            return 0.0
        log += math.log(shared / own.total()) / ORDER
    return math.exp(log + min(0.0, 1 - len(expected) / len(got)))


def rouge_l(reference: str, candidate: str) -> float:
    """F1 of the longest common subsequence of words; punctuation is no word.

    Args:
        reference (`str`): What the book says.
        candidate (`str`): What the models said; without a word it scores 0.

    Returns:
        `float`: Between 0 and 1.

    Raises:
        `ValueError`: If the reference holds no word.

    Example:

    ```python
    >>> rouge_l("Ann: It really did jump.", "Ann: It did.")
    0.75
    ```

    Source: Lin 2004. CoSER's library adds 1e-8 to the denominator, so two equal texts have 0.999999995 there.
    """
    expected, got = tokenize(reference), tokenize(candidate)
    _check(reference, expected)
    return 2 * _common_subsequence(expected, got) / (len(expected) + len(got))


def _check(reference: str, tokens: Sequence[str]) -> None:
    if not tokens:
        raise ValueError(f"the reference holds nothing to compare with, got {reference!r:.80}; leave the case out.")


def _common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence, a row of its table at a time as the bits of one integer.

    Source: Hyyrö 2004, "Bit-parallel LCS-length computation revisited": bit i is 0 where the row's value grows at i.
    """
    at: defaultdict[str, int] = defaultdict(int)
    for index, token in enumerate(first):
        at[token] |= 1 << index
    every = (1 << len(first)) - 1
    row = every
    for token in second:
        matched = row & at[token]
        row = (row + matched | row - matched) & every
    return len(first) - row.bit_count()
