"""Joining and escaping text so that no new tag can result."""

from __future__ import annotations

import re

from .layers import TAGS

ZERO_WIDTH_SPACE = "\u200b"
MAX_TAG_INNER = 64
"""Maximum length of the text between `<` and `>` of a tag: it allows inner spaces and bounds a stream's buffer."""

ROUND, SQUARE = "(（", "[［【"
"""Brackets that open an action and a thought in CoSER notation, including those of Chinese and Japanese text."""
CLOSE_ROUND, CLOSE_SQUARE = ")）", "]］】"
"""Brackets that close an action and a thought, of either width: models mix the two."""
BRACKETS = ROUND + CLOSE_ROUND + SQUARE + CLOSE_SQUARE

_TAG_SHAPE = re.compile(r"<([^<>]*)>")


def read_tag(inner: str) -> tuple[str, bool] | None:
    """Reads the text between `<` and `>`: the tag's name and whether it closes, or `None` if it is not a layer tag."""
    if len(inner) > MAX_TAG_INNER:
        return None
    inner = inner.strip()
    closing = inner.startswith("/")
    name = (inner[1:].strip() if closing else inner).lower()
    return (name, closing) if name in TAGS else None


def has_open_angle(text: str, before: bool = False) -> bool:
    """Whether `text` ends inside an unfinished `<…`; `before` is whether the text before it does."""
    opened, closed = text.rfind("<"), text.rfind(">")
    return before if opened == closed else opened > closed


def separator(breaks: int) -> str:
    """The text between two runs: a space, or their line breaks, a blank line at most."""
    return "\n" * min(breaks, 2) or " "


def joint(open_angle: bool, breaks: int = 0) -> str:
    """The text between two pieces of a run that had a tag between them.

    White space separates words. After an unfinished `<` it could complete a tag (`<` + `role_action>`), so a
    zero-width space is added.
    """
    return separator(breaks) + ZERO_WIDTH_SPACE if open_angle else separator(breaks)


def escape_tags(text: str) -> str:
    """Inserts a zero-width space after the `<` of every layer tag, so that the tag is read as plain text.

    Example:

    ```python
    >>> escape_tags("say <think>") == "say <\u200bthink>"
    True
    ```
    """
    return _TAG_SHAPE.sub(
        lambda match: "<" + ZERO_WIDTH_SPACE + match[0][1:] if read_tag(match[1]) else match[0], text
    )
