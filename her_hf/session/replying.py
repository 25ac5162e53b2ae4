"""One reply of the model in a session: from the prompt to an alternative in the history."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict, replace

from her_hf.dual_layer import ENVIRONMENT, Turn
from her_hf.durable import derive_seed
from her_hf.inference import Continues, ModelError, Sampling
from her_hf.inference.window import WindowFull
from her_hf.scenes.turns import as_speech

from .answers import Writing, about, why_empty
from .events import Delta, Drafted, Event, Failed, Trimmed, TurnFinished, TurnStarted
from .state import State
from .typed import guarded


async def answer(
    session: State, speaker: str, index: int, continues: int | None = None
) -> AsyncGenerator[Event, None]:
    """Writes turn `index` as `speaker`; with `continues`, the rest of that alternative."""
    history, known = session.history, session.alternatives(index)
    if index == len(history.turns):
        session.check_room()
    session.limits.check_alternatives(len(known) + (continues is None), "alternatives")
    begun = "" if continues is None else known[continues].text or known[continues].turn.render()
    sampling = _seeded(session.sampling, index, history.asked[index])
    history.asked[index] += 1
    writing = Writing(speaker, session.names, begun)

    def failed(kind: str, message: str) -> Failed:
        record = {"kind": "failed", "cause": kind, "message": message, "reply": writing.text}
        history.broken(index, writing.so_far(), record, continues)
        return Failed(kind, message, writing.text)

    yield TurnStarted(index, speaker)
    try:
        async with aclosing(_write(session, writing, history.turns[:index], sampling, begun)) as events:
            async for event in events:
                if isinstance(event, Trimmed):
                    history.write({"kind": "trimmed", "index": index, **asdict(event)})
                yield event
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
    if speaker != session.character:  # as what the visitor writes for them
        turn = guarded(_of_the_world(turn), session.names)
    history.answer(index, turn, about(reply, labelled=labelled), continues)
    yield TurnFinished(index, turn, reply.ended, reply.usage, labelled)


async def draft(session: State) -> AsyncGenerator[Event, None]:
    """Writes the visitor's next turn as text to be typed; the history is not changed."""
    index, history = len(session.history.turns), session.history
    sampling = _seeded(session.sampling, index, "draft", history.drafted[index])
    history.drafted[index] += 1
    writing = Writing(session.visitor, session.names)
    yield TurnStarted(index, session.visitor)
    try:
        async with aclosing(_write(session, writing, history.turns, sampling)) as events:
            async for event in events:
                yield event
    except (ModelError, WindowFull) as error:
        kind = error.kind if isinstance(error, ModelError) else "window"
        yield Failed(kind, str(error), writing.text)
        return
    turn = writing.stream.close()
    for delta in writing.rest():
        yield delta
    text = replace(turn, name=None).render(notation="coser", view="self")
    yield Drafted(text) if text else Failed("empty", why_empty(turn, writing.reply), writing.text)


async def _write(
    session: State, writing: Writing, context: Sequence[Turn], sampling: Sampling, begun: str = ""
) -> AsyncGenerator[Trimmed | Delta, None]:
    """Fits the prompt into the window and lets the model write."""
    fitted = await session.fit(context, begun, writing.speaker)
    if fitted.dropped:
        yield Trimmed(fitted.dropped, fitted.prompt.tokens, await session.limit() or 0)
    model, thinking = session.model, session.thinks(writing.speaker)
    if begun and isinstance(model, Continues):
        pieces = model.continued(fitted.messages, begun, sampling=sampling, thinking=thinking)
    else:
        pieces = model.stream(fitted.messages, sampling=sampling, thinking=thinking)
    async with aclosing(writing.read(pieces)) as deltas:
        async for delta in deltas:
            yield delta


def _of_the_world(turn: Turn) -> Turn:
    """The turn, if it is Environment's, as speech that everyone sees."""
    return replace(turn, segments=as_speech(turn.segments)) if turn.name == ENVIRONMENT else turn


def _seeded(sampling: Sampling, *key: int | str) -> Sampling:
    """The sampling of a turn: each turn and each attempt has its own seed, derived from the session's."""
    return sampling if sampling.seed is None else replace(sampling, seed=derive_seed(sampling.seed, *key))
