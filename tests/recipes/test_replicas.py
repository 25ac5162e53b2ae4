"""Several servers behind a router: started in turn, each with its share of the machine, and ended together."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from her_hf.scenes import load_scenes
from recipes.benchmarks.affinity import conversations, summary
from recipes.serving import replicas as recipe
from tests.support.engines import fake_environment, given, write_checkpoint
from tests.support.paths import ROOT


def answers(url: str) -> bool:
    import urllib.request

    try:
        urllib.request.urlopen(f"{url}/health", timeout=2).close()
    except OSError:
        return False
    return True


def test_servers_and_router_are_started_and_ended_together(tmp_path: Path) -> None:
    fake_environment(tmp_path / "venv")
    router = fake_environment(tmp_path / "router", "vllm-router", {}, lists="her-sft")
    model = write_checkpoint(tmp_path / "her-sft")
    command = [sys.executable, "-m", "recipes.serving.replicas", str(model), "--python", str(tmp_path / "venv")]
    command += ["--router", str(router / "vllm-router"), "--out", str(tmp_path / "out"), "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path)
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline() for _ in range(3)]
        assert [": ready" in line for line in lines] == [True, True, False], lines
        found = re.fullmatch(r"router: (\S+)/v1 \(cache_aware\), before (\S+), (\S+)\n", lines[2])
        assert found is not None, lines
        assert all(map(answers, found.groups())) and len(set(found.groups())) == 3
        arguments: Any = given(router)["arguments"]
        assert arguments[-3:] == ["--worker-urls", found[2], found[3]]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert not any(map(answers, found.groups()))
    finally:
        process.kill()
        process.wait(20)
        process.stdout.close()


@pytest.mark.parametrize(
    ("router", "words"),
    [("no-router", "there is no program no-router"), (sys.executable, "There is no folder or file")],
)
def test_what_is_missing_is_one_line_before_anything_starts(
    router: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["replicas", "nowhere", "--router", router, "--port", "0"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        recipe.main()
    said = capsys.readouterr()
    assert ended.value.code == 1 and words in said.err and said.err.count("\n") == 1 and not said.out


@pytest.mark.parametrize(
    ("cores", "count", "shares"),
    [({0, 1}, 2, ["0", "1"]), ({0, 1, 2, 3, 8}, 2, ["0,1", "2,3,8"]), ({5}, 2, ["5", "5"]), ({0, 1}, 1, ["0,1"])],
)
def test_each_server_has_its_share_of_the_cores(
    cores: set[int], count: int, shares: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores)
    given_to = [recipe._share(number, count) for number in range(count)]
    assert [one["VLLM_CPU_OMP_THREADS_BIND"] for one in given_to] == shares
    assert [one["CUDA_VISIBLE_DEVICES"] for one in given_to] == list(map(str, range(count)))


def test_conversations_of_the_measurement_grow_from_one_beginning() -> None:
    found = conversations(load_scenes(ROOT / "dataset_cards" / "her-mini"), 5, 3)
    assert len(found) == 5
    for calls in found:
        assert len(calls) == 3 and len({call[0]["content"] for call in calls}) == 1
        assert [len(call) for call in calls] == sorted({len(call) for call in calls})
        assert all(longer[: len(call) - 1] == call[:-1] for call, longer in pairwise(calls))
    with pytest.raises(ValueError, match="--conversations"):
        conversations(load_scenes(ROOT / "dataset_cards" / "her-mini"), 5000, 3)


def test_ratios_are_of_runs_that_follow_each_other() -> None:
    runs = {
        "Caller, least busy": [{"replies_per_second": base, "cached": 0.2} for base in (1.0, 2.0, 4.0)],
        "Caller, affinity": [{"replies_per_second": own, "cached": 0.5} for own in (1.5, 3.0, 8.0)],
    }
    assert summary(runs)["Caller, affinity"] == {"replies_per_second": 3.0, "ratio": 1.5, "cached": 0.5}
