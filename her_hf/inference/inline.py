"""System thinking inline, whatever way a backend hands it over.

There are four ways. `split`: the server takes it out of the reply and sends it as `reasoning` or `reasoning_content`.
`prefilled`: the prompt already ends in the opening tag, so the reply begins inside the block. `plain`: the model
    writes the
tags itself. Unknown (`None`): the reply is held back until its first system tag tells, or until it ends.
"""

from __future__ import annotations

import re

from her_hf.dual_layer import TAGS, Layer

OPENING = "<system_thinking>\n"
CLOSING = "\n</system_thinking>\n"

_SYSTEM_TAG = re.compile(
    r"<\s*(/?)\s*(?:" + "|".join(tag for tag, layer in TAGS.items() if layer is Layer.SYSTEM_THINKING) + r")\s*>",
    re.IGNORECASE,
)


def opens_thinking(prompt: str) -> bool:
    """Whether a prompt ends inside a system block that it opened itself."""
    tags = list(_SYSTEM_TAG.finditer(prompt[-80:]))
    return bool(tags) and not tags[-1][1] and not prompt[-80:][tags[-1].end() :].strip()


class InlineText:
    """Puts the pieces of one reply together as text with its system thinking inline.

    Args:
        way (`str`, *optional*): `"split"`, `"prefilled"`, `"plain"`, or `None` if it is not known yet.
        thinking (`bool`, *optional*, defaults to `True`): `False` leaves reasoning out and content as it comes.

    Example:

    ```python
    >>> inline = InlineText()
    >>> inline.reasoning("Ann stalls.") + inline.content("Ann: Tea?") + inline.close("stop")
    '<system_thinking>\\nAnn stalls.\\n</system_thinking>\\nAnn: Tea?'
    ```
    """

    def __init__(self, way: str | None = None, *, thinking: bool = True) -> None:
        self.way = way if thinking else "plain"
        self.thinking = thinking
        self._in_reasoning = False
        self._started = False
        self._held = ""

    def reasoning(self, piece: str) -> str:
        """Takes a piece that came apart as reasoning; returns the text to show."""
        if not piece or not self.thinking:
            return ""
        self.way = "split"
        lead = "" if self._in_reasoning else OPENING
        self._in_reasoning = self._started = True
        return self._release() + lead + piece

    def content(self, piece: str) -> str:
        """Takes a piece of content; returns the text to show."""
        if not piece:
            return ""
        if self._in_reasoning:
            self._in_reasoning = False
            return CLOSING + piece
        if self.way is None:
            self._held += piece
            tag = _SYSTEM_TAG.search(self._held)
            if not tag:
                return ""
            self.way = "prefilled" if tag[1] else "plain"
            piece = self._release()
        lead = OPENING if self.way == "prefilled" and not self._started else ""
        self._started = True
        return lead + piece

    def close(self, finish_reason: str) -> str:
        """Ends the reply; returns the text that was held back.

        Without any tag the reply is plain if the model ended it, and unclosed thinking if it was cut: thinking is
        never shown as speech.
        """
        if not self._held:
            return ""
        return ("" if finish_reason == "stop" else OPENING) + self._release()

    def _release(self) -> str:
        held, self._held = self._held, ""
        return held
