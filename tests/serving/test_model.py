"""What cannot be served is refused with what was found and what to do, before an engine is started."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from her_hf.serving import read_model
from tests.support.engines import write_checkpoint, write_gguf


def test_a_folder_is_served_under_its_name(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "her sft")
    found = read_model(f"{folder}/")
    assert (found.kind, found.name, found.source, found.notes) == ("folder", "her sft", str(folder), ())
    assert found.config["model_type"] == "llama"


def test_a_link_is_served_under_the_name_of_what_it_leads_to(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "real")
    (tmp_path / "link").symlink_to(folder)
    assert read_model(str(tmp_path / "link")).name == "real"


def test_a_hub_id_is_left_to_the_engine() -> None:
    found = read_model("me/her-32b")
    assert (found.kind, found.name, found.source) == ("hub", "me/her-32b", "me/her-32b")


@pytest.mark.parametrize("reference", ["nowhere", "./nowhere", "../a/b", "a/b/c", "/tmp/none/such", "me/x.gguf", ""])
def test_what_is_not_there_is_no_hub_id(reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    with pytest.raises((FileNotFoundError, ValueError), match=r"no folder or file|no checkpoint"):
        read_model(reference)


def test_a_url_is_a_server_already() -> None:
    with pytest.raises(ValueError, match="is a URL, so it is served already"):
        read_model("http://127.0.0.1:8000/v1")


def adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")


def quants(folder: Path) -> None:
    for name in "ab":
        (folder / f"{name}.gguf").write_text("")


def run(folder: Path) -> None:
    for number in (10, 20):
        write_checkpoint(folder / f"checkpoint-{number}")


def many(folder: Path) -> None:
    for number in range(20):
        (folder / f"file{number:02}.txt").write_text("")


@pytest.mark.parametrize(
    ("fill", "said"),
    [
        (lambda folder: None, r"no checkpoint: it has no config.json \(it is empty\)\. Give a folder"),
        (adapter, r"LoRA adapter without its base.*her-hf merge .*--lora-modules"),
        (quants, r"no config.json\. Name one of its GGUF files: a\.gguf, b\.gguf"),
        (run, r"Name one of its folders that has one: checkpoint-10, checkpoint-20"),
        (many, r"found: file00.txt, .*file07.txt and 12 more"),
    ],
)
def test_a_folder_that_is_no_checkpoint(fill: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    fill(tmp_path)
    with pytest.raises(ValueError, match=said):
        read_model(str(tmp_path))


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (("tokenizer.json", "tokenizer_config.json"), "has no tokenizer .*save_pretrained"),
        (("model.safetensors",), "has no weights"),
        (("chat_template.jinja",), "has no chat template.*her-hf attach"),
    ],
)
def test_a_folder_that_lacks_something(missing: tuple[str, ...], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        read_model(str(write_checkpoint(tmp_path, without=missing)))


def test_weights_that_were_not_copied_whole(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, without=("model.safetensors",))
    names = [f"model-{number:05}-of-00003.safetensors" for number in (1, 2, 3)]
    (tmp_path / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {f"layer{at}": name for at, name in enumerate(names)}})
    )
    (tmp_path / names[0]).write_text("")
    with pytest.raises(ValueError, match=r"lacks 2 of the 3 weight files .*00002-of-00003.*00003-of-00003"):
        read_model(str(tmp_path))
    for name in names:
        (tmp_path / name).write_text("")
    assert read_model(str(tmp_path)).kind == "folder"


@pytest.mark.parametrize("config", ["", "[]", "{", "{}", '{"model_type": 3}'])
def test_a_config_that_is_none(config: str, tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ValueError, match=r"config\.json (must hold a JSON object|names no model_type)"):
        read_model(str(tmp_path))


@pytest.mark.parametrize(
    "template", ["<system_thinking>", [{"name": "scene", "template": ""}, {"name": "default", "template": "x"}], "x"]
)
def test_a_template_in_the_tokenizer_s_config_counts(template: object, tmp_path: Path) -> None:
    write_checkpoint(tmp_path, without=("chat_template.jinja",))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    notes = read_model(str(tmp_path)).notes
    assert bool(notes) == (template != "<system_thinking>")


def test_another_template_is_noted_and_none_is_needed_where_one_is_given(tmp_path: Path) -> None:
    (note,) = read_model(str(write_checkpoint(tmp_path / "plain", template="{{ messages }}"))).notes
    assert "plain does not have HER's chat template" in note and "her-hf attach" in note
    bare = write_checkpoint(tmp_path / "bare", without=("chat_template.jinja",))
    assert read_model(str(bare), needs_template=False).notes == ()


def test_a_gguf_is_served_under_its_file_s_name(tmp_path: Path) -> None:
    found = read_model(str(write_gguf(tmp_path / "her-q4.gguf", "<system_thinking>")))
    assert (found.kind, found.name, found.notes) == ("gguf", "her-q4", ())
    assert read_model(str(write_gguf(tmp_path / "other.gguf", "plain"))).notes


def test_a_gguf_without_a_template_is_refused_unless_one_is_given(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "bare.gguf", None)
    with pytest.raises(ValueError, match=r"bare\.gguf has no chat template .*--chat-template-file"):
        read_model(str(file))
    assert read_model(str(file), needs_template=False).name == "bare"


def test_a_file_that_is_no_gguf_or_was_cut_off(tmp_path: Path) -> None:
    text = tmp_path / "model.gguf"
    text.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match="is a file, but no GGUF"):
        read_model(str(text))
    whole = write_gguf(tmp_path / "whole.gguf", "<system_thinking>").read_bytes()
    for length in (4, 20, 60, 100):
        text.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="cannot be read as a GGUF"):
            read_model(str(text))
