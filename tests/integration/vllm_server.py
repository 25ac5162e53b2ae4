"""A real vLLM server for the length of a `with` block, and requests to it."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from her_hf.processes import child_process
from tests.integration.venvs import clean_environment

READY_SECONDS = 300
"""How long a server may take until it answers; about 40 seconds on two free cores."""


@contextmanager
def vllm_server(
    python: Path,
    model: Path,
    log: Path,
    *,
    adapters: Mapping[str, Path] | None = None,
    max_model_len: int = 4096,
    reasoning: bool = True,
) -> Iterator[str]:
    """Serves a checkpoint on a free port of 127.0.0.1.

    Args:
        python (`Path`): The Python that has vLLM.
        model (`Path`): The checkpoint; the server calls it by its folder's name.
        log (`Path`): File for what the server writes.
        adapters (`Mapping[str, Path]`, *optional*): LoRA adapters by the model name they are served under.
        max_model_len (`int`, *optional*, defaults to 4096): Most tokens of prompt and reply together.
        reasoning (`bool`, *optional*, defaults to `True`): Whether it sends system thinking separately, which needs a
            checkpoint with a response template: reward models have none.

    Yields:
        `str`: The server's root URL.

    Raises:
        `RuntimeError`: If it ends, or does not answer in time; the message holds the end of its log.
    """
    port = _free_port()
    command = [
        *(str(python), "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(port)),
        *("--model", str(model), "--served-model-name", model.name, "--dtype", "float32", "--enforce-eager"),
        *("--max-model-len", str(max_model_len), "--max-num-seqs", "8"),
        # On the CPU, vLLM 0.32 dies of a seeded request whose prompt it reads in several steps.
        *("--no-enable-chunked-prefill", "--max-num-batched-tokens", str(4 * max_model_len)),
        # A grammar that allows white space between JSON tokens lets a small model write nothing else to the very end.
        *("--structured-outputs-config", json.dumps({"backend": "xgrammar", "disable_any_whitespace": True})),
    ]
    if reasoning:
        command += ["--reasoning-parser", "hf"]
    if adapters:
        command += ["--enable-lora", "--max-lora-rank", "8", "--lora-modules"]
        command += [f"{name}={path}" for name, path in adapters.items()]
    environment = clean_environment(VLLM_CPU_KVCACHE_SPACE="1", VLLM_NO_USAGE_STATS="1", DO_NOT_TRACK="1")
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("wb") as out,
        child_process(command, output=out, environment=environment, cwd=log.parent) as process,
    ):
        root = f"http://127.0.0.1:{port}"
        _wait_until_ready(process, root, log)
        yield root


def log_tail(log: Path, characters: int = 6000) -> str:
    """The end of a log, or a word that there is none."""
    return log.read_text(errors="replace")[-characters:] if log.is_file() else f"{log.name} was not written"


def post(url: str, body: Mapping[str, Any], timeout: float = 240) -> dict[str, Any]:
    """Sends JSON and reads JSON.

    Raises:
        `AssertionError`: If the answer is not 200; the message holds its text.
    """
    with _open(url, body, timeout) as response:
        return dict(json.load(response))


def stream(url: str, body: Mapping[str, Any], timeout: float = 240) -> Iterator[dict[str, Any]]:
    """Sends JSON with `stream` set and yields the events of the answer.

    Raises:
        `AssertionError`: If the answer is not 200; the message holds its text.
    """
    with _open(url, {**body, "stream": True}, timeout) as response:
        for line in response:
            data = line.decode().removeprefix("data:").strip()
            if data and data != "[DONE]":
                yield json.loads(data)


def _open(url: str, body: Mapping[str, Any], timeout: float) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        return _OPENER.open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{url} answered {error.code}: {error.read().decode(errors='replace')[:2000]}") from error


# A proxy set in the environment has no business with 127.0.0.1.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(process: subprocess.Popen[bytes], root: str, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"vLLM ended with {process.returncode} before it answered:\n{log_tail(log)}")
        try:
            with _OPENER.open(f"{root}/health", timeout=5):
                return
        except OSError:  # nobody listens yet
            time.sleep(1)
    raise RuntimeError(f"vLLM did not answer within {READY_SECONDS} seconds:\n{log_tail(log)}")
