"""Which text of a judge's reply is its answer, and the one JSON object in it: the one rule by which all are read.

The whole answer is read as strict JSON first. Only where it is none is it looked through from left to right: an object
is taken whole, so that tags, fences and verdicts that it quotes are text; thinking is cut off outside of objects only.
The forms that judges answer in, and what becomes of each, are the table of docs/judge_answers.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, TypeVar

from her_hf.dual_layer import TAGS, ZERO_WIDTH_SPACE, Layer
from her_hf.inference import Messages, Reply
from her_hf.scoring.keys import folded_key

from .json_text import STARTS, UNREADABLE, json_at, strict_json
from .missing import Missing

T = TypeVar("T")

THINKING_TAGS = "|".join(
    [*(tag for tag, layer in TAGS.items() if layer is Layer.SYSTEM_THINKING), "thinking", "reasoning"]
)
"""Names of the tags that models put round their thinking, for a pattern: ours, and those of other models."""

_EVENT = re.compile(
    rf"<\s*+(?P<close>/\s*+)?(?:{THINKING_TAGS})\s*+>|(?P<json>{STARTS})",
    re.IGNORECASE,
)
_CLOSING = re.compile(rf"<\s*+/\s*+(?:{THINKING_TAGS})\s*+>", re.IGNORECASE)
_QUOTES = tuple("\"'”’»」』")
_FRAME = re.compile(r"(?:[\s`}\]]|json)*+", re.IGNORECASE)
_SHOWN = 300
_MOST_REPAIRS = 200
"""Objects of an answer that are repaired before it is given up: a hostile one costs no more than this."""


@dataclass(frozen=True, slots=True)
class JsonReply:
    """A JSON object that was read.

    Args:
        value (`dict`): The object.
        repaired (`bool`): Whether its JSON had to be repaired first.
        thinking (`str`): What the judge thought before it, without tags.
    """

    value: dict[str, Any]
    repaired: bool
    thinking: str = ""


@dataclass(frozen=True, slots=True)
class _Found:
    """An object of the answer, and the text it was read from."""

    value: Any
    text: str
    repaired: bool = False

    def has(self, keys: Collection[str]) -> bool:
        """Whether it has one of the keys; of an object that cannot be read, whether it names one."""
        if isinstance(self.value, dict):
            return any(folded_key(key) in keys for key in self.value)
        return any(key in folded_key(self.text) for key in keys)


@dataclass(slots=True)
class _Parts:
    """What an answer is made of, thinking cut off.

    Args:
        objects (`list`): Its objects in order.
        thinking (`list[str]`): The thinking before it.
        before, after (`list[str]`): Its text before the first object, and after it, objects left out.
        rest (`str`): Its text after the last object.
    """

    thinking: list[str] = field(default_factory=list)
    objects: list[_Found] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    rest: str = ""

    def pass_over(self, text: str) -> None:
        """Takes text that is no object."""
        (self.after if self.objects else self.before).append(text)

    @property
    def alone(self) -> bool:
        """Whether there is one object and nothing round it but a code fence."""
        return len(self.objects) == 1 and _is_frame("".join([*self.before, *self.after]))


def answer_text(reply: Reply) -> str:
    """The text of a reply in which a judge's answer stands.

    That is its content; without any, the reasoning if that is JSON as a whole (a server that takes an answer for
    reasoning), else the reply with its thinking inline, which then holds no answer.
    """
    if reply.content.strip():
        return reply.content
    try:
        strict_json(reply.reasoning or "")
    except ValueError:
        return reply.text
    return reply.reasoning or ""


def shown_text(messages: Messages) -> str:
    """All that a judge was shown, as one text."""
    return "\n".join(str(message["content"]) for message in messages)


def shorten(text: str) -> str:
    """A text short enough for a message."""
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def read_answer(
    text: str,
    keys: Collection[str],
    read: Callable[[JsonReply], T | Missing],
    *,
    cut: bool = False,
    shown: str = "",
) -> T | Missing:
    """Reads a judge's answer: one JSON object, bare, in a code fence, or among prose, after any thinking.

    Args:
        text (`str`): The answer.
        keys (`Collection[str]`): The object has at least one of these, however it spells them.
        read (`Callable`): Reads the object.
        cut (`bool`, *optional*, defaults to `False`): Whether the model was stopped at its token limit. The object is
            then the answer only if it is the last thing in the text.
        shown (`str`, *optional*): What the judge was shown. An object that stands there by the letter is quoted, and
            so no verdict, unless it is the whole answer.

    Returns:
        What `read` gives, or `Missing`: If there is no object, if one never closes (`"cut"`: it is not completed), or
            if there are several that differ (`"several"`). One without any of the keys is `read` if there is no other.

    Example:

    ```python
    >>> read_answer('Here it is: {"flaws": []}', ["flaws"], lambda found: found.value)
    {'flaws': []}
    ```
    """
    parts = _parts(text)
    found = parts if isinstance(parts, Missing) else _choose(parts, {folded_key(key) for key in keys}, shown)
    result = found if isinstance(found, Missing) else read(found)
    if cut and (isinstance(parts, Missing) or isinstance(result, Missing) or not _is_frame(parts.rest)):
        return Missing("cut", shorten(text))
    return result


def _parts(text: str) -> _Parts | Missing:
    """Takes an answer apart."""
    try:
        whole = strict_json(text)
    except ValueError:
        return _look_through(text)
    if isinstance(whole, str):  # JSON that was written as a string
        return _parts(whole)
    return _Parts(objects=_objects(whole, text))


def _look_through(text: str) -> _Parts | Missing:
    """Takes an answer apart that is no JSON as a whole; linear time."""
    parts, at, answer_from, repairs = _Parts(), 0, 0, 0
    while event := _EVENT.search(text, at):
        parts.pass_over(text[at : event.start()])
        if event["json"]:
            found = json_at(text, event.start())
            if found is None:
                return Missing("cut", shorten(text[event.start() :]))
            at, repairs = found.end, repairs + found.repaired
            if repairs > _MOST_REPAIRS:
                return Missing("no_json", f"more than {_MOST_REPAIRS} objects are no JSON: {shorten(text)}")
            if not text.startswith(_QUOTES, at):  # else it stands between quotation marks
                parts.objects += _objects(found.value, text[event.start() : at], repaired=found.repaired)
        elif event["close"]:  # all before it was thinking, which the prompt had opened
            if parts.objects and _is_frame("".join(parts.before)):  # thinking does not begin with an object
                return Missing("no_json", f"a tag closes what nothing opened: {shorten(text[event.start() :])}")
            parts.thinking.append(text[answer_from : event.start()])
            parts = _Parts(parts.thinking)
            at = answer_from = event.end()
        else:
            closing = _CLOSING.search(text, event.end())
            parts.thinking.append(text[event.end() : closing.start() if closing else len(text)])
            at = answer_from = closing.end() if closing else len(text)
    parts.rest = text[at:]
    parts.pass_over(parts.rest)
    after = "".join(parts.after)
    if after.count("}") > after.count("{") and not _is_frame(after):
        return Missing("no_json", f"a bracket closes nothing: {shorten(after)}")
    return parts


def _objects(value: Any, text: str, *, repaired: bool = False) -> list[_Found]:
    """The objects that a value is: itself, or those of a list."""
    if value is UNREADABLE or isinstance(value, dict):
        return [_Found(value, text, repaired)]
    return [_Found(one, text, repaired) for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _choose(parts: _Parts, keys: Collection[str], shown: str) -> JsonReply | Missing:
    """The object that is the answer."""
    objects = parts.objects if parts.alone else _not_shown(parts.objects, shown)
    wanted = [one for one in objects if one.has(keys)]
    wanted = wanted or [one for one in objects if one.value and one.value is not UNREADABLE][-1:]
    if not wanted:
        return Missing("no_json", shorten("".join([*parts.before, *parts.after])) or "an empty answer")
    broken = next((one for one in wanted if one.value is UNREADABLE), None)
    if broken is not None:
        return Missing("no_json", f"cannot be repaired: {shorten(broken.text)}")
    first = wanted[0]
    other = next((one for one in wanted if one.value != first.value), None)
    if other is not None:
        return Missing("several", f"{shorten(first.text)} and {shorten(other.text)}")
    repaired = all(one.repaired for one in wanted)
    return JsonReply(first.value, repaired, " ".join(filter(None, map(str.strip, parts.thinking))))


def _not_shown(objects: list[_Found], shown: str) -> list[_Found]:
    """Objects that the judge did not copy from what it was shown."""
    there = _letters(shown)
    return [one for one in objects if _letters(one.text) not in there] if there else objects


def _letters(text: str) -> str:
    """A text without white space and what escapes brackets."""
    return "".join(text.replace(ZERO_WIDTH_SPACE, "").split())


def _is_frame(text: str) -> bool:
    """Whether a text is nothing but a code fence, or brackets too many."""
    return _FRAME.fullmatch(text) is not None
