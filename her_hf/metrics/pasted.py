"""Reading a dialogue that was pasted into one of the apps in `spaces/`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from her_hf.dual_layer.labels import find_label
from her_hf.evaluation.rows import Row
from her_hf.judging.thinking import CLOSES_THINKING, OPENS_THINKING

from .values import shown

_OPENING = re.compile(rf"\s*(?:{OPENS_THINKING})", re.IGNORECASE)
_CLOSING = re.compile(CLOSES_THINKING, re.IGNORECASE)


def read_pasted(text: str, names: Sequence[str] = ()) -> list[Row]:
    """Reads JSON (a list of turns, or an object with `turns`), or lines `Name: text`.

    System thinking may precede the label of its turn, as models write it; the stage direction of a label
    (`Ann (whispering): …`, if the cast is known) becomes an action in parentheses.

    Args:
        text (`str`): The pasted text.
        names (`Sequence[str]`, *optional*): The cast; without it, anything that looks like a name starts a turn.

    Returns:
        `list[dict]`: Turns with `name` and `text`; turns of JSON are returned unchanged.

    Raises:
        `ValueError`: If there is no turn, or a turn is not an object.

    Example:

    ```python
    >>> read_pasted("Ann: Tea?\\nWith milk?\\nBob: Please.")
    [{'name': 'Ann', 'text': 'Tea?\\nWith milk?'}, {'name': 'Bob', 'text': 'Please.'}]
    ```
    """
    turns = _from_json(text)
    if turns is None:
        turns = _from_lines(text.strip(), names)
    if not turns:
        raise ValueError("No turn was found: write each turn on its own line as `Name: text`, or paste JSON.")
    for index, turn in enumerate(turns):
        if not isinstance(turn, dict):
            raise ValueError(f"turn {index} must be an object, got {shown(turn)}.")
    return turns


def _from_lines(text: str, names: Sequence[str]) -> list[Row]:
    found: list[tuple[str, list[str]]] = []
    plan: list[str] = []  # system thinking of the next turn
    inside = False
    for line in _CLOSING.sub(lambda tag: f"{tag[0]}\n", text).splitlines():
        inside = inside or bool(_OPENING.match(line))
        label = None if inside else find_label(line.lstrip(), names)
        if label is not None and label.name is not None:
            direction = f"({label.direction}) " if label.direction else ""
            found.append((label.name, [*plan, direction + line.lstrip()[label.length :].strip()]))
            plan = []
        elif inside or plan or not found:
            plan.append(line)
        else:
            found[-1][1].append(line)
        inside = inside and not _CLOSING.search(line)
    if found:
        found[-1][1].extend(plan)
    return [{"name": name, "text": "\n".join(part).strip()} for name, part in found]


def _from_json(text: str) -> list[Row] | None:
    """The turns of JSON; `None` if the text is not JSON, such as a dialogue that starts with a thought in brackets."""
    if text.lstrip()[:1] not in ("[", "{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    turns = value.get("turns") if isinstance(value, Mapping) else value
    return turns if isinstance(turns, list) else None
