"""Asking a judge from code that is not asynchronous, in a notebook too."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from her_hf.inference import Caller, ChatModel, Ledger
from her_hf.inference.open import open_caller
from her_hf.runs.progress import bar, together

T = TypeVar("T")
R = TypeVar("R")

Judge = str | Path | Caller | ChatModel
"""A server's URL, a folder, a Hub id, or a model of `her_hf.inference`."""

AT_ONCE = 256
"""Most judgements in hand at a time."""


@dataclass(frozen=True)
class Asking:
    """Who judges, and how it is asked.

    Args:
        judge (`Judge`): The judge.
        model (`str`, *optional*): Servers: which model to ask for.
        ledger (`str` or `Path`, *optional*): A SQLite file that keeps answers, so that none is asked for twice.
        concurrency (`int`, *optional*, defaults to 16): Most calls at once.
        show (`bool`, *optional*, defaults to `True`): Whether to show a progress bar.

    A `Caller` has a ledger and a limit of its own; it must not be in use elsewhere.
    """

    judge: Judge
    model: str | None = None
    ledger: str | Path | None = None
    concurrency: int = 16
    show: bool = True

    def caller(self, ledger: Ledger | None) -> Caller:
        """The judge behind a ledger.

        Raises:
            `ValueError`: If it is nothing that can be asked.
        """
        judge = self.judge
        if isinstance(judge, Caller):
            return judge
        if isinstance(judge, str | Path):
            return open_caller(str(judge), model=self.model, ledger=ledger, concurrency=self.concurrency)
        if hasattr(judge, "chat") and hasattr(judge, "fingerprint"):
            return Caller(judge, ledger=ledger, concurrency=self.concurrency)
        raise ValueError(
            "judge must be a server's URL, a folder, a Hub id or a model of her_hf.inference, got "
            f"{type(judge).__name__}."
        )


def check_who_judges(judge: object, judgements: object) -> None:
    """One of the two must be there.

    Raises:
        `ValueError`: If both are, or neither is.
    """
    if (judge is None) == (judgements is None):
        got = "neither" if judge is None else "both"
        raise ValueError(
            "give either judge (a URL, folder or model that is asked now) or judgements (what a judge found), got "
            f"{got}."
        )


def ask_all(asking: Asking, units: Sequence[T], one: Callable[[Caller, T], Awaitable[R]]) -> list[R]:
    """Asks about all units.

    Args:
        asking ([`Asking`]): The judge.
        units (`Sequence`): What is asked about.
        one (`Callable`): Asks about one of them.

    Returns:
        `list`: Answers in order.

    Raises:
        `ModelError`: If the judge cannot even be asked what it is.
    """
    with ExitStack() as stack:
        ledger = None if asking.ledger is None else stack.enter_context(Ledger(asking.ledger))
        return _wait_for(_all(asking.caller(ledger), asking, units, one))


async def _all(
    caller: Caller, asking: Asking, units: Sequence[T], one: Callable[[Caller, T], Awaitable[R]]
) -> list[R]:
    try:
        await caller.fingerprint()  # a judge that is not there is an error, not so many missing judgements
        with bar(len(units), "judging", "judgement", show=asking.show) as progress:

            async def counted(unit: T) -> R:
                found = await one(caller, unit)
                progress.update()
                return found

            return await together((counted(unit) for unit in units), AT_ONCE)
    finally:
        if caller is not asking.judge:
            await caller.close()


def _wait_for(coroutine: Coroutine[Any, Any, T]) -> T:
    future = asyncio.run_coroutine_threadsafe(coroutine, _loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


@lru_cache(maxsize=1)
def _loop() -> asyncio.AbstractEventLoop:
    """One loop in a thread of its own: a notebook has one running, and a caller's locks belong to their first loop."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="her_hf judging", daemon=True).start()
    return loop
