"""`her-hf push` and `her-hf pull` as typed: lines, exit codes, and that a refused push has sent nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hub import StandIn, child_environment, stand_in, wait
from tests.support.paths import ROOT
from tests.support.pushed import model_folder


@pytest.fixture
def hub() -> Iterator[StandIn]:
    with stand_in() as found:
        yield found
        assert not found.unknown()


def run(hub: StandIn, home: Path, *words: str, token: str | None = "hf_writer") -> subprocess.CompletedProcess[str]:
    environment = child_environment(hub, home, token, PYTHONPATH=str(ROOT))
    command = [sys.executable, "-m", "her_hf.cli.main", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, cwd=home.parent)


def test_there_and_back(hub: StandIn, tmp_path: Path) -> None:
    folder, home = model_folder(tmp_path / "it"), tmp_path / "home"
    tried = run(hub, home, "push", "model", str(folder), "me/her-small", "--dry-run", token=None)
    assert tried.returncode == 0, tried.stderr
    assert tried.stdout.splitlines() == [
        "would send              67 bytes  .eval_results/coser.yaml",
        "would send              41 bytes  README.md",
        "would send              23 bytes  additional_chat_templates/scene.jinja",
        "would send              23 bytes  config.json",
        "would send           1,074 bytes  model.safetensors",
        "left out  checkpoint-10/model.safetensors  (a checkpoint of the run)",
        "left out  run.json  (settings of the run, with paths of this machine)",
        f"Dry run: nothing was sent. It would go to {hub.url}/me/her-small",
    ]
    assert not hub.store.repositories
    done = run(hub, home, "push", "model", str(folder), "me/her-small", "--collection", "HER")
    assert done.returncode == 0, done.stderr
    commit = hub.repository("me/her-small").head.sha
    assert f"Pushed to {hub.url}/me/her-small (5 files sent; commit {commit})" in done.stdout
    assert "sent           1,074 bytes  model.safetensors" in done.stdout and "Collection: " in done.stdout
    pulled = run(hub, home, "pull", "model", "me/her-small", "out")
    assert pulled.returncode == 0, pulled.stderr
    assert "Pulled me/her-small to out (6 files, " in pulled.stdout
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_a_refused_push_exits_1_and_has_sent_nothing(hub: StandIn, tmp_path: Path) -> None:
    folder, home = model_folder(tmp_path / "it", **{"notes.md": "in /home/ann/x\n"}), tmp_path / "home"
    done = run(hub, home, "push", "model", str(folder), "me/her-small")
    assert done.returncode == 1 and "notes.md, line 1: a home path" in done.stderr
    assert "Traceback" not in done.stderr and not hub.journal
    (folder / "notes.md").unlink()
    done = run(hub, home, "push", "model", str(folder), "me/her-small", token=None)
    assert done.returncode == 1 and "hf auth login" in done.stderr and not hub.store.repositories
    done = run(hub, home, "push", "paper", str(folder), "me/her-small")
    assert done.returncode == 2 and "'paper'" in done.stderr and "metric" in done.stderr
    done = run(hub, home, "pull", "model", "me/none", "out")
    assert done.returncode == 1 and "There is no model me/none on the Hub" in done.stderr


def test_a_push_that_is_killed_goes_on(hub: StandIn, tmp_path: Path) -> None:
    """Killed while the Hub takes its time with the commit, which it makes nevertheless: the next push adds none."""
    folder, home = model_folder(tmp_path / "it"), tmp_path / "home"
    words = ["push", "model", str(folder), "me/her-small"]
    hub.plan.add(wait("commit", 2.0))
    command = [sys.executable, "-m", "her_hf.cli.main", *words]
    environment = child_environment(hub, home, PYTHONPATH=str(ROOT))
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while hub.plan.unmet and time.monotonic() < deadline:
            time.sleep(0.05)
        process.kill()
    while not hub.steps("commit") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(hub.repository("me/her-small").commits) == 2
    done = run(hub, home, *words)
    assert done.returncode == 0 and "nothing was missing there" in done.stdout
    assert len(hub.repository("me/her-small").commits) == 2
