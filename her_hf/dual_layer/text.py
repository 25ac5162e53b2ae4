"""Joining and escaping text so that no new tag can arise from it."""

from __future__ import annotations

import re

from .layers import TAGS

ZERO_WIDTH_SPACE = "\u200b"
MAX_TAG_INNER = 64
"""Longest text between `<` and `>` that is still read as a tag: room for inner spaces, a bound for a stream."""

ROUND, SQUARE = "(（", "[［【"
"""Brackets that open an action and a thought in CoSER notation: those of Chinese and Japanese text count too."""
CLOSE_ROUND, CLOSE_SQUARE = ")）", "]］】"
"""Those that close one, whichever of its kind opened it: models mix the two widths."""
BRACKETS = ROUND + CLOSE_ROUND + SQUARE + CLOSE_SQUARE

_TAG_SHAPE = re.compile(r"<([^<>]*)>")


def read_tag(inner: str) -> tuple[str, bool] | None:
    """Reads what stands between `<` and `>`: the tag's name and whether it closes, or `None` if it is no layer tag."""
    if len(inner) > MAX_TAG_INNER:
        return None
    inner = inner.strip()
    closing = inner.startswith("/")
    name = (inner[1:].strip() if closing else inner).lower()
    return (name, closing) if name in TAGS else None


def has_open_angle(text: str, before: bool = False) -> bool:
    """Whether `text`, which follows text with an open `<` if `before`, ends inside an unfinished `<…`."""
    opened, closed = text.rfind("<"), text.rfind(">")
    return before if opened == closed else opened > closed


def separator(breaks: int) -> str:
    """What stands between two runs: a space, or the line breaks that stood there, a blank line at most."""
    return "\n" * min(breaks, 2) or " "


def joint(open_angle: bool, breaks: int = 0) -> str:
    """What goes between two pieces of a run that a tag parted.

    White space keeps words apart. After an unfinished `<` it could complete a tag (`<` + `role_action>`), so a
    zero-width space follows it.
    """
    return separator(breaks) + ZERO_WIDTH_SPACE if open_angle else separator(breaks)


def escape_tags(text: str) -> str:
    """Puts a zero-width space after the `<` of every layer tag, so that the tag is read as plain text.

    Example:

    ```python
    >>> escape_tags("say <think>") == "say <\u200bthink>"
    True
    ```
    """
    return _TAG_SHAPE.sub(
        lambda match: "<" + ZERO_WIDTH_SPACE + match[0][1:] if read_tag(match[1]) else match[0], text
    )
