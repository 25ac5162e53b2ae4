"""Attaching the method to bases: tokenizers, model folders, the command, and bases that are not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM, pipeline
from typer import Typer
from typer.testing import CliRunner

from her_hf.cli.attach import attach as attach_command
from her_hf.processing import HERProcessor, attach_model
from her_hf.processing.response import generation_config
from tests.support.tokenizers import BASES, FRAMES, NAMES, assistant, user

CHAT = [user("Bob: hi"), assistant("<think>plan</think>Ann: <role_thinking>hm</role_thinking> hi")]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with the tokenizer of a fixture, as people publish one."""
    folder = tmp_path_factory.mktemp("bases") / "tiny"
    tokenizer = AutoTokenizer.from_pretrained(BASES / "llama3")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer) + 8, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(temperature=0.1, top_k=3, do_sample=True, eos_token_id=[3, 7])
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "LICENSE").write_text("Some licence.")
    (folder / "README.md").write_text("The base's card.")
    return folder


# -- tokenizers


@pytest.mark.parametrize("name", NAMES)
def test_the_base_tokenizer_is_not_changed(name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(BASES / name)
    before = tokenizer.chat_template, tokenizer.eos_token, tokenizer.pad_token
    her = HERProcessor.attach(tokenizer)
    assert (tokenizer.chat_template, tokenizer.eos_token, tokenizer.pad_token) == before
    assert getattr(tokenizer, "response_template", None) is None
    assert her.frame is FRAMES[name]
    assert her.tokenizer.pad_token is not None
    assert her.tokenizer.get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize("name", NAMES)
def test_attaching_twice_changes_nothing(name: str, tmp_path: Path) -> None:
    once = HERProcessor.attach(str(BASES / name))
    once.save_pretrained(tmp_path)
    for base in (once, once.tokenizer, tmp_path, str(tmp_path)):
        twice = HERProcessor.attach(base)
        assert twice.chat_template == once.chat_template
        assert twice.tokenizer.response_template == once.tokenizer.response_template


def test_bos_of_a_chatml_base() -> None:
    tokenizer = AutoTokenizer.from_pretrained(BASES / "qwen3")
    tokenizer.add_special_tokens({"bos_token": "<s'>"})
    tokenizer.chat_template = "{{ bos_token }}" + tokenizer.chat_template
    text = HERProcessor.attach(tokenizer).apply_chat_template(CHAT, tokenize=False)
    assert text.startswith("<s'><|im_start|>user\n")
    assert text.count("<s'>") == 1


def test_other_named_templates_go() -> None:
    """A template for tools would be chosen as soon as tools are passed, and shows thinking in the history."""
    tokenizer = AutoTokenizer.from_pretrained(BASES / "qwen3")
    tokenizer.chat_template = {"default": tokenizer.chat_template, "tool_use": tokenizer.chat_template}
    her = HERProcessor.attach(tokenizer)
    assert set(her.chat_template) == {"default", "scene"}
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    assert "plan" not in her.apply_chat_template([*CHAT, CHAT[0]], tools=tools, tokenize=False)


# -- bases that are not fit


def _without_template(tokenizer: AutoTokenizer) -> None:
    tokenizer.chat_template = None


def _with_template(source: str):
    def change(tokenizer: AutoTokenizer) -> None:
        tokenizer.chat_template = source

    return change


LOOP = "{% for m in messages %}"
UNFIT = [
    ("qwen3", _without_template, "has no chat template.*instruct"),
    ("qwen3", _with_template(""), "another style than ChatML, Llama-3, Mistral"),
    ("qwen3", _with_template(LOOP + "[INST] {{ m.content }} [/INST]{% endfor %}"), r"another style.*\[INST\] probe"),
    ("qwen3", _with_template(LOOP + "[INST]{{ m.content }}[/INST]{% endfor %}"), r"no end-of-turn token.*</s>"),
    ("qwen3", _with_template(LOOP + "<|user|>\n{{ m.content }}<|end|>\n{% endfor %}"), r"another style.*<\|user"),
    ("qwen3", _with_template("{{ raise_exception('only tools') }}"), "could not render.*only tools"),
    ("qwen3", _with_template({"rag": "x"}), "has no chat template"),
    (
        "qwen3",
        _with_template(
            LOOP + "<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content }}<|eot_id|>{% endfor %}"
        ),
        r"no end-of-turn token.*<\|eot_id\|>.*Add it",
    ),
    (
        "llama3",
        _with_template(LOOP + "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"),
        "no end-of",
    ),
]


@pytest.mark.parametrize(("name", "change", "says"), UNFIT)
def test_unfit_bases(name: str, change, says: str, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(BASES / name)
    change(tokenizer)
    with pytest.raises(ValueError, match=f"(?s){says}"):
        HERProcessor.attach(tokenizer)


def test_a_missing_control_token() -> None:
    tokenizer = AutoTokenizer.from_pretrained(BASES / "qwen3")
    tokenizer.add_tokens(["<|eot_id|>"])
    tokenizer.chat_template = AutoTokenizer.from_pretrained(BASES / "llama3").chat_template
    tokenizer.bos_token = "<|endoftext|>"
    with pytest.raises(ValueError, match=r"lacks \['<\|start_header_id\|>', '<\|end_header_id\|>'\]"):
        HERProcessor.attach(tokenizer)


def test_no_such_base(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no tokenizer could be loaded from"):
        HERProcessor.attach(tmp_path)
    with pytest.raises(FileNotFoundError, match="There is no folder nobody/nothing here"):
        HERProcessor.attach("nobody/nothing")


# -- model folders


def test_attach_model(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "a" / "her"
    attach_model(base, out)
    assert (out / "model.safetensors").read_bytes() == (base / "model.safetensors").read_bytes()
    assert (out / "config.json").read_bytes() == (base / "config.json").read_bytes()
    assert (out / "LICENSE").is_file()
    assert not (out / "README.md").exists()  # it speaks of the base
    assert [path.name for path in out.parent.iterdir()] == ["her"]

    saved = json.loads((out / "generation_config.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert saved["temperature"] == 0.7
    assert "top_k" not in saved  # sampling is the method's, not the base's
    assert saved["eos_token_id"][0] == tokenizer.convert_tokens_to_ids("<|eot_id|>") == tokenizer.eos_token_id
    assert set(saved["eos_token_id"]) >= {3, 7}

    talk = pipeline("text-generation", model=str(out), device="cpu", max_new_tokens=4)
    message = talk(CHAT[:1])[0]["generated_text"][-1]
    assert message["role"] == "assistant"
    assert set(message) <= {"role", "thinking", "content"}


def test_generation_config_of_a_model(base: Path) -> None:
    """For trainers, which save the model's own."""
    her = HERProcessor.attach(base)
    model = AutoModelForCausalLM.from_pretrained(base)
    config = her.generation_config(model.generation_config)
    assert (config.temperature, config.top_p, config.max_new_tokens) == (0.7, 0.9, 1024)
    assert config.to_dict() == generation_config(her.tokenizer, her.frame, model.generation_config).to_dict()


def test_the_same_again_is_left_as_it_is(base: Path, tmp_path: Path) -> None:
    attach_model(base, tmp_path / "her")
    stamp = (tmp_path / "her" / "model.safetensors").stat().st_mtime_ns
    attach_model(base, tmp_path / "her")
    assert (tmp_path / "her" / "model.safetensors").stat().st_mtime_ns == stamp
    with pytest.raises(FileExistsError, match="holds another checkpoint"):
        attach_model(base, tmp_path / "her", bare_prefill=True)


@pytest.mark.parametrize("what", ["weights", "vocabulary"])
def test_another_model_of_the_same_sizes_is_refused(base: Path, tmp_path: Path, what: str) -> None:
    """Fine-tunes of one base differ in nothing but the contents of their files."""
    attach_model(base, tmp_path / "her")
    other = tmp_path / "other"
    shutil.copytree(base, other)
    if what == "weights":
        model = AutoModelForCausalLM.from_pretrained(base)
        with torch.no_grad():
            model.model.norm.weight.add_(1)
        model.save_pretrained(other)
        assert (other / "model.safetensors").stat().st_size == (base / "model.safetensors").stat().st_size
    else:
        tokenizer = AutoTokenizer.from_pretrained(base)
        tokenizer.add_tokens(["<new>"])
        tokenizer.save_pretrained(other)
    before = {path.name: path.read_bytes() for path in (tmp_path / "her").iterdir() if path.is_file()}
    with pytest.raises(FileExistsError, match="holds another checkpoint"):
        attach_model(other, tmp_path / "her")
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "her").iterdir() if path.is_file()}


def test_an_adapter_is_refused(base: Path, tmp_path: Path) -> None:
    """Its weights would be copied without the base they belong to."""
    adapter = tmp_path / "lora"
    shutil.copytree(base, adapter)
    (adapter / "model.safetensors").rename(adapter / "adapter_model.safetensors")
    (adapter / "config.json").unlink()
    (adapter / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"LoRA adapter.*her-hf merge"):
        attach_model(adapter, tmp_path / "her")
    assert not (tmp_path / "her").exists()


def test_an_empty_folder_may_be_there(base: Path, tmp_path: Path) -> None:
    (tmp_path / "her").mkdir()
    attach_model(base, tmp_path / "her")
    assert (tmp_path / "her" / "config.json").is_file()


def test_a_tokenizer_alone(tmp_path: Path) -> None:
    attach_model(BASES / "smollm2", tmp_path / "her")
    assert not (tmp_path / "her" / "config.json").exists()
    assert isinstance(HERProcessor.from_pretrained(tmp_path / "her"), HERProcessor)


@pytest.mark.parametrize(
    ("found", "says"), [("config.json", "holds a model"), ("notes.txt", r"holds other files \(notes.txt")]
)
def test_other_output_folders_are_refused(found: str, says: str, base: Path, tmp_path: Path) -> None:
    (tmp_path / found).write_text("{}")
    with pytest.raises(FileExistsError, match=says):
        attach_model(base, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [found]
    with pytest.raises(FileExistsError, match="is a file"):
        attach_model(base, tmp_path / found)


def test_weights_in_another_format_are_refused(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "base")
    (tmp_path / "base" / "model.safetensors").rename(tmp_path / "base" / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"no \*.safetensors"):
        attach_model(tmp_path / "base", tmp_path / "her")
    assert not (tmp_path / "her").exists()


def test_a_failed_copy_leaves_nothing(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(OSError, match="disk full"):
        attach_model(base, tmp_path / "her")
    assert not list(tmp_path.iterdir())


def test_the_command(base: Path, tmp_path: Path) -> None:
    app = Typer()
    app.command()(attach_command)
    run = CliRunner().invoke(app, [str(base), str(tmp_path / "her"), "--bare-prefill"])
    assert run.exit_code == 0, run.output
    assert "llama3" in run.output
    prompt = AutoTokenizer.from_pretrained(tmp_path / "her").apply_chat_template(
        CHAT[:1], add_generation_prompt=True, tokenize=False
    )
    assert prompt.endswith("<system_thinking>")
