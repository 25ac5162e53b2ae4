"""Finds the answer in a judge's reply, and the one JSON object in it: all judges' answers are read by this rule.

The whole answer is first read as strict JSON. Only if that fails is it scanned from left to right: an object is taken
whole, so that tags, fences and verdicts quoted inside it are text; thinking is stripped outside of objects only. An
object next to prose is a verdict only if nothing else could be one.
docs/judge_answers.md lists the forms of answers, and the outcome of each.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from her_hf.inference import Messages, Reply, Schema
from her_hf.inference.strict import strict_json
from her_hf.scoring.missing import Missing

from .json_text import STARTS, UNREADABLE, json_at
from .thinking import CLOSES_THINKING, OPENS_THINKING

T = TypeVar("T")

_EVENT = re.compile(rf"(?P<close>{CLOSES_THINKING})|{OPENS_THINKING}|(?P<json>{STARTS})", re.IGNORECASE)
_CLOSING = re.compile(CLOSES_THINKING, re.IGNORECASE)
_QUOTED_FROM, _QUOTED_TO = tuple("\"'“‘«「『"), tuple("\"'”’»」』")
_FRAME = re.compile(r"(?:[\s`~\ufeff]|json|</?answer>)*+", re.IGNORECASE)
_END_TOKENS = (
    r"</s>|<(?:eos|end_of_turn)>|<[|｜](?:im_end|eo[tm]_id|end(?:[_▁]?of[_▁]?(?:text|turn|sentence))?|return)[|｜]>"
)
"""Ends of turn that a server leaves in an answer."""
_ENDING = re.compile(rf"(?:[\s`~}}\]]|</answer>|{_END_TOKENS})*+", re.IGNORECASE)
_SHOWN = 300
_MOST_OBJECTS = 200
"""How many objects of an answer are read before it is refused, so that a hostile one has a bounded cost."""


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


@dataclass(slots=True)
class _Parts:
    """The parts of an answer, after its thinking.

    Args:
        thinking (`list[str]`): The thinking before it.
        objects (`list`): Its objects in order.
        passed (`list[str]`): Its text before the last object, objects left out.
        closing (`str`): The mark that closed the thinking before it, if one did.
        opened (`bool`): Whether the answer itself had opened that thinking.
        lead (`str`): The text before the last object on its line.
        rest (`list[str]`): Its text after the last object.
    """

    thinking: list[str] = field(default_factory=list)
    objects: list[_Found] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)
    closing: str = ""
    opened: bool = False
    lead: str = ""
    rest: list[str] = field(default_factory=list)

    @property
    def ends(self) -> bool:
        """Whether only a code fence, an end token or surplus brackets follow the last object."""
        return _ENDING.fullmatch("".join(self.rest)) is not None

    @property
    def alone(self) -> bool:
        """Whether only a code fence surrounds the objects."""
        return self.ends and _FRAME.fullmatch("".join(self.passed)) is not None

    @property
    def leads_up(self) -> bool:
        """Whether the last object begins its own line, or follows a colon."""
        lead = self.lead.rstrip(" \t`~*")
        return lead.endswith((":", "：")) or _FRAME.fullmatch(lead) is not None


def answer_text(reply: Reply) -> str:
    """The text of a reply that contains the judge's answer.

    That is its content. If that is empty, it is the reasoning if all of it is JSON (some servers file an answer under
    reasoning), else the reply with its thinking inline, which then contains no answer.
    """
    if reply.content.strip():
        return reply.content
    try:
        strict_json(reply.reasoning or "")
    except ValueError:
        return reply.text
    return reply.reasoning or ""


def was_stopped(reply: Reply) -> bool:
    """Whether a judge's reply was ended by something other than its model: the token limit, a filter, a fault."""
    return reply.finish_reason != "stop"


def shown_text(messages: Messages) -> str:
    """Everything that a judge was shown, as one text."""
    return "\n".join(str(message["content"]) for message in messages)


