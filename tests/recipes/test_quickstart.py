"""The quickstart's bookkeeping and report; training and sampling are run by `make quickstart` itself."""

import asyncio
import dataclasses
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib", reason="figures need matplotlib: pip install her_hf[train]")

from her_hf.durable import SEED_LIMIT, OtherRunError, read_json, write_json
from her_hf.inference import Reply, Sampling
from her_hf.scenes import load_scenes
from her_hf.scoring.replies import SampledReply, score_replies
from recipes.quickstart import __main__ as main
from recipes.quickstart import folder, progress, replies, run
from recipes.quickstart.folder import STAGES, RunFolder, Settings
from recipes.quickstart.plan import DECODER_LAYERS, PROMPTS, SCENES, Plan, Speeds, Work, make_plan
from recipes.quickstart.progress import StageProgress
from recipes.quickstart.replies import sample_replies, unit_key
from recipes.quickstart.report import write_report
from recipes.quickstart.run import Quickstart
from tests.support.paths import FIXTURES, ROOT

MINI = FIXTURES / "scenes" / "mini.jsonl"


def test_a_folder_takes_no_other_settings(tmp_path: Path) -> None:
    RunFolder(Settings(seed=1), tmp_path)
    RunFolder(Settings(seed=2), tmp_path).stage("base", lambda: "done")  # nothing was done yet: corrected
    RunFolder(Settings(seed=2), tmp_path)
    with pytest.raises(OtherRunError, match="seed: 2 there, 3 now"):
        RunFolder(Settings(seed=3), tmp_path)


def test_a_folder_of_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "results.json").write_text("mine")
    monkeypatch.setattr(sys, "argv", ["quickstart", "--out", str(tmp_path)])
    monkeypatch.setattr(Quickstart, "run", lambda _: pytest.fail("it ran"))
    with pytest.raises(SystemExit, match=r"Error:.*results\.json"):
        main.main()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_each_stage_keeps_the_commit_that_made_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for commit, stages in (("abc", STAGES[:3]), (None, STAGES)):
        monkeypatch.setattr(folder, "source_commit", lambda commit=commit: commit)
        for stage in stages:
            RunFolder(Settings(), tmp_path).stage(stage, lambda: 1)
    commits = RunFolder(Settings(), tmp_path).kept("commit")
    assert list(commits.values()) == ["abc", "abc", "abc", None, None, None]


def test_a_finished_stage_is_not_run_again_and_a_failed_one_is(tmp_path: Path) -> None:
    calls: list[str] = []

    def work() -> dict[str, int]:
        calls.append("x")
        if len(calls) == 1:
            raise RuntimeError("killed")
        return {"n": len(calls)}

    with pytest.raises(RuntimeError):
        RunFolder(Settings(), tmp_path).stage("data", work)
    assert RunFolder(Settings(), tmp_path).stage("data", work) == {"n": 2}
    assert RunFolder(Settings(), tmp_path).stage("data", work) == {"n": 2}
    assert len(calls) == 2


def test_keys_of_units_know_every_setting_and_draw() -> None:
    scenes = load_scenes(MINI)
    units = [(scene, str(scene.dialogue[at].name), at) for scene in scenes for at in (1, 2)]
    keys = {unit_key(unit, draw, {"seed": seed}) for unit in units for draw in (0, 1) for seed in (1, 2)}
    assert len(keys) == 4 * len(units)


