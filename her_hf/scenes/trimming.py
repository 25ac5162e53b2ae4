"""Dropping the oldest turns of a conversation as a whole, in the same way for training and sessions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from her_hf.dual_layer import ENVIRONMENT, escape_tags

from .messages import START
from .names import one_line

Message = Mapping[str, Any]


def drop_oldest(messages: Sequence[Message], turns: int) -> list[dict[str, Any]]:
    """Drops the oldest `turns` messages after the system message.

    If the conversation starts with the start marker, the remaining one does too; before an assistant message the
    marker is a message by itself, as in a scene that starts with that character.

    Args:
        messages (`Sequence[Mapping]`): The conversation, optionally with a leading system message.
        turns (`int`): Number of messages to drop; a message that is only the marker does not count.

    Returns:
        `list[dict]`: A new list; the given messages are not changed.
    """
    if turns <= 0:
        return [dict(message) for message in messages]
    head = 1 if messages and messages[0]["role"] == "system" else 0
    body = list(messages[head:])
    marked = bool(body) and _text(body[0]).startswith(START)
    if marked and _text(body[0]).strip() == START:
        body = body[1:]
    kept = [dict(message) for message in body[turns:]]
    if marked:
        if kept and kept[0]["role"] == "user":
            kept[0]["content"] = f"{START}\n\n{_text(kept[0])}"
        else:
            kept.insert(0, {"role": "user", "content": START})
    return [dict(message) for message in messages[:head]] + kept


def droppable_turns(messages: Sequence[Message]) -> int:
    """Number of the oldest messages that may be dropped: all before the last user message, except the system message
    and a bare marker.

    If the last user message is a bare marker (the character speaks first), nothing can be dropped.
    """
    users = [index for index, message in enumerate(messages) if message["role"] == "user"]
    if not users:
        return 0
    head = 1 if messages[0]["role"] == "system" else 0
    if len(messages) > head and _text(messages[head]).strip() == START:
        head += 1
    return max(0, users[-1] - head)


def part_turns(messages: Sequence[Message], names: Sequence[str]) -> list[dict[str, Any]]:
    """Splits merged turns of others into one message each, which the chat template merges again.

    Args:
        messages (`Sequence[Mapping]`): The conversation, as [`Scene.messages_for`] writes it.
        names (`Sequence[str]`): The speakers: a paragraph that starts with one of these labels starts a turn.

    Returns:
        `list[dict]`: A new list; the start marker becomes a separate message.
    """
    labels = "|".join(re.escape(escape_tags(one_line(name))) for name in {*names, ENVIRONMENT})
    border = re.compile(rf"\n\n(?=(?:{labels}):)")
    parted: list[dict[str, Any]] = []
    for message in messages:
        content = message.get("content")
        whole = message["role"] != "user" or message.get("name") or not isinstance(content, str)
        texts = [content] if whole else border.split(str(content))
        parted += [{**message, "content": text} for text in texts] if "content" in message else [dict(message)]
    return parted


def join_turns(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Merges consecutive user messages, as the chat template does and some servers require.

    Messages with a `name` or with content other than text are not changed.
    """
    joined: list[dict[str, Any]] = []
    for message in messages:
        if joined and _joinable(joined[-1]) and _joinable(message):
            joined[-1]["content"] += f"\n\n{message['content']}"
        else:
            joined.append(dict(message))
    return joined


def _joinable(message: Message) -> bool:
    return message["role"] == "user" and isinstance(message.get("content"), str) and not message.get("name")


def _text(message: Message) -> str:
    """Text of a message whose content may be a string, text parts or `None`."""
    content = message.get("content")
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "".join(part if isinstance(part, str) else str(part.get("text") or "") for part in content)
