"""Batches concurrent calls, so that a model in process serves concurrent callers efficiently."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from .interface import Messages, Reply, Sampling


@dataclass
class _Waiting:
    """One call and where its reply goes."""

    messages: Messages
    sampling: Sampling
    thinking: bool
    reply: asyncio.Future[Reply] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Gathered:
    """Gathers single calls into batches: while one batch is generated, new calls are collected for the next.

    Calls share a batch if they differ in messages and seed only. Replies do not depend on the batch, except for the
    rounding of batched arithmetic.

    Args:
        generate (`Callable`): `LocalModel.chat_many`.
        max_batch (`int`, *optional*, defaults to 16): Maximum number of calls in a batch.
    """

    def __init__(self, generate: Callable[..., Awaitable[list[Reply]]], max_batch: int = 16) -> None:
        self._generate, self._max_batch = generate, max_batch
        self._waiting: list[_Waiting] = []
        self._worker: asyncio.Task[None] | None = None

    async def ask(self, messages: Messages, sampling: Sampling, thinking: bool) -> Reply:
        """One reply, generated in a batch with the other waiting calls.

        Raises:
            `ModelError`: If generation fails.
        """
        call = _Waiting(messages, sampling, thinking)
        self._waiting.append(call)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await call.reply

    async def _work(self) -> None:
        await asyncio.sleep(0)  # lets other calls that are ready now join the batch
        while self._waiting:
            batch = self._next_batch()
            seeds = [call.sampling.seed for call in batch]
            try:
                replies = await self._generate(
                    [call.messages for call in batch],
                    sampling=batch[0].sampling,
                    seeds=seeds,
                    thinking=batch[0].thinking,
                    batch_size=self._max_batch,
                )
            except Exception as error:  # noqa: BLE001 - handed to every caller, whatever it is
                for call in _unanswered(batch):
                    call.reply.set_exception(error)
                continue
            answers = {id(call): reply for call, reply in zip(batch, replies, strict=True)}
            for call in _unanswered(batch):
                call.reply.set_result(answers[id(call)])

    def _next_batch(self) -> list[_Waiting]:
        """Takes the oldest call and those that can share its batch; drops calls that no caller waits for any more."""
        self._waiting = [call for call in self._waiting if not call.reply.done()]
        if not self._waiting:
            return []
        kind = _kind(self._waiting[0])
        batch = [call for call in self._waiting if _kind(call) == kind][: self._max_batch]
        taken = set(map(id, batch))
        self._waiting = [call for call in self._waiting if id(call) not in taken]
        return batch


def _kind(call: _Waiting) -> Any:
    return replace(call.sampling, seed=None), call.thinking


def _unanswered(batch: list[_Waiting]) -> list[_Waiting]:
    """Calls that a caller still waits for."""
    return [call for call in batch if not call.reply.done()]
