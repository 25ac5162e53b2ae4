"""`her-hf merge`: the merged folder gives the adapter's logits and carries the method."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from one_pass_helpers import FIXTURES, tiny_model
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from her_hf.cli.merge import merge
from her_hf.processing import HERProcessor


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
    assert "no folder here" in str(relative)
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))
