"""A turn: one character's move, and its text in either notation and any view."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .layers import Issue, Layer, Segment, View
from .notation import render_label, render_segments, system_block, visible_runs
from .patterns import pattern_of
from .text import escape_tags


@dataclass(frozen=True, slots=True)
class Turn:
    """One character's move: the speaker, the hidden plan, and what is thought, done and said, in order.

    Args:
        name (`str`, *optional*): The label at the start of the text (`Name: `), if any.
        system_thinking (`str`, *optional*):
            Text of the leading system block; `""` for an empty block, `None` for none.
        segments (`tuple[Segment, ...]`):
            Role thinking, actions and speech in order, and misplaced system blocks.
        issues (`tuple[Issue, ...]`): What the parser found wrong; not part of equality.
        origin_id (`tuple[int, ...]`): Indices of the raw messages of this turn; not part of equality.

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
        return pattern_of(self.segments)

    @property
    def well_formed(self) -> bool:
        """One closed system block, a label, at least one visible layer, and no issue.

        The text does not show whether the reply was ended by the end-of-turn token: the caller must check that as
        well, and parse with `speaker`, so that another speaker's label is an issue.
        """
        visible = any(View.OTHERS.shows(segment.layer) for segment in self.segments)
        return bool(self.system_thinking) and self.name is not None and visible and not self.issues

    def text_of(self, layers: Iterable[Layer]) -> str:
        """Text of the given layers, in order, joined by spaces."""
        wanted = set(layers)
        return " ".join(segment.text for segment in self.segments if segment.layer in wanted)

    def render(self, notation: str = "her", view: str | View = View.FULL) -> str:
        """Renders the turn as text.

        Args:
            notation (`str`, *optional*, defaults to `"her"`): `"her"` (tags) or `"coser"` (`[thought]`, `(action)`).
            view (`str` or `View`, *optional*, defaults to `"full"`): `"full"`, `"self"` or `"others"`.

        Returns:
            `str`: The text. Parsing the full view again gives an equal turn.

        Raises:
            `ValueError`: If notation or view is unknown.
        """
        shown = View(view)
        body = render_segments(visible_runs(self.segments, shown), notation)
        if self.name is not None:
            body = f"{render_label(self.name, notation)} {body}".rstrip()
        if self.system_thinking is None or shown is not View.FULL:
            return body
        return f"{system_block(escape_tags(self.system_thinking))}\n{body}".rstrip()
