"""Rows of labelled pairs: tokens, parts, weights, counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from her_hf.judging.pairwise.answers import compact_answer
from her_hf.judging.pairwise.prompts import compact_messages
from her_hf.processing.trunk import IGNORED
from her_hf.training.reward_model.rows import PARTS, PairReport, labelled_pairs, reward_rows
from tests.support.pairs import a_pair


@pytest.mark.parametrize("direct_answers", [True, False])
def test_a_row_is_its_prompts_and_answers_token_for_token(base: Path, direct_answers: bool) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    report = PairReport()
    rows = reward_rows([a_pair()], tokenizer, report, form="compact", direct_answers=direct_answers, progress=False)
    assert (report.rows, report.answers) == (2, 4 if direct_answers else 2)
    for row, pair in zip(rows, (a_pair(), a_pair().swapped()), strict=True):
        for (start, end, sees), reasoning in zip(row["branches"], (True, False), strict=False):
            messages = compact_messages(pair, reasoning=reasoning)
            answer = compact_answer(pair, reasoning=reasoning) + tokenizer.eos_token
            prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
            ids = row["input_ids"][:sees] + row["input_ids"][start:end]
            assert tokenizer.decode(ids) == prompt + answer
            trained = [token for token in row["labels"][start:end] if token != IGNORED]
            assert tokenizer.decode(trained) == answer
            assert row["position_ids"][start:end] == list(range(sees, sees + end - start))
        assert all(label == IGNORED for label in row["labels"][: row["trunk_len"]])


def test_parts_of_an_answer_are_distinguished(base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    row = reward_rows([a_pair()], tokenizer, PairReport(), form="compact", progress=False)[0]
    texts = {
        name: tokenizer.decode(
            [t for t, layer in zip(row["input_ids"], row["layers"], strict=True) if layer == number]
        )
        for number, name in enumerate(PARTS)
    }
    assert "offers help" in texts["thinking"] and "principles" not in texts["thinking"]
    assert texts["decision"].count("1") >= 4 and "verdict" not in texts["decision"]
    assert "verdict" in texts["form"]


def test_what_decides_weighs_its_share_of_an_answer(base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    row = reward_rows([a_pair()], tokenizer, PairReport(), form="compact", decision_share=0.6, progress=False)[0]
    for start, end, _ in row["branches"]:
        tokens = list(zip(*(row[name][start:end] for name in ("labels", "weights", "layers")), strict=True))
        deciding = [(label, weight) for label, weight, layer in tokens if layer == PARTS.index("decision")]
        assert {tokenizer.decode([label]) for label, _ in deciding} <= {"1", "2"}
        assert sum(weight for _, weight in deciding) == pytest.approx(0.6)
        assert sum(weight for _, weight, _ in tokens) == pytest.approx(1)
        assert all(weight == 0 for label, weight, _ in tokens if label == IGNORED)
    direct_answers = row["branches"][1]
    assert max(row["weights"][slice(*direct_answers[:2])]) == pytest.approx(0.6)


def test_a_tie_is_not_taught_more_often_than_it_is_true(base: Path) -> None:
    """The token at which a tie and a reply part weighs the same whichever is right."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    weights = {}
    for label in ("tie", "cand_1"):
        how: Any = {"form": "compact", "decision_share": 0.6, "thinking_share": 0, "progress": False}
        made = reward_rows([a_pair(label=label)], tokenizer, PairReport(), **how)
        labels, own = made[0]["labels"], made[0]["weights"]
        pieces = {at: tokenizer.decode([token]) for at, token in enumerate(labels) if token != IGNORED}
        first = next(at for at in pieces if pieces.get(at - 1) == ' "')
        weights[label] = own[first] * sum(token != IGNORED for token in labels)
    assert weights["tie"] == pytest.approx(weights["cand_1"], rel=0.2)


def test_thinking_is_spread_evenly(base: Path) -> None:
    report = PairReport()
    pairs = [a_pair(number) for number in range(8)]
    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = reward_rows(pairs, tokenizer, report, form="compact", thinking_share=0.25, progress=False)
    answers = [len(row["branches"]) for row in rows]
    assert answers == [1] * 6 + [2] * 2 + [1] * 6 + [2] * 2 and report.answers == sum(answers)


def test_pairs_that_teach_nothing_are_counted(base: Path, pairs_file: Path) -> None:
    report = PairReport()
    found = labelled_pairs(str(pairs_file), "train", None, report)
    assert (len(found), report.unlabelled, report.invalid) == (6, 1, 1)
    rows = reward_rows(found, AutoTokenizer.from_pretrained(base), report, form="compact", max_context=10_000)
    assert report.too_long == 0 and len(rows) == 12
    with pytest.raises(ValueError, match="rows of all 6 pairs are longer than 20 tokens"):
        reward_rows(found, AutoTokenizer.from_pretrained(base), PairReport(), form="compact", max_context=20)


def test_pairs_of_a_swap_teach_the_same(base: Path) -> None:
    """Both orders of a pair are rows of their own with opposite labels."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = reward_rows([a_pair()], tokenizer, PairReport(), form="compact", direct_answers=False, progress=False)
    said = [tokenizer.decode([t for t in row["labels"] if t != IGNORED]) for row in rows]
    assert '"verdict": "cand_1"' in said[0] and '"verdict": "cand_2"' in said[1]
