"""JSON out of a model's reply: strict first, then a counted repair, else missing."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from .missing import Missing

_THINKING = "think|thinking|thought|system_thinking|reasoning"
_THINKING_END = re.compile(rf"</\s*(?:{_THINKING})\s*>", re.IGNORECASE)
_THINKING_START = re.compile(rf"<\s*(?:{_THINKING})\s*>", re.IGNORECASE)
_FENCE = re.compile(r"```[a-zA-Z]*\s*\n(.*?)```", re.DOTALL)
_SHOWN = 300
_MOST_STARTS = 200
"""Opening braces that lead nowhere before the search is given up: a hostile reply costs no more than this."""

_MOST_MENDED = 100_000
"""Characters that a repair looks at."""


@dataclass(frozen=True, slots=True)
class JsonReply:
    """A JSON object that was read.

    Args:
        value (`dict`): The object.
        repaired (`bool`): Whether it had to be mended first.
    """

    value: dict[str, Any]
    repaired: bool


def after_thinking(text: str) -> str:
    """The reply behind its last closed thinking block, if it has one, and before one that never closes.

    What stands in thinking is a draft and no answer.
    """
    ends = list(_THINKING_END.finditer(text))
    answer = text[ends[-1].end() :] if ends else text
    opened = _THINKING_START.search(answer)
    return answer[: opened.start()] if opened else answer


def ends_whole(text: str) -> bool:
    """Whether a reply that was cut at the token limit had come to the end of its JSON all the same."""
    return after_thinking(text).rstrip().rstrip("`").rstrip().endswith("}")


def shorten(text: str) -> str:
    """A text short enough for a message."""
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def read_json_reply(text: str, keys: Collection[str] = ()) -> JsonReply | Missing:
    """Reads the JSON object of a reply: bare, in a code fence, or among prose, after any thinking.

    Args:
        text (`str`): The reply.
        keys (`Collection[str]`, *optional*): The object has at least one of these. A reply that holds no such object,
            not even one that can be mended, gives whatever object it holds, for the caller to refuse.

    Returns:
        `JsonReply` or `Missing`: If several objects stand there, the last whole one that is not empty.

    Example:

    ```python
    >>> read_json_reply('Here it is: {"flaws": []}').value
    {'flaws': []}
    ```
    """
    answer = after_thinking(text)
    found = [value for part in [*_FENCE.findall(answer), answer] for value in _objects(part) if value]
    wanted = [value for value in found if not keys or not value.keys().isdisjoint(keys)]
    if wanted:
        return JsonReply(wanted[-1], repaired=False)
    mended = _mended(answer)
    if mended and (not keys or not mended.keys().isdisjoint(keys)):
        return JsonReply(mended, repaired=True)
    if found:
        return JsonReply(found[-1], repaired=False)
    return JsonReply(mended, repaired=True) if mended else Missing("no_json", shorten(text) or "an empty answer")


def _mended(answer: str) -> dict[str, Any] | None:
    """The object that a repair makes of the answer, from its first brace on; `None` if it makes none."""
    import json_repair

    start = answer.find("{")
    if start < 0:
        return None
    try:
        value = json_repair.loads(answer[start : start + _MOST_MENDED])
    except (ValueError, RecursionError):  # nested too deeply
        return None
    if isinstance(value, list):
        value = next((item for item in reversed(value) if isinstance(item, dict)), None)
    return value if isinstance(value, dict) and value else None


def _objects(text: str) -> list[dict[str, Any]]:
    """Whole objects in order, those inside another one left out. Each character is decoded once: linear time."""
    decoder = json.JSONDecoder(strict=False)  # raw line breaks inside strings are common and harmless
    found, at, failures = [], text.find("{"), 0
    while at >= 0 and failures < _MOST_STARTS:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            failures += 1
            end = at + 1
        else:
            if isinstance(value, dict):
                found.append(value)
        at = text.find("{", end)
    return found
