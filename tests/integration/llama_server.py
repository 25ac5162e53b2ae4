"""A real llama.cpp server for the length of a `with` block."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from her_hf.processes import child_process
from tests.integration.venvs import INTEGRATION, clean_environment
from tests.integration.vllm_server import log_tail

READY_SECONDS = 120


@contextmanager
def llama_server(python: Path, model: Path) -> Iterator[str]:
    """Serves a GGUF on a free port of 127.0.0.1.

    Args:
        python (`Path`): The Python that has xllamacpp.
        model (`Path`): The file; the log is written beside it.

    Yields:
        `str`: The server's root URL.

    Raises:
        `RuntimeError`: If it ends, or does not answer in time; the message holds the end of its log.
    """
    note, log = model.with_suffix(".address"), model.with_suffix(".log")
    note.unlink(missing_ok=True)
    command = [str(python), str(INTEGRATION / "engines" / "llama_server.py"), str(model), str(note)]
    with (
        log.open("wb") as out,
        child_process(command, output=out, environment=clean_environment(), cwd=model.parent) as process,
    ):
        deadline = time.monotonic() + READY_SECONDS
        while not note.is_file():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"llama.cpp does not serve {model.name}:\n{log_tail(log)}")
            time.sleep(0.1)
        yield note.read_text()
