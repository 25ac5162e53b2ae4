"""Joins pieces of layered text into runs: the one place that decides about white space.

White space at either end of a run is dropped, white space inside is kept. Two pieces with a tag between them, of one
run or of two, are joined by a single space, or by the line breaks outside tags (a blank line at most): a message may
contain several speakers in paragraphs.

A tagged element is a run: two actions stay two, whatever is between them, because only the tags show where the first
one ends. Speech has no tags, so its pieces are one run. The chat template (`her_hf/processing/templates`) follows the
same rules.
"""

from __future__ import annotations

from collections.abc import Callable

from .layers import Layer, Segment
from .text import has_open_angle, joint


class RunAssembler:
    """Collects runs of one layer each and reports every addition.

    Args:
        on_text (`Callable[[int, Layer, str], None]`, *optional*): Called with run index, layer and added text; the
            additions of one index concatenate to the text of that run.
    """

    def __init__(self, on_text: Callable[[int, Layer, str], None] | None = None) -> None:
        self._on_text = on_text
        self._runs: list[tuple[Layer, list[str], int]] = []
        self._white: list[str] = []
        self._crossed = False
        self._left = False
        self._open_angle = False
        self._breaks = 0

    @property
    def current(self) -> Layer | None:
        """Layer of the last run."""
        return self._runs[-1][0] if self._runs else None

    @property
    def empty(self) -> bool:
        return not self._runs

    def cross_tag(self, into: Layer | None = None) -> None:
        """Marks the position of a tag: white space around it is layout.

        Args:
            into (`Layer`, *optional*): Layer of the text after the tag. A layer other than that of the last run ends
                the run, even if no text follows; so does `None`.
        """
        self._left = self._left or into is not self.current
        if self._crossed and not self._white:
            return
        if self.current is Layer.SPEECH:
            self.break_lines("".join(self._white).count("\n"))
        self._white = []
        self._crossed = True

    def break_lines(self, count: int) -> None:
        """Adds line breaks that are outside tags."""
        self._breaks += count

    def add(self, layer: Layer, text: str) -> None:
        """Adds text of `layer`; a change of layer counts as a tag."""
        if layer is not self.current:
            self.cross_tag(layer)
        if self._crossed:
            stripped = text.lstrip()
            if layer is Layer.SPEECH:
                self.break_lines(text.count("\n", 0, len(text) - len(stripped)))
            text = stripped
        body = text.rstrip()
        if not body:
            if not self._crossed:
                self._white.append(text)
            return
        if layer is self.current and (layer is Layer.SPEECH or not self._left):
            lead = joint(self._open_angle, self._breaks) if self._crossed else "".join(self._white)
            self._open_angle = has_open_angle(body, self._open_angle)
        else:
            self._runs.append((layer, [], min(self._breaks, 2) if self._runs else 0))
            lead = ""
            self._open_angle = has_open_angle(body)
        self._crossed = self._left = False
        self._breaks = 0
        self._white = [text[len(body) :]]
        self._runs[-1][1].append(lead + body)
        if self._on_text:
            self._on_text(len(self._runs) - 1, layer, lead + body)

    def segments(self) -> tuple[Segment, ...]:
        return tuple(Segment(layer, "".join(parts), breaks) for layer, parts, breaks in self._runs)
