"""The terms of dual-layer thinking: layers, views, tags, issues, segments.

Source: HER, arXiv 2601.21459, section on dual-layer thinking. System thinking is third person and invisible to
everyone in the scene; role thinking is first person and visible to its own character; actions and speech are visible
to all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

ENVIRONMENT = "Environment"
"""Name of the speaker that represents the world. Its text is speech that everyone sees; it has no thoughts."""


class Layer(StrEnum):
    """One layer of a turn. The value is the canonical tag name."""

    SYSTEM_THINKING = "system_thinking"
    ROLE_THINKING = "role_thinking"
    ROLE_ACTION = "role_action"
    SPEECH = "role_speech"

    @property
    def letter(self) -> str:
        """One letter of a pattern: T(hinking), A(ction), S(peech); system thinking has none."""
        return _LETTERS[self]

    @property
    def is_thinking(self) -> bool:
        return self in (Layer.SYSTEM_THINKING, Layer.ROLE_THINKING)


_LETTERS = {Layer.SYSTEM_THINKING: "", Layer.ROLE_THINKING: "T", Layer.ROLE_ACTION: "A", Layer.SPEECH: "S"}


class View(StrEnum):
    """The viewer: the author (everything), the character itself (no system thinking), all others (no thinking)."""

    FULL = "full"
    SELF = "self"
    OTHERS = "others"

    def shows(self, layer: Layer) -> bool:
        """Whether this viewer may see `layer`."""
        if self is View.FULL:
            return True
        if self is View.SELF:
            return layer is not Layer.SYSTEM_THINKING
        return not layer.is_thinking


TAGS: dict[str, Layer] = {
    "system_thinking": Layer.SYSTEM_THINKING,
    "system_think": Layer.SYSTEM_THINKING,
    "systemthinking": Layer.SYSTEM_THINKING,
    "think": Layer.SYSTEM_THINKING,
    "thought": Layer.SYSTEM_THINKING,
    "role_thinking": Layer.ROLE_THINKING,
    "role_think": Layer.ROLE_THINKING,
    "long_role_thinking": Layer.ROLE_THINKING,
    "role_action": Layer.ROLE_ACTION,
    "role_speech": Layer.SPEECH,
}
"""Every tag that is read, with its layer. Only the values of [`Layer`] are written, and speech without a tag."""


class Issue(StrEnum):
    """What a parser found wrong in a turn. Issues do not count when turns are compared."""

    UNCLOSED = "unclosed"
    NESTED = "nested"
    STRAY_CLOSE = "stray_close"
    MISPLACED_SYSTEM_THINKING = "misplaced_system_thinking"
    REPEATED_SYSTEM_THINKING = "repeated_system_thinking"
    FOREIGN_SPEAKER = "foreign_speaker"
    RESTYLED_LABEL = "restyled_label"
    UNKNOWN_TAG = "unknown_tag"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of one layer.

    Args:
        layer (`Layer`): The layer of the run.
        text (`str`): Its text, without tags and without white space at either end.
        breaks (`int`, *optional*, defaults to 0):
            Line breaks before it, outside tags: 0, 1, or 2 for a blank line and more. Layout, not part of equality.
    """

    layer: Layer
    text: str
    breaks: int = field(default=0, compare=False)
