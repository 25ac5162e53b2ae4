"""The second stage of the reward model: GRPO on its verdicts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from her_hf.training.reward_model.rewards import VerdictReward
from her_hf.training.reward_model.rl import run_rm_rl
from tests.support.training import parsed, rm_rl_values, run_to_the_kill


def test_a_step_has_both_orders_of_a_pair(
    first_stage: Path, pairs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[list[str]] = []

    def keep(self: VerdictReward, completions: Any, label: list[str], **columns: Any) -> list[float]:
        steps.append(list(label))
        return [0.0] * len(label)

    monkeypatch.setattr(VerdictReward, "__call__", keep)
    run_rm_rl(
        *parsed(run_rm_rl, rm_rl_values(first_stage, pairs_file, tmp_path, gradient_accumulation_steps=2, max_steps=3))
    )
    assert len(steps) == 3 and all(sorted(labels) == ["cand_1", "cand_1", "cand_2", "cand_2"] for labels in steps)


def test_reinforcement_leaves_a_plain_model_and_an_honest_card(second_stage: Path) -> None:
    AutoModelForCausalLM.from_pretrained(second_stage)
    assert AutoTokenizer.from_pretrained(second_stage).chat_template
    results = json.loads((second_stage / "results.json").read_text())
    assert results["steps"] == 2 and results["pairs"]["rows"] == 12
    card = (second_stage / "README.md").read_text()
    assert "GRPO" in card and "answers to a prompt | 2" in card and "prompts seen, at most | 2" in card
    lines = [json.loads(line) for line in (second_stage / "metrics.jsonl").read_text().splitlines()]
    assert [line["verdict/unreadable"] for line in lines if "verdict/unreadable" in line]


def test_a_killed_run_resumes(first_stage: Path, pairs_file: Path, tmp_path: Path) -> None:
    values = rm_rl_values(first_stage, pairs_file, tmp_path / "killed", max_steps=3)
    run_to_the_kill(run_rm_rl, values, 2)
    results = run_rm_rl(*parsed(run_rm_rl, values))
    assert (results["resumed_from"], results["steps"]) == ("checkpoint-1", 3)
