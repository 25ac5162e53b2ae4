"""Figures of every evaluation in the card of a model: section, `model-index`, `.eval_results/`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries
from typer.testing import CliRunner

from her_hf.cli.main import app
from her_hf.durable import write_json
from her_hf.evaluation.cards import write_figures, write_section
from her_hf.hub.checks import refuse_secrets
from her_hf.hub.listing import list_folder
from her_hf.hub.push import push
from tests.support.hub import stand_in, use
from tests.support.pushed import model_folder
from tests.support.results import coser_run, form_run, golden, minimax_run, reward_run

RUNS = {"coser": coser_run(6), "minimax": minimax_run(4), "form": form_run(), "reward": reward_run()}
MAIN = {
    "coser": ("coser_gca", "avg", lambda figures: figures["scores"]["avg"]),
    "minimax": ("minimax_rpb", "overall", lambda figures: figures["scores"]["overall"]),
    "form": ("dual_layer", "well_formed", lambda figures: figures["well_formed"]),
    "reward": ("accuracy", "accuracy", lambda figures: figures["accuracy"]),
}


def with_data(results: dict[str, Any], source: str, split: str | None = "test") -> dict[str, Any]:
    data = {"source": source, "split": split, "count": 6, "digest": "0f" * 32}
    return {**results, "settings": {**results["settings"], "data": data}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = model_folder(tmp_path / "it")
    (made / ".eval_results" / "coser.yaml").unlink()
    return made


@pytest.mark.parametrize("name", RUNS)
def test_each_evaluation_is_in_both_with_its_settings(folder: Path, name: str) -> None:
    results = with_data(RUNS[name], "me/her-mini")
    card, entry = write_figures(folder, results)
    metric, figure, value_of = MAIN[name]
    value = round(value_of(results["figures"]), 4)
    first = ModelCard.load(card).data.eval_results[0]
    assert (first.metric_type, first.metric_name, first.metric_value) == (metric, figure, value)
    assert (first.dataset_type, first.dataset_name, first.dataset_split) == ("me/her-mini", "her-mini", "test")
    assert (
        first.metric_args["settings"] and first.metric_args["missing"] and len(first.metric_args["interval_95"]) == 2
    )
    (one,) = parse_eval_result_entries(yaml.safe_load(entry.read_text()))
    assert entry == folder / ".eval_results" / f"{name}.yaml"
    assert (one.dataset_id, one.task_id, one.value) == ("me/her-mini", name, value)
    assert one.notes.startswith(f"{figure}; ") and "missing: " in one.notes
    if name in ("coser", "minimax"):
        assert "judge: judge-a" in one.notes and first.metric_args["judge"] == "judge-a"


def test_the_same_again_is_replaced_and_others_stay(folder: Path) -> None:
    for results in (RUNS["coser"], RUNS["form"], RUNS["coser"], coser_run(6, judges=("judge-b",))):
        write_figures(folder, with_data(results, "me/her-mini"))
    write_figures(folder, with_data(RUNS["coser"], "me/other"))
    found = yaml.safe_load((folder / "README.md").read_text().split("---")[1])
    (index,) = found["model-index"]
    assert index["name"] == "her-small" and found["license"] == "apache-2.0"
    kinds = [
        (one["metrics"][0]["type"], one["dataset"]["type"], one["metrics"][0]["args"].get("judge"))
        for one in index["results"]
    ]
    assert kinds == [
        ("dual_layer", "me/her-mini", None),
        ("coser_gca", "me/her-mini", "judge-a"),
        ("coser_gca", "me/her-mini", "judge-b"),
        ("coser_gca", "me/other", "judge-a"),
    ]
    entries = yaml.safe_load((folder / ".eval_results/coser.yaml").read_text())
    assert [one["dataset"]["id"] for one in entries] == ["me/her-mini", "me/other"]


def test_paths_of_this_machine_stay_here_and_need_an_id(folder: Path) -> None:
    results = with_data(coser_run(6, actor="/home/ann/models/her"), "/home/ann/data/scenes.json", None)
    assert write_figures(folder, results) == [folder / "README.md"]
    write_section(folder, results)
    card = (folder / "README.md").read_text()
    assert "scenes.json" in card and "- model: her\n" in card
    refuse_secrets(list_folder(folder), folder, [])
    assert write_figures(folder, results, "me/scenes")[1].is_file()


def test_the_hub_takes_a_card_with_figures(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, results in RUNS.items():
        write_figures(folder, with_data(results, "me/her-mini"))
        if name != "reward":
            write_section(folder, results)
    with stand_in() as hub:
        use(hub, tmp_path / "home", monkeypatch)
        push("model", folder, "me/her-small")
        there = hub.repository("me/her-small").files
    assert {f".eval_results/{name}.yaml" for name in RUNS} <= there.keys()
    assert there["README.md"] == (folder / "README.md").read_bytes()


@pytest.mark.parametrize("name", ["coser", "minimax", "form"])
def test_the_section_has_the_figures_and_is_replaced(folder: Path, name: str) -> None:
    text = (folder / "README.md").read_text()
    for _ in range(2):
        write_section(folder, golden()[name])
    card = (folder / "README.md").read_text()
    assert card.startswith(text.rstrip()) and card.count(f"By `her-hf eval {name}`.") == 1
    assert "| figure | value | 95% interval | over |" in card and "- missing: " in card


def test_what_cannot_be_written(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="eval coser has no figures"):
        write_figures(folder, coser_run(2, judged=False))
    with pytest.raises(FileNotFoundError, match="no model card"):
        write_figures(tmp_path, RUNS["form"])
    (folder / ".eval_results/form.yaml").write_text("a: 1\n")
    with pytest.raises(ValueError, match=r"form\.yaml must be a list"):
        write_figures(folder, RUNS["form"], "me/x")
    (folder / "README.md").write_text("---\nmodel-index: 3\n---\n")
    with pytest.raises(ValueError, match="model-index must be a list"):
        write_figures(folder, RUNS["form"])


@pytest.mark.parametrize("name", RUNS)
def test_the_command(folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "run").mkdir()
    write_json(tmp_path / "run" / "results.json", RUNS[name])
    said = CliRunner().invoke(app, ["eval", "card", str(tmp_path / "run"), str(folder)])
    assert said.exit_code == 0, said.output
    assert "give --dataset" in said.output
    said = CliRunner().invoke(app, ["eval", "card", str(tmp_path / "run"), str(folder), "--dataset", "me/her-mini"])
    assert said.exit_code == 0 and ".eval_results" in said.output and "Note" not in said.output
    assert f"By `her-hf eval {name}`" in (folder / "README.md").read_text()


def test_the_command_on_a_reward_run(tmp_path: Path) -> None:
    run, checkpoint, results = tmp_path / "run", tmp_path / "checkpoint", RUNS["reward"]
    for made in (run, checkpoint):
        made.mkdir()
    write_json(run / "results.json", results)
    (checkpoint / "README.md").write_text("# card\n")
    for _ in range(2):
        said = CliRunner().invoke(app, ["eval", "card", str(run), str(checkpoint)])
        assert said.exit_code == 0, said.output
    card = (checkpoint / "README.md").read_text()
    assert "\n# card\n" in card and card.count("Measured on labelled pairs") == 1
    assert card.count("<!-- her-hf eval reward: begin -->") == card.count("<!-- her-hf eval reward: end -->") == 1
    (found,) = yaml.safe_load(card.split("---")[1])["model-index"][0]["results"]
    accuracy = results["figures"]["accuracy"]
    assert found["metrics"][0] | {"args": None} == {
        "type": "accuracy",
        "name": "accuracy",
        "value": round(accuracy, 4),
        "args": None,
    }
    (row,) = [line for line in card.splitlines() if line.startswith("| this model |")]
    assert f"| {accuracy:.1%}" in row
    assert all(f"| {group} kinds" in card for group in results["figures"]["by_group"])
    assert "](reward.png)" in card and (checkpoint / "reward.png").exists()


@pytest.mark.parametrize("name", RUNS)
def test_the_command_needs_a_card(tmp_path: Path, name: str) -> None:
    run, bare = tmp_path / "run", tmp_path / "bare"
    for made in (run, bare):
        made.mkdir()
    write_json(run / "results.json", RUNS[name])
    said = CliRunner().invoke(app, ["eval", "card", str(run), str(bare)])
    assert isinstance(said.exception, FileNotFoundError)
    assert f"{bare} has no model card (README.md)" in str(said.exception)
    assert list(bare.iterdir()) == []
