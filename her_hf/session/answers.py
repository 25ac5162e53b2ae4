"""Reading replies: pieces to show, what the log stores, why a reply gave no turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from her_hf.dual_layer import Turn, TurnEvent
from her_hf.inference import Reply
from her_hf.inference.wire import whole_characters

from .events import Delta
from .log import Record


def received(text: str) -> str:
    """Text from a model or a visitor in a form that log, terminal and requests accept, see [`whole_characters`]."""
    return whole_characters(text)


def deltas_of(events: Sequence[TurnEvent]) -> list[Delta]:
    """The text events of a stream, without the label, which is known."""
    return [Delta(event.layer, event.text, event.segment) for event in events if event.layer is not None]


def why_empty(turn: Turn, reply: Reply | None) -> str:
    """Why a reply gave no turn, and what to do."""
    if reply is None:
        return "The model stopped without ending its reply. Try again."
    if turn.system_thinking and not reply.ended:
        return (
            f"The reply was truncated after {reply.usage.completion_tokens or 'its'} tokens while still in system "
            "thinking: allow more tokens per reply, or try again."
        )
    if turn.system_thinking:
        return "The model wrote nothing but system thinking: try again."
    return "The model wrote nothing: try again, perhaps with another temperature."


def about(reply: Reply, *, labelled: bool) -> Record:
    """What a log stores of a reply in addition to its turn, including the raw text."""
    return {
        "text": reply.text,
        "model": reply.model,
        "finish_reason": reply.finish_reason,
        "ended": reply.ended,
        "labelled": labelled,
        "usage": asdict(reply.usage),
    }
