"""Pairs that a reward model can still learn from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from her_hf.judging.pairwise.judge import OneOrder, PairwiseJudge
from her_hf.judging.pairwise.pairs import Pair
from her_hf.scoring.missing import Missing
from her_hf.training.reward_model.config import RewardRLDataConfig
from her_hf.training.reward_model.prompts import select_pairs
from her_hf.training.reward_model.rl import run_rm_rl
from her_hf.training.reward_model.uncertainty import uncertain_pairs
from tests.support.pairs import a_pair
from tests.support.training import parsed, rm_rl_values, run_to_the_kill


def a_model(folder: Path) -> tuple[Any, Any]:
    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def test_only_uncertain_pairs_are_kept(first_stage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A label that is certain or impossible in all orders teaches nothing; one uncertain order keeps both."""
    chances = {0: (0.99, 0.98), 1: (0.01, 0.02), 2: (0.99, 0.6), 3: (0.3, 0.5)}

    async def order(self: PairwiseJudge, pair: Pair, order: str) -> OneOrder:
        number = next(n for n in chances if a_pair(n).key in (pair.key, pair.swapped().key))
        right = chances[number][order == "21"]
        return OneOrder(order, "cand_1", probabilities={"cand_1": right, "cand_2": 1 - right, "tie": 0.0})

    monkeypatch.setattr(PairwiseJudge, "_order", order)
    pairs, (model, tokenizer) = [a_pair(number) for number in chances], a_model(first_stage)
    how: Any = {"minimum": 0.05, "file": tmp_path / "uncertainty.jsonl", "progress": False}
    assert uncertain_pairs(pairs, model, tokenizer, **how) == pairs[2:]
    assert uncertain_pairs(pairs, model, tokenizer, both_orders=False, **how) == pairs[3:]


def test_a_killed_computation_goes_on_and_repeats_no_pair(
    first_stage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    most = 5

    async def order(self: PairwiseJudge, pair: Pair, order: str) -> OneOrder:
        if len(asked) == most:
            raise MemoryError("killed")
        asked.append(pair.key)
        return OneOrder(order, "cand_1", probabilities={"cand_1": 0.6, "cand_2": 0.4, "tie": 0.0})

    monkeypatch.setattr(PairwiseJudge, "_order", order)
    pairs, (model, tokenizer) = [a_pair(number) for number in range(4)], a_model(first_stage)
    pairs.append(pairs[0])  # a pair that comes twice is one unit
    how: Any = {"minimum": 0.05, "progress": False}
    with pytest.raises(MemoryError, match="killed"):
        uncertain_pairs(pairs, model, tokenizer, file=tmp_path / "killed.jsonl", **how)
    most = 999
    assert uncertain_pairs(pairs, model, tokenizer, file=tmp_path / "killed.jsonl", **how) == pairs
    assert len(asked) == 2 * 4 + 1  # of the third pair one order was lost
    assert uncertain_pairs(pairs, model, tokenizer, file=tmp_path / "whole.jsonl", **how) == pairs
    assert (tmp_path / "killed.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    (tmp_path / "killed.jsonl").write_text('{"pair": "x", "judge": "y"}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"line 1: must be a row .*uncertainty: Field required"):
        uncertain_pairs(pairs, model, tokenizer, file=tmp_path / "killed.jsonl", **how)


def test_no_probability_is_an_error(first_stage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def order(self: PairwiseJudge, pair: Pair, order: str) -> OneOrder:
        return OneOrder(order, missing=Missing("request", "out of memory"))

    monkeypatch.setattr(PairwiseJudge, "_order", order)
    with pytest.raises(ValueError, match=r"its uncertainty cannot be computed \(out of memory\)"):
        uncertain_pairs(
            [a_pair()], *a_model(first_stage), minimum=0.1, file=tmp_path / "uncertainty.jsonl", progress=False
        )


def test_a_divided_model_is_refused(first_stage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    data = RewardRLDataConfig(dataset="x", form="compact", reasoning=False, min_uncertainty=0.1)
    _, _, args = parsed(run_rm_rl, rm_rl_values(first_stage, tmp_path / "x.jsonl", tmp_path))
    with pytest.raises(ValueError, match="FSDP and ZeRO-3 divide it"):
        select_pairs([a_pair()], data, *a_model(first_stage), args)


def test_a_resumed_run_keeps_its_pairs(
    first_stage: Path, pairs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was stored counts, not what another device would compute."""
    values = rm_rl_values(
        first_stage, pairs_file, tmp_path / "killed", max_steps=3, reasoning=False, min_uncertainty=0.01
    )
    run_to_the_kill(run_rm_rl, values, 2)
    noted = [json.loads(line) for line in (tmp_path / "killed" / "uncertainty.jsonl").read_text().splitlines()]
    assert len(noted) == 6 and all(len(line["uncertainty"]) == 2 for line in noted)

    async def again(*args: Any, **how: Any) -> list[float]:
        raise AssertionError("computed again what was stored")

    monkeypatch.setattr("her_hf.inference.local.LocalModel.likelihoods", again)
    results = run_rm_rl(*parsed(run_rm_rl, values))
    assert results["resumed_from"] == "checkpoint-1"
    assert (results["pairs"]["pairs"], results["pairs"]["certain"]) == (6, 0)
    card = (tmp_path / "killed" / "README.md").read_text()
    assert "probability below 0.01 or above 0.99 | 0" in card
