"""One reply of the model in a session: from the prompt to an alternative in the history."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from her_hf.durable import derive_seed
from her_hf.inference import Continues, ModelError, Reply, Sampling
from her_hf.inference.window import Fitted, WindowFull

from .answers import Writing, about, why_empty
from .events import Event, Failed, Trimmed, TurnFinished, TurnStarted

if TYPE_CHECKING:
    from .conversation import Session


async def answer(session: Session, continues: int | None = None) -> AsyncGenerator[Event, None]:
    """Writes the turn at [`place`][Session.place]; with `continues`, the rest of that alternative."""
    index, history, speaker = session.place, session.history, session.character
    known = session.alternatives()
    if index == len(history.turns):
        session.check_room()
    session.limits.check_alternatives(len(known) + (continues is None), "alternatives")
    begun = "" if continues is None else known[continues].text or known[continues].turn.render()
    sampling = _sampling_of(session, index)
    history.asked[index] += 1
    writing = Writing(speaker, session.names, begun)

    def failed(kind: str, message: str) -> Failed:
        record = {"kind": "failed", "cause": kind, "message": message, "reply": writing.text}
        history.broken(index, writing.so_far(), record, continues)
        return Failed(kind, message, writing.text)

    yield TurnStarted(index, speaker)
    try:
        fitted = await session.fit(session.context(), begun)
        if fitted.dropped:
            trimmed = Trimmed(fitted.dropped, fitted.prompt.tokens, await session.limit() or 0)
            history.write({"kind": "trimmed", "index": index, **asdict(trimmed)})
            yield trimmed
        async with aclosing(writing.read(_pieces(session, fitted, begun, sampling))) as deltas:
            async for delta in deltas:
                yield delta
    except (ModelError, WindowFull) as error:
        yield failed(error.kind if isinstance(error, ModelError) else "window", str(error))
        return
    except (asyncio.CancelledError, GeneratorExit):
        history.broken(index, writing.so_far(), {"kind": "stopped", "reply": writing.text}, continues)
        raise
    turn, reply = writing.stream.close(), writing.reply
    for delta in writing.rest():
        yield delta
    if reply is None or not turn.segments:
        yield failed("empty", why_empty(turn, reply))
        return
    labelled = turn.name == speaker
    turn = replace(turn, name=speaker)
    history.answer(index, turn, about(reply, labelled=labelled), continues)
    yield TurnFinished(index, turn, reply.ended, reply.usage, labelled)


def _pieces(session: Session, fitted: Fitted, begun: str, sampling: Sampling) -> AsyncGenerator[str | Reply, None]:
    """The model's stream; with `begun`, what follows it."""
    model = session.model
    if begun and isinstance(model, Continues):
        return model.continued(fitted.messages, begun, sampling=sampling, thinking=session.thinking)
    return model.stream(fitted.messages, sampling=sampling, thinking=session.thinking)


def _sampling_of(session: Session, index: int) -> Sampling:
    """The sampling of a turn: each turn and each attempt has its own seed, derived from the session's."""
    if session.sampling.seed is None:
        return session.sampling
    return replace(session.sampling, seed=derive_seed(session.sampling.seed, index, session.history.asked[index]))
