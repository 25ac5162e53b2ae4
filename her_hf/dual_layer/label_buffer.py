"""The first speech of a turn, held back until it is decided whether it starts with a label."""

from __future__ import annotations

from collections.abc import Sequence

from .labels import Label, find_label
from .text import has_open_angle, joint


class LabelBuffer:
    """Collects the first speech, joined as [`RunAssembler`] joins it.

    Args:
        names (`Sequence[str]`): The cast; see [`find_label`].
        speaker (`str`, *optional*): Who should speak.
    """

    def __init__(self, names: Sequence[str], speaker: str | None) -> None:
        self._names, self._speaker = names, speaker
        self._text = ""
        self._white: list[str] = []  # white space after the text, which may or may not belong to it
        self._crossed = self._open_angle = False
        self.breaks = 0
        """Line breaks around the tags that followed the text."""

    @property
    def started(self) -> bool:
        return bool(self._text)

    def cross_tag(self) -> None:
        """Marks the position of a tag: white space around it is layout."""
        self.breaks += "".join(self._white).count("\n")
        self._crossed, self._white = True, []

    def add(self, text: str) -> bool:
        """Adds speech; returns whether it contains more than white space, which counts only once text follows."""
        if self._crossed:
            stripped = text.lstrip()
            self.breaks += text.count("\n", 0, len(text) - len(stripped))
            text = stripped
        body = text.rstrip() if self._text else text.strip()
        if not body:
            if self._text and not self._crossed:
                self._white.append(text)
            return False
        lead = joint(self._open_angle, self.breaks) if self._crossed else "".join(self._white)
        self._open_angle = has_open_angle(body, self._open_angle)
        self._text += (lead if self._text else "") + body
        self._crossed = False
        self.breaks = 0
        self._white = [text[len(text.rstrip()) :]]
        return True

    def decide(self, *, final: bool) -> Label | None:
        """The label, if it can be decided; see [`find_label`]."""
        return find_label(self._text, self._names, self._speaker, final)

    def after(self, label: Label) -> str:
        """The text behind the label."""
        return self._text[label.length :] + "".join(self._white)
