"""Children end with their parent, whatever ends it, and take their own children with them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from her_hf.processes import child_process, run_child
from tests.support.paths import ROOT

# A child that starts a grandchild; each writes its process id and sleeps.
FAMILY = """
import os, signal, subprocess, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
if (folder / "stubborn").exists():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if len(sys.argv) == 2:
    grandchild = subprocess.Popen([sys.executable, __file__, str(folder), "grandchild"])
name = "child" if len(sys.argv) == 2 else "grandchild"
(folder / "draft").with_suffix("." + name).write_text(str(os.getpid()))
(folder / "draft").with_suffix("." + name).rename(folder / name)
time.sleep(60)
"""

PARENT = """
import sys
from her_hf.processes import run_child
run_child([sys.executable, *sys.argv[1:]])
"""


NEEDS_PROC = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads states of processes in /proc")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def family(folder: Path) -> list[int]:
    files = [folder / "child", folder / "grandchild"]
    wait_for(lambda: all(file.exists() for file in files))
    return [int(file.read_text()) for file in files]


@pytest.fixture()
def script(tmp_path: Path) -> Path:
    file = tmp_path / "family.py"
    file.write_text(FAMILY)
    return file


@NEEDS_PROC
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_parent_that_is_ended_takes_child_and_grandchild_along(script: Path, end: signal.Signals) -> None:
    command = [sys.executable, "-c", PARENT, str(script), str(script.parent)]
    # A shell that runs the tests in its background has made SIGINT ignored, which a child inherits.
    parent = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    processes = family(script.parent)
    assert all(map(alive, processes))
    parent.send_signal(end)
    parent.wait(20)
    wait_for(lambda: not any(map(alive, processes)))


@NEEDS_PROC
def test_a_block_that_is_left_has_ended_its_child(script: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="stop"),
        child_process([sys.executable, str(script), str(script.parent)]),
    ):
        processes = family(script.parent)
        raise RuntimeError("stop")
    wait_for(lambda: not any(map(alive, processes)))


@NEEDS_PROC
def test_who_ignores_being_asked_to_end_is_killed(script: Path) -> None:
    (script.parent / "stubborn").touch()
    with child_process([sys.executable, str(script), str(script.parent)]):
        processes = family(script.parent)
    assert not any(map(alive, processes))


LEAVES_ONE = """
import subprocess, sys, time
from pathlib import Path
from her_hf.processes import run_child
code = "import subprocess, sys; subprocess.Popen([sys.executable, *sys.argv[1:], 'grandchild'])"
assert run_child([sys.executable, "-c", code, *sys.argv[1:]]) == 0
"""


@NEEDS_PROC
def test_what_a_command_leaves_running_ends_with_it(script: Path) -> None:
    command = [sys.executable, "-c", LEAVES_ONE, str(script), str(script.parent)]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, timeout=60)
    left = script.parent / "grandchild"
    assert not left.exists() or not alive(int(left.read_text()))


WORKERS = """
import os, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from her_hf.processes import end_with_parent

def pid(number):
    time.sleep(0.5)
    return os.getpid()

if __name__ == "__main__":
    with ProcessPoolExecutor(2, mp_context=get_context("spawn"), initializer=end_with_parent) as pool:
        found = set(pool.map(pid, range(4)))
        Path(sys.argv[1]).with_suffix(".tmp").write_text(" ".join(map(str, found)))
        Path(sys.argv[1]).with_suffix(".tmp").rename(sys.argv[1])
        time.sleep(60)
"""


@NEEDS_PROC
def test_workers_of_a_pool_end_with_their_killed_parent(tmp_path: Path) -> None:
    script, note = tmp_path / "workers.py", tmp_path / "pids"
    script.write_text(WORKERS)
    parent = subprocess.Popen([sys.executable, str(script), str(note)], env={**os.environ, "PYTHONPATH": str(ROOT)})
    wait_for(note.exists, 60)
    workers = list(map(int, note.read_text().split()))
    assert all(map(alive, workers))
    parent.kill()
    parent.wait(20)
    wait_for(lambda: not any(map(alive, workers)))


def test_a_command_runs_to_its_end(tmp_path: Path) -> None:
    calls: list[int] = []
    code = "import sys, time; print('said'); print('complained', file=sys.stderr); time.sleep(0.4); sys.exit(7)"
    with (tmp_path / "log").open("wb") as log:
        found = run_child([sys.executable, "-c", code], output=log, waiting=lambda: calls.append(1), every=0.1)
    assert found == 7 and calls
    assert {"said", "complained"} <= set((tmp_path / "log").read_text().split())
    assert run_child([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]) == 128 + 9