def closed_object(properties: Mapping[str, Any]) -> Schema:
    """JSON schema of an object with exactly these properties.

    Args:
        properties (`Mapping`): The schema of each.
    """
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def shorten(text: str) -> str:
    """A text shortened for a message."""
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def read_answer(
    text: str,
    read: Callable[[JsonReply], T | Missing],
    *,
    thinking: str = "",
    cut: bool = False,
    shown: str = "",
) -> T | Missing:
    """Reads a judge's answer: one JSON object, bare, in a code fence, or at the end of prose, after any thinking.

    Args:
        text (`str`): The answer.
        read (`Callable`): Reads the object.
        thinking (`str`, *optional*): What the backend sent separately as thinking; it replaces that in the answer.
        cut (`bool`, *optional*, defaults to `False`): Whether the model was stopped, see [`was_stopped`]. The
            object is then the answer only if there is no prose next to it.
        shown (`str`, *optional*): What the judge was shown. An object that occurs there, in whatever spelling, is
            quoted, and so not a verdict, unless it is the whole answer.

    Returns:
        What `read` returns, or `Missing`: if there is no object, if one never closes (`"cut"`: it is not completed),
            if there are several different ones (`"several"`), or if there is prose that does not lead up to it.

    Example:

    ```python
    >>> read_answer('Here it is: {"flaws": []}', lambda found: found.value)
    {'flaws': []}
    ```
    """
    parts = _parts(text)
    try:
        found = parts if isinstance(parts, Missing) else _choose(parts, shown, cut=cut)
        if isinstance(found, JsonReply) and thinking.strip():
            found = replace(found, thinking=thinking.strip())
        result = found if isinstance(found, Missing) else read(found)
    except RecursionError:
        result = Missing("no_json", f"nested too deeply: {shorten(text)}")
    if cut and (isinstance(parts, Missing) or isinstance(result, Missing) or not parts.alone):
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
    """Takes apart an answer that is not JSON as a whole, in linear time."""
    parts, at, answer_from, objects = _Parts(), 0, 0, 0
    while event := _EVENT.search(text, at):
        start = event.start()
        parts.rest.append(text[at:start])
        if event["json"]:
            objects += 1
            if objects > _MOST_OBJECTS:
                return Missing("no_json", f"more than {_MOST_OBJECTS} objects: {shorten(text)}")
            found = json_at(text, start)
            if found is None:
                return Missing("cut", shorten(text[start:]))
            at = found.end
            opened = start == answer_from or text.startswith(_QUOTED_FROM, start - 1)  # a quoted tag may be between
            if not (start and opened and text.startswith(_QUOTED_TO, at)):
                parts.objects += _objects(found.value, text[start:at], repaired=found.repaired)
                parts.passed += parts.rest
                parts.rest = []
                parts.lead = text[max(answer_from, text.rfind("\n", answer_from, start)) : start]
        elif event["close"]:  # all before it was thinking, which the prompt had opened
            if parts.objects and _FRAME.fullmatch("".join(parts.passed)):  # thinking does not begin with an object
                return Missing("no_json", f"a tag closes what nothing opened: {shorten(text[start:])}")
            parts.thinking.append(text[answer_from:start])
            parts = _Parts(parts.thinking, closing=event[0])
            at = answer_from = event.end()
        else:
            closing = _CLOSING.search(text, event.end())
            parts.thinking.append(text[event.end() : closing.start() if closing else len(text)])
            at = closing.end() if closing else len(text)
            if parts.objects:
                parts.rest.append(event[0])
            else:
                answer_from, parts.closing, parts.opened = at, closing[0] if closing else "", True
    parts.rest.append(text[at:])
    return _unbalanced("".join(parts.passed)) or _unbalanced("".join(parts.rest), ending=parts.ends) or parts


def _unbalanced(prose: str, *, ending: bool = False) -> Missing | None:
    """What is wrong with the brackets in prose: one that never closes is an answer that was cut."""
    plain = unicodedata.normalize("NFKC", prose)
    opened = [plain.count(opening) - plain.count(closing) for opening, closing in ("{}", "[]")]
    if max(opened) > 0:
        return Missing("cut", shorten(prose))
    if min(opened) < 0 and not ending:
        return Missing("no_json", f"a bracket closes nothing: {shorten(prose)}")
    return None


def _objects(value: Any, text: str, *, repaired: bool = False) -> list[_Found]:
    """The objects in a value: itself, or those of a list."""
    listed = value if isinstance(value, list) else [value] if isinstance(value, dict) or value is UNREADABLE else []
    if not all(isinstance(one, dict) for one in listed):
        return [_Found(UNREADABLE, text, repaired)]
    return [_Found(one, text, repaired) for one in listed if one]


def _choose(parts: _Parts, shown: str, *, cut: bool) -> JsonReply | Missing:
    """The object that is the answer."""
    said = "".join([*parts.passed, *parts.rest])
    if not parts.objects:
        return Missing("no_json", shorten(said) or "an empty answer")
    broken = next((one for one in parts.objects if one.value is UNREADABLE), None)
    if broken is not None:
        return Missing("no_json", f"cannot be repaired: {shorten(broken.text)}")
    last = parts.objects[-1]
    other = next((one for one in parts.objects if one.value != last.value), None)
    if other is not None:
        return Missing("several", f"{shorten(other.text)} and {shorten(last.text)}")
    if not parts.alone:
        if not parts.ends:
            return Missing("no_json", f"more follows the object: {shorten(''.join(parts.rest))}")
        if not parts.leads_up:
            return Missing("no_json", f"the object stands within a line: {shorten(said)}")
        if _is_shown(last, shown):
            return Missing("no_json", f"the object is quoted: {shorten(last.text)}")
    elif (cut or not parts.opened) and _is_shown_behind_tag(parts, shown):
        return Missing("no_json", f"the tag and the object behind it are quoted: {shorten(last.text)}")
    repaired = all(one.repaired for one in parts.objects)
    return JsonReply(last.value, repaired, " ".join(filter(None, map(str.strip, parts.thinking))))


def _is_shown(found: _Found, shown: str) -> bool:
    """Whether an object, or one inside it, occurs in what the judge was shown, in whatever spelling."""
    there = _letters(shown)
    values = [found.value, *(one for one in found.value.values() if isinstance(one, dict))]
    copies = [found.text, *(json.dumps(one, ensure_ascii=False) for one in values)]
    return any(_letters(copy) in there for copy in copies)


def _is_shown_behind_tag(parts: _Parts, shown: str) -> bool:
    """Whether the tag that closed the thinking occurs, with the object, in what the judge was shown: a quoted line.

    An answer that opened its thinking itself and was not stopped has closed it itself. Otherwise a character could
    write the verdict that it fears behind a tag, and that verdict would never count.
    """
    quoted = "".join([parts.closing, *parts.passed, parts.objects[-1].text])
    return parts.closing != "" and _letters(quoted) in _letters(shown)


def _letters(text: str) -> str:
    """A text reduced to letters, digits and brackets: no white space, quotation marks, escapes or case."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(sign for sign in folded if sign.isalnum() or sign in "{}[]:")
