"""What the quickstart is doing and how much time is left: a bar in a terminal, lines in a log."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from .plan import finish_time

EVERY_SECONDS = 10.0
"""Seconds between two lines in a log that is not a terminal."""


class StageProgress:
    """Shows a stage while it runs, at least every [`EVERY_SECONDS`], from a thread of its own.

    Args:
        name (`str`): The stage.
        seconds (`float`): How long it should take; corrected by its own rate.
        after (`float`, *optional*, defaults to 0.0): Seconds that later stages should take.
        stream (`IO[str]`, *optional*): Where it is shown; the error stream if not given.
    """

    def __init__(self, name: str, seconds: float, *, after: float = 0.0, stream: IO[str] | None = None) -> None:
        self._name, self._seconds, self._after = name, max(1.0, seconds), after
        self._stream = stream or sys.stderr
        self._start = time.monotonic()
        self._share, self._shown = 0.0, ""
        self._first: tuple[float, float] | None = None
        self._over = threading.Event()

    def update(self, share: float, shown: str = "") -> None:
        """What share of the stage is done (0 to 1), and what to show beside it."""
        self._share, self._shown = min(1.0, share), shown
        if self._first is None:
            # What was done before the first update says nothing about the rate.
            self._first = (time.monotonic(), self._share)

    def left(self) -> float:
        """Seconds that the stage still takes: by its own rate, once there is one, else as planned."""
        now = time.monotonic()
        if self._first is not None:
            since, before = self._first
            if self._share - before > 0.05:
                return (now - since) * (1 - self._share) / (self._share - before)
        return max(0.0, self._seconds * (1 - self._share) - (0 if self._share else now - self._start))

    def line(self) -> str:
        """The stage, how much of it is done, and when everything will be done."""
        parts = [f"{self._name}: {self._share:.0%}", *([self._shown] if self._shown else [])]
        return ", ".join([*parts, f"all done about {finish_time(self.left() + self._after)}"])

    @contextmanager
    def shown(self) -> Iterator[StageProgress]:
        """Shows the progress while the block runs."""
        show = self._bar if self._stream.isatty() else self._lines
        thread = threading.Thread(target=show, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join()

    def _lines(self) -> None:
        while not self._over.wait(EVERY_SECONDS):
            seconds = int(time.monotonic() - self._start)
            print(f"   [{seconds // 60:02d}:{seconds % 60:02d}] {self.line()}", file=self._stream, flush=True)

    def _bar(self) -> None:
        columns = (TextColumn("   {task.description}"), BarColumn())
        with Progress(*columns, console=Console(file=self._stream), transient=True) as bar:
            task = bar.add_task(self.line(), total=1.0)
            while not self._over.wait(0.5):
                bar.update(task, completed=self._share, description=self.line())
