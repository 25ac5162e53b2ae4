"""Reading replies: pieces to show, what the log stores, why a reply gave no turn."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict, replace

from her_hf.dual_layer import Turn, TurnEvent, TurnStream
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


class Writing:
    """A reply while it is written.

    Args:
        speaker (`str`): Who speaks.
        names (`Sequence[str]`): Everyone who can speak.
        begun (`str`, *optional*): What was written before, if a reply is continued.
    """

    def __init__(self, speaker: str, names: Sequence[str], begun: str = "") -> None:
        self.reply: Reply | None = None
        self.speaker, self._names, self._begun = speaker, names, begun
        self._written: list[str] = []
        self.stream = TurnStream(prefilled=False, speaker=speaker, names=names)

    @property
    def text(self) -> str:
        """All that was written, with what the reply began with; empty if nothing was added."""
        return "".join([self._begun, *self._written]) if self._written else ""

    async def read(self, pieces: AsyncGenerator[str | Reply, None]) -> AsyncGenerator[Delta, None]:
        """Yields the text of the turn from the pieces of a model, after what was written before."""
        for delta in deltas_of(self.stream.feed(self._begun)):
            yield delta
        async with aclosing(pieces) as coming:
            async for piece in coming:
                if isinstance(piece, Reply):
                    self.reply = piece
                    continue
                self._written.append(received(piece))
                for delta in deltas_of(self.stream.feed(self._written[-1])):
                    yield delta

    def rest(self) -> list[Delta]:
        """The text that the stream held back until it was closed."""
        return deltas_of(self.stream.last_events)

    def so_far(self) -> Turn:
        """The turn as far as it was written."""
        return read_broken(self.text, self.speaker, self._names)


def read_broken(text: str, speaker: str, names: Sequence[str]) -> Turn:
    """The turn of a reply that broke off."""
    stream = TurnStream(prefilled=False, speaker=speaker, names=names)
    stream.feed(text)
    return replace(stream.close(), name=speaker)


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
