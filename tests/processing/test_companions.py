"""Bases that read images too: attach and merge take the files of their processor along, recipes refuse them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoProcessor,
    AutoTokenizer,
    CLIPVisionConfig,
    Gemma3Config,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    MllamaConfig,
    T5Config,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from trl import ModelConfig, TrlParser

from her_hf.processing import HERProcessor, attach_model
from her_hf.processing.companions import companions_of, copy_companions, knows_more_than_text
from her_hf.training.one_pass.config import OnePassConfig
from her_hf.training.run.adapters import merge_adapter
from her_hf.training.run.base import base_config
from her_hf.training.sft import SFTDataConfig, run_sft
from tests.support.tokenizers import BASES

TINY: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
}  # fmt: skip
SIZE = {"height": 28, "width": 28}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of images and text, whose processor is in one file, as this transformers writes it."""
    folder = tmp_path_factory.mktemp("bases") / "llava"
    tokenizer = AutoTokenizer.from_pretrained(BASES / "qwen3")
    tokenizer.add_special_tokens({"extra_special_tokens": ["<image>"]})
    vision = CLIPVisionConfig(image_size=28, patch_size=14, **TINY)
    text = LlamaConfig(vocab_size=len(tokenizer), **TINY)
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=len(tokenizer) - 1)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size=SIZE, crop_size=SIZE),
        tokenizer=tokenizer, patch_size=14, chat_template=tokenizer.chat_template,
    )  # fmt: skip
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(params=["one file", "a file each"])
def shaped(base: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The same in both forms: older versions write each processor into a file of its own."""
    import shutil

    folder = shutil.copytree(base, tmp_path / "base")
    if request.param == "a file each":
        settings = json.loads((folder / "processor_config.json").read_text())
        (folder / "preprocessor_config.json").write_text(json.dumps(settings.pop("image_processor")))
        (folder / "processor_config.json").write_text(json.dumps(settings))
        template = (folder / "chat_template.jinja").read_text()
        (folder / "chat_template.jinja").unlink()
        (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    return folder


def test_attach_takes_its_processor_along(shaped: Path, tmp_path: Path) -> None:
    out = tmp_path / "her"
    attach_model(shaped, out)
    assert isinstance(AutoProcessor.from_pretrained(out), HERProcessor)
    own = LlavaProcessor.from_pretrained(out)
    assert own.patch_size == 14 and own.image_processor.size["height"] == 28
    assert "HER chat template" in (own.chat_template["default"] if isinstance(own.chat_template, dict)
                                   else own.chat_template)  # fmt: skip
    assert not (out / "chat_template.json").exists()  # it would stand beside ours
    LlavaForConditionalGeneration.from_pretrained(out)
    stamp = (out / "model.safetensors").stat().st_mtime_ns
    attach_model(shaped, out)
    assert (out / "model.safetensors").stat().st_mtime_ns == stamp
    # From the checkpoint to the next one nothing is lost either.
    attach_model(out, tmp_path / "again")
    assert LlavaProcessor.from_pretrained(tmp_path / "again").patch_size == 14


def test_a_text_model_stays_one(tmp_path: Path) -> None:
    HERProcessor.attach(BASES / "qwen3").save_pretrained(tmp_path / "a")
    HERProcessor.attach(BASES / "qwen3").save_pretrained(tmp_path / "b")
    before = {file.name: file.read_bytes() for file in (tmp_path / "b").iterdir() if file.is_file()}
    copy_companions(companions_of(tmp_path / "a"), tmp_path / "b")
    assert before == {file.name: file.read_bytes() for file in (tmp_path / "b").iterdir() if file.is_file()}
    assert not knows_more_than_text(LlamaConfig())


def test_training_refuses_it_before_it_reads_data(base: Path, tmp_path: Path) -> None:
    values = {
        "model_name_or_path": base,
        "dataset": tmp_path / "none",
        "output_dir": tmp_path / "out",
        "use_cpu": True,
    }
    words = [word for name, value in values.items() for word in (f"--{name}", str(value))]
    settings: Any = TrlParser((SFTDataConfig, ModelConfig, OnePassConfig)).parse_args_and_config(words)
    with pytest.raises(ValueError, match=r"llava reads more than text .*model_type llava.*her-hf attach"):
        run_sft(*settings)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            Gemma3Config(),
            "reads more than text",
        ),  # its language model loads with the eyes and would be saved with them
        (T5Config(), "is not a language model"),
        (MllamaConfig(), None),
        (LlamaConfig(), None),
    ],
    ids=lambda value: getattr(value, "model_type", ""),
)
def test_which_bases_are_text_models(
    config: Any, said: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(BASES / "qwen3")
    config.save_pretrained(tmp_path)
    if said:
        with pytest.raises(ValueError, match=said):
            base_config(str(tmp_path), None, tokenizer)
        return
    assert base_config(str(tmp_path), None, tokenizer).model_type == config.model_type
    assert ("its text model is trained" in caplog.text) == (config.model_type == "mllama")


def test_merge_takes_them_along_where_the_model_keeps_its_eyes(tmp_path: Path) -> None:
    base, lora = tmp_path / "base", tmp_path / "lora"
    tokenizer = AutoTokenizer.from_pretrained(BASES / "qwen3")
    text = {**TINY, "vocab_size": len(tokenizer), "head_dim": 8, "num_key_value_heads": 1}
    config = Gemma3Config(text_config=text, vision_config={**TINY, "image_size": 28, "patch_size": 14})
    AutoModelForCausalLM.from_config(config).save_pretrained(base)
    (base / "preprocessor_config.json").write_text('{"image_processor_type": "Gemma3ImageProcessor"}')
    (base / "processor_config.json").write_text('{"processor_class": "Gemma3Processor", "image_seq_length": 4}')
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(lora)
    HERProcessor.attach(tokenizer).save_pretrained(lora)
    out = merge_adapter(lora, tmp_path / "merged")
    assert (out / "preprocessor_config.json").read_bytes() == (base / "preprocessor_config.json").read_bytes()
    settings = json.loads((out / "processor_config.json").read_text())
    assert settings == {"image_seq_length": 4, "processor_class": "HERProcessor"}
    AutoModelForCausalLM.from_pretrained(out)
