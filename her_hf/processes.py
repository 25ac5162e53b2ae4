"""Child processes that end when the process that started them ends, even if it is killed.

A supervisor runs between the two. Its standard input is a pipe that the parent holds open and never writes to. When
the parent ends, even by SIGKILL, the pipe is closed, and the supervisor ends the child's whole process group,
grandchildren included. Standard library only.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

GRACE_SECONDS = 5.0
"""How long a child may take to end after SIGTERM before it is killed."""


@contextmanager
def child_process(
    command: Sequence[str],
    *,
    output: IO[bytes] | int | None = None,
    environment: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a command alongside this process. When the block is left, it and everything it started have ended.

    Args:
        command (`Sequence[str]`): Program and arguments.
        output (`IO[bytes]` or `int`, *optional*): Where its output and error stream go, as in `subprocess`; by default
            to those of this process.
        environment, cwd: See `subprocess.Popen`.

    Example:

    ```python
    >>> with child_process(["sleep", "60"]) as child:
    ...     child.poll() is None
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
        command, output: See [`child_process`]; other arguments are passed to it.
        waiting (`Callable`, *optional*): Called every `every` seconds while the command runs.
        every (`float`, *optional*, defaults to 1.0): Seconds.

    Returns:
        `int`: Its exit code; 128 plus the signal's number if a signal ended it.
    """
    with child_process(command, output=output, **how) as process:
        while True:
            try:
                return process.wait(every)
            except subprocess.TimeoutExpired:
                waiting()


def end_with_parent() -> None:
    """Ends this `multiprocessing` worker when its parent has ended, even by SIGKILL: an initializer for pools.

    Otherwise workers wait forever on a queue whose other end they hold themselves.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _supervise(command: Sequence[str]) -> int:
    """Runs `command` in its own process group until it or standard input ends, then ends the whole group."""
    # A signal to the supervisor is meant for the command; unlike an ignored signal, a handler is not inherited by it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    parent_ended = threading.Event()

    def watch() -> None:
        while os.read(0, 1024):
            pass
        parent_ended.set()

    threading.Thread(target=watch, daemon=True).start()
    while child.poll() is None and not parent_ended.wait(0.05):
        pass
    _end_group(child)
    code = child.wait()
    return code if code >= 0 else 128 - code


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """Asks all processes of the child's group to end, and kills those that have not ended in time."""
    for number, seconds in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, GRACE_SECONDS)):
        deadline = time.monotonic() + seconds
        try:
            os.killpg(child.pid, number)
            while time.monotonic() < deadline:
                child.poll()
                os.killpg(child.pid, 0)
                time.sleep(0.02)
        except ProcessLookupError:
            return


if __name__ == "__main__":
    sys.exit(_supervise(sys.argv[1:]))
