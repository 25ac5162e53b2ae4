"""The quickstart's bookkeeping and report; training and sampling are run by `make quickstart` itself."""

import json
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="figures need matplotlib: pip install her_hf[train]")

from her_hf.scenes import load_scenes
from her_hf.scoring.replies import SampledReply, score_replies
from recipes.quickstart.__main__ import Quickstart, Settings
from recipes.quickstart.figures import wilson_interval
from recipes.quickstart.replies import _read, choose_units, unit_key
from recipes.quickstart.report import write_report

MINI = Path(__file__).parent / "fixtures" / "scenes" / "mini.jsonl"


def test_wilson_interval_against_hand_computed_values() -> None:
    low, high = wilson_interval(0.9, 20)
    assert (round(low, 3), round(high, 3)) == (0.699, 0.972)
    assert wilson_interval(0.0, 10)[0] == 0.0
    assert wilson_interval(1.0, 10)[1] == pytest.approx(1.0)


def test_a_folder_takes_no_other_settings(tmp_path: Path) -> None:
    Quickstart(Settings(seed=1), tmp_path)
    Quickstart(Settings(seed=1), tmp_path)
    with pytest.raises(SystemExit, match="other settings"):
        Quickstart(Settings(seed=2), tmp_path)


def test_a_finished_stage_is_not_run_again_and_a_failed_one_is(tmp_path: Path) -> None:
    calls: list[str] = []

    def work() -> dict[str, int]:
        calls.append("x")
        if len(calls) == 1:
            raise RuntimeError("killed")
        return {"n": len(calls)}

    with pytest.raises(RuntimeError):
        Quickstart(Settings(), tmp_path).stage("data", work)
    assert Quickstart(Settings(), tmp_path).stage("data", work) == {"n": 2}
    assert Quickstart(Settings(), tmp_path).stage("data", work) == {"n": 2}
    assert len(calls) == 2


def test_units_are_spread_and_their_keys_know_every_setting() -> None:
    scenes = load_scenes(MINI)
    units = choose_units(scenes, 4)
    assert len(units) == 4 and {unit[0].key for unit in units} == {scene.key for scene in scenes}
    assert all(unit[2] > 0 for unit in units)
    assert len(choose_units(scenes, 10_000)) == sum(len(scene.dialogue) - 1 for scene in scenes)
    keys = {unit_key(unit, {"seed": seed}) for unit in units for seed in (1, 2)}
    assert len(keys) == 8


def test_a_line_cut_off_by_a_kill_is_dropped_and_the_rest_kept(tmp_path: Path) -> None:
    file = tmp_path / "replies.jsonl"
    file.write_text('{"key": "a", "text": "x"}\n{"key": "b", "te')
    assert list(_read(file)) == ["a"]
    assert file.read_text() == '{"key": "a", "text": "x"}\n'


def test_the_report_says_what_the_results_say(tmp_path: Path) -> None:
    good = "<system_thinking>\nAnn stalls.\n</system_thinking>\nAnn: <role_action>nods</role_action> Tea?"
    replies = [SampledReply(text, "Ann", ("Ann", "Bob"), True) for text in (good, good, "```\nnothing\n```")]
    loss = {"all": {"loss": 2.0, "tokens": 30}, "speech": {"loss": 1.234, "tokens": 20}}
    model = {"figures": score_replies(replies), "loss": loss}
    sample = {"book": "B", "character": "Ann", "turn": 1, "before": "Bob: hi", "reference": good}
    results = {
        "settings": {
            "base": "base-model", "data": "her-mini", "train_replies": 7, "train_scenes": 2, "steps": 3, "seed": 5,
            "device": "a CPU", "commit": "abc",
            "test_replies": 3, "temperature": 0.7, "top_p": 0.9, "max_new_tokens": 64,
        },
        "models": {"base": model, "her-sft": model},
        "patterns": {"data": ["TS"], "base": ["AS"], "her-sft": ["AS"]},
        "samples": [{**sample, "base": "```\nnothing\n```", "her-sft": good}],
        "seconds": {"train": 12.0},
    }  # fmt: skip
    log = [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.5, "eval_loss": 2.7}]
    report = write_report(json.loads(json.dumps(results)), log, tmp_path).read_text()
    assert "66.7%" in report and "1.234" in report and "7 replies" in report
    assert "````text\n```\nnothing" in report  # a reply cannot close its own block
    pictures = {path.name for path in tmp_path.glob("*.png")}
    assert pictures == {"form.png", "loss.png", "training.png", "patterns.png"}
    assert all(f"({name})" in report for name in pictures)
