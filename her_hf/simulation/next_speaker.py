"""Who speaks next: the prompt of the predictor, and parsing its answer.

Source: CoSER (ICML 2025), section on given-circumstance acting: the task of the predictor, and the order in which its
answer is read. The prompt is our own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from her_hf.dual_layer import Turn, View
from her_hf.inference import Message
from her_hf.judging.thinking import CLOSES_THINKING, OPENS_THINKING
from her_hf.scenes import Scene
from her_hf.scenes.messages import labelled
from her_hf.template_files import load_template

END_CHAT = "<END CHAT>"
"""The predictor's answer when the scene is over."""

_THINKING = re.compile(rf"(?:{OPENS_THINKING}).*?(?:{CLOSES_THINKING}|\Z)", re.IGNORECASE | re.DOTALL)
_THOUGHT = re.compile(CLOSES_THINKING, re.IGNORECASE)
_LABEL = re.compile(
    r"next[\s_-]{0,3}speaker[\"'*_`]{0,4}\s{0,3}(?:is\b|should\s+be\b|will\s+be\b|[:：=])|下一(?:位|个)?(?:发言|说话)(?:者|人)?\s{0,3}(?:是|为|[:：])",
    re.IGNORECASE,
)
_COLON = re.compile("[:：]")
_END = re.compile(r"<?\s{0,3}/?\s{0,3}\bend[\s_-]{0,3}(?:of[\s_-])?chat\b\s{0,3}>?", re.IGNORECASE)
_NUMBERING = re.compile(r"^(?:\(?\d{1,3}[.)、]\s*|[-•]\s+)")
_WRAPPING = " \t*_`#\"'“”‘’「」『』<>()[]{}（）【】,;，；!！?？~"
_LONGEST_ANSWER = 20_000


def parse_next_speaker(reply: str, names: list[str], current: str) -> str | None:
    """Reads the answer of the next-speaker predictor.

    The name is read from the text after the last "Next Speaker" label; else before the first colon; else from the
    whole answer. Markdown, numbering, quotes, brackets and dots around a name are ignored unless they belong to it;
    thinking before the answer is skipped, with or without its opening tag. Other words around a single name are
    allowed ("it should be Ron, angrily").

    Args:
        reply (`str`): The answer.
        names (`list[str]`): Possible speakers, including Environment if it takes part.
        current (`str`): Who has just spoken, and cannot be next.

    Returns:
        `str` or `None`: One of `names`, [`END_CHAT`], or `None` if the speaker must be drawn at random.

    Example:

    ```python
    >>> parse_next_speaker("2. **Next Speaker:** Jon Snow", ["Jon", "Jon Snow"], current="Jon")
    'Jon Snow'
    ```
    """
    answer = _THOUGHT.split(_THINKING.sub("\n", reply[-_LONGEST_ANSWER:]))[-1].strip()
    found = None
    for candidate in _candidates(answer):
        found = _named(candidate, names)
        if found is not None:
            break
    return None if found == current else found


def _candidates(answer: str) -> list[str]:
    """The texts that may contain the name, in order of precedence."""
    labels = list(_LABEL.finditer(answer))
    if labels:
        lines = answer[labels[-1].end() :].split("\n")
        return [next((line for line in lines if line.strip(_WRAPPING)), "")]
    colon = _COLON.search(answer)
    return [*([answer[: colon.start()]] if colon else []), answer]


def _named(candidate: str, names: Sequence[str]) -> str | None:
    """The name or end mark in this text, if it is unambiguous."""
    text = candidate.lstrip(_WRAPPING + "\n")
    text = _NUMBERING.sub("", text).lstrip(_WRAPPING + "\n").rstrip()
    bare = text.rstrip(_WRAPPING + "\n")
    exact = _same(text, names) or _same(text.rstrip("*_`"), names) or _same(bare, names)
    if exact is not None:
        return exact
    mentioned = _mentioned(text, names)
    if _END.search(candidate):
        return END_CHAT if not mentioned else None
    leading = [name for name, at in mentioned if at == 0]
    if leading:
        return leading[0]
    different = {name for name, _ in mentioned}
    return different.pop() if len(different) == 1 else None


def _same(text: str, names: Sequence[str]) -> str | None:
    """The name that equals the text, exactly if possible, else ignoring case and trailing dots."""
    if text in names:
        return text
    plain = text.rstrip(" .。").casefold()
    return next((name for name in names if plain and name.rstrip(" .").casefold() == plain), None)


def _mentioned(text: str, names: Sequence[str]) -> list[tuple[str, int]]:
    """Names in the text as whole words, with their positions; a name inside a longer one does not count."""
    taken: list[tuple[int, int]] = []
    found: list[tuple[str, int]] = []
    folded = text.casefold()
    for name in sorted(names, key=len, reverse=True):
        wanted = name.casefold()
        at = folded.find(wanted)
        while at >= 0:
            end = at + len(wanted)
            if _whole(folded, at, end) and not any(start < end and at < stop for start, stop in taken):
                taken.append((at, end))
                found.append((name, at))
            at = folded.find(wanted, end)
    return found


def _whole(text: str, start: int, end: int) -> bool:
    """Whether the span is made of whole words. Chinese has no spaces between words, so any span counts there."""
    before, after = text[start - 1 : start], text[end : end + 1]
    return not (_joins(before) and _joins(text[start])) and not (_joins(after) and _joins(text[end - 1]))


def _joins(character: str) -> bool:
    return (bool(character) and character.isalnum() and character.isascii()) or "\u00c0" <= character <= "\u024f"


@lru_cache(maxsize=4096)
def _told(book: str, scenario: str, people: tuple[str, ...], names: tuple[str, ...], end: str) -> str:
    prompt = load_template(__package__, "coser/next_speaker.jinja")
    return prompt.render(book=book, scenario=scenario, people=people, names=names, end=end).strip()


def next_speaker_messages(
    scene: Scene, turns: Sequence[Turn], names: Sequence[str], *, may_end: bool
) -> list[Message]:
    """The messages for the next-speaker predictor after the last of `turns`.

    Args:
        scene (`Scene`): The scene that is played.
        turns (`Sequence[Turn]`): The turns so far, in OTHERS view. Of the cast the predictor sees only names: what a
            character wants or thinks would influence the choice by something nobody has said.
        names (`Sequence[str]`): Possible speakers.
        may_end (`bool`): Whether the predictor may end the scene.
    """
    current = turns[-1].name if turns else None
    people = tuple(member.name for member in scene.cast if member.name in names)
    others = tuple(name for name in names if name != current)
    system = _told(scene.book, scene.scenario, people, others, END_CHAT if may_end else "")
    spoken = "\n\n".join(labelled(turn, View.OTHERS, "coser") for turn in turns)
    question = f"{spoken}\n\n===\nWho speaks next? Answer with one line:\nNext Speaker: "
    return [{"role": "system", "content": system}, {"role": "user", "content": question.rstrip()}]
