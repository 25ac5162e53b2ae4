"""Self-BLEU and shingles, against values computed by hand."""

import math
import random

import pytest

from her_hf.scoring.diversity import self_bleu, shingles, tokenize


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Don't look, Ann’s HERE!", ["don't", "look", "ann’s", "here"]),
        ("老孙有影，OK 3次", ["老", "孙", "有", "影", "ok", "3", "次"]),
        ("<a_b> – …", ["a", "b"]),
        ("", []),
    ],
)
def test_tokenize(text: str, tokens: list[str]) -> None:
    assert tokenize(text) == tokens


def test_shingles() -> None:
    assert shingles(["a", "b", "c"], 2) == {("a", "b"), ("b", "c")}
    assert shingles(["a"], 2) == {("a",)}
    assert shingles([], 2) == set()
    with pytest.raises(ValueError, match="at least 1"):
        shingles(["a"], 0)


@pytest.mark.parametrize(
    ("texts", "order", "value"),
    [
        (["a b c d", "a b c d"], 4, 1.0),
        (["a b c d", "e f g h"], 4, 0.0),
        (["a b c d", "a b c e"], 4, 0.0),  # no run of four is shared, and nothing is smoothed
        (["a b c d", "a b c e"], 2, math.sqrt(3 / 4 * 2 / 3)),
        (["a b", "a b c d"], 1, (math.exp(1 - 4 / 2) + 2 / 4) / 2),  # the short one pays the brevity penalty
        (["a a a", "a b c"], 1, 1 / 3),  # counts are clipped
        (["a a b", "a x y", "a a z"], 1, (2 / 3 + 1 / 3 + 2 / 3) / 3),  # by the most in any one other text
        (["a b c", "a b c d", "a b c d e f"], 1, (math.exp(1 - 4 / 3) + 1 + 4 / 6) / 3),  # closest length
        (["", "a b"], 1, 0.0),
    ],
)
def test_self_bleu_by_hand(texts: list[str], order: int, value: float) -> None:
    assert self_bleu(texts, order) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(("texts", "order", "message"), [(["a"], 4, "at least two, got 1"), (["a", "b"], 0, "order")])
def test_self_bleu_refuses(texts: list[str], order: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        self_bleu(texts, order)


def test_self_bleu_equals_the_definition() -> None:
    chance = random.Random(7)
    texts = [" ".join(chance.choices("abcd", k=chance.randint(4, 9))) for _ in range(30)]
    assert self_bleu(texts, 3) == pytest.approx(slow_self_bleu(texts, 3), abs=1e-12)


def slow_self_bleu(texts: list[str], order: int) -> float:
    """Straight from the definition: every text against all the others."""
    total = 0.0
    for index, text in enumerate(texts):
        own, others = text.split(), [other.split() for at, other in enumerate(texts) if at != index]
        product = 1.0
        for size in range(1, order + 1):
            runs = [own[at : at + size] for at in range(len(own) - size + 1)]
            unique = [list(run) for run in {tuple(run) for run in runs}]
            most = [max(count(run, other) for other in others) for run in unique]
            product *= sum(min(runs.count(run), limit) for run, limit in zip(unique, most, strict=True)) / len(runs)
        reference = min((len(other) for other in others), key=lambda length: (abs(length - len(own)), length))
        total += min(1.0, math.exp(1 - reference / len(own))) * product ** (1 / order)
    return total / len(texts)


def count(run: list[str], tokens: list[str]) -> int:
    return sum(tokens[at : at + len(run)] == run for at in range(len(tokens)))
