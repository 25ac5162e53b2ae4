"""Prompts of the second stage."""

from __future__ import annotations

import json
from pathlib import Path

from transformers import AutoModelForCausalLM

from her_hf.training.reward_model.config import RewardRLDataConfig
from her_hf.training.reward_model.prompts import prompt_rows
from her_hf.training.reward_model.rl import run_rm_rl
from tests.support.pairs import a_pair
from tests.support.training import parsed, rm_rl_values


def test_prompts_come_in_both_orders_with_their_labels() -> None:
    rows = prompt_rows([a_pair()], RewardRLDataConfig(dataset="x", form="compact"), seed=1)
    assert rows["label"] == ["cand_1", "cand_2"]
    texts = [prompt[-1]["content"] for prompt in rows["prompt"]]
    assert "cand_1: Gloves be hanged" in texts[0] and "cand_2: Gloves be hanged" in texts[1]
    once = RewardRLDataConfig(dataset="x", form="compact", both_orders=False, reasoning=False)
    (prompt,) = prompt_rows([a_pair()], once, seed=1)["prompt"]
    assert prompt[-1]["content"].endswith("Answer at once.")


def test_prompts_that_leave_no_room_for_an_answer_are_counted(
    first_stage: Path, pairs_file: Path, tmp_path: Path
) -> None:
    long = a_pair(7, cand_1="Jo: " + "gloves " * 600)
    file = tmp_path / "pairs.jsonl"
    file.write_text(pairs_file.read_text() + json.dumps(long.to_row()) + "\n")
    window = AutoModelForCausalLM.from_pretrained(first_stage).config.max_position_embeddings
    values = rm_rl_values(first_stage, file, tmp_path / "run", max_steps=1, max_completion_length=window - 500)
    pairs = run_rm_rl(*parsed(run_rm_rl, values))["pairs"]
    assert (pairs["too_long"], pairs["pairs"]) == (1, 6)
