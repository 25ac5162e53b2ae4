"""`her-hf merge`: the merged folder gives the adapter's logits and carries the method."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from her_hf.cli.merge import merge
from her_hf.inference.local import LocalModel
from her_hf.judging.pairwise.reward_model import HERRewardModel, trained_settings, write_reward_settings
from her_hf.processing import HERProcessor
from tests.support.one_pass import FIXTURES, tiny_model


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that changes its base, beside it a HER tokenizer, as a LoRA run leaves them."""
    base, folder = tmp_path_factory.mktemp("base"), tmp_path_factory.mktemp("adapter")
    processor = HERProcessor.attach(FIXTURES / "tokenizers" / "smollm2")
    tiny_model("llama", len(processor.tokenizer), dtype=torch.float32).save_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base)
    torch.manual_seed(1)
    wrapped: Any = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    wrapped.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def run(*words: str) -> Any:
    app = typer.Typer()
    app.command()(merge)
    return CliRunner().invoke(app, list(words))


def test_merge(adapter: Path, tmp_path: Path) -> None:
    out = tmp_path / "merged"
    result = run(str(adapter), str(out))
    assert result.exit_code == 0 and "merged" in result.output.replace("\n", ""), result.exception
    assert not (out / "adapter_config.json").exists()
    base = json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    ids = torch.arange(5, 40)[None]
    with torch.no_grad():
        plain = AutoModelForCausalLM.from_pretrained(base)(ids).logits
        merged = AutoModelForCausalLM.from_pretrained(out)(ids).logits
        wrapped = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(adapter))(ids).logits
    torch.testing.assert_close(merged, wrapped, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(merged, plain, atol=1e-2)
    kept, given = AutoTokenizer.from_pretrained(out), AutoTokenizer.from_pretrained(adapter)
    assert kept.chat_template == given.chat_template and kept.response_template == given.response_template
    assert json.loads((out / "generation_config.json").read_text())["temperature"] == 0.7


def carried(folder: Path) -> dict[str, bytes]:
    """Everything below a folder but the weights and their configuration."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name not in ("config.json", "model.safetensors", "adapter_model.safetensors")
    }


CARD = """---
library_name: peft
base_model: someone/base
base_model_relation: adapter
tags: [her]
---

# Ann

A card with ünusual words.
"""


def test_whatever_lies_beside_the_adapter_goes_along(adapter: Path, tmp_path: Path) -> None:
    lora, out = shutil.copytree(adapter, tmp_path / "lora"), tmp_path / "merged"
    (lora / "additional_chat_templates" / "mine.jinja").write_text("{{ messages }}")
    generation = json.loads((lora / "generation_config.json").read_text())
    (lora / "generation_config.json").write_text(json.dumps({**generation, "temperature": 0.33}))
    processor = json.loads((lora / "processor_config.json").read_text())
    (lora / "processor_config.json").write_text(json.dumps({**processor, "note": 1}))
    (lora / "README.md").write_text(CARD, encoding="utf-8")
    (lora / "notes").mkdir()
    (lora / ".eval_results").mkdir()
    kept = ["results.json", "metrics.jsonl", "LICENSE", "notes/a.txt", "reward_model.json", ".eval_results/coser.yaml"]
    kept += ["adapter_notes.md", "head.safetensors", "model.bin", "optimizer_notes.txt"]
    left = ["run.json", "training_args.bin", "optimizer.pt", "rng_state.pth", "checkpoint-2/x.txt", ".git", "a.tmp"]
    (lora / "checkpoint-2").mkdir()
    for name in [*kept, *left]:
        (lora / name).write_text(name)
    before = carried(lora)
    result = run(str(lora), str(out))
    assert result.exit_code == 0, result.exception
    assert carried(lora) == before
    found = carried(out)
    changed = {"README.md", "generation_config.json"}
    wanted = {name for name in before if name not in left and name != "adapter_config.json"}

    assert set(found) == wanted and wanted >= {*kept, "additional_chat_templates/mine.jinja", "tokenizer.json"}
    assert {name: found[name] for name in wanted - changed} == {name: before[name] for name in wanted - changed}
    assert json.loads((out / "generation_config.json").read_text())["temperature"] == 0.33
    assert set(AutoTokenizer.from_pretrained(out).chat_template) == {"default", "scene", "mine"}
    card = (out / "README.md").read_text(encoding="utf-8")
    for words in ("library_name: transformers", "base_model_relation: finetune", "base_model: someone/base",
                  "A card with ünusual words.", "Merged:"):  # fmt: skip
        assert words in card
    assert "peft" not in card


def test_the_base_stops_where_it_stopped(adapter: Path, tmp_path: Path) -> None:
    base = Path(json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"])
    base = shutil.copytree(base, tmp_path / "base")
    (base / "generation_config.json").write_text(json.dumps({"eos_token_id": [5, 9], "temperature": 0.1}))
    assert run(str(adapter), str(tmp_path / "merged"), "--base", str(base)).exit_code == 0
    saved = json.loads((tmp_path / "merged" / "generation_config.json").read_text())
    stops = json.loads((adapter / "generation_config.json").read_text())["eos_token_id"]
    assert saved["eos_token_id"] == [*stops, 5, 9] and saved["temperature"] == 0.7
    # An adapter that somebody else's trainer saved has none of its own: the method's, not the base's.
    bare = shutil.copytree(adapter, tmp_path / "bare")
    (bare / "generation_config.json").unlink()
    assert run(str(bare), str(tmp_path / "other"), "--base", str(base)).exit_code == 0
    saved = json.loads((tmp_path / "other" / "generation_config.json").read_text())
    assert saved["eos_token_id"] == [*stops, 5, 9] and saved["temperature"] == 0.7


@pytest.mark.parametrize("tokenizer", [True, False])
def test_a_reward_models_adapter(adapter: Path, tmp_path: Path, tokenizer: bool) -> None:
    """It speaks through its base's own template, and its note says in which form."""
    lora, base = tmp_path / "lora", tmp_path / "base"
    shutil.copytree(json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"], base)
    plain = AutoTokenizer.from_pretrained(FIXTURES / "tokenizers" / "smollm2")
    plain.save_pretrained(base)
    lora.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(adapter / name, lora / name)
    if tokenizer:
        plain.save_pretrained(lora)
    write_reward_settings(lora, form="compact", reasoning=False)
    result = run(str(lora), str(tmp_path / "merged"), "--base", str(base))
    assert result.exit_code == 0, result.exception
    assert AutoTokenizer.from_pretrained(tmp_path / "merged").chat_template == plain.chat_template
    assert trained_settings(tmp_path / "merged") == trained_settings(lora)
    assert trained_settings(lora).form == "compact"
    HERRewardModel.from_pretrained(tmp_path / "merged", device="cpu").close()


def test_adapters_that_cannot_be_merged(adapter: Path, tmp_path: Path) -> None:
    cases: dict[str, tuple[dict[str, Any], str]] = {
        "prompt": ({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 4, "task_type": "CAUSAL_LM"}, "PROMPT_TUNING"),
        "classifier": ({"task_type": "SEQ_CLS"}, "SEQ_CLS"),
        "nameless": ({"base_model_name_or_path": None}, "--base"),
    }
    for name, (changes, said) in cases.items():
        lora = shutil.copytree(adapter, tmp_path / name)
        config = {**json.loads((lora / "adapter_config.json").read_text()), **changes}
        (lora / "adapter_config.json").write_text(json.dumps(config))
        error = run(str(lora), str(tmp_path / "out")).exception
        assert isinstance(error, ValueError) and said in str(error), error
    unfinished = shutil.copytree(adapter, tmp_path / "unfinished")
    (unfinished / "adapter_model.safetensors").unlink()
    error = run(str(unfinished), str(tmp_path / "out")).exception
    assert isinstance(error, ValueError) and "no weights" in str(error)
    error = run("nobody/nothing", str(tmp_path / "out")).exception
    assert isinstance(error, FileNotFoundError) and "There is no folder nobody/nothing here" in str(error)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def broken(adapter: Path, tmp_path: Path) -> Path:
    return shutil.copytree(adapter, tmp_path / "broken")


def test_a_base_that_is_another_one_is_said(adapter: Path, tmp_path: Path) -> None:
    vocabulary = len(AutoTokenizer.from_pretrained(adapter))
    tiny_model("llama", vocabulary, dtype=torch.float32, hidden_size=64).save_pretrained(tmp_path / "wide")
    error = run(str(adapter), str(tmp_path / "out"), "--base", str(tmp_path / "wide")).exception
    assert isinstance(error, ValueError) and len(str(error)) < 900
    for words in ("cannot be put on the base", "wide", "size mismatch", "--base"):
        assert words in str(error)


@pytest.mark.parametrize("size", [0, 100])
def test_weights_that_are_cut_short_are_said(broken: Path, tmp_path: Path, size: int) -> None:
    file = broken / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:size])
    error = run(str(broken), str(tmp_path / "out")).exception
    assert isinstance(error, ValueError) and "broken cannot be put on the base" in str(error)
    with pytest.raises(ValueError, match=r"No model could be loaded from .*broken"):
        LocalModel.load(str(broken))


