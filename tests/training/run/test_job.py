"""A run: the same command again, other runs, kills, push, ranks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from her_hf.durable import OtherRunError
from her_hf.hub.client import HubError
from her_hf.training.one_pass.layers import LAYERS
from her_hf.training.sft import run_sft
from tests.support.hub import WRITER, refuse, stand_in, use
from tests.support.paths import ROOT
from tests.support.training import free_port, losses, parsed, run_to_the_kill, sft_values


def test_same_command_again_trains_nothing(finished: Path, base: Path, scenes: Path) -> None:
    stamp = (finished / "model.safetensors").stat().st_mtime_ns
    values = sft_values(base, scenes, finished, eval_on_start=True, eval_strategy="steps", eval_steps=3)
    assert run_sft(*parsed(run_sft, values)) == json.loads((finished / "results.json").read_text())
    assert (finished / "model.safetensors").stat().st_mtime_ns == stamp


@pytest.mark.parametrize(("name", "value"), [("learning_rate", 1e-3), ("max_context", 6000), ("one_pass", False)])
def test_folder_of_another_run_is_refused(finished: Path, base: Path, scenes: Path, name: str, value: Any) -> None:
    with pytest.raises(OtherRunError, match=f"another run.*{name}|another run.*rows"):
        run_sft(*parsed(run_sft, sft_values(base, scenes, finished, **{name: value})))


def test_folder_of_something_else_is_refused(base: Path, scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("do not lose me")
    with pytest.raises(OtherRunError, match=r"thesis\.txt"):
        run_sft(*parsed(run_sft, sft_values(base, scenes, tmp_path)))
    assert (tmp_path / "thesis.txt").read_text() == "do not lose me"


def same_end(found: Path, wanted: Path) -> dict[str, Any]:
    """The results of a run that went on, checked against those of a run that was never killed."""
    results, whole = (json.loads((folder / "results.json").read_text()) for folder in (found, wanted))
    assert losses(found) == [(step, pytest.approx(loss, rel=1e-5)) for step, loss in losses(wanted)]
    assert results["steps"] == whole["steps"] == 6
    assert results["held_out_loss"]["all"] == pytest.approx(whole["held_out_loss"]["all"], rel=1e-5)
    assert results["num_tokens"] == whole["num_tokens"] and results["num_replies"] == whole["num_replies"]
    return dict(results)


def test_a_killed_run_resumes_to_the_same_end(finished: Path, base: Path, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    values = sft_values(base, scenes, out, eval_on_start=True, eval_strategy="steps", eval_steps=3)
    run_to_the_kill(run_sft, values, 5)
    assert [step for step, _ in losses(out)] == [1, 2, 3, 4]
    # A checkpoint that the kill cut short is newer, and must be passed over.
    (out / "checkpoint-5").mkdir()
    (out / "checkpoint-5" / "trainer_state.json").write_text('{"global_step": 5, "log')
    # So is a draft of a file.
    (out / "results.json.1.tmp").write_text("{")
    run_sft(*parsed(run_sft, values))
    assert same_end(out, finished)["resumed_from"] == "checkpoint-4"


def test_a_run_killed_after_its_last_step_trains_no_further(
    finished: Path, base: Path, scenes: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    values = sft_values(base, scenes, out, eval_on_start=True, eval_strategy="steps", eval_steps=3)
    run_to_the_kill(run_sft, values, "card")
    run_sft(*parsed(run_sft, values))
    assert same_end(out, finished)["resumed_from"] == "checkpoint-6"
    found, wanted = (AutoModelForCausalLM.from_pretrained(folder).state_dict() for folder in (out, finished))
    for name, weight in wanted.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-4, atol=1e-6)


def test_a_killed_lora_run_resumes_to_the_same_end(base: Path, scenes: Path, tmp_path: Path) -> None:
    outs = [tmp_path / "whole", tmp_path / "killed"]
    whole, killed = (sft_values(base, scenes, out, use_peft=True, lora_r=4) for out in outs)
    run_sft(*parsed(run_sft, whole))
    run_to_the_kill(run_sft, killed, 5)
    run_sft(*parsed(run_sft, killed))
    assert same_end(outs[1], outs[0])["resumed_from"] == "checkpoint-4"
    found, wanted = (load_file(out / "adapter_model.safetensors") for out in reversed(outs))
    for name, weight in wanted.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("what", ["weights", "held out"])
def test_a_run_is_tied_to_its_base_and_held_out_data(base: Path, scenes: Path, tmp_path: Path, what: str) -> None:
    """Neither the path of the base nor that of the data says whether they are still the same."""
    own_base, own_scenes, out = tmp_path / "base", tmp_path / "scenes", tmp_path / "out"
    shutil.copytree(base, own_base)
    shutil.copytree(scenes, own_scenes)
    values = sft_values(own_base, own_scenes, out, max_steps=1)
    results = run_sft(*parsed(run_sft, values))
    assert run_sft(*parsed(run_sft, values)) == results
    if what == "weights":
        model = AutoModelForCausalLM.from_pretrained(own_base)
        with torch.no_grad():
            model.model.norm.weight.add_(1)
        model.save_pretrained(own_base)
    else:
        lines = (own_scenes / "validation.jsonl").read_text().splitlines(keepends=True)
        (own_scenes / "validation.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(OtherRunError, match="base_weights" if what == "weights" else "held_out_rows"):
        run_sft(*parsed(run_sft, values))


@pytest.mark.parametrize("lora", [False, True])
def test_a_push_reveals_no_secret(
    base: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lora: bool
) -> None:
    """Neither the token, here on the command line, nor a path of this machine goes out; a second call pushes too."""
    out = tmp_path / "run"
    given = {"push_to_hub": True, "hub_token": WRITER, "hub_model_id": "me/her", "license": "apache-2.0"}
    values = sft_values(base, scenes, out, max_steps=2, use_peft=lora, **given)
    words = [word for name, value in values.items() for word in (f"--{name}", str(value))]
    monkeypatch.setattr(sys, "argv", ["recipes/sft.py", *words, f"--hub_token={WRITER}", f"--logging_dir={tmp_path}"])
    with stand_in() as hub:
        use(hub, tmp_path / "home", monkeypatch, token=None)
        for _ in range(2):
            run_sft(*parsed(run_sft, values))
        there = hub.repository("me/her")
    assert there.private and [commit.title for commit in there.commits] == ["initial commit", "HER-SFT"]
    weights = "adapter_model.safetensors" if lora else "model.safetensors"
    assert {weights, "README.md", "results.json", "chat_template.jinja"} <= there.files.keys()
    assert not any(name.startswith("checkpoint") for name in there.files)
    for name, content in there.files.items():
        assert WRITER.encode() not in content, name
        assert str(tmp_path).encode() not in content and str(base).encode() not in content, name
    kept = [path for path in out.rglob("*") if path.is_file() and WRITER.encode() in path.read_bytes()]
    assert kept == []
    if lora:
        assert json.loads(there.files["adapter_config.json"])["base_model_name_or_path"] == base.name


def test_a_push_that_fails_leaves_a_whole_run(
    base: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    given = {"push_to_hub": True, "hub_model_id": "me/her", "license": "apache-2.0", "save_strategy": "no"}
    values = sft_values(base, scenes, out, max_steps=1, **given)
    with stand_in() as hub:
        use(hub, tmp_path / "home", monkeypatch)
        hub.plan.add(refuse("commit", 403, "Ask an owner"))
        with pytest.raises(HubError, match=r"Ask an owner.*The run is finished and whole in .*run; the same command"):
            run_sft(*parsed(run_sft, values))
        stamp = (out / "model.safetensors").stat().st_mtime_ns
        run_sft(*parsed(run_sft, values))
        assert (out / "model.safetensors").stat().st_mtime_ns == stamp
        assert hub.repository("me/her").files["model.safetensors"] == (out / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("given", "message"),
    [({"license": None}, "push_to_hub needs a license"), ({}, "no token"), ({"hub_model_id": "a/b/c"}, "owner/name")],
)
def test_what_would_stop_the_push_stops_the_run_before_it_trains(
    base: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], message: str
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    values = sft_values(base, scenes, tmp_path / "run", push_to_hub=True, **given)
    values = {name: value for name, value in values.items() if value is not None}
    with pytest.raises((ValueError, OSError), match=message):
        run_sft(*parsed(run_sft, values))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_ranks_train_the_same(finished: Path, base: Path, scenes: Path, tmp_path: Path) -> None:
    """Two processes over gloo: the same steps, the same losses, the same held-out loss, no row counted twice."""
    out = tmp_path / "ranks"
    values = sft_values(base, scenes, out, eval_on_start=True, eval_strategy="steps", eval_steps=3)
    values.pop("use_cpu")
    words = [word for name, value in values.items() for word in (f"--{name}", str(value))]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    launch += ["--master_port", str(free_port())]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(ROOT)}
    process = subprocess.run(
        [*launch, str(ROOT / "recipes" / "sft.py"), *words], env=env, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr[-3000:]
    found, wanted = (json.loads((folder / "results.json").read_text()) for folder in (out, finished))
    assert losses(out) == [(step, pytest.approx(loss, rel=1e-3)) for step, loss in losses(finished)]
    assert found["num_replies"] == wanted["num_replies"]
    for layer in LAYERS:
        assert found["held_out_loss"][layer]["tokens"] == wanted["held_out_loss"][layer]["tokens"]
    assert found["held_out_loss"]["all"] == pytest.approx(wanted["held_out_loss"]["all"], rel=1e-3)
