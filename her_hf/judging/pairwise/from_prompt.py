"""The fallback for pairs of other sources, which carry no circumstances: they are read out of the rendered prompt.

It knows the sections of HER's scene prompt, in English and Chinese; a prompt of another form is shown to the judge
whole. It can be mistaken, for instance where a spoken paragraph begins like a label, so pairs that need it are counted
wherever pairs are judged or trained.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from her_hf.dual_layer import Issue, View, parse_turn, render_segments, visible_runs
from her_hf.inference import Message
from her_hf.scenes.messages import START

from .circumstances import Circumstances, Spoken, candidate_body

_SECTION = re.compile(r"^===(?P<title>[^=\n].*?)===[ \t]*$", re.MULTILINE)
_ROLE = re.compile(r"^\s*(?:You are |你是(?:《(?P<zh_book>[^》]*)》中的)?)(?P<rest>[^\n]+)")
_MOST_JOINED = 50
"""Paragraphs that a thought may span; one that is still open then hides the rest."""


def circumstances_from_prompt(prompt: Sequence[Message], character: str) -> Circumstances:
    """Reads circumstances out of a prompt.

    The views are applied, whatever the prompt contains: system thinking and others' thoughts do not reach the judge.

    Args:
        prompt (`Sequence[dict]`): Messages up to the reply, of the character's own conversation.
        character (`str`): Who replies.
    """
    system = "\n\n".join(str(m.get("content") or "") for m in prompt if m["role"] == "system").strip()
    sections = _sections(system)
    turns: list[Spoken] = []
    for message in prompt:
        text = str(message.get("content") or "")
        if message["role"] == "user":
            turns += _heard(text)
        elif message["role"] == "assistant":
            turns.append(Spoken(character, candidate_body(text, character)))
    card, scenario = sections.get(f"{character}'s Profile", ""), sections.get("Current Scenario", "")
    return Circumstances(
        character=character,
        book=_book(system),
        card=card,
        scenario=scenario,
        others=sections.get("Information about the other Characters", ""),
        turns=tuple(turn for turn in turns if turn.text),
        prompt="" if card or scenario else system,
    )


def character_of(prompt: Sequence[Any]) -> str:
    """Who replies, according to the system message; `""` if it does not say."""
    for message in prompt:
        if isinstance(message, Mapping) and message.get("role") == "system":
            match = _ROLE.match(str(message.get("content") or ""))
            if match:
                rest = match["rest"].strip().rstrip("。.")
                return rest if match["zh_book"] else rest.partition(" from ")[0]
    return ""


def _book(system: str) -> str:
    match = _ROLE.match(system)
    if not match:
        return ""
    return match["zh_book"] or match["rest"].strip().rstrip("。.").partition(" from ")[2]


def _sections(system: str) -> dict[str, str]:
    marks = list(_SECTION.finditer(system))
    ends = [*(mark.start() for mark in marks[1:]), len(system)]
    return {mark["title"]: system[mark.end() : ends[at]].strip() for at, mark in enumerate(marks)}


def _heard(text: str) -> list[Spoken]:
    """The turns of a user message, separated by blank lines; a part without a label continues the turn before."""
    turns: list[Spoken] = []
    for part in _paragraphs(text):
        turn = parse_turn(part)
        shown = render_segments(visible_runs(turn.segments, View.OTHERS))
        if turn.name is None and turns:
            turns[-1] = Spoken(turns[-1].name, f"{turns[-1].text}\n{shown}".strip())
        else:
            turns.append(Spoken(turn.name or "", shown))
    return turns


def _paragraphs(text: str) -> Iterator[str]:
    """Parts between blank lines; a thought that contains blank lines is not split."""
    parts = [part for part in map(str.strip, text.split("\n\n")) if part and part != START]
    while parts:
        part, joined = parts.pop(0), 0
        while parts and Issue.UNCLOSED in parse_turn(part).issues:
            joined += 1
            taken = 1 if joined <= _MOST_JOINED else len(parts)
            part = "\n\n".join([part, *parts[:taken]])
            del parts[:taken]
        yield part