@pytest.mark.parametrize("text", ["{", "[]", b"\xff", '{"peft_type": "OTHER"}', "{}"])
def test_a_configuration_that_cannot_be_read_is_said(broken: Path, tmp_path: Path, text: str | bytes) -> None:
    (broken / "adapter_config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    error = run(str(broken), str(tmp_path / "out")).exception
    assert isinstance(error, ValueError) and "broken/adapter_config.json" in str(error), error
    with pytest.raises(ValueError, match="broken"):
        LocalModel.load(str(broken))


@pytest.mark.parametrize(
    ("tied", "whole"), [(False, ["embed_tokens", "lm_head"]), (False, None), (True, ["embed_tokens"])]
)
def test_an_adapter_with_tokens_of_its_own(adapter: Path, tmp_path: Path, tied: bool, whole: list[str] | None) -> None:
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    base, lora = tmp_path / "base", tmp_path / "lora"
    tiny_model("llama", len(tokenizer), dtype=torch.float32, tie_word_embeddings=tied).save_pretrained(base)
    tokenizer.add_tokens(["<x1>", "<x2>"])
    model = AutoModelForCausalLM.from_pretrained(base)
    model.resize_token_embeddings(len(tokenizer))
    how = LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False, modules_to_save=whole)
    wrapped: Any = get_peft_model(model, how)
    wrapped.save_pretrained(lora)
    tokenizer.save_pretrained(lora)
    result = run(str(lora), str(tmp_path / "out"))
    assert result.exit_code == 0, result.exception
    ids = torch.arange(len(tokenizer) - 20, len(tokenizer))[None]
    with torch.no_grad():
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out")(ids).logits
        torch.testing.assert_close(merged, wrapped(ids).logits, rtol=1e-4, atol=1e-4)
    if whole == ["embed_tokens", "lm_head"]:
        weights = load_file(lora / "adapter_model.safetensors")
        kept = {name: tensor for name, tensor in weights.items() if "lm_head" not in name}
        save_file(kept, lora / "adapter_model.safetensors")
        error = run(str(lora), str(tmp_path / "half")).exception
        assert isinstance(error, ValueError) and "does not have both embeddings and head" in str(error), error


