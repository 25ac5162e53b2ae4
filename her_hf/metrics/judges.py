"""Calling a judge from synchronous code, including notebooks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from her_hf.concurrency import gathered
from her_hf.inference import Caller, ChatModel, Ledger
from her_hf.inference.open import open_caller
from her_hf.runs.progress import Progress
from her_hf.settings import CONCURRENCY

T = TypeVar("T")
R = TypeVar("R")

Judge = str | Path | Caller | ChatModel
"""A server's URL, a folder, a Hub id, or a model of `her_hf.inference`."""


@dataclass(frozen=True)
class Asking:
    """The judge and how it is called.

    Args:
        judge (`Judge`): The judge.
        model (`str`, *optional*): Servers: name of the model.
        ledger (`str` or `Path`, *optional*): A SQLite file that stores answers, so that no call is made twice.
        concurrency (`int`, *optional*, defaults to 16): Maximum number of calls in flight.
        show (`bool`, *optional*, defaults to `True`): Whether to show a progress bar.

    A `Caller` has its own ledger and limit; it must not be in use elsewhere.
    """

    judge: Judge
    model: str | None = None
    ledger: str | Path | None = None
    concurrency: int = CONCURRENCY
    show: bool = True

    def caller(self, ledger: Ledger | None) -> Caller:
        """The judge with a ledger.

        Raises:
            `ValueError`: If it is not a model.
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
    """Checks that exactly one of the two is given.

    Raises:
        `ValueError`: If both are given, or neither.
    """
    if (judge is None) == (judgements is None):
        got = "neither" if judge is None else "both"
        raise ValueError(
            "give either judge (a URL, a folder or a model to call now) or judgements (of an earlier call), got "
            f"{got}."
        )


def ask_all(asking: Asking, units: Sequence[T], one: Callable[[Caller, T], Awaitable[R]]) -> list[R]:
    """Calls the judge for all units.

    Args:
        asking ([`Asking`]): The judge.
        units (`Sequence`): The units to judge.
        one (`Callable`): Judges one unit.

    Returns:
        `list`: Results in the order of the units.

    Raises:
        `ModelError`: If the judge cannot be reached.
    """
    with ExitStack() as stack:
        ledger = None if asking.ledger is None else stack.enter_context(Ledger(asking.ledger))
        return _wait_for(_all(asking.caller(ledger), asking, units, one))


async def _all(
    caller: Caller, asking: Asking, units: Sequence[T], one: Callable[[Caller, T], Awaitable[R]]
) -> list[R]:
    try:
        await caller.fingerprint()  # an unreachable judge is an error, not a list of missing judgements
        with closing(Progress("judging", "judgement", total=len(units), show=asking.show)) as progress:

            async def counted(unit: T) -> R:
                answer = await one(caller, unit)
                progress.advance()
                return answer

            return await gathered(units, counted)
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
    """One loop in its own thread: a notebook already runs one, and a caller's locks belong to their first loop."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="her_hf judging", daemon=True).start()
    return loop