def test_replies_are_sampled_in_batches_of_neighbours_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = load_scenes(MINI)
    units = [(scene, str(scene.dialogue[at].name), at) for scene in scenes for at in (1, 2, 3)]
    batches: list[list[int]] = []
    busy, shares = 0, [0.0]

    class Model:
        @classmethod
        def load(cls, *_: object, **__: object) -> "Model":
            return cls()

        async def chat_many(
            self, conversations: list[object], *, seeds: list[int], each_token: object, **_: object
        ) -> list[Reply]:
            nonlocal busy
            assert not busy and len(conversations) == len(seeds)
            busy += 1
            batches.append(seeds)
            await asyncio.sleep(0.01)
            each_token()  # type: ignore[operator]
            busy -= 1
            return [Reply(str(seed), "stop", True) for seed in seeds]

    monkeypatch.setattr(replies, "LocalModel", Model)
    monkeypatch.setattr(replies, "_fingerprint", lambda folder: folder.name)
    monkeypatch.setattr(replies, "BATCH_SIZE", 4)

    def sample(many: int) -> list[dict[str, Any]]:
        out, how = tmp_path / "replies.jsonl", Sampling(10, 0.7, 0.9)
        told = {"draws": 2, "sampling": how, "seed": 1, "dtype": "float32", "progress": shares.append}
        return sample_replies(tmp_path / "model", units[:many], out, **told)

    found = sample(5)
    assert [len(batch) for batch in batches] == [4, 4, 2] and shares == sorted(shares) and shares[-1] == 1.0
    keys = [(row["scene_key"], row["turn"], row["draw"]) for row in found]
    assert keys == [(list(scene.key), at, draw) for draw in (0, 1) for scene, _, at in units[:5]]
    assert [row["text"] for row in found] == [str(int(row["key"], 16) % SEED_LIMIT) for row in found]
    neighbours = [row for pair in zip(found[:5], found[5:], strict=True) for row in pair]
    assert [seed for batch in batches for seed in batch] == [int(row["text"]) for row in neighbours]
    lines = (tmp_path / "replies.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == neighbours
    assert sample(6)[:5] == found[:5] and [len(batch) for batch in batches[3:]] == [2]  # only the new unit, twice


# -- the plan

WORK = Work(train=[4500] * 30, replies=[8] * 30, prompts=[800] * 16, loss=[4000] * 6)
FAST = Speeds(forward=0.001, backward=0.0001, read=0.001, write=0.006)


def slower(times: float) -> Speeds:
    return Speeds(*(times * value for value in (FAST.forward, FAST.backward, FAST.read, FAST.write)))


def test_a_fast_machine_does_all_of_it() -> None:
    plan = make_plan(WORK, FAST, minutes=15)
    assert (plan.train_scenes, plan.train_last_layers, plan.prompts) == (30, DECODER_LAYERS[0], PROMPTS[0])
    assert plan.loss_scenes == 6 and plan.limited_by == [] and sum(plan.seconds.values()) < 15 * 60


@pytest.mark.parametrize("times", [1, 2, 3, 4, 6, 10, 20])
@pytest.mark.parametrize("minutes", [5, 15, 20])
def test_a_plan_keeps_within_its_minutes(times: float, minutes: float) -> None:
    plan = make_plan(WORK, slower(times), minutes=minutes, spent=40)
    least = make_plan(WORK, slower(times), minutes=0.1)
    assert sum(plan.seconds.values()) <= max(minutes * 60 - 40, sum(least.seconds.values()))


def test_fewer_layers_are_trained_before_there_are_fewer_scenes_and_said() -> None:
    plans = [make_plan(WORK, slower(times), minutes=15) for times in (1, 1.5, 2, 2.5, 3, 4, 6, 8, 12)]
    for plan in plans:
        assert plan.train_scenes >= SCENES or plan.train_last_layers == DECODER_LAYERS[-1]
        assert bool(plan.limited_by) == (
            plan.train_last_layers < DECODER_LAYERS[0] or plan.train_scenes < SCENES or plan.prompts < PROMPTS[0]
        )
    assert [plan.train_scenes for plan in plans[:2]] != [plan.train_scenes for plan in plans[-2:]]
    assert any("are not enough" in line for line in plans[-1].describe())


def test_fewer_replies_make_smaller_steps_not_fewer() -> None:
    for times in (1, 3, 5, 8):
        plan = make_plan(WORK, slower(times), minutes=15)
        replies = 8 * plan.train_scenes
        assert plan.replies_per_step == min(4, max(1, replies // 33))


def test_a_base_of_few_layers_is_trained_whole() -> None:
    plan = make_plan(dataclasses.replace(WORK, layers=2), slower(3), minutes=15)
    assert plan.train_last_layers == 2 and not any("decoder layers" in line for line in plan.limited_by)


def test_a_plan_comes_back_from_its_file() -> None:
    plan = make_plan(WORK, FAST, minutes=15, bf16=True, device="CPU: x")
    assert Plan.from_dict(json.loads(json.dumps(plan.as_dict()))) == plan
    assert "CPU: x; running in bfloat16." in plan.describe()


def test_later_stages_count_for_the_time_of_arrival(tmp_path: Path) -> None:
    plan = make_plan(WORK, FAST, minutes=15)
    write_json(tmp_path / "plan", plan.as_dict())
    read = Plan.from_dict(read_json(tmp_path / "plan"))  # a file's keys come back in another order
    started = Quickstart(Settings(), tmp_path / "run")
    after = {name: started._progress(name, read)._after for name in plan.seconds}
    assert after["loss"] == 0 and after["replies"] == plan.seconds["loss"]
    assert after["train"] == pytest.approx(plan.seconds["replies"] + plan.seconds["loss"])


def test_a_plan_for_bfloat16_is_not_followed_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(WORK, FAST, minutes=15, bf16=True, device="CPU: x")
    started = Quickstart(Settings(), tmp_path)
    monkeypatch.setattr(run, "has_bf16", lambda device: False)
    with pytest.raises(ValueError, match=r"plan\.json was made for bfloat16 \(CPU: x\).*Name another --out"):
        started._check(plan)
    for name in plan.seconds:
        (tmp_path / f"{name}.json").touch()
    started._check(plan)  # all is done: only the report is written


@pytest.mark.parametrize("minutes", [0, -1, float("nan")])
def test_minutes_are_above_zero(minutes: float) -> None:
    with pytest.raises(ValueError, match="minutes must be above 0"):
        Settings(minutes=minutes)


# -- progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_progress_is_lines_in_a_log_and_a_bar_in_a_terminal(
    stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.1)
    monkeypatch.setenv("TERM", "xterm")
    with StageProgress("train", 60, after=30, stream=stream).shown() as shown:
        time.sleep(0.25)
        shown.update(0.5, "66 of 132 replies")
        time.sleep(1.0)
    text = stream.getvalue()
    assert "train: 50%" in text and "66 of 132 replies" in text and "all done about" in text
    if not stream.isatty():
        assert "\r" not in text and "\x1b" not in text and len(text.splitlines()) >= 8


def test_time_left_is_planned_at_first_and_then_follows_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    shown = StageProgress("train", 60)
    now[0] += 10
    assert shown.left() == 50
    shown.update(0.4)  # what a resumed run had done before: no rate yet
    assert shown.left() == pytest.approx(36)
    now[0] += 20
    shown.update(0.6)
    assert shown.left() == pytest.approx(40)


KILLS = """
import json, os, signal, sys
from pathlib import Path
from types import SimpleNamespace
from recipes.quickstart import folder, plan as plans, replies, report, run

out, survives = Path(sys.argv[1]), int(sys.argv[2])

class Model:
    @classmethod
    def load(cls, *_, **__):
        return cls()

    async def chat_many(self, conversations, *, sampling, seeds, batch_size, each_token):
        kept = "".join(file.read_text() for file in out.glob("replies-*"))
        assert not any(f'"{seed}"' in kept for seed in seeds), "a finished reply is sampled again"
        usage = SimpleNamespace(completion_tokens=1)
        return [SimpleNamespace(text=str(seed), ended=True, usage=usage) for seed in seeds]

def results(folder, settings, plan, data, log, replies, losses, scenes):
    kept = {"data": data, "log": log, "replies": replies, "losses": losses, "plan": plan.as_dict()}
    return {**kept, "stages": sorted(folder.kept("seconds"))}

def plan(self):
    # What each start would measure differs: the plan of the first one must stand.
    work = plans.Work(train=[10] * 9, replies=[8] * 9, prompts=[10] * 4, loss=[10])
    return plans.make_plan(work, plans.Speeds(os.getpid(), 1, 1, 1), minutes=1, bf16=True).as_dict()

replies.LocalModel, replies._fingerprint, replies.BATCH_SIZE = Model, lambda folder: folder.name, 3
report.write_report = lambda results, log, out: out / "report.md"
run.Quickstart._plan = plan
for name, result in (("_base", "base"), ("_train", [{"step": 1, "loss": 2.0}]), ("_losses", {"base": {"all": 1.0}})):
    setattr(run.Quickstart, name, lambda self, *_, result=result: result)
run.collect_results = results

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
        run.Quickstart(folder.Settings(), out).run()
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
    found, wanted = (read_json(tmp_path / name / "results.json") for name in ("killed", "whole"))
    plans = [results.pop("plan") for results in (found, wanted)]
    assert found == wanted
    assert plans[0]["speeds"]["forward"] != plans[1]["speeds"]["forward"]  # each folder keeps its own first plan
    assert plans[0] == read_json(tmp_path / "killed" / "plan.json")["result"]
    for file in ("replies-base.jsonl", "replies-her-sft.jsonl", "settings.json", "data/data/train.jsonl"):
        assert (tmp_path / "killed" / file).read_text() == (tmp_path / "whole" / file).read_text()
    lines = [(tmp_path / "killed" / f"replies-{name}.jsonl").read_text().splitlines() for name in ("base", "her-sft")]
    assert [len(found) for found in lines] == [plans[0]["prompts"], 2 * plans[0]["prompts"]]


def test_the_report_says_what_the_results_say(tmp_path: Path) -> None:
    good = "<system_thinking>\nAnn stalls.\n</system_thinking>\nAnn: <role_action>nods</role_action> Tea?"
    replies = [SampledReply(text, "Ann", ("Ann", "Bob"), True) for text in (good, good, "```\nnothing\n```")]
    loss = {"all": {"loss": 2.0, "tokens": 30}, "speech": {"loss": 1.234, "tokens": 20}}
    model = {"figures": score_replies(replies), "loss": loss}
    sample = {"book": "B", "character": "Ann", "turn": 1, "before": "Bob: hi", "reference": good}
    results = {
        "settings": {
            "base": "base-model", "data": "her-mini", "train_replies": 7, "train_scenes": 2, "steps": 3, "seed": 5,
            "commits": {"base": "abc", "train": "def"}, "trained_in": "float32 weights, bf16 autocast",
            "temperature": 0.7, "top_p": 0.9, "max_new_tokens": 64,
        },
        "plan": make_plan(WORK, FAST, minutes=15, device="a CPU").as_dict(),
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
    assert "training in float32 weights, bf16 autocast; sampling in float32 weights" in report
    assert "How it was sized, for 15 minutes" in report and "a CPU; running in float32." in report
    assert "66.7%" in report and "1.234" in report and "7 replies" in report
    assert "````text\n```\nnothing" in report  # a reply cannot close its own block
    pictures = {path.name for path in tmp_path.glob("*.png")}
    assert pictures == {"form.png", "loss.png", "training.png", "patterns.png"}
    assert all(f"({name})" in report for name in pictures)
