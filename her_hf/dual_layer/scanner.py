"""Splits text into plain text and layer tags incrementally, holding back only an unfinished tag.

It also detects text that was meant as a tag but is not read as one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .layers import TAGS, Layer
from .text import BRACKETS, MAX_TAG_INNER, ZERO_WIDTH_SPACE, read_tag

_BRACKET = re.compile(f"[{re.escape(BRACKETS)}]{ZERO_WIDTH_SPACE}?")
_WORD = r"[^\W\d][\w-]*+(?:[.:][\w-]++)*+"
_LAYER = "|".join(tag.replace("_", r"[\s_-]*+") for tag in TAGS if "_" in tag)
_MEANT_AS_TAG = re.compile(
    rf"<(?:/\s*+[^\W\d][^<>]*+|{_WORD}(?:\s++[\w-]++\s*+=[^<>]*+)?\s*+/?)>"  # </a b>, <a>, <a/>, <a b="c">
    rf"|<\s*+(?:/\s*+)?(?:{_LAYER})",  # a layer's name, however its words are joined, with or without the end
    re.IGNORECASE,
)
_MIN_CUT = 3  # letters: "a <s" is ordinary text, "<rol" a truncated tag


@dataclass(frozen=True, slots=True)
class Tag:
    """A layer tag."""

    layer: Layer
    closing: bool


def could_become_tag(inner: str) -> bool:
    """Whether text after an open `<` may still become a layer tag."""
    if len(inner) > MAX_TAG_INNER:
        return False
    rest = inner.lstrip().removeprefix("/").lstrip()
    name = rest.rstrip().lower()
    if rest != rest.rstrip():
        return name in TAGS
    return any(known.startswith(name) for known in TAGS)


def has_unknown_tag(text: str) -> bool:
    """Whether plain text contains text meant as a tag, or ends in a truncated layer tag; in linear time.

    Example:

    ```python
    >>> [has_unknown_tag(text) for text in ("<role-thinking>", "</inner voice>", "<思考>", "Hi <role_thi")]
    [True, True, True, True]
    >>> [has_unknown_tag(text) for text in ("a < b", "I <3 you", "x <- y", "<not a tag>")]
    [False, False, False, False]
    ```
    """
    if _MEANT_AS_TAG.search(text):
        return True
    tail = text[text.rfind("<") + 1 :] if "<" in text else ""
    name = tail.removeprefix("/")
    return len(name) >= _MIN_CUT and name[0].isalpha() and could_become_tag(tail)


class TagScanner:
    """Splits a text that arrives in chunks into `str` pieces and [`Tag`]s, in linear time."""

    def __init__(self) -> None:
        self._held: list[str] = []

    def feed(self, chunk: str) -> Iterator[str | Tag]:
        """Yields the pieces that are decided so far."""
        text = "".join(self._held) + chunk if self._held else chunk
        self._held = []
        start = position = 0  # text[start:position] is plain text that was not yielded yet
        while True:
            opened = text.find("<", position)
            if opened < 0:
                break
            # The next `<` is found first: each search then ends where the next one starts, so the time is linear.
            again = text.find("<", opened + 1)
            closed = text.find(">", opened + 1, again if again >= 0 else len(text))
            if closed < 0 and again < 0 and could_become_tag(text[opened + 1 :]):
                self._held = [text[opened:]]
                text = text[:opened]
                break
            read = read_tag(text[opened + 1 : closed]) if closed >= 0 else None
            if read is None:
                position = opened + 1
                continue
            if opened > start:
                yield text[start:opened]
            yield Tag(TAGS[read[0]], read[1])
            start = position = closed + 1
        if start < len(text):
            yield text[start:]

    def close(self) -> Iterator[str | Tag]:
        """Yields the text held back: an unfinished tag is text."""
        if self._held:
            yield "".join(self._held)
            self._held = []


def split_brackets(text: str) -> Iterator[str]:
    """Splits text at CoSER brackets; an escaped bracket is yielded with its zero-width space."""
    position = 0
    for match in _BRACKET.finditer(text):
        if match.start() > position:
            yield text[position : match.start()]
        yield match[0]
        position = match.end()
    if position < len(text):
        yield text[position:]
