"""Folders that are not what they are pushed as, and cards that do not say what they must."""

import json
import re
from pathlib import Path

import pytest

from her_hf.hub.checks import check_folder
from her_hf.hub.client import Kind
from her_hf.hub.listing import list_folder
from tests.support.paths import ROOT
from tests.support.pushed import CARD, dataset_folder, model_folder, space_folder, weights, write_files

METRIC = '---\ntitle: M\nsdk: gradio\npython_version: "3.12"\ntags: [evaluate, metric]\n---\n'
DATA = "---\nlicense: mit\nconfigs:\n- data_files: {path}\n---\n"


def check(kind: Kind, folder: Path, repo_id: str = "me/it") -> None:
    check_folder(kind, list_folder(folder), folder, repo_id)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config.json": None}, "no checkpoint.*config.json, adapter_config.json.*finished run"),
        ({"model.safetensors": None}, "no weights"),
        ({"README.md": None}, "no card.*license"),
        ({"README.md": "# A model\n"}, "README.md does not state under which license this model.*apache-2.0"),
        ({"README.md": "---\nlicense: unknown\n---\n"}, "does not state"),
        ({"README.md": "---\nlicense: a: b\n---\n"}, "README.md: the text between the lines --- is not YAML"),
        ({"README.md": "---\n- a\n---\n"}, "must be a mapping, got list"),
        ({"README.md": "---\nlicense: mit\n"}, "has no end"),
        ({"README.md": b"---\nlicense: \xff\n---\n"}, r"README.md must be text in UTF-8.*\(13\)"),
        ({"model.safetensors": weights()[:-1]}, r"must have 1,074 bytes, got 1,073: copy or save it again"),
        ({"model.safetensors": b"PK\3\4" * 100}, "damaged: it has no header"),
        ({"model.safetensors": b""}, "damaged"),
        (
            {"model.safetensors.index.json": json.dumps({"weight_map": {"a": "model-00001-of-00001.safetensors"}})},
            "names files that are not there: model-00001-of-00001.safetensors",
        ),
        ({"model.safetensors.index.json": "{"}, "index.json is not JSON"),
        ({"model.safetensors.index.json": '{"weight_map": null}'}, "index.json has no mapping `weight_map`"),
    ],
)
def test_a_folder_that_is_no_model(tmp_path: Path, files: dict[str, str | bytes | None], message: str) -> None:
    folder = model_folder(tmp_path / "it")
    check("model", folder)
    for name, content in files.items():
        (folder / name).unlink(missing_ok=True)
        if content is not None:
            write_files(folder, {name: content})
    with pytest.raises(ValueError, match=message):
        check("model", folder)


def test_a_checkpoint_is_no_dataset(tmp_path: Path) -> None:
    # tokenizer.json and the like are JSON, as data may be.
    folder = model_folder(tmp_path / "it", **{"tokenizer.json": "{}"})
    with pytest.raises(ValueError, match="no dataset but a checkpoint"):
        check("dataset", folder)


def test_other_checkpoints_are_models(tmp_path: Path) -> None:
    check("model", write_files(tmp_path / "gguf", {"README.md": CARD, "it.gguf": b"GGUF"}))
    adapter = {"README.md": CARD, "adapter_config.json": "{}", "adapter_model.safetensors": weights()}
    check("model", write_files(tmp_path / "lora", adapter))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"data/train.jsonl": None, "data/test.jsonl": None}, "no dataset: it has no data file"),
        ({"README.md": "# Rows\n"}, "under which license this data"),
        ({"README.md": DATA.format(path="data/dev.jsonl")}, r"names the data file 'data/dev\.jsonl'"),
        ({"README.md": DATA.format(path="[data/train.jsonl, more/*.jsonl]")}, r"'more/\*\.jsonl'"),
    ],
)
def test_a_folder_that_is_no_dataset(tmp_path: Path, files: dict[str, str | None], message: str) -> None:
    folder = dataset_folder(tmp_path / "it")
    check("dataset", folder)
    for name, content in files.items():
        (folder / name).unlink()
        if content is not None:
            write_files(folder, {name: content})
    with pytest.raises(ValueError, match=message):
        check("dataset", folder)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("# A page\n", "`sdk`.*got None"),
        ("---\nsdk: gradio\napp_file: main.py\n---\n", r"has no main\.py"),
        ("---\nsdk: gradio\n---\n", r"python_version.*3\.11.*got none.*3\.10"),
        ("---\nsdk: gradio\npython_version: 3.10\n---\n", r"got 3\.1"),
        ("---\nsdk: static\n---\n", r"has no index\.html"),
        ("---\nsdk: [gradio]\n---\n", r"`sdk`.*got \['gradio'\]"),
    ],
)
def test_a_folder_that_is_no_space(tmp_path: Path, card: str, message: str) -> None:
    folder = space_folder(tmp_path / "it")
    check("space", folder)
    write_files(folder, {"README.md": card})
    with pytest.raises(ValueError, match=message):
        check("space", folder)


def test_a_metric_bears_the_name_of_its_script(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "it", {"README.md": METRIC, "app.py": "", "my_metric.py": ""})
    check("metric", folder, "me/my_metric")
    with pytest.raises(ValueError, match=r"asks for other\.py.*push it to …/my_metric"):
        check("metric", folder, "me/other")
    for tags in ("[evaluate, space]", "5", "evaluate metric"):
        write_files(folder, {"README.md": METRIC.replace("[evaluate, metric]", tags)})
        with pytest.raises(ValueError, match="no metric: the tags"):
            check("metric", folder, "me/my_metric")


@pytest.mark.parametrize("name", ["coser_gca", "minimax_rpb", "dual_layer"])
def test_our_metrics_can_be_pushed(name: str) -> None:
    check("metric", ROOT / "spaces" / name, f"me/{name}")


@pytest.mark.parametrize("name", ["her-mini", "her-mini-preferences"])
def test_our_datasets_can_be_pushed(name: str) -> None:
    check("dataset", ROOT / "dataset_cards" / name, f"me/{name}")


def test_an_error_text_is_bounded(tmp_path: Path) -> None:
    index = json.dumps({"weight_map": {str(number): f"model-{number}.safetensors" for number in range(5000)}})
    folder = model_folder(tmp_path / "it", **{"model.safetensors.index.json": index})
    with pytest.raises(ValueError, match="and 4995 more") as raised:
        check("model", folder)
    assert len(re.sub(re.escape(str(tmp_path)), "", str(raised.value))) < 400
