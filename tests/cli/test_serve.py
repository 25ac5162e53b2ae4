"""`her-hf serve` as it is met: started, used, ended by signals, and what it says where it cannot."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.engines import fake_environment, given, write_checkpoint
from tests.support.paths import ROOT

COMMAND = (sys.executable, "-m", "her_hf.cli.main", "serve")
NEEDS_PROC = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads states of processes in /proc")


def environment(folder: Path) -> dict[str, str]:
    """Its own state folder, and a proxy that nobody answers at: it has no business with a server on this machine."""
    proxy = {"http_proxy": "http://127.0.0.1:9", "no_proxy": "", "NO_PROXY": ""}
    return {
        **os.environ,
        **proxy,
        "PYTHONPATH": str(ROOT),
        "XDG_STATE_HOME": str(folder / "state"),
        "COLUMNS": "120",
    }


def served(folder: Path, **behaviour: Any) -> list[str]:
    """The command for a checkpoint and the stand-in in `folder`."""
    fake_environment(folder / "venv", **behaviour)
    write_checkpoint(folder / "her-sft")
    return [*COMMAND, str(folder / "her-sft"), "--python", str(folder / "venv"), "--port", "0"]


def ran(folder: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environment(folder), cwd=folder, capture_output=True, text=True, timeout=120)


@contextmanager
def started(folder: Path, command: list[str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command once it has printed how to call the server, and the server's URL."""
    process = subprocess.Popen(
        command,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=(folder / "stderr").open("w"),
        text=True,
        # A shell that runs the tests in its background has made SIGINT ignored, which a child inherits.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert " is served at " in line, line + (folder / "stderr").read_text()
        yield process, line.split(" is served at ")[1].split()[0]
    finally:
        process.kill()
        process.wait(20)
        process.stdout.close()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(folder: Path) -> list[int]:
    found = given(folder / "venv" / "bin")["pids"]
    assert isinstance(found, list) and len(found) == 2 and all(map(alive, found))
    return found


@NEEDS_PROC
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_server_first(number: signal.Signals, code: int, tmp_path: Path) -> None:
    with started(tmp_path, served(tmp_path, child=True)) as (process, url):
        processes = children(tmp_path)
        with urllib.request.urlopen(f"{url}/models", timeout=5) as answer:
            assert json.load(answer)["data"] == [{"id": "her-sft"}]
        process.send_signal(number)
        assert process.wait(30) == code
        assert not any(map(alive, processes))  # not a moment later: they had ended before the command did
    assert (tmp_path / "stderr").read_text() == "vLLM 9.8.7 (CPU build) loads her-sft: 0 s\n"


@NEEDS_PROC
def test_a_kill_leaves_nothing_behind(tmp_path: Path) -> None:
    with started(tmp_path, served(tmp_path, child=True)) as (process, _):
        processes = children(tmp_path)
        process.kill()
        process.wait(20)
        deadline = time.monotonic() + 20
        while any(map(alive, processes)):
            assert time.monotonic() < deadline
            time.sleep(0.05)


@NEEDS_PROC
def test_a_signal_while_it_loads(tmp_path: Path) -> None:
    process = subprocess.Popen(served(tmp_path, child=True, loads=100), env=environment(tmp_path))
    file = tmp_path / "venv" / "bin" / "given.json"
    deadline = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    processes = children(tmp_path)
    process.terminate()
    assert process.wait(30) == 143 and not any(map(alive, processes))


def test_a_server_that_dies_later_shows_its_last_lines(tmp_path: Path) -> None:
    with started(tmp_path, [*served(tmp_path), "--log", str(tmp_path / "log")]) as (process, url):
        body = json.dumps({"messages": [{"role": "user", "content": "die"}]}).encode()
        with pytest.raises(OSError):
            urllib.request.urlopen(f"{url}/chat/completions", body, timeout=5)
        assert process.wait(30) == 1
    said = (tmp_path / "stderr").read_text()
    assert "Error: vLLM 9.8.7 (CPU build) ended (7). Its last lines:\n  ValueError: asked to die\n" in said
    assert f"Log: {tmp_path / 'log'}" in said


def test_a_server_that_dies_while_it_loads(tmp_path: Path) -> None:
    done = ran(tmp_path, served(tmp_path, says=["RuntimeError: no memory"], dies=9))
    assert done.returncode == 1 and done.stdout == "" and "Traceback" not in done.stderr
    assert "ended (9) before it answered. Its last lines:\n  RuntimeError: no memory\n" in done.stderr


def test_the_time_limit(tmp_path: Path) -> None:
    done = ran(tmp_path, [*served(tmp_path, loads=100), "--ready-timeout", "1"])
    assert done.returncode == 1 and "did not answer within 1 seconds. It wrote nothing." in done.stderr


def test_dry_run_prints_the_command_and_starts_nothing(tmp_path: Path) -> None:
    done = ran(tmp_path, [*served(tmp_path), "--dry-run", "--max-context", "64", "--", "--max-num-seqs", "8"])
    assert done.returncode == 0 and done.stderr == ""
    words = shlex.split(done.stdout)
    assert words[-2:] == ["--max-num-seqs", "8"] and words[words.index("--max-model-len") + 1] == "64"
    assert str(tmp_path / "venv" / "bin" / "python") in words
    assert not (tmp_path / "venv" / "bin" / "given.json").exists() and not (tmp_path / "state").exists()


def test_a_port_that_is_taken_is_said_before_anything_is_started(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = ran(tmp_path, [*served(tmp_path)[:-1], port])
    assert done.returncode == 1 and f"Error: Nothing can be served on 127.0.0.1:{port}" in done.stderr
    assert not (tmp_path / "venv" / "bin" / "given.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("empty",), "is no checkpoint: it has no config.json (it is empty)"),
        (("nowhere",), "There is no folder or file nowhere"),
        (("http://127.0.0.1:1/v1",), "is a URL, so it is served already"),
        (("her-sft", "--engine", "vllm", "--python", "empty"), "--python empty: there is no Python at"),
        (("her-sft", "--engine", "llama.cpp", "--python", "venv"), "llama.cpp serves GGUF files"),
        (("her-sft", "--engine", "transformers", "--python", "venv"), "transformers serve needs transformers, torch"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_1(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    served(tmp_path)
    (tmp_path / "empty").mkdir()
    done = ran(tmp_path, [*COMMAND, *arguments])
    assert done.returncode == 1 and done.stdout == ""
    assert said in done.stderr and done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1


def test_a_template_given_to_the_engine_counts(tmp_path: Path) -> None:
    command = [*served(tmp_path), "--dry-run"]
    (tmp_path / "her-sft" / "chat_template.jinja").unlink()
    assert "has no chat template" in ran(tmp_path, command).stderr
    done = ran(tmp_path, [*command, "--", "--chat-template", "mine.jinja"])
    assert done.returncode == 0 and "--chat-template mine.jinja" in done.stdout
