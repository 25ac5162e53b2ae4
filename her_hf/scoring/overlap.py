"""How much of the reference dialogue a simulated one repeats: BLEU and ROUGE-L, as CoSER counts them.

CoSER compares whole dialogues, each turn with its label (`Ann: Hello.`), see [`dialogue_text`]; both sides in the same
view. Its BLEU is nltk's, of lower-cased Penn Treebank tokens. Its ROUGE-L is that of the PyPI package `rouge` 1.0.1:
at the level of the summary, of distinct words, in the case they are written in. Chinese, Japanese and Korean
characters, which CoSER's data does not have, count as words in both.

Of three published cases (CoSER, `exp/evaluation/id_set_gpt-4o-no_length_penalty.json`) ROUGE-L comes out to the last
digit, BLEU within 0.0006: the sentence splitter of nltk has trained data there, which no package carries.

`rouge` itself is not called: it recurses once a word, so that a sentence of 1,000 words ends in `RecursionError`. The
tests compare with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import chain

from her_hf.dual_layer import ZERO_WIDTH_SPACE

from .diversity import CJK, grams

_SPACED = re.compile(rf"[{CJK}]|[^\s{CJK}]+")
_FULL_STOP = re.compile(r"[.。]")
_ABBREVIATIONS = {
    "mr",
    "mrs",
    "ms",
    "dr",
    "st",
    "prof",
    "capt",
    "col",
    "gen",
    "lt",
    "rev",
    "jr",
    "sr",
    "vs",
    "etc",
    "e.g",
}
"""Words whose dot ends no sentence, without it."""

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
        `ImportError`: If nltk is not installed (`pip install her_hf[eval]`).

    Example:

    ```python
    >>> bleu("Ann: Hello there.", "Ann: Hello there.")
    1.0
    ```

    Source: Papineni et al. 2002; CoSER (ICML 2025) reports it next to its scores.
    """
    expected, got = treebank_tokens(reference), treebank_tokens(candidate)
    _check(reference, expected)
    if set(grams(expected, ORDER)).isdisjoint(grams(got, ORDER)):
        return 0.0  # nltk warns here and returns about 1e-78
    from nltk.translate.bleu_score import sentence_bleu

    return float(sentence_bleu([expected], got))


def treebank_tokens(text: str) -> list[str]:
    """Lower-cased Penn Treebank tokens of each sentence ("don't" is "do" and "n't"), marks included.

    Args:
        text (`str`): Any text; Chinese, Japanese and Korean characters are a token each.

    Raises:
        `ImportError`: If nltk is not installed (`pip install her_hf[eval]`).

    Example:

    ```python
    >>> treebank_tokens("Don't look, Mr. Sun. 老孙!")
    ['do', "n't", 'look', ',', 'mr.', 'sun', '.', '老', '孙', '!']
    ```
    """
    sentences, words = _treebank()
    found = chain.from_iterable(map(words, sentences(text.replace(ZERO_WIDTH_SPACE, "").lower())))
    return list(chain.from_iterable(map(_SPACED.findall, found)))


@cache
def _treebank() -> tuple[Callable[[str], Iterable[str]], Callable[[str], Iterable[str]]]:
    try:
        from nltk.tokenize import NLTKWordTokenizer
        from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer
    except ImportError as error:
        raise ImportError("BLEU needs nltk, which is not installed: pip install her_hf[eval]") from error
    parameters = PunktParameters()
    parameters.abbrev_types = _ABBREVIATIONS
    return PunktSentenceTokenizer(parameters).tokenize, NLTKWordTokenizer().tokenize


def rouge_l(reference: str, candidate: str) -> float:
    """ROUGE-L F1 at the level of the summary, of distinct words that white space parts; case and marks count.

    Both texts are cut into sentences at full stops. A word counts as common if it stands in the longest common
    subsequence of any sentence of the one and any of the other; it counts once, however often it is said.

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

    Source: Lin 2004, with distinct words for all words, as in `rouge` 1.0.1, which CoSER calls. There 1e-8 in the
    denominator makes two equal texts 0.999999995, and white space after the last full stop is a word.
    """
    expected, got = _sentences(reference), _sentences(candidate)
    _check(reference, expected)
    common: set[str] = set()
    for own in expected:
        for other in got:
            common.update(_common_subsequence(own, other))
    return 2 * len(common) / (len(set(chain(*expected))) + len(set(chain(*got))))


def _sentences(text: str) -> list[list[str]]:
    """The words of each sentence; a sentence without one is left out, and so are escapes."""
    parts = _FULL_STOP.split(text.replace(ZERO_WIDTH_SPACE, ""))
    return [words for part in parts if (words := _SPACED.findall(part))]


def _check(reference: str, tokens: Sequence[object]) -> None:
    if not tokens:
        raise ValueError(f"the reference holds nothing to compare with, got {reference!r:.80}; leave the case out.")


def _common_subsequence(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """The longest common subsequence; of several the one that `rouge` takes, as the union depends on it."""
    if set(first).isdisjoint(second):
        return []
    table = [[0] * (len(second) + 1)]
    for one in first:
        above, row = table[-1], [0]
        for at, other in enumerate(second):
            row.append(above[at] + 1 if one == other else max(above[at + 1], row[at]))
        table.append(row)
    found, i, j = [], len(first), len(second)
    while i and j:
        if first[i - 1] == second[j - 1]:
            found.append(first[i - 1])
            i, j = i - 1, j - 1
        elif table[i - 1][j] > table[i][j - 1]:
            i -= 1
        else:
            j -= 1
    return found
