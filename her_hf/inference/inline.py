"""System thinking inline, whatever way a backend hands it over.

There are four ways. `split`: the server takes it out of the reply and sends it as `reasoning` or `reasoning_content`.
`prefilled`: the prompt already ends in the opening tag, so the reply begins inside the block. `plain`: the model
    writes the
tags itself. Unknown (`None`): the reply is held back until its first system tag tells, or until it ends.

The prompt before a reply can tell, and the reply itself, but never another reply: replies come in any order.
"""

from __future__ import annotations

import json
import re

from her_hf.dual_layer import TAGS, Layer
from her_hf.dual_layer.labels import find_label

OPENING = "<system_thinking>\n"
CLOSING = "\n</system_thinking>\n"

_SYSTEM_TAG = re.compile(
    r"<\s*(?:(/)\s*)?(?:" + "|".join(tag for tag, layer in TAGS.items() if layer is Layer.SYSTEM_THINKING) + r")\s*>",
    re.IGNORECASE,
)
_ROLE_TAG = re.compile(
    r"<\s*(?:"
    + "|".join(tag for tag, layer in TAGS.items() if layer in (Layer.ROLE_THINKING, Layer.ROLE_ACTION))
    + r")\s*>",
    re.IGNORECASE,
)
_FENCE = re.compile(r"\A```\w*\s*|\s*```\Z")
_UNFINISHED_TAG = re.compile(r"(?:<[^>]{0,40})?\Z")


def opens_thinking(prompt: str) -> bool:
    """Whether a prompt ends inside a system block that it opened itself."""
    tags = list(_SYSTEM_TAG.finditer(prompt[-80:]))
    return bool(tags) and not tags[-1][1] and not prompt[-80:][tags[-1].end() :].strip()


def answer_only(content: str) -> str:
    """A reply without the thinking before its answer.

    That is blocks in front, and all up to the last close that nothing opened. An answer that is JSON is left as it is:
    it may quote tags.

    Args:
        content (`str`): The whole reply.

    Example:

    ```python
    >>> answer_only("Ann or Carl? Carl.\\n</think>\\nCarl")
    'Carl'
    ```
    """
    if _is_json(content):
        return content
    start, opened, leads = 0, None, True
    for tag in _SYSTEM_TAG.finditer(content):
        if not tag[1]:
            opened = tag.start() if opened is None else opened
            continue
        leads = opened is None or (leads and not content[start:opened].strip())
        start, opened = tag.end() if leads else start, None
    return content[start:].lstrip() if start else content


def _is_json(text: str) -> bool:
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


class InlineText:
    """Puts the pieces of one reply together as text with its system thinking inline.

    Args:
        way (`str`, *optional*): `"split"`, `"prefilled"`, `"plain"`, or `None` if it is not known yet.
        thinking (`bool`, *optional*, defaults to `True`): `False` leaves reasoning out, and of the content the
            thinking before the answer; then all is held back until the end, unless `way` is `"plain"` and the reply
            does not begin with a system tag. Where all of a reply came as reasoning, an answer in it is the answer: a
            server's reasoning parser takes all before a closing tag, which a model that does not think never writes.

    Example:

    ```python
    >>> inline = InlineText()
    >>> inline.reasoning("Ann stalls.") + inline.content("Ann: Tea?") + inline.close("stop")
    '<system_thinking>\\nAnn stalls.\\n</system_thinking>\\nAnn: Tea?'
    ```
    """

    def __init__(self, way: str | None = None, *, thinking: bool = True) -> None:
        self.way = way
        self.thinking = thinking
        self._in_reasoning = False
        self._started = False
        self._held = ""
        self._aside: list[str] = []
        self.aside_was_all = False  # whether the answer came as reasoning, though thinking is off

    def reasoning(self, piece: str) -> str:
        """Takes a piece that came apart as reasoning; returns the text to show."""
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

        A cut reply (`finish` is `"length"`) of which nothing tells how it begins is unclosed thinking, unless it looks
        like a turn, with a speaker's label or role tags: thinking is never shown as speech. For all other reasons it
        is plain.
        """
        held = self._release()
        if not self.thinking:
            if self._started or held.strip():
                return answer_only(held)
            aside = _answer_aside("".join(self._aside), cut=finish == "length")
            self.aside_was_all = bool(aside)
            return aside or held
        untold = self.way is None and finish == "length" and not _looks_like_a_turn(held)
        return OPENING + held if held and (self.way == "prefilled" or untold) else held

    def _waits(self) -> bool:
        """Whether what is held does not tell yet how the reply begins."""
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
            self.way = "prefilled"  # a close that nothing opened
        elif self.way is None or (tag and not self._held[: tag.start()].strip()):
            self.way = "plain"
        return OPENING if self.way == "prefilled" else ""

    def _release(self) -> str:
        held, self._held = self._held, ""
        return held


def _answer_aside(reasoning: str, *, cut: bool) -> str:
    """The answer in reasoning after which nothing came: JSON, a turn, or what follows a closing tag. Else `""`."""
    answer = answer_only(reasoning)
    unfenced = _FENCE.sub("", answer.strip())
    whole = _is_json(unfenced) or (not cut and (answer != reasoning or _looks_like_a_turn(answer)))
    return answer if whole else ""


def _looks_like_a_turn(text: str) -> bool:
    return bool(_ROLE_TAG.search(text)) or bool((label := find_label(text.lstrip())) and label.name)