def test_chat_explains_a_base_that_moved(adapter: Path, tmp_path: Path) -> None:
    lora = shutil.copytree(adapter, tmp_path / "lora")
    config = json.loads((lora / "adapter_config.json").read_text())
    for gone in ("models/base", str(tmp_path / "gone")):
        (lora / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": gone}))
        with pytest.raises(FileNotFoundError, match=rf"the base '{gone}' of the adapter .*her-hf merge .*--base BASE"):
            LocalModel.load(str(lora))


def test_what_is_wrong_is_said(adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("kept")
    assert isinstance(run(str(adapter), str(tmp_path / "full")).exception, FileExistsError)
    assert (tmp_path / "full" / "x").read_text() == "kept"
    no_adapter = run(str(tmp_path / "full"), str(tmp_path / "out")).exception
    assert isinstance(no_adapter, ValueError) and "adapter_config.json" in str(no_adapter)
    gone = run(str(adapter), str(tmp_path / "out"), "--base", str(tmp_path / "gone")).exception
    assert isinstance(gone, ValueError) and "--base" in str(gone)
    # A path relative to another folder looks like a Hub id.
    shutil.copytree(adapter, tmp_path / "moved")
    config = json.loads((tmp_path / "moved" / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "models/base"
    (tmp_path / "moved" / "adapter_config.json").write_text(json.dumps(config))
    relative = run(str(tmp_path / "moved"), str(tmp_path / "out")).exception
    assert isinstance(relative, ValueError) and "'models/base'" in str(relative) and "--base" in str(relative)
    assert "neither a folder here" in str(relative)
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))
