"""The tags and brackets that are open at a position of a turn, and the layer of text at that position."""

from __future__ import annotations

from dataclasses import dataclass

from .layers import Layer


@dataclass(slots=True)
class Frame:
    """An open tag or bracket.

    Args:
        layer (`Layer`): The layer that it opens.
        bracket (`bool`, *optional*, defaults to `False`): Whether it is a bracket of CoSER notation, not a tag.
        prefilled (`bool`, *optional*, defaults to `False`): Whether the prompt opened it: the reply may repeat its tag
            once.
        depth (`int`, *optional*, defaults to 0): Brackets of the same kind inside it that are not closed yet.
        empty (`bool`, *optional*, defaults to `True`): Whether nothing has followed it yet.
    """

    layer: Layer
    bracket: bool = False
    prefilled: bool = False
    depth: int = 0
    empty: bool = True


class OpenLayers:
    """A stack of [`Frame`]s that knows the layer of text without a search through the stack."""

    def __init__(self) -> None:
        self._frames: list[Frame] = []
        self._tags = dict.fromkeys(Layer, 0)
        self._thought_brackets = 0
        self.tag_depth = 0
        """How many of the frames are tags."""

    def __bool__(self) -> bool:
        return bool(self._frames)

    @property
    def top(self) -> Frame | None:
        return self._frames[-1] if self._frames else None

    @property
    def in_system_thinking(self) -> bool:
        return bool(self._tags[Layer.SYSTEM_THINKING])

    @property
    def layer(self) -> Layer:
        """Layer of text at this position: nothing inside thinking is visible."""
        if self.in_system_thinking:
            return Layer.SYSTEM_THINKING
        if self._tags[Layer.ROLE_THINKING] or self._thought_brackets:
            return Layer.ROLE_THINKING
        return self._frames[-1].layer if self._frames else Layer.SPEECH

    def has_tag(self, layer: Layer) -> bool:
        """Whether a tag of `layer` is open."""
        return bool(self._tags[layer])

    def push(self, frame: Frame) -> None:
        self._frames.append(frame)
        self._count(frame, 1)

    def pop(self) -> Frame:
        """Closes the top frame; the one below it is no longer empty."""
        closed = self._frames.pop()
        self._count(closed, -1)
        if self._frames:
            self._frames[-1].empty = False
        return closed

    def _count(self, frame: Frame, change: int) -> None:
        if not frame.bracket:
            self._tags[frame.layer] += change
            self.tag_depth += change
        elif frame.layer is Layer.ROLE_THINKING:
            self._thought_brackets += change
