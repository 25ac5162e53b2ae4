"""A scene as chat messages for one member of its cast."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from her_hf.dual_layer import Segment, Turn, View, escape_tags, render_segments, visible_runs

from .names import one_line
from .prompt import scene_prompt

if TYPE_CHECKING:
    from .models import Scene

START = "===Conversation Start==="
"""First line of the first user message."""


def messages_for(
    scene: Scene,
    character: str,
    *,
    turns: int | None = None,
    system_thinking: bool = True,
    prompt: str | None = None,
    notation: str = "her",
) -> list[dict[str, str]]:
    """See [`Scene.messages_for`]; optionally with another system message (`prompt`) or in CoSER notation."""
    scene.member(character)
    count = len(scene.dialogue)
    if turns is not None and not 0 <= turns <= count:
        raise ValueError(f"turns must be from 0 to {count} for the scene {scene.key}, got {turns}.")
    if prompt is None:
        prompt = scene_prompt(scene, character, system_thinking=system_thinking)
    messages = [{"role": "system", "content": prompt}]
    heard = [START]
    for turn in scene.dialogue[:turns]:
        if turn.name != character:
            heard.append(labelled(turn, View.OTHERS, notation))
            continue
        messages.append({"role": "user", "content": "\n\n".join(heard)})
        heard = []
        message = {"role": "assistant", "content": labelled(turn, View.SELF, notation)}
        thinking = (turn.system_thinking or "").strip()
        if turns is None and system_thinking and thinking:
            message["reasoning_content"] = escape_tags(thinking)
        messages.append(message)
    if heard:
        messages.append({"role": "user", "content": "\n\n".join(heard)})
    return messages


def labelled(turn: Turn, view: View, notation: str = "her") -> str:
    """A turn as text of a message: `Name: ` and the view of the turn; only the label if the view is empty."""
    breaks = tuple(segment.breaks for segment in turn.segments)
    return _labelled(turn.name or "", turn.segments, breaks, view, notation)


@lru_cache(maxsize=16_384)  # a simulation renders each turn many times
def _labelled(name: str, segments: tuple[Segment, ...], breaks: tuple[int, ...], view: View, notation: str) -> str:
    """`breaks` does not count in the equality of segments, but changes their text, so it is part of the cache key."""
    body = render_segments(visible_runs(segments, view), notation)
    return f"{escape_tags(one_line(name))}: {body}".rstrip()
