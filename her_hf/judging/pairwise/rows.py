"""Rows of pairs files and preference sets: fields checked, `chosen` and `rejected` put in an order.

Each error says which field, what it must be and what was got.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from her_hf.durable import derive_seed, digest
from her_hf.scenes.errors import shortened
from her_hf.scenes.messages import START

_SHOWN = 60
_NAMED = re.compile(r"\{(chosen|rejected)\}")


def pair_row(row: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """A preference row as the row of a pair; which side comes first depends on the row's own text and the seed.

    Args:
        row (`Mapping`): The row. Winners of its principles are `"chosen"`, `"rejected"` or `"tie"`; its evidence names
            the sides as `{chosen}` and `{rejected}`.
        seed (`int`): Of the order.

    Raises:
        `ValueError`: If a side is not text, or the principles are not a list.
    """
    chosen, rejected = text_of(row["chosen"], "chosen"), text_of(row["rejected"], "rejected")
    first = derive_seed(seed, digest([chosen, rejected])) % 2 == 0
    better, worse = ("cand_1", "cand_2") if first else ("cand_2", "cand_1")
    names = {"chosen": better, "rejected": worse}
    found = {name: value for name, value in row.items() if name not in names}
    found |= {better: chosen, worse: rejected, "label": better}
    if row.get("principles"):
        found["principles"] = [
            {**one, "winner": names.get(str(one.get("winner")), one.get("winner"))}
            if isinstance(one, Mapping)
            else one
            for one in listed(row["principles"], "principles")
        ]
    if row.get("evidence"):
        found["evidence"] = _NAMED.sub(lambda match: names[match[1]], str(row["evidence"]))
    return found


def listed(value: Any, name: str) -> Sequence[Any]:
    """A list.

    Raises:
        `ValueError`: If it is something else.
    """
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError(f"{name} must be a list, got {value!r:.60}")
    return value


def text_of(side: Any, name: str) -> str:
    """A side's text: a string, or a list with one assistant message.

    Raises:
        `ValueError`: If it is something else.
    """
    if isinstance(side, str):
        return side
    if isinstance(side, Sequence) and len(side) == 1 and isinstance(side[0], Mapping):
        content = side[0].get("content")
        if isinstance(content, str):
            return content
    raise ValueError(f"{name} must be a text or a list with one message, got {shortened(str(side), _SHOWN)!r}")


def check_prompt(prompt: Sequence[Any]) -> None:
    """A prompt is a conversation that ends where a reply begins.

    Raises:
        `ValueError`: If it is not.
    """
    for index, message in enumerate(prompt):
        role = message.get("role") if isinstance(message, Mapping) else None
        if role not in ("system", "user", "assistant") or not isinstance(message.get("content"), str):
            raise ValueError(
                f"prompt, message {index}: needs a role (system, user, assistant) and a text as content, got "
                f"{shortened(str(message), _SHOWN)!r}"
            )
    turns = {message["content"].strip() for message in prompt if message["role"] != "system"} - {""}
    if not turns:
        raise ValueError("the prompt has no turn to answer: the context is missing")
    if turns == {START} and not any(m["role"] == "system" and m["content"].strip() for m in prompt):
        raise ValueError(f"the prompt is only {START!r}, with neither a scene nor a turn: the context is missing")
