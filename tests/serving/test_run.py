"""Started, awaited, ended; what a server that fails has said."""

from __future__ import annotations

import os
import socket
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from her_hf.serving import Launch, ServeSettings, free_port, last_lines, plan_launch, read_model, running
from tests.support.engines import fake_environment, given, write_checkpoint


def launch(folder: Path, program: str = "vllm", **behaviour: Any) -> Launch:
    """A launch of the stand-in; its programs lie in `folder / "venv" / "bin"`."""
    programs = fake_environment(folder / "venv", program, **behaviour)
    model = read_model(str(write_checkpoint(folder / "her-sft")))
    return plan_launch(model, ServeSettings(python=programs / "python", port=free_port("127.0.0.1", 0)))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def pids(folder: Path) -> list[int]:
    found = given(folder / "venv" / "bin")["pids"]
    assert isinstance(found, list)
    return found


def test_a_server_answers_within_the_block_and_is_gone_after_it(tmp_path: Path) -> None:
    wanted = launch(tmp_path, child=True, loads=1.0)
    waits: list[float] = []
    with running(wanted, tmp_path / "logs" / "log", timeout=30, waiting=waits.append) as server:
        assert server.poll() is None and waits and waits == sorted(waits)
        assert urllib.request.urlopen(f"{wanted.url}/models", timeout=5).status == 200
        processes = pids(tmp_path)
        assert all(map(alive, processes))
    assert not any(map(alive, processes)) and len(processes) == 2
    started = given(tmp_path / "venv" / "bin")
    assert started["arguments"] == list(wanted.command[3:])
    assert {**dict(os.environ), **wanted.environment}.items() <= dict(started["environment"]).items()  # type: ignore[call-overload]


def test_a_server_that_dies_while_it_loads_shows_its_last_lines(tmp_path: Path) -> None:
    noise = [f"INFO line {number}" for number in range(40)]
    says = ["ValueError: the real cause", *noise, "\x1b[31mred\x1b[0m\x07 last", "x" * 5000]
    with (
        pytest.raises(ChildProcessError) as raised,
        running(launch(tmp_path, says=says, dies=3), tmp_path / "log", timeout=30),
    ):
        pass
    text = str(raised.value)
    assert "vLLM 9.8.7 (CPU build) ended (3) before it answered. Its last lines:" in text
    assert "  ValueError: the real cause" in text and "  red last" in text and "\x1b" not in text
    assert "INFO line 39" in text and "INFO line 5\n" not in text
    assert len(text) < 8000 and str(tmp_path / "log") in text


def test_a_server_that_says_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(ChildProcessError, match=r"ended \(1\) before it answered\. It wrote nothing\."),
        running(launch(tmp_path, dies=1), tmp_path / "log", timeout=30),
    ):
        pass


def test_a_program_that_cannot_be_run(tmp_path: Path) -> None:
    wanted = launch(tmp_path, distributions={"vllm": "9.8.7"})
    (tmp_path / "venv" / "bin" / "vllm").write_text("#!/nowhere/python\n")
    with (
        pytest.raises(ChildProcessError, match=r"No such file or directory: '.*/vllm'"),
        running(wanted, tmp_path / "log", timeout=30),
    ):
        pass


def test_a_server_that_never_answers_is_ended(tmp_path: Path) -> None:
    begun = time.monotonic()
    with (
        pytest.raises(TimeoutError, match=r"did not answer within 2 seconds\. Its last lines:\n  loading"),
        running(launch(tmp_path, says=["loading"], loads=60), tmp_path / "log", timeout=2),
    ):
        pass
    assert time.monotonic() - begun < 20
    assert not any(map(alive, pids(tmp_path)))


def test_a_server_of_another_model_is_not_ours(tmp_path: Path) -> None:
    with (
        pytest.raises(TimeoutError),
        running(launch(tmp_path, lists="another"), tmp_path / "log", timeout=2),
    ):
        pass


def test_a_server_with_an_api_key_is_ready(tmp_path: Path) -> None:
    with running(launch(tmp_path, locked=True), tmp_path / "log", timeout=30) as server:
        assert server.poll() is None


def test_the_log_of_the_last_server_is_replaced(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old\n")
    with running(launch(tmp_path, says=["new"]), log, timeout=30):
        pass
    assert last_lines(log)[0] == "new"


def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=rf"Nothing can be served on 127\.0\.0\.1:{port}: .*in use.*--port"):
            free_port("127.0.0.1", port)
    assert free_port("127.0.0.1", port) == port


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host", "256.1.1.1"])
def test_an_address_that_is_none_of_this_machine(host: str) -> None:
    with pytest.raises(OSError, match=r"(Nothing can be served on|is no address of this machine)"):
        free_port(host, 0)


def test_a_free_port_is_found_for_every_kind_of_address() -> None:
    assert all(free_port(host, 0) > 0 for host in ("127.0.0.1", "0.0.0.0", "localhost"))
