"""The label a turn begins with: `Name: `.

With known names only those count. Without them, a label is what looks like a name and is not on the stop list, so that
"look at this: gold" stays speech.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .layers import ENVIRONMENT

MAX_LABEL = 60
"""Longest label in characters when no cast is known."""

_COLONS = (":", "：")
_PARTICLES = """
    of the de da di du del la le von van der den and in to with bin ibn al el d y & jr sr a an
"""
_STOP_FIRST_WORDS = """
    look listen wait remember note notice warning caution question answer finally then now here there
    this that these those it he she they we you i what who why how when where so and but or if because well yes no
    okay ok please see hear think imagine consider time date place goal plan context summary example reason rule rules
    reminder fact truth result problem conclusion ps p.s. re subject meanwhile therefore thus also only says said let
    don't do never always chapter scene act part step
"""
_STOP_ALONE = """
    first second third one two three hi hello hey bye oh ah hmm thanks sorry sure good great right
"""
_STOP_PHRASES_ZH = """
    记住 注意 听着 你看 您看 看 听 比如 例如 譬如 俗话说 常言道 古人云
    总之 所以 因为 但是 结果 问题 答案 首先 其次 最后
"""
_PARTICLE_SET = frozenset(_PARTICLES.split())
_STOP_SET = frozenset(_STOP_FIRST_WORDS.split())
_STOP_ALONE_SET = _STOP_SET | frozenset(
    _STOP_ALONE.split()
)  # "First: wait" is speech, "First Witch: wait" has a label
_STOP_SET_ZH = frozenset(_STOP_PHRASES_ZH.split())
_SPEECH_VERBS_ZH = ("说", "道", "问", "答", "曰", "喊")
_MAX_WORDS = 6
_MAX_CJK = 12
_NOT_IN_LABEL = re.compile(r"[<>\[\](){}\"“”!?;,，。！？；、「」『』（）［］【】…*=|]")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_APOSTROPHE = re.compile("['’]")


@dataclass(frozen=True, slots=True)
class Label:
    """What [`find_label`] found.

    Args:
        name (`str`, *optional*): The name; `None` if the text has no label.
        length (`int`, *optional*, defaults to 0): How many characters of the text the label takes, colon included.
    """

    name: str | None = None
    length: int = 0


def looks_like_name(candidate: str) -> bool:
    """Whether `candidate`, the text before a colon, can be a speaker's name when no cast is known.

    Example:

    ```python
    >>> looks_like_name("Mr. Darcy"), looks_like_name("The end of it"), looks_like_name("Listen")
    (True, False, False)
    ```
    """
    if not candidate or len(candidate) > MAX_LABEL or _NOT_IN_LABEL.search(candidate):
        return False
    if _CJK.search(candidate):
        is_phrase = candidate in _STOP_SET_ZH or candidate.endswith(_SPEECH_VERBS_ZH)
        return len(candidate) <= _MAX_CJK and not is_phrase
    words = candidate.split()
    first = words[0]
    if len(words) > _MAX_WORDS or first[0].islower() or first[0].isdigit():
        return False
    stop = _STOP_ALONE_SET if len(words) == 1 else _STOP_SET
    if first.lower() in stop or _stem(first) in stop or not any(character.isalpha() for character in candidate):
        return False
    return all(not word[0].islower() or _stem(word) in _PARTICLE_SET for word in words)


def _stem(word: str) -> str:
    """`it` of "It's", `al` of "al'Vere", `jr` of "jr."."""
    return _APOSTROPHE.split(word.lower())[0].strip(".")


def find_label(text: str, names: Sequence[str] = (), speaker: str | None = None, final: bool = True) -> Label | None:
    """Finds the label at the start of `text`.

    Args:
        text (`str`): Beginning of a turn, without leading white space.
        names (`Sequence[str]`, *optional*): The cast. If given, only these, `speaker` and Environment are labels.
        speaker (`str`, *optional*): Who should speak; always accepted as a label.
        final (`bool`, *optional*, defaults to `True`): Whether no more text follows.

    Returns:
        `Label` (its name is `None` if the text has no label), or `None` if more text is needed to tell, which happens
        only if not `final`.

    Example:

    ```python
    >>> find_label("Mr. Darcy: Good day.")
    Label(name='Mr. Darcy', length=10)
    >>> find_label("look at this: gold"), find_label("Mr. Dar", final=False)
    (Label(name=None, length=0), None)
    ```
    """
    line, newline, _ = text.partition("\n")
    complete = final or bool(newline)
    known = _find_known(line, {*names, ENVIRONMENT, speaker or ENVIRONMENT}, complete)
    if names or known is None or known.name is not None:
        return known
    head = line[: MAX_LABEL + 1]
    positions = [at for at in map(head.find, _COLONS) if at >= 0]
    if not positions:
        return Label() if complete or len(line) > MAX_LABEL else None
    candidate = line[: min(positions)].strip()
    return Label(candidate, min(positions) + 1) if looks_like_name(candidate) else Label()


def _find_known(line: str, names: set[str], complete: bool) -> Label | None:
    """The longest known name that `line` begins with and a colon follows; `None` if more of the line is needed."""
    best = Label()
    for name in names:
        rest = line[len(name) :].lstrip()
        if len(name) > len(best.name or "") and line.startswith(name) and rest.startswith(_COLONS):
            best = Label(name, len(line) - len(rest) + 1)
    begun = line.rstrip()
    undecided = not complete and any(len(name) > len(best.name or "") and name.startswith(begun) for name in names)
    return None if undecided else best


def foreign_lines(text: str, names: Sequence[str], own: str | None) -> bool:
    """Whether a line of speech begins with the label of another member of the cast."""
    return foreign_start(text, names, own) is not None


def foreign_start(text: str, names: Sequence[str], own: str | None) -> int | None:
    """Where the first line begins that has the label of another member of the cast; `None` if there is none."""
    if not any(colon in text for colon in _COLONS):
        return None
    others = sorted({*names, ENVIRONMENT} - {own or "", ""})
    if not others:
        return None
    lead = re.compile(r"^[ \t]*(?:" + "|".join(map(re.escape, others)) + r")[ \t]*[:：]", re.MULTILINE)
    found = lead.search(text)
    return found.start() if found else None
