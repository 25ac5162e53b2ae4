"""A real server for the length of a `with` block, started by `her-hf serve`, and requests to it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from her_hf.processes import child_process
from tests.integration.venvs import ROOT, clean_environment

READY_SECONDS = 300
"""How long a server may take until it answers; about 40 seconds on two free cores."""


@contextmanager
def served(
    model: Path | str,
    log: Path,
    *arguments: str,
    engine_arguments: Sequence[str] = (),
    seconds: float = READY_SECONDS,
    environment: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """`her-hf serve` for a model, on a free port of 127.0.0.1.

    Args:
        model (`Path` or `str`): The checkpoint, GGUF or Hub id; the server calls it by its folder's or file's name, or
            by the id.
        log (`Path`): File for what the server writes; what `her-hf serve` prints lies beside it.
        *arguments (`str`): Further arguments of `her-hf serve`.
        engine_arguments (`Sequence[str]`, *optional*): Further arguments of the engine.
        seconds (`float`, *optional*): How long it may take until it answers.
        environment (`Mapping[str, str]`, *optional*): Its environment; one without the Hub if not given.

    Yields:
        `str`: The server's root URL.

    Raises:
        `RuntimeError`: If it ends, or does not answer in time; the message holds what it printed.
    """
    command = [sys.executable, "-m", "her_hf.cli.main", "serve", str(model), "--port", "0", "--log", str(log)]
    command += ["--ready-timeout", str(seconds), *arguments, "--", *engine_arguments]
    log.parent.mkdir(parents=True, exist_ok=True)
    printed = log.with_suffix(".out")
    with (
        printed.open("wb") as out,
        child_process(command, output=out, environment=environment or clean_environment(), cwd=ROOT) as process,
    ):
        root = _root_printed(process, printed)
        yield root
    try:
        _OPENER.open(f"{root}/health", timeout=5).close()
    except OSError:
        return
    raise RuntimeError(f"{root} still answers, although her-hf serve has ended")


@contextmanager
def vllm_server(
    python: Path,
    model: Path | str,
    log: Path,
    *,
    adapters: Mapping[str, Path] | None = None,
    max_model_len: int = 4096,
    environment: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Serves a checkpoint with vLLM; see [`served`].

    Args:
        python (`Path`): The Python that has vLLM.
        model (`Path` or `str`): The checkpoint, or its Hub id.
        log (`Path`): File for what the server writes.
        adapters (`Mapping[str, Path]`, *optional*): LoRA adapters by the model name they are served under.
        max_model_len (`int`, *optional*, defaults to 4096): Most tokens of prompt and reply together.
        environment (`Mapping[str, str]`, *optional*): Its environment; one without the Hub if not given.
    """
    engine = ["--max-num-seqs", "8"]
    if adapters:
        engine += ["--enable-lora", "--max-lora-rank", "8", "--lora-modules"]
        engine += [f"{name}={path}" for name, path in adapters.items()]
    options = ["--engine", "vllm", "--python", str(python), "--max-context", str(max_model_len)]
    with served(model, log, *options, engine_arguments=engine, environment=environment) as root:
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


def _root_printed(process: subprocess.Popen[bytes], printed: Path) -> str:
    """The root URL, once it is printed; `her-hf serve` has a time limit of its own."""
    while True:
        ended = process.poll() is not None
        text = printed.read_text(errors="replace")
        if found := re.search(r" is served at (\S+)/v1 ", text):
            return found[1]
        if ended:
            raise RuntimeError(f"her-hf serve ended with {process.returncode} before the server answered:\n{text}")
        time.sleep(0.5)
