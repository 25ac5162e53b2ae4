"""Rendering turns in HER notation (tags) and CoSER notation (brackets).

CoSER notation may be read with full-width brackets but is always written with ASCII brackets, so that a prompt has
only one notation; a full-width bracket that is text is escaped like an ASCII one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from .assembler import RunAssembler
from .layers import Layer, Segment, View
from .text import (
    BRACKETS,
    CLOSE_ROUND,
    CLOSE_SQUARE,
    ROUND,
    SQUARE,
    ZERO_WIDTH_SPACE,
    escape_tags,
    separator,
)

_SYSTEM_TAG = Layer.SYSTEM_THINKING.value
_BRACKET = re.compile(f"[{re.escape(BRACKETS)}]")


def system_block(text: str) -> str:
    r"""The leading system block as used in training and prefills: tag, newline, trimmed text, newline, tag.

    Example:

    ```python
    >>> system_block("Ann stalls.")
    '<system_thinking>\nAnn stalls.\n</system_thinking>'
    ```
    """
    body = f"{text}\n" if text else ""
    return f"<{_SYSTEM_TAG}>\n{body}</{_SYSTEM_TAG}>"


def visible_runs(segments: Iterable[Segment], view: View) -> tuple[Segment, ...]:
    """What a viewer sees. Speech with only hidden text in between becomes one run; actions and thoughts do not."""
    runs = RunAssembler()
    for segment in segments:
        runs.cross_tag()
        runs.break_lines(segment.breaks)
        if view.shows(segment.layer):
            runs.add(segment.layer, segment.text)
    return runs.segments()


def render_segments(segments: Iterable[Segment], notation: str = "her") -> str:
    """Renders segments, joined by a space or by the line breaks before them.

    Args:
        segments (`Iterable[Segment]`): Segments in order.
        notation (`str`, *optional*, defaults to `"her"`): `"her"` or `"coser"`.

    Returns:
        `str`: The text; literal tags and brackets are escaped with a zero-width space.

    Raises:
        `ValueError`: If the notation is unknown.
    """
    write = _WRITERS.get(notation)
    if write is None:
        raise ValueError(f"notation must be one of {sorted(_WRITERS)}, got {notation!r}")
    parts = [separator(segment.breaks) + write(segment) for segment in segments]
    return "".join(parts).lstrip()


def render_label(name: str, notation: str = "her") -> str:
    """The label of a turn, `Name:`; in CoSER notation, brackets of the name are escaped."""
    return f"{_escape(name, ROUND + SQUARE) if notation == 'coser' else name}:"


def _her(segment: Segment) -> str:
    text = escape_tags(segment.text)
    tag = segment.layer.value
    return text if segment.layer is Layer.SPEECH else f"<{tag}>{text}</{tag}>"


def _coser(segment: Segment) -> str:
    text = escape_tags(segment.text)
    if segment.layer is Layer.SPEECH:
        return _escape(text, ROUND + SQUARE)
    if segment.layer is Layer.ROLE_ACTION:
        plain = _plain(text, ROUND, CLOSE_ROUND)
        return f"({_inside(_escape(text, SQUARE if plain else ROUND + CLOSE_ROUND + SQUARE))})"
    if segment.layer is Layer.ROLE_THINKING:
        return f"[{_inside(_escape(text, '' if _plain(text, SQUARE, CLOSE_SQUARE) else SQUARE + CLOSE_SQUARE))}]"
    return _her(segment)


def _inside(text: str) -> str:
    """Adds a space before a text that starts with a zero-width space, which would escape the bracket before it."""
    return " " + text if text.startswith(ZERO_WIDTH_SPACE) else text


_WRITERS = {"her": _her, "coser": _coser}


def _plain(text: str, opening: str, closing: str) -> bool:
    """Whether brackets of this kind need no escape: they are balanced, and none looks escaped."""
    depth = 0
    for index, character in enumerate(text):
        if character not in opening + closing:
            continue
        depth += 1 if character in opening else -1
        if depth < 0 or text[index + 1 : index + 2] == ZERO_WIDTH_SPACE:
            return False
    return depth == 0


def _escape(text: str, brackets: str) -> str:
    """Escapes literal brackets with a zero-width space, and brackets that one already follows."""
    return _BRACKET.sub(
        lambda match: (
            match[0] + ZERO_WIDTH_SPACE
            if match[0] in brackets or text[match.end() : match.end() + 1] == ZERO_WIDTH_SPACE
            else match[0]
        ),
        text,
    )
