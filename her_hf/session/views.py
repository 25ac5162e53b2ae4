"""A session as its three viewers see it: the author, a character, and the visitor."""

from __future__ import annotations

from typing import Any

from her_hf.dual_layer import Layer, Turn, View, visible_runs

from .history import History

AUTHOR = "author"
"""The viewer who sees all layers of all turns."""


def viewed_turn(turn: Turn, viewer: str) -> list[dict[str, Any]]:
    """The parts of a turn that a viewer sees, in order, as JSON data with `layer` and `text`.

    Args:
        turn (`Turn`): The turn.
        viewer (`str`): [`AUTHOR`], who sees everything; or a name: who sees own turns without system thinking, and of
            other turns neither system thinking nor thoughts.
    """
    view = View.FULL if viewer == AUTHOR else View.SELF if viewer == turn.name else View.OTHERS
    parts = [{"layer": part.layer.value, "text": part.text} for part in visible_runs(turn.segments, view)]
    if view is View.FULL and turn.system_thinking:
        parts.insert(0, {"layer": Layer.SYSTEM_THINKING.value, "text": turn.system_thinking})
    return parts


def viewed(history: History, viewer: str) -> list[dict[str, Any]]:
    """The turns as JSON data: `index`, `name`, `parts`, how many `alternatives` there are, and which is `chosen`."""
    return [
        {
            "index": index,
            "name": turn.name,
            "parts": viewed_turn(turn, viewer),
            "alternatives": len(history.alternatives(index)),
            "chosen": history.chosen(index),
        }
        for index, turn in enumerate(history.turns)
    ]
