"""Reading what comes in, above all a model's reply: pieces to show, what the log keeps, why nothing came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from her_hf.dual_layer import Turn, TurnEvent
from her_hf.inference import Reply
from her_hf.inference.wire import whole_characters

from .events import Delta
from .log import Record


def received(text: str) -> str:
    """Text from a model or a visitor as log, terminal and request can take it, see [`whole_characters`]."""
    return whole_characters(text)


def deltas_of(events: Sequence[TurnEvent]) -> list[Delta]:
    """The additions of text among a stream's events; the label is known anyway."""
    return [Delta(event.layer, event.text, event.segment) for event in events if event.layer is not None]


def why_empty(turn: Turn, reply: Reply | None) -> str:
    """Why a reply gave no turn, and what to do."""
    if reply is None:
        return "The model broke off without ending its reply. Try again."
    if turn.system_thinking and not reply.ended:
        return (
            f"The reply was cut after {reply.usage.completion_tokens or 'its'} tokens and still in system "
            "thinking: allow "
            "more tokens a reply, or try again."
        )
    if turn.system_thinking:
        return "The model wrote system thinking and nothing else: try again."
    return "The model wrote nothing: try again, perhaps with another temperature."


def about(reply: Reply, *, labelled: bool) -> Record:
    """What a log keeps of a reply beside its turn; the raw text as well, since a turn is a reading of it."""
    return {
        "text": reply.text,
        "model": reply.model,
        "finish_reason": reply.finish_reason,
        "ended": reply.ended,
        "labelled": labelled,
        "usage": asdict(reply.usage),
    }
