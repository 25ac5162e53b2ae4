"""Puts system thinking inline, however a backend delivers it.

There are four ways. `split`: the server removes it from the reply and sends it as `reasoning` or `reasoning_content`.
`prefilled`: the prompt already ends in the opening tag, so the reply begins inside the block. `plain`: the model
writes the tags itself. Unknown (`None`): the reply is held back until its first system tag decides, or until it ends.

Two observations show that a reply began inside a block: the server shows a prompt that ends in the opening tag, or the
reply has a closing tag without an opening one. Neither other replies, which arrive in any order, nor the finish reason
are evidence: without evidence a reply is speech, even if it was truncated.
"""

from __future__ import annotations

import re

from her_hf.dual_layer import TAGS, Layer
from her_hf.dual_layer.labels import find_label

from .strict import is_whole_json

OPENING = "<system_thinking>\n"
CLOSING = "\n</system_thinking>\n"

_SYSTEM_TAG = re.compile(
    r"<\s*(?:(/)\s*)?(?:" + "|".join(tag for tag, layer in TAGS.items() if layer is Layer.SYSTEM_THINKING) + r")\s*>",
    re.IGNORECASE,
)
_ROLE_TAG_FIRST = re.compile(
    r"\s*<\s*(?:"
    + "|".join(tag for tag, layer in TAGS.items() if layer in (Layer.ROLE_THINKING, Layer.ROLE_ACTION))
    + r")\s*>",
    re.IGNORECASE,
)
_UNFINISHED_TAG = re.compile(r"(?:<[^>]{0,40})?\Z")


def opens_thinking(prompt: str) -> bool:
    """Whether a prompt ends inside a system block that it opened itself."""
    tags = list(_SYSTEM_TAG.finditer(prompt[-80:]))
    return bool(tags) and not tags[-1][1] and not prompt[-80:][tags[-1].end() :].strip()


def answer_only(content: str) -> str:
    """A reply without the thinking before its answer.

    Removed are leading blocks and everything up to the last closing tag without an opening one. An answer that is JSON
    is not changed: it may quote tags.

    Args:
        content (`str`): The whole reply.

    Example:

    ```python
    >>> answer_only("Ann or Carl? Carl.\\n</think>\\nCarl")
    'Carl'
    ```
    """
    if is_whole_json(content):
        return content
    start, opened, leads = 0, None, True
    for tag in _SYSTEM_TAG.finditer(content):
        if not tag[1]:
            opened = tag.start() if opened is None else opened
            continue
        leads = opened is None or (leads and not content[start:opened].strip())
        start, opened = tag.end() if leads else start, None
    return content[start:].lstrip() if start else content


class InlineText:
    """Joins the pieces of one reply as text with its system thinking inline.

    Args:
        way (`str`, *optional*): `"split"`, `"prefilled"`, `"plain"`, or `None` if it is not known yet.
        thinking (`bool`, *optional*, defaults to `True`): `False` drops reasoning and the thinking before the answer;
            then everything is held back until the end, unless `way` is `"plain"` and the reply does not begin with a
            system tag. If a whole reply came as reasoning, it is the answer if it is JSON or clearly a turn: a
            server's reasoning parser takes everything before a closing tag, which a model that does not think never
            writes.
        schema (`bool`, *optional*, defaults to `False`): Whether JSON was requested, so that a turn is not an answer.

    Example:

    ```python
    >>> inline = InlineText()
    >>> inline.reasoning("Ann stalls.") + inline.content("Ann: Tea?") + inline.close("stop")
    '<system_thinking>\\nAnn stalls.\\n</system_thinking>\\nAnn: Tea?'
    ```
    """

    def __init__(self, way: str | None = None, *, thinking: bool = True, schema: bool = False) -> None:
        self.way = way
        self.thinking = thinking
        self._schema = schema
        self._in_reasoning = False
        self._started = False
        self._held = ""
        self._aside: list[str] = []
        self.aside_was_all = False  # whether the answer came as reasoning, though thinking is off

    def reasoning(self, piece: str) -> str:
        """Takes a piece that came as reasoning; returns the text to show."""
        if not piece:
            return ""
        if not self.thinking:
            self._aside.append(piece)
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
        if self._started:
            return piece
        self._held += piece
        if self._waits():
            return ""
        self._started = True
        return self._lead() + self._release()

    def close(self, finish: str) -> str:
        """Ends the reply; returns the text that was held back.

        A reply without evidence that it began inside a block is plain, whatever ended it (`finish`).
        """
        held = self._release()
        if not self.thinking:
            if self._started or held.strip():
                return answer_only(held)
            aside = self._answer_aside(cut=finish == "length")
            self.aside_was_all = bool(aside)
            return aside or held
        return OPENING + held if held and self.way == "prefilled" else held

    def _answer_aside(self, *, cut: bool) -> str:
        """Reasoning without content, if it is an answer as a whole; a truncated turn is not."""
        reasoning = "".join(self._aside)
        turn = not self._schema and not cut and _is_plainly_a_turn(reasoning)
        return reasoning if turn or is_whole_json(reasoning) else ""

    def _waits(self) -> bool:
        """Whether the text held back does not yet show how the reply begins."""
        if self.way is None:
            return not (self.thinking and _SYSTEM_TAG.search(self._held))
        front = self._held.lstrip()
        return bool(_UNFINISHED_TAG.match(front) or (not self.thinking and _SYSTEM_TAG.match(front)))

    def _lead(self) -> str:
        """The opening tag where the reply begins inside the block and does not repeat that tag itself."""
        if not self.thinking:
            return ""
        tag = _SYSTEM_TAG.search(self._held)
        if tag and tag[1]:
            self.way = "prefilled"  # a closing tag without an opening one
        elif self.way is None or (tag and not self._held[: tag.start()].strip()):
            self.way = "plain"
        return OPENING if self.way == "prefilled" else ""

    def _release(self) -> str:
        held, self._held = self._held, ""
        return held


def _is_plainly_a_turn(text: str) -> bool:
    """Whether a text begins like a turn, with a label or a role tag; one that contains an object drafts an answer."""
    if "{" in text:
        return False
    label = find_label(text.lstrip())
    return bool(_ROLE_TAG_FIRST.match(text)) or bool(label and label.name)
