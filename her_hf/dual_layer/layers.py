"""The words of dual-layer thinking: layers, views, tags, segments, turns.

Source: HER, arXiv 2601.21459, section on dual-layer thinking. System thinking is third person and seen by nobody
in the scene; role thinking is first person and seen by its own character; actions and speech are seen by all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

ENVIRONMENT = "Environment"
"""Name of the speaker that stands for the world. Its text is speech that all see; it has no thoughts."""


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
    """Who looks: the author (everything), the character itself (no system thinking), everybody else (no thinking)."""

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
"""Every tag that is read, with its layer. Written are only the values of [`Layer`], and speech without a tag."""


class Issue(StrEnum):
    """What a parser noticed. An issue never changes what two turns are worth in a comparison."""

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
            Line breaks that stood before it, outside tags: 0, 1, or 2 for a blank line and more. Layout, not part of
            equality.
    """

    layer: Layer
    text: str
    breaks: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Turn:
    """One character's move: who, the hidden plan, and what is thought, done and said, in order.

    Args:
        name (`str`, *optional*): The label the text began with (`Name: `), if any.
        system_thinking (`str`, *optional*):
            Text of the leading system block; `""` for an empty block, `None` for none.
        segments (`tuple[Segment, ...]`):
            Role thinking, actions and speech in order; a misplaced system block stands here too.
        issues (`tuple[Issue, ...]`): What the parser noticed; not part of equality.
        origin_id (`tuple[int, ...]`): Indices of the raw messages this turn was made from; not part of equality.

    Example:

    ```python
    >>> turn = parse_turn(
    ...     "<system_thinking>Ann stalls.</system_thinking>Ann: <role_thinking>Not now.</role_thinking> Tea?"
    ... )
    >>> turn.name, turn.pattern, turn.render(view="others")
    ('Ann', 'TS', 'Ann: Tea?')
    ```
    """

    name: str | None = None
    system_thinking: str | None = None
    segments: tuple[Segment, ...] = ()
    issues: tuple[Issue, ...] = field(default=(), compare=False)
    origin_id: tuple[int, ...] = field(default=(), compare=False)

    @property
    def pattern(self) -> str:
        """Order of the layers in letters, e.g. `"TAST"`; `""` for a turn without segments."""
        from .patterns import pattern_of  # here, because it needs this module

        return pattern_of(self.segments)

    @property
    def well_formed(self) -> bool:
        """One closed system block, a label, at least one visible layer, and no issue.

        Whether the reply was ended by the end-of-turn token is not in its text: whoever sampled it must check that
        too, and parse with `speaker`, so that somebody else's label is an issue.
        """
        visible = any(View.OTHERS.shows(segment.layer) for segment in self.segments)
        return bool(self.system_thinking) and self.name is not None and visible and not self.issues

    def text_of(self, layers: Iterable[Layer]) -> str:
        """Text of the given layers, in order, joined by spaces."""
        wanted = set(layers)
        return " ".join(segment.text for segment in self.segments if segment.layer in wanted)

    def render(self, notation: str = "her", view: str | View = View.FULL) -> str:
        """Writes the turn as text.

        Args:
            notation (`str`, *optional*, defaults to `"her"`): `"her"` (tags) or `"coser"` (`[thought]`, `(action)`).
            view (`str` or `View`, *optional*, defaults to `"full"`): `"full"`, `"self"` or `"others"`.

        Returns:
            `str`: The text. Parsing the full view again gives an equal turn.

        Raises:
            `ValueError`: If notation or view is unknown.
        """
        from .notation import render_turn  # here, because it needs this module

        return render_turn(self, notation=notation, view=View(view))
