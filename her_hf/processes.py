"""Child processes that end with the process that started them, however that one ends.

A supervisor stands between the two, in a process group of its own. It reads its standard input, a pipe that the parent
holds open and never writes to: when the parent ends, also by SIGKILL, the pipe ends, and the supervisor ends the whole
group, grandchildren included. Standard library only.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

GRACE_SECONDS = 10.0
"""How long a child may take to end on SIGTERM before it is killed."""


@contextmanager
def child_process(
    command: Sequence[str],
    *,
    output: IO[bytes] | int | None = None,
    environment: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a command beside this process; when the block is left, it and all that it started have ended.

    Args:
        command (`Sequence[str]`): Program and arguments.
        output (`IO[bytes]` or `int`, *optional*): Where its output and error stream go, as in `subprocess`; this
            process's own if not given.
        environment, cwd: See `subprocess.Popen`.

    Example:

    ```python
    >>> with child_process(["python", "-m", "http.server"]) as server:
    ...     server.poll() is None
    True
    ```
    """
    supervised = [sys.executable, "-I", __file__, *command]
    both: dict[str, Any] = {} if output is None else {"stdout": output, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(
        supervised, stdin=subprocess.PIPE, start_new_session=True, env=environment, cwd=cwd, **both
    )
    assert process.stdin is not None
    try:
        yield process
    finally:
        process.stdin.close()  # the supervisor ends the group
        process.wait()


def run_child(
    command: Sequence[str],
    *,
    output: IO[bytes] | int | None = None,
    waiting: Callable[[], None] = lambda: None,
    every: float = 1.0,
    **how: Any,
) -> int:
    """Runs a command to its end.

    Args:
        command, output: See [`child_process`], which takes further arguments too.
        waiting (`Callable`, *optional*): Called every `every` seconds while the command runs.
        every (`float`, *optional*, defaults to 1.0): Seconds.

    Returns:
        `int`: Its exit code; 128 and the signal's number where a signal ended it.
    """
    with child_process(command, output=output, **how) as process:
        while True:
            try:
                return process.wait(every)
            except subprocess.TimeoutExpired:
                waiting()


def _supervise(command: Sequence[str]) -> int:
    """Runs `command` until it ends or standard input does."""
    # Signals to the group are for the others in it; a handler, unlike an ignored signal, is not inherited by them.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def end_with_parent() -> None:
        while os.read(0, 1024):
            pass
        os.killpg(0, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_SECONDS)
        os.killpg(0, signal.SIGKILL)  # what is left of the group, this process among it

    threading.Thread(target=end_with_parent, daemon=True).start()
    code = child.wait()
    os.killpg(0, signal.SIGTERM)  # what the command left running
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(_supervise(sys.argv[1:]))
