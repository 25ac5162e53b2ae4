"""Overlap of a simulated dialogue with the reference: BLEU and ROUGE-L, as in CoSER.

CoSER compares whole dialogues, each turn with its label (`Ann: Hello.`), see [`dialogue_text`]; both sides in the same
view. Its BLEU is nltk's, on lower-cased Penn Treebank tokens. Its ROUGE-L is that of the PyPI package `rouge` 1.0.1:
summary level, distinct words, case-sensitive. Chinese, Japanese and Korean characters, which CoSER's data does not
contain, count as words in both.

For three published cases (CoSER, `exp/evaluation/id_set_gpt-4o-no_length_penalty.json`) ROUGE-L is reproduced to the
last digit, BLEU within 0.0006: there, nltk's sentence splitter uses trained data that no package contains.

`rouge` itself is not called: it recurses once per word, so that a sentence of 1,000 words raises `RecursionError`. The
tests compare with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import chain

from her_hf.dual_layer import ZERO_WIDTH_SPACE
from her_hf.extras import missing_library

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
"""Abbreviations, without the dot, which does not end a sentence."""

ORDER = 4
"""Longest run of tokens that BLEU compares."""


def dialogue_text(turns: Iterable[tuple[str, str]]) -> str:
    """A dialogue as one text to compare: a line for each turn, with its label.

    Args:
        turns (`Iterable[tuple[str, str]]`): Name and text of each turn; a label is added unless the text has it.

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
        reference (`str`): The dialogue of the book.
        candidate (`str`): The dialogue of the models. Without a common run of four tokens the result is 0.

    Returns:
        `float`: Between 0 and 1.

    Raises:
        `ValueError`: If the reference has no token.
        `ImportError`: If nltk is not installed (the extra `eval`).

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
        `ImportError`: If nltk is not installed (the extra `eval`).

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
        raise missing_library("BLEU", error, module="nltk") from error
    parameters = PunktParameters()
    parameters.abbrev_types = _ABBREVIATIONS
    return PunktSentenceTokenizer(parameters).tokenize, NLTKWordTokenizer().tokenize


def rouge_l(reference: str, candidate: str) -> float:
    """Summary-level ROUGE-L F1 of distinct words separated by white space; case and punctuation count.

    Both texts are split into sentences at full stops. A word is common if it is in the longest common subsequence of
    any two sentences, one of each text; it counts once, even if it is repeated.

    Args:
        reference (`str`): The dialogue of the book.
        candidate (`str`): The dialogue of the models; without a word it scores 0.

    Returns:
        `float`: Between 0 and 1.

    Raises:
        `ValueError`: If the reference has no word.

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
    """The words of each sentence, without empty sentences and escapes."""
    parts = _FULL_STOP.split(text.replace(ZERO_WIDTH_SPACE, ""))
    return [words for part in parts if (words := _SPACED.findall(part))]


def _check(reference: str, tokens: Sequence[object]) -> None:
    if not tokens:
        raise ValueError(f"the reference has no words to compare with, got {reference!r:.80}; leave the case out.")


def _common_subsequence(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """The longest common subsequence; if there are several, the one of `rouge`, since the union depends on it."""
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
