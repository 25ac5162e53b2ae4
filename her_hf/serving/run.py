"""Starting a server, waiting until it answers, and ending everything that it started."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

from her_hf.processes import child_process

from .launch import Launch

_LINES = 15
_ERRORS = 5
_WIDTH = 300
_EVERY = 0.5
_CONTROL = re.compile(r"\x1b\[[\d;]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_ERROR = re.compile(r"\b\w*(?:Error|Exception)\b: |\bCUDA out of memory\b")
# A proxy set in the environment has no business with a server on this machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def free_port(host: str, port: int) -> int:
    """The port, if a server could listen on it.

    Args:
        host (`str`): The address.
        port (`int`): The port; 0 for any free one.

    Raises:
        `OSError`: If the port is taken, or this machine does not have the address.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            # As servers do: a port whose server has just ended is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except socket.gaierror as error:
        raise OSError(f"--host {host} is no address of this machine: {error.strerror}.") from error
    except OSError as error:
        raise OSError(
            f"Nothing can be served on {host}:{port}: {error.strerror or error}. Choose another --port (0 takes a "
            "free one), or end what uses it."
        ) from error


@contextmanager
def running(
    launch: Launch, log: Path, *, timeout: float, waiting: Callable[[float], None] = lambda seconds: None
) -> Iterator[subprocess.Popen[bytes]]:
    """A server that answers. When the block is left, it and everything it started have ended.

    Args:
        launch ([`Launch`]): See [`~her_hf.serving.launch.plan_launch`].
        log (`Path`): File for what the server writes; replaced.
        timeout (`float`): Seconds that it may take until it answers.
        waiting (`Callable`, *optional*): Called with the seconds so far, twice a second, until it answers.

    Yields:
        `subprocess.Popen`: Ends when the server ends.

    Raises:
        `ChildProcessError`: If it ends before it answers; the message holds its last lines.
        `TimeoutError`: If it does not answer in time, likewise.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, **launch.environment, "PYTHONUNBUFFERED": "1"}
    with (
        log.open("wb") as output,
        child_process(launch.command, output=output, environment=environment, cwd=launch.cwd) as process,
    ):
        begun = time.monotonic()
        while not _answers(launch):
            seconds = time.monotonic() - begun
            if process.poll() is not None:
                raise ChildProcessError(
                    f"{launch.title} ended ({process.returncode}) before it answered. {_said(log)}"
                )
            if seconds > timeout:
                raise TimeoutError(f"{launch.title} did not answer within {timeout:.0f} seconds. {_said(log)}")
            waiting(seconds)
            time.sleep(_EVERY)
        yield process


def last_lines(log: Path) -> list[str]:
    """What a server wrote last, and lines before it that name an error; at most twenty, without control characters."""
    lines = [line for raw in log.read_text(encoding="utf-8", errors="replace").splitlines() if (line := _plain(raw))]
    errors = list(dict.fromkeys(line for line in lines[:-_LINES] if _ERROR.search(line)))[:_ERRORS]
    return [*errors, *lines[-_LINES:]]


def _plain(line: str) -> str:
    text = _CONTROL.sub("", line).rstrip()
    return text if len(text) <= _WIDTH else text[:_WIDTH] + " …"


def _said(log: Path) -> str:
    lines = last_lines(log)
    said = "\n".join(["Its last lines:", *(f"  {line}" for line in lines)]) if lines else "It wrote nothing."
    return f"{said}\nLog: {log}"


def _answers(launch: Launch) -> bool:
    """Whether the server has loaded its model and lists it."""
    try:
        # llama.cpp lists its model while it loads, and /health alone does not say whose server it is.
        with _OPENER.open(f"{launch.root}/health", timeout=5):
            pass
        with _OPENER.open(f"{launch.url}/models", timeout=5) as response:
            listed = json.load(response)["data"]
        return any(one["id"] == launch.model for one in listed)
    except urllib.error.HTTPError as error:
        return error.code in (401, 403)  # the user gave it an API key
    except (OSError, HTTPException, ValueError, KeyError, TypeError):  # nobody listens yet
        return False
