"""BLEU and ROUGE-L: by hand, against nltk and rouge where they are installed, on real scenes, and in Chinese."""

import json
import math
import random
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from her_hf.scoring.diversity import tokenize
from her_hf.scoring.overlap import bleu, dialogue_text, rouge_l, treebank_tokens

TEXTS = st.lists(st.sampled_from(["a", "b", "c", "don't", ",", "。", "老", "孙"]), max_size=20).map(" ".join)


def _words(text: str) -> list[str]:
    return [word for word in text.split() if word != "。"]


@pytest.mark.parametrize(
    ("reference", "candidate", "value"),
    [
        ("one two three four", "one two three four", 1.0),
        ("One TWO three four", "one two Three four", 1.0),
        ("one two three four five", "one two three four", math.exp(1 - 5 / 4)),  # too short: brevity penalty
        ("one two three four", "one two three four five", (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25),
        ("a a b c d", "a a a b c", (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25),  # counts are clipped
        ("one two three.", "one two three.", 1.0),  # a mark is a token
        ("one two three", "one two three", 0.0),  # no run of four, and nothing is smoothed
        ("one two three four", "four three two one", 0.0),
        ("one two three four", "", 0.0),
        ("我怕那口钟。", "我怕那口钟。", 1.0),
        ("我怕那口钟", "我怕那只钟", 0.0),
    ],
)
def test_bleu_by_hand(reference: str, candidate: str, value: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bleu(reference, candidate) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(
    ("reference", "candidate", "value"),
    [
        ("one two three", "one two three", 1.0),
        ("Ann: It really did jump.", "Ann: It did", 2 * 3 / (5 + 3)),
        ("Ann: It did, truly", "Ann: It did", 2 * 2 / (4 + 3)),  # "did," is not "did"
        ("one, two!", "one two", 0.0),
        ("One two", "one two", 2 * 1 / 4),  # nor is "One" "one"
        ("one two three four", "two one four three", 2 * 2 / 8),
        ("one two. three four", "three four. one two", 1.0),  # the order of the sentences does not count
        ("one one one two", "one two two", 1.0),  # nor how often a word is said
        ("one\n\ntwo\u00a0three", " one two\tthree ", 1.0),  # any white space parts words
        ("[\u200bone] two", "[one] two", 1.0),  # an escaped bracket is a bracket
        ("one two", "three four", 0.0),
        ("one two", "...", 0.0),
        ("one two", "", 0.0),
        ("我怕那口钟", "我怕那只钟！", 2 * 4 / (5 + 6)),
        ("我怕。那口钟", "那口钟。我怕", 1.0),
        ("老孙said: 走", "老孙said: 留", 2 * 3 / 8),
    ],
)
def test_rouge_l_by_hand(reference: str, candidate: str, value: float) -> None:
    assert rouge_l(reference, candidate) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(("measure", "reference"), [(bleu, ""), (bleu, " \n"), (rouge_l, ""), (rouge_l, " \n")])
def test_an_empty_reference_is_an_error_not_a_zero(measure: Callable[[str, str], float], reference: str) -> None:
    with pytest.raises(ValueError, match=r"has no words to compare with, got .* leave the case out"):
        measure(reference, "one two")


def test_a_dialogue_is_compared_with_its_labels() -> None:
    assert dialogue_text([("Ann", "Hi."), ("Bob", "Bob: Yes."), ("Environment", "Rain.")]) == (
        "Ann: Hi.\nBob: Yes.\nEnvironment: Rain."
    )


def test_tokens_with_marks_are_the_words_and_the_marks() -> None:
    text = "Ann’s “don't”… [老\u200b孙]_a"
    assert tokenize(text, punctuation=True) == ["ann’s", "“", "don't", "”", "…", "[", "老", "孙", "]", "_", "a"]
    assert tokenize(text) == ["ann’s", "don't", "老", "孙", "a"]


def test_treebank_tokens_cut_contractions_and_keep_titles() -> None:
    text = "Mr. Hale won’t say. “I don't,” said老\u200b孙."
    assert treebank_tokens(text) == [
        *("mr.", "hale", "won", "’", "t", "say", ".", "“", "i", "do", "n't", ",", "”", "said", "老", "孙", "."),
    ]


@given(TEXTS.filter(lambda text: bool(_words(text))), TEXTS)
def test_both_are_shares_and_full_for_equal_texts(reference: str, candidate: str) -> None:
    assert 0 <= bleu(reference, candidate) <= 1 and 0 <= rouge_l(reference, candidate) <= 1
    assert rouge_l(reference, reference) == 1.0
    assert bleu(reference, reference) == float(len(treebank_tokens(reference)) >= 4)


def samples() -> list[tuple[str, str]]:
    chance = random.Random(3)
    return [(text(chance), text(chance)) for _ in range(200)]


def text(chance: random.Random) -> str:
    return " ".join(chance.choices("abcde", k=chance.randint(4, 40)))


def test_bleu_equals_nltk() -> None:
    nltk: Any = pytest.importorskip("nltk.translate.bleu_score", reason="compares with nltk, which is not installed")
    for reference, candidate in samples():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nltk warns where a run of four is absent, and gives about 1e-78
            theirs = nltk.sentence_bleu([tokenize(reference)], tokenize(candidate))
        assert bleu(reference, candidate) == pytest.approx(theirs, abs=1e-12)


@pytest.fixture(scope="module")
def rouge() -> Callable[[str, str], float]:
    """ROUGE-L of the package that CoSER calls."""
    package: Any = pytest.importorskip("rouge", reason="compares with rouge, which is not installed")
    scorer = package.Rouge(metrics=["rouge-l"])
    return lambda reference, candidate: float(scorer.get_scores(candidate, reference)[0]["rouge-l"]["f"])


def test_rouge_l_equals_rouge(rouge: Callable[[str, str], float]) -> None:
    spoken = ("Ann: It really did jump. Did it?", "Ann: It did. Really, it did jump.")
    for reference, candidate in [*samples(), spoken, spoken[::-1]]:
        assert rouge_l(reference, candidate) == pytest.approx(rouge(reference, candidate), abs=1e-8)


def test_rouge_l_equals_rouge_on_real_scenes(rouge: Callable[[str, str], float], shared: Path) -> None:
    path = shared / "data" / "coser" / "scenes_id.json"
    if not path.is_file():
        pytest.skip("needs ../shared/data/coser/scenes_id.json, which is not there")
    dialogues = [
        dialogue_text((turn["character"], turn["message"]) for turn in row["dialogues"]).strip()
        for row in json.loads(path.read_text(encoding="utf-8"))[:10]
    ]
    for reference, candidate in pairwise(dialogues):
        # `rouge` takes white space between two full stops for a word of its own.
        assert rouge_l(reference, candidate) == pytest.approx(rouge(reference, candidate), abs=2e-4)


def test_a_long_sentence_is_no_problem() -> None:
    words = " ".join(f"w{index}" for index in range(1500))
    assert rouge_l(words, words) == 1.0
