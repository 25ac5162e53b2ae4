"""The first stage of the reward model: training, folder, card, kill, push."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from her_hf.durable import OtherRunError
from her_hf.training.reward_model.sft import run_rm_sft
from tests.support.hub import stand_in, use
from tests.support.paths import ROOT
from tests.support.training import parsed, rm_sft_values, run_to_the_kill


def test_the_folder_is_a_plain_model_with_its_own_template(first_stage: Path, base: Path) -> None:
    AutoModelForCausalLM.from_pretrained(first_stage)
    tokenizer = AutoTokenizer.from_pretrained(first_stage)
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(base).chat_template
    assert json.loads((first_stage / "reward_model.json").read_text())["form"] == "compact"
    results = json.loads((first_stage / "results.json").read_text())
    assert results["steps"] == 6 and results["pairs"]["pairs"] == 6 and results["pairs"]["invalid"] == 1
    held_out = results["held_out_loss"]
    assert held_out["decision"]["tokens"] > 0 and held_out["all"] > 0
    card = (first_stage / "README.md").read_text()
    for part in (
        "split | train",
        "pairs | 6",
        "HERRewardModel.from_pretrained",
        "reward-model",
        "held-out loss, decision",
    ):
        assert part in card
    assert str(ROOT) not in card and "system_thinking" not in card


def test_training_learns_the_label(first_stage: Path) -> None:
    lines = [json.loads(line) for line in (first_stage / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 6 and losses[-1] < losses[0]


def test_embeddings_are_left_alone_where_asked(base: Path, pairs_file: Path, tmp_path: Path) -> None:
    values = rm_sft_values(base, pairs_file, tmp_path / "run", max_steps=2, save_strategy="no", decision_share=0.5)
    run_rm_sft(*parsed(run_rm_sft, {**values, "freeze_embeddings": True, "row_group_size": 2}))
    before, after = (AutoModelForCausalLM.from_pretrained(path) for path in (base, tmp_path / "run"))
    trained = dict(after.named_parameters())
    same = {name for name, weight in before.named_parameters() if torch.equal(weight, trained[name])}
    assert same == {"model.embed_tokens.weight", "lm_head.weight"} & trained.keys()
    card = (tmp_path / "run" / "README.md").read_text()
    assert "all but the embeddings" in card and "50% of the weight on the tokens that decide" in card


def test_the_same_command_again_trains_nothing(first_stage: Path, base: Path, pairs_file: Path) -> None:
    stamp = (first_stage / "model.safetensors").stat().st_mtime_ns
    run_rm_sft(*parsed(run_rm_sft, rm_sft_values(base, pairs_file, first_stage)))
    assert (first_stage / "model.safetensors").stat().st_mtime_ns == stamp
    with pytest.raises(OtherRunError, match=r"form|rows"):
        run_rm_sft(*parsed(run_rm_sft, rm_sft_values(base, pairs_file, first_stage, form="published")))


def test_a_killed_run_goes_on_and_ends_the_same(
    first_stage: Path, base: Path, pairs_file: Path, tmp_path: Path
) -> None:
    values = rm_sft_values(base, pairs_file, tmp_path / "killed")
    run_to_the_kill(run_rm_sft, values, 5)
    results = run_rm_sft(*parsed(run_rm_sft, values))
    assert results["resumed_from"] == "checkpoint-4"
    wanted = json.loads((first_stage / "results.json").read_text())
    assert results["held_out_loss"]["all"] == pytest.approx(wanted["held_out_loss"]["all"], rel=1e-4)


def test_pushing_takes_the_whole_folder_once(
    first_stage: Path, base: Path, pairs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    values = rm_sft_values(base, pairs_file, out, license="mit", max_steps=2, push_to_hub=True, hub_model_id="me/rm")
    with stand_in() as hub:
        use(hub, tmp_path / "home", monkeypatch)
        run_rm_sft(*parsed(run_rm_sft, values))
        there = hub.repository("me/rm")
    assert [commit.title for commit in there.commits] == ["initial commit", "HER-RM, SFT"]
    assert {"reward_model.json", "model.safetensors", "README.md"} <= there.files.keys()
    assert "run.json" not in there.files
