"""Pairs and scripted judges for the tests of reward models."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from her_hf.inference import Messages, ModelError, Reply, Usage
from her_hf.judging import Pair

SYSTEM = """You are Jo from Little Women.

===Jo's Profile===
Fifteen, tall and thin, quick of tongue.

===Current Scenario===
Hannah has a bad tooth.

===Information about the other Characters===
Meg: the eldest.

===Requirements===
Play only Jo."""


def prompt(*turns: str) -> list[dict[str, str]]:
    """A prompt of Jo's whose user messages and own turns alternate; the first is a user message."""
    roles = ("user", "assistant")
    texts = [f"===Conversation Start===\n\n{turns[0]}", *turns[1:]]
    return [{"role": "system", "content": SYSTEM}] + [
        {"role": roles[at % 2], "content": text} for at, text in enumerate(texts)
    ]


def a_pair(number: int = 0, **overrides: Any) -> Pair:
    """A pair whose first side is better; `number` makes it another one."""
    row: dict[str, Any] = {
        "prompt": prompt(f"Meg: Where are my gloves, number {number}?"),
        "cand_1": "Jo: Gloves be hanged! <role_thinking>I sat on them.</role_thinking>",
        "cand_2": "Jo: How may I help you? <role_thinking>I must be of use.</role_thinking>",
        "label": "cand_1",
        "principles": [
            {"name": "Assistant Voice", "winner": "cand_1", "reason": "offers help"},
            {"name": "Subtext", "winner": "cand_1", "reason": "hides the harm"},
            {"name": "Economy", "winner": "tie", "reason": "both are short"},
        ],
        "evidence": 'cand_2 offers help: "How may I help"',
        "kind": "assistant_voice",
    }
    return Pair.from_row({**row, **overrides})


def compact(verdict: str, **principles: str) -> str:
    """A compact answer."""
    return f"<think>so</think>\n{json.dumps({'principles': principles, 'verdict': verdict})}"


class Judge:
    """A backend that answers by a rule from the text it is asked; it notes every call."""

    def __init__(self, rule: Callable[[str, int], str | ModelError], name: str = "judge") -> None:
        self.rule, self.name = rule, name
        self.calls: list[str] = []
        self.notes: list[str] = []
        self.schemas: list[Any] = []

    async def fingerprint(self) -> dict[str, Any]:
        return {"model": self.name}

    async def chat(self, messages: Messages, *, sampling: Any, thinking: bool = True, schema: Any = None) -> Reply:
        text = "\n".join(message["content"] for message in messages)
        self.calls.append(text)
        self.schemas.append(schema)
        said = self.rule(text, len(self.calls))
        if isinstance(said, ModelError):
            raise said
        cut = "length" if said.endswith("…CUT") else "stop"
        said = said.removesuffix("…CUT")
        return Reply(said, cut, cut == "stop", Usage(3, 2), said, None, self.name)

    async def window(self) -> int | None:
        return None

    async def close(self) -> None: ...


def first_shown(text: str) -> str:
    """Which candidate of a compact or long prompt is Jo's own voice: the one that mentions the gloves hanged."""
    one = text.split("cand_1", 2)[-1] if "## cand_1" not in text else text.split("## cand_1")[1]
    head = one.split("cand_2:")[0] if "## cand_2" not in one else one.split("## cand_2")[0]
    return "cand_1" if "hanged" in head else "cand_2"
