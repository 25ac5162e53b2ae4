"""A small quickstart as a user runs it: killed while it trains, and started again. Its quality is not looked at."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from her_hf.processes import child_process
from tests.integration.venvs import ROOT

pytestmark = pytest.mark.integration

MINUTES = 4
SILENCE = 15.0
"""Most seconds without a line."""


@pytest.fixture(scope="module")
def out() -> Path:
    """A folder of this run; it stays, so that what went wrong can be read."""
    folder = ROOT / "outputs" / "integration" / "quickstart"
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    return folder


def command(out: Path) -> list[str]:
    return [sys.executable, "-m", "recipes.quickstart", "--minutes", str(MINUTES), "--out", str(out)]


def trainers(out: Path) -> list[int]:
    """Process ids of whatever trains in the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if str(out / "her-sft") in words:
            found.append(int(entry.parent.name))
    return found


def resident(pid: int) -> int:
    """Bytes of memory that a process and all below it take."""
    total = 0
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
    return total


def wait_for(condition: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
def test_a_killed_quickstart_takes_its_training_with_it(out: Path) -> None:
    parent = subprocess.Popen(command(out), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: (out / "her-sft" / "metrics.jsonl").exists() or parent.poll() is not None, 300)
        assert parent.poll() is None, (out / "train.log").read_text()[-3000:]
        assert trainers(out)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait(30)
    wait_for(lambda: not trainers(out), 30)
    assert (out / "plan.json").is_file() and not (out / "train.json").exists()


def test_the_same_command_goes_on_by_the_same_plan_and_reports(out: Path) -> None:
    plan = (out / "plan.json").read_text()
    lines: list[tuple[float, str]] = [(time.monotonic(), "")]
    memory = [0]
    log = out / "quickstart.log"
    with log.open("wb") as file, child_process(command(out), output=file, cwd=ROOT) as process:
        with log.open("rb") as reading:
            while process.poll() is None or reading.peek(1):
                memory.append(resident(process.pid))
                if line := reading.readline():
                    lines.append((time.monotonic(), line.decode()))
                else:
                    assert time.monotonic() - lines[-1][0] < SILENCE + 5, f"silent after {lines[-1][1]!r}"
                    time.sleep(0.1)
        assert process.wait() == 0, log.read_text()[-3000:]
    text = log.read_text()
    assert max(later - earlier for (earlier, _), (later, _) in itertools.pairwise(lines)) <= SILENCE
    assert "\r" not in text and "[transformers]" not in text and "Warning" not in text
    assert "== plan: done before" in text and (out / "plan.json").read_text() == plan
    found = json.loads((out / "results.json").read_text())
    decided = json.loads(plan)["result"]
    assert found["plan"] == decided and decided["minutes"] == MINUTES
    assert found["models"]["base"]["figures"]["replies"] == decided["prompts"]
    assert found["models"]["her-sft"]["figures"]["replies"] == 2 * decided["prompts"]
    report = (out / "report.md").read_text()
    assert "How it was sized, for 4 minutes" in report and decided["device"] in report
    assert re.search(r"training in float32 weights(, bf16 autocast)?;", report)
    assert all((out / name).is_file() for name in re.findall(r"\((\w+\.png)\)", report))
    assert max(memory) < 6e9, f"its processes took {max(memory) / 1e9:.1f} GB together"
    print(f"memory of all processes {max(memory) / 1e9:.1f} GB; seconds {found['seconds']}")


def test_a_finished_quickstart_reports_again_in_a_moment(out: Path) -> None:
    before = (out / "results.json").read_text()
    subprocess.run(command(out), cwd=ROOT, check=True, capture_output=True, timeout=120)
    assert (out / "results.json").read_text() == before
