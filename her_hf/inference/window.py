"""Fitting a conversation into the window, trimmed in the same way as for training (`her_hf.scenes.trimming`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from her_hf.scenes.trimming import drop_oldest, droppable_turns, join_turns, part_turns

from .interface import ChatModel, Message, Messages, Prompt


class WindowFull(ValueError):
    """Not even the newest exchange fits."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """Messages that fit, how many of the oldest were dropped, and the prompt they make."""

    messages: list[Message]
    dropped: int
    prompt: Prompt


class Room(NamedTuple):
    """Messages that fit, how many of the oldest were dropped, and how long the reply may be."""

    messages: list[Message]
    dropped: int
    max_tokens: int


async def make_room(
    messages: Messages, model: ChatModel, window: int, max_tokens: int, *, thinking: bool, names: Sequence[str] = ()
) -> Room:
    """Fits a prompt into a window with a reply of `max_tokens`, or else of what is left of the window.

    The reply is only shortened where not even the newest exchange leaves room for all of it, and never to less than
    a quarter of the window, in which hardly any reply could end.

    Raises:
        [`WindowFull`]: If the newest exchange leaves less than both.
        `ModelError`: If the backend cannot be asked.
    """
    least = min(max_tokens, window // 4)
    try:
        found = await fit(messages, model, window - max_tokens, thinking=thinking, names=names)
    except WindowFull:
        if least == max_tokens:
            raise
        found = await fit(messages, model, window - least, thinking=thinking, names=names)
    return Room(found.messages, found.dropped, min(max_tokens, window - found.prompt.tokens))


async def fit(
    messages: Messages, model: ChatModel, limit: int | None, *, thinking: bool, names: Sequence[str] = ()
) -> Fitted:
    """Drops as few of the oldest turns as necessary to make the prompt fit into `limit` tokens.

    The system message and the newest turn of others always remain, and the conversation still begins with its start
    mark. A backend that cannot count tokens estimates them (`Prompt.exact` is `False`), erring on the high side. With
    `names` (the speakers), turns that share a message are dropped individually; without, a message is a turn.

    Raises:
        [`WindowFull`]: If what must remain is longer than `limit`.
        `ModelError`: If the backend cannot be asked.
    """

    turns: Messages = part_turns(messages, names) if names else messages

    async def attempt(dropped: int) -> Fitted:
        kept = join_turns(drop_oldest(turns, dropped)) if dropped else [dict(message) for message in messages]
        return Fitted(kept, dropped, await model.prompt(kept, thinking=thinking))

    whole = await attempt(0)
    if limit is None or whole.prompt.tokens <= limit:
        return whole
    low, high = 0, droppable_turns(turns)
    best = await attempt(high)
    if best.prompt.tokens > limit:
        about = "" if best.prompt.exact else "about "
        raise WindowFull(
            f"The scene and the newest exchange alone take {about}{best.prompt.tokens} tokens, but only {limit} are "
            "left for the prompt. Allow a larger context window or fewer tokens per reply, or choose a shorter scene."
        )
    while high - low > 1:  # `low` does not fit, `high` does; fewer turns are never longer
        middle = (low + high) // 2
        tried = await attempt(middle)
        if tried.prompt.tokens <= limit:
            high, best = middle, tried
        else:
            low = middle
    return best
