"""HER-SFT: from a base and scenes to a folder that carries the method."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import TrlParser

from her_hf.training.one_pass.layers import LAYERS
from her_hf.training.run.launch import settings_of
from her_hf.training.sft import run_sft
from tests.support.paths import ROOT
from tests.support.training import parsed, sft_values, write_tiny_base


def test_folder_carries_the_method(finished: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(finished)
    model = AutoModelForCausalLM.from_pretrained(finished)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "===Conversation Start==="}], add_generation_prompt=True, tokenize=False
    )
    assert prompt.endswith("<system_thinking>\n")
    parsed = tokenizer.parse_response("Ann stalls.\n</system_thinking>\nAnn: Tea?<|im_end|>", prefix=prompt)
    assert parsed["thinking"] == "Ann stalls." and parsed["content"] == "Ann: Tea?"
    assert model.generation_config.temperature == 0.7 and model.generation_config.max_new_tokens == 1024
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") in model.generation_config.eos_token_id
    assert "her_branches" not in (finished / "config.json").read_text()


def test_results_and_card(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    assert results["steps"] == 6 and results["num_replies"] == 12 and results["rows"]["token_ratio"] > 1
    held_out = results["held_out_loss"]
    total = sum(held_out[layer]["tokens"] for layer in LAYERS)
    mean = (
        sum(held_out[layer]["loss"] * held_out[layer]["tokens"] for layer in LAYERS if held_out[layer]["tokens"])
        / total
    )
    assert total == results["held_out_rows"]["trained_tokens"]
    assert mean == pytest.approx(held_out["all"], rel=1e-6)
    evaluated = [
        json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines() if "eval_loss" in line
    ]
    assert [line["step"] for line in evaluated] == [0, 3, 6, 6]
    assert evaluated[-1]["eval_loss"] < evaluated[0]["eval_loss"]
    card = (finished / "README.md").read_text()
    for part in ("license: apache-2.0", "held-out loss, role thinking", "commit", "replies a step", "library_name"):
        assert part in card
    assert "licence" not in card and "widget" not in card and "base_model:" not in card and str(ROOT) not in card


def test_what_is_not_trained_is_reported(
    base: Path, scenes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An empty turn and turns without system thinking, in the log, the results and the card."""
    own, out = tmp_path / "scenes", tmp_path / "out"
    own.mkdir()
    shutil.copy(scenes / "validation.jsonl", own)
    rows = [json.loads(line) for line in (scenes / "train.jsonl").read_text().splitlines()]
    bare, empty = rows[0]["dialogues"][1], rows[0]["dialogues"][2]
    bare.pop("sys_thinking_revised")
    for name in ("message", "standard_format", "without_think", "sys_thinking_revised"):
        empty[name] = ""
    (own / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = run_sft(*parsed(run_sft, sft_values(base, own, out, max_steps=1)))["rows"]
    assert (found["empty"], found["without_thinking"]) == (1, 1)
    assert "training: empty replies, left out: 1" in caplog.text
    assert "training: replies without system thinking, trained as when it is switched off: 1" in caplog.text
    card = (out / "README.md").read_text()
    assert "| empty replies left out | 1 |" in card and "| replies without system thinking | 1 |" in card


def test_lora(base: Path, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "lora"
    results = run_sft(
        *parsed(run_sft, sft_values(base, scenes, out, max_steps=2, use_peft=True, lora_r=4, eval_split=""))
    )
    assert (out / "adapter_config.json").exists() and results["held_out_loss"] == {}
    assert AutoTokenizer.from_pretrained(out).response_template
    assert "library_name: peft" in (out / "README.md").read_text()
    assert json.loads((out / "generation_config.json").read_text())["top_p"] == 0.9


@pytest.mark.parametrize("file", sorted((ROOT / "recipes").glob("*/sft/config.yaml")), ids=lambda file: file.parts[-3])
def test_shipped_recipes_parse(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    words = ["--config", str(file), "--use_cpu", "true", "--bf16", "false", "--report_to", "none"]
    data, model, args = TrlParser(settings_of(run_sft)).parse_args_and_config(words)
    assert data.dataset and model.model_name_or_path and args.one_pass
    for name in ("bf16", "gradient_checkpointing", "seed", "replies_per_step", "max_context"):
        assert f"\n{name}:" in file.read_text()


@pytest.mark.parametrize(("tokenizer", "kind"), [("mistral-v3", "mistral"), ("mistral-v7-tekken", "mistral")])
def test_a_base_of_another_frame_trains_in_one_pass(tokenizer: str, kind: str, scenes: Path, tmp_path: Path) -> None:
    base, out = write_tiny_base(tmp_path / "base", tokenizer, kind), tmp_path / "out"
    results = run_sft(*parsed(run_sft, sft_values(base, scenes, out, max_steps=2)))
    assert results["rows"]["token_ratio"] > 1
    saved = AutoTokenizer.from_pretrained(out)
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.generation_config.eos_token_id[0] == saved.convert_tokens_to_ids("</s>")
    chat = [{"role": "system", "content": "You are Ann."}, {"role": "user", "content": "Bob: hi"}]
    prompt = saved.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    assert prompt.endswith("<system_thinking>\n")
    assert saved.parse_response("a\n</system_thinking>\nAnn: b</s>", prefix=prompt)["content"] == "Ann: b"


def test_sliding_windows_train_the_ordinary_way(scenes: Path, tmp_path: Path) -> None:
    """Gemma's are refused in one pass; the message names the settings that work."""
    base, out = write_tiny_base(tmp_path / "base", "gemma3", "gemma3"), tmp_path / "out"
    values = sft_values(base, scenes, out, max_steps=2)
    with pytest.raises(ValueError, match=r"sliding_attention.*`one_pass: false` and `pack_rows: false`"):
        run_sft(*parsed(run_sft, values))
    results = run_sft(
        *parsed(run_sft, {**values, "output_dir": tmp_path / "plain", "one_pass": False, "pack_rows": False})
    )
    assert results["steps"] == 2 and results["rows"]["token_ratio"] == 1
    assert "one sample a reply" in (tmp_path / "plain" / "README.md").read_text()
