"""How much of the reference dialogue a simulated one repeats: BLEU and ROUGE-L.

CoSER compares whole dialogues, each turn with its label (`Ann: Hello.`), see [`dialogue_text`]; both sides in the same
view. Its BLEU is of lower-cased words and marks; the words come from [`her_hf.scoring.diversity.tokenize`], and as
CoSER's cuts "don't" in two, BLEU of the same English dialogue can differ in the second decimal. Its ROUGE-L is of what
stands between white space, in the case it is written in, so that "did" and "did." are two words, and so it is here.
Both cut Chinese into characters, which CoSER's set does not have.

nltk and rouge_score give the same values (the tests compare with them) but are not used: they would bring numpy to a
package that needs the standard library alone, and rouge_score fills a table of all pairs of words.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from her_hf.dual_layer import ZERO_WIDTH_SPACE

from .diversity import CJK, grams, tokenize

_SPACED = re.compile(rf"[{CJK}]|[^\s{CJK}]+")

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
    """F1 of the longest common subsequence of words, which white space parts; case and marks count.

    Args:
        reference (`str`): What the book says.
        candidate (`str`): What the models said; without a word it scores 0.

    Returns:
        `float`: Between 0 and 1.

    Raises:
        `ValueError`: If the reference holds no word.

    Example:

    ```python
    >>> rouge_l("Ann: It really did jump.", "Ann: It did jump.")
    0.888...
    ```

    Source: Lin 2004. CoSER's library adds 1e-8 to the denominator, so two equal texts have 0.999999995 there.
    """
    expected, got = _spaced(reference), _spaced(candidate)
    _check(reference, expected)
    return 2 * _common_subsequence(expected, got) / (len(expected) + len(got))


def _spaced(text: str) -> list[str]:
    """What stands between white space; of Chinese, Japanese and Korean single characters. Escapes are left out."""
    return _SPACED.findall(text.replace(ZERO_WIDTH_SPACE, ""))


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
