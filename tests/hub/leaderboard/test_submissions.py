from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from her_hf.hub.client import HubError
from her_hf.hub.leaderboard.columns import BOARDS
from her_hf.hub.leaderboard.submissions import estimate, fetch, find_entries, read_entry
from her_hf.runs.scores import KINDS
from tests.support.leaderboard import board_of_four, put
from tests.support.results import coser_run, form_run, golden, minimax_run, reward_run


def test_runs_at_any_depth_are_read_with_who_is_measured(tmp_path: Path) -> None:
    entries = find_entries([board_of_four(tmp_path / "results")])
    assert [(entry.place, entry.submission.model) for entry in entries] == [
        ("results/a/coser", "me/good"),
        ("results/b/coser", "me/as-good"),
        ("results/c/coser", "me/bad"),
        ("results/d/minimax", "me/good"),
        ("results/e/form", "me/good"),
        ("results/f/reward", "me/judge"),
    ]
    assert str(entries[0].submission.link) == "https://example.org/good" and entries[1].submission.note == "LoRA"


def test_without_a_submission_the_model_is_named_as_in_the_settings(tmp_path: Path) -> None:
    assert read_entry(put(tmp_path / "run", coser_run(4))).submission.model == "her-sft-32b"


@pytest.mark.parametrize("name", BOARDS)
def test_reported_scores_follow_from_cases_by_one_estimator(name: str) -> None:
    results = {**golden(), "minimax": minimax_run(6, broken=2), "coser": coser_run(8, broken=3)}[name]
    kind, values = KINDS[name], BOARDS[name].values(results)
    shared = [score for score in kind.names if score in values]
    assert shared
    for score in shared:
        assert estimate(kind.scores(results), score, pooled=kind.pooled) == pytest.approx(values[score].value)


def _raise_average(results: dict[str, Any]) -> None:
    results["figures"]["scores"]["avg"] += 5


def _raise_dimension(results: dict[str, Any]) -> None:
    results["figures"]["scores"]["SC"] = 99.0


def _no_digest(results: dict[str, Any]) -> None:
    del results["settings"]["data"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_raise_average, r"figures say avg = [\d.]+, but the cases give"),
        (_raise_dimension, r"figures say SC = 99.0000, but the cases give"),
        (_no_digest, "no digest"),
    ],
)
def test_figures_that_nobody_measured_are_refused(tmp_path: Path, change: Any, words: str) -> None:
    folder = put(tmp_path / "run", coser_run(8), model="me/x")
    results = json.loads((folder / "results.json").read_text())
    change(results)
    (folder / "results.json").write_text(json.dumps(results))
    with pytest.raises(ValueError, match=words) as raised:
        find_entries([tmp_path])
    assert str(folder / "results.json") in str(raised.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: coser_run(4, judged=False), "were not judged"),
        (lambda: minimax_run(4, judged=False), "were not judged"),
        (lambda: form_run(0), "no case"),
        (lambda: reward_run(0), "no case"),
    ],
)
def test_a_run_without_scores_is_refused(tmp_path: Path, make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_entry(put(tmp_path / "run", make(), model="me/x"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model: [", "is not YAML"),
        ("just text", "must have a mapping"),
        ("link: https://example.org", "model: Field required"),
        ("model: me/x\nlink: javascript:alert(1)", "link"),
        ("model: '<img src=x>'", "model"),
        ("model: me/x\nscore: 100", "score: Extra inputs"),
    ],
)
def test_a_bad_submission_is_named_with_its_file(tmp_path: Path, text: str, words: str) -> None:
    folder = put(tmp_path / "run", coser_run(4))
    (folder / "submission.yaml").write_text(text)
    with pytest.raises(ValueError, match=words) as raised:
        read_entry(folder)
    assert "submission.yaml" in str(raised.value)


def test_all_bad_results_are_named_not_the_first_alone(tmp_path: Path) -> None:
    for name in ("one", "two"):
        put(tmp_path / name, coser_run(4, judged=False), model="me/x")
    with pytest.raises(ValueError, match="2 of the results cannot be shown") as raised:
        find_entries([tmp_path])
    assert all(str(tmp_path / name) in str(raised.value) for name in ("one", "two"))


def test_sources_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="at any depth"):
        find_entries([tmp_path])
    with pytest.raises(FileNotFoundError, match="no Hub dataset"):
        fetch(str(tmp_path / "nowhere"))
    assert fetch(str(tmp_path)) == tmp_path


def test_a_hub_that_does_not_answer_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(repo: str, **options: Any) -> str:
        raise LocalEntryNotFoundError("no connection\n" * 200)

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(HubError, match=r"me/results is not a folder here.*no connection no.*check the name") as raised:
        fetch("me/results")
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 700


def test_results_of_a_hub_data_set_are_fetched_without_its_other_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def snapshot(repo: str, **options: Any) -> str:
        asked.update(options, repo=repo)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert fetch("me/results") == tmp_path
    assert asked["repo"] == "me/results" and asked["repo_type"] == "dataset"
    assert "**/results.json" in asked["allow_patterns"] and "**/submission.yaml" in asked["allow_patterns"]
