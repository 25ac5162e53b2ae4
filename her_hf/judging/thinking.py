"""Tags around thinking, ours and those of other models: one list for everything that strips it."""

from __future__ import annotations

from her_hf.dual_layer import TAGS, Layer

_NAMES = "|".join(
    [
        *(tag for tag, layer in TAGS.items() if layer is Layer.SYSTEM_THINKING),
        *("thinking", "thoughts", "reasoning", "reflection", "analysis", "scratchpad"),
    ]
)

OPENS_THINKING = (
    rf"<\s*+(?:seed:)?+(?:{_NAMES})(?:\s[^<>]{{0,80}})?>|\[think\]|◁think▷"
    r"|<\|channel\|>\s*+(?:analysis|commentary)[^<>]{0,40}<\|message\|>"
)
"""A mark after which a model thinks, for a pattern that ignores case."""

CLOSES_THINKING = (
    rf"<\s*+/\s*+(?:seed:)?+(?:{_NAMES})\s*+>|\[/think\]|◁/think▷"
    r"|<\|channel\|>\s*+final[^<>]{0,40}<\|message\|>"
)
"""A mark before which it has thought, for a pattern that ignores case."""
