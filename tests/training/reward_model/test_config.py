"""Settings of the reward model, and what a user gets wrong in them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from trl import TrlParser

from her_hf.training.reward_model.config import RewardRLConfig
from her_hf.training.reward_model.rl import run_rm_rl
from her_hf.training.reward_model.sft import run_rm_sft
from her_hf.training.run.launch import launch, settings_of
from tests.support.paths import ROOT
from tests.support.training import rm_rl_values, rm_sft_values


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_iterations": 2, "save_steps": 3}, "used for 2 steps.*multiple of 2; got steps and 3"),
        ({"num_iterations": 2, "save_strategy": "epoch"}, "multiple of 2; got epoch"),
        ({"steps_per_generation": 8, "save_steps": 6}, "multiple of 4"),
        ({"sync_ref_model": True}, "sync_ref_model"),
        ({"num_iterations": 2, "save_steps": 4}, None),
        ({"num_iterations": 2, "save_strategy": "no"}, None),
        ({"save_steps": 1}, None),
    ],
)
def test_checkpoints_fall_where_a_run_can_resume(changes: dict[str, Any], words: str | None, tmp_path: Path) -> None:
    how: dict[str, Any] = {
        "output_dir": str(tmp_path), "use_cpu": True, "per_device_train_batch_size": 2, "num_generations": 2,
        "gradient_accumulation_steps": 2, "save_strategy": "steps", "beta": 0.1, **changes,
    }  # fmt: skip
    if words is None:
        RewardRLConfig(**how)
        return
    with pytest.raises(ValueError, match=words):
        RewardRLConfig(**how)


@pytest.mark.parametrize(
    ("name", "line", "said"),
    [
        ("rm_sft", "learning_rat: 0.1", "learning_rat"),
        ("rm_sft", "form: long", "form must be one of"),
        ("rm_sft", "dataset: ./nowhere.jsonl", "nowhere.jsonl"),
        ("rm_sft", "model_name_or_path: ./not_there", "not_there"),
        ("rm_sft", "decision_share: 1.0", "between 0 and 1"),
        ("rm_sft", "thinking_share: 0.5\ndirect_answers: false", "direct_answers: true"),
        ("rm_sft", "decision_share: 0.5\nper_reply: false", "per_reply: true"),
        ("rm_sft", "row_group_size: 0", "at least 1"),
        ("rm_rl", "form: long", "form must be one of"),
        ("rm_rl", "form_reward: 0.9", "small terms"),
        ("rm_rl", "max_pairs: 0", "no pair with a label"),
        ("rm_rl", "max_pairs: 1\ngradient_accumulation_steps: 4", "a step takes 4 prompts, but only 2 are left"),
        ("rm_rl", "min_uncertainty: 0.5\nreasoning: false", "between 0 and 0.5"),
        ("rm_rl", "min_uncertainty: 0.1", "reasoning: false"),
        ("rm_rl", "min_uncertainty: 0.49\nreasoning: false", "certain about all 6 pairs"),
    ],
)
def test_what_the_user_can_fix_is_one_line(
    base: Path, pairs_file: Path, tmp_path: Path, name: str, line: str, said: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    make = rm_sft_values if name == "rm_sft" else rm_rl_values
    values = {key: str(v) if isinstance(v, Path) else v for key, v in make(base, pairs_file, tmp_path / "o").items()}
    for given in line.splitlines():
        values.pop(given.split(":")[0], None)
    text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items()) + line + "\n"
    (tmp_path / "config.yaml").write_text(text)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--config", str(tmp_path / "config.yaml")])
    assert launch(run_rm_sft if name == "rm_sft" else run_rm_rl) == 1
    error = capsys.readouterr().err
    assert "Error:" in error and said in error


@pytest.mark.parametrize("stage", ["rm_sft", "rm_rl"])
@pytest.mark.parametrize("model", ["smollm2-135m", "qwen3-32b"])
def test_shipped_recipes_parse(model: str, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    file = ROOT / "recipes" / model / stage / "config.yaml"
    run: Any = run_rm_sft if stage == "rm_sft" else run_rm_rl
    given = ["--config", str(file), "--use_cpu", "true", "--bf16", "false"]
    data, named, args = TrlParser(settings_of(run)).parse_args_and_config(given)
    assert data.dataset and named.model_name_or_path and args.seed == 42
    for name in ("bf16", "gradient_checkpointing", "seed", "form", "license"):
        assert f"\n{name}:" in file.read_text()
