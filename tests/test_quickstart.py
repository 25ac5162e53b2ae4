"""The quickstart's bookkeeping and report; training and sampling are run by `make quickstart` itself."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="figures need matplotlib: pip install her_hf[train]")

from her_hf.durable import OtherRunError, read_json
from her_hf.scenes import load_scenes
from her_hf.scoring.replies import SampledReply, score_replies
from recipes.quickstart import __main__ as quickstart
from recipes.quickstart.__main__ import STAGES, Quickstart, Settings
from recipes.quickstart.replies import unit_key
from recipes.quickstart.report import write_report

ROOT = Path(__file__).resolve().parents[1]
MINI = Path(__file__).parent / "fixtures" / "scenes" / "mini.jsonl"


def test_a_folder_takes_no_other_settings(tmp_path: Path) -> None:
    Quickstart(Settings(seed=1), tmp_path)
    Quickstart(Settings(seed=2), tmp_path).stage("base", lambda: "done")  # nothing was done yet: mended
    Quickstart(Settings(seed=2), tmp_path)
    with pytest.raises(OtherRunError, match="seed: 2 there, 3 now"):
        Quickstart(Settings(seed=3), tmp_path)


def test_a_folder_of_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "results.json").write_text("mine")
    monkeypatch.setattr(sys, "argv", ["quickstart", "--out", str(tmp_path)])
    monkeypatch.setattr(Quickstart, "run", lambda _: pytest.fail("it ran"))
    with pytest.raises(SystemExit, match=r"Error:.*results\.json"):
        quickstart.main()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_each_stage_keeps_the_commit_that_made_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for commit, stages in (("abc", STAGES[:2]), (None, STAGES)):
        monkeypatch.setattr(quickstart, "source_commit", lambda commit=commit: commit)
        for stage in stages:
            Quickstart(Settings(), tmp_path).stage(stage, lambda: 1)
    commits = Quickstart(Settings(), tmp_path).kept("commit")
    assert list(commits.values()) == ["abc", "abc", None, None, None]


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


def test_keys_of_units_know_every_setting() -> None:
    scenes = load_scenes(MINI)
    units = [(scene, str(scene.dialogue[at].name), at) for scene in scenes for at in (1, 2)]
    keys = {unit_key(unit, {"seed": seed}) for unit in units for seed in (1, 2)}
    assert len(keys) == 2 * len(units)


KILLS = """
import json, os, signal, sys
from pathlib import Path
from types import SimpleNamespace
from recipes.quickstart import __main__ as quickstart, replies, report

out, survives = Path(sys.argv[1]), int(sys.argv[2])

class Model:
    @classmethod
    def load(cls, *_, **__):
        return cls()

    async def chat_many(self, conversations, *, sampling, seeds, batch_size):
        kept = "".join(file.read_text() for file in out.glob("replies-*"))
        assert not any(f'"{seed}"' in kept for seed in seeds), "a finished reply is sampled again"
        usage = SimpleNamespace(completion_tokens=1)
        return [SimpleNamespace(text=str(seed), ended=True, usage=usage) for seed in seeds]

def results(self, data, log, replies, losses):
    return {"data": data, "log": log, "replies": replies, "losses": losses, "stages": sorted(self.kept("seconds"))}

replies.LocalModel, replies._fingerprint = Model, lambda folder: folder.name
report.write_report = lambda results, log, out: out / "report.md"
for name, result in (("_base", "base"), ("_train", [{"step": 1, "loss": 2.0}]), ("_losses", {"base": {"all": 1.0}})):
    setattr(quickstart.Quickstart, name, lambda self, result=result: result)
quickstart.Quickstart._results = results

left = survives
def deadly(write):
    def call(*args):
        global left
        left -= 1
        if left < 0 and survives:
            os.kill(os.getpid(), signal.SIGKILL)
        return write(*args)
    return call

kills = 0
while True:  # each start is a process of its own, killed before one of its writes reaches the disk
    child = os.fork()
    if not child:
        os.replace, os.fsync = deadly(os.replace), deadly(os.fsync)
        quickstart.Quickstart(quickstart.Settings(train_scenes=2, test_replies=5), out).run()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if not os.WIFSIGNALED(status):
        break
    kills += 1
print(kills, status)
"""


def test_a_quickstart_that_is_killed_again_and_again_ends_as_one_that_never_was(tmp_path: Path) -> None:
    kills = {}
    for name, survives in (("whole", 0), ("killed", 2)):
        command = [sys.executable, "-c", KILLS, str(tmp_path / name), str(survives)]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        process = subprocess.run(command, env=env, capture_output=True, text=True)
        assert process.returncode == 0, process.stderr[-2000:]
        kills[name], status = map(int, process.stdout.splitlines()[-1].split())
        assert status == 0, process.stderr[-2000:]
    assert kills["whole"] == 0 and kills["killed"] >= 6
    assert read_json(tmp_path / "killed" / "results.json") == read_json(tmp_path / "whole" / "results.json")
    for file in ("replies-base.jsonl", "replies-her-sft.jsonl", "settings.json", "data/data/train.jsonl"):
        assert (tmp_path / "killed" / file).read_text() == (tmp_path / "whole" / file).read_text()
    assert len((tmp_path / "killed" / "replies-base.jsonl").read_text().splitlines()) == 5


def test_the_report_says_what_the_results_say(tmp_path: Path) -> None:
    good = "<system_thinking>\nAnn stalls.\n</system_thinking>\nAnn: <role_action>nods</role_action> Tea?"
    replies = [SampledReply(text, "Ann", ("Ann", "Bob"), True) for text in (good, good, "```\nnothing\n```")]
    loss = {"all": {"loss": 2.0, "tokens": 30}, "speech": {"loss": 1.234, "tokens": 20}}
    model = {"figures": score_replies(replies), "loss": loss}
    sample = {"book": "B", "character": "Ann", "turn": 1, "before": "Bob: hi", "reference": good}
    results = {
        "settings": {
            "base": "base-model", "data": "her-mini", "train_replies": 7, "train_scenes": 2, "steps": 3, "seed": 5,
            "device": "a CPU", "commits": {"base": "abc", "train": "def"},
            "test_replies": 3, "temperature": 0.7, "top_p": 0.9, "max_new_tokens": 64,
        },
        "models": {"base": model, "her-sft": model},
        "patterns": {"data": ["TS"], "base": ["AS"], "her-sft": ["AS"]},
        "samples": [{**sample, "base": "```\nnothing\n```", "her-sft": good}],
        "seconds": {"train": 12.0},
    }  # fmt: skip
    log = [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.5, "eval_loss": 2.7}]
    report = write_report(json.loads(json.dumps(results)), log, tmp_path).read_text()
    assert "Commit: base abc, train def." in report
    results["settings"]["commits"]["train"] = "abc"
    assert "Commit: abc." in write_report(json.loads(json.dumps(results)), log, tmp_path).read_text()
    assert "66.7%" in report and "1.234" in report and "7 replies" in report
    assert "````text\n```\nnothing" in report  # a reply cannot close its own block
    pictures = {path.name for path in tmp_path.glob("*.png")}
    assert pictures == {"form.png", "loss.png", "training.png", "patterns.png"}
    assert all(f"({name})" in report for name in pictures)
