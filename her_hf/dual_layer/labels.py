"""The label at the start of a turn: `Name: `.

If names are known, only those count, also in the forms that models write although the prompt shows the plain one:
bold, in capitals, in square brackets, with a stage direction. Without known names, a label is what looks like a name
and is not on the stop list, so that "look at this: gold" stays speech.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from .layers import ENVIRONMENT
from .text import CLOSE_ROUND, ROUND

MAX_LABEL = 60
"""Maximum characters of a label if no cast is known."""
MAX_DIRECTION = 80
"""Maximum characters of the stage direction in a label."""

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
_LEAD = re.compile(r"\A([*_]{0,3})([\[［【]?)")
_CLOSING = {"[": "]", "［": "］", "【": "】"}
_IN_DIRECTION = rf"[^{ROUND}{CLOSE_ROUND}\n]{{0,{MAX_DIRECTION}}}"
_DIRECTION = re.compile(rf"[{ROUND}]({_IN_DIRECTION})[{CLOSE_ROUND}]")
_OPEN_DIRECTION = re.compile(rf"[{ROUND}]{_IN_DIRECTION}")
_APOSTROPHE = re.compile("['’]")
_WHITE = r"[^\S\n]*+"


@dataclass(frozen=True, slots=True)
class Label:
    """The result of [`find_label`].

    Args:
        name (`str`, *optional*): The name; `None` if the text has no label.
        length (`int`, *optional*, defaults to 0): Number of characters of the label, colon included.
        restyled (`bool`, *optional*, defaults to `False`): Whether it is a known name in a form other than `Name:`.
        direction (`str`, *optional*, defaults to `""`): The stage direction of a restyled label, without brackets.
    """

    name: str | None = None
    length: int = 0
    restyled: bool = False
    direction: str = ""


def looks_like_name(candidate: str) -> bool:
    """Whether `candidate`, the text before a colon, can be a speaker's name if no cast is known.

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
        text (`str`): Start of a turn, without leading white space.
        names (`Sequence[str]`, *optional*): The cast. If given, only these, `speaker` and Environment are labels.
        speaker (`str`, *optional*): Who should speak; always accepted as a label.
        final (`bool`, *optional*, defaults to `True`): Whether no more text follows.

    Returns:
        `Label` (its name is `None` if the text has no label), or `None` if more text is needed to decide, which can
        only happen if `final` is `False`.

    Example:

    ```python
    >>> find_label("Mr. Darcy: Good day.")
    Label(name='Mr. Darcy', length=10, restyled=False, direction='')
    >>> find_label("look at this: gold").name, find_label("Mr. Dar", final=False)
    (None, None)
    >>> find_label("**Ann** (sighs): Well.", names=["Ann"])
    Label(name='Ann', length=16, restyled=True, direction='sighs')
    ```
    """
    line, newline, _ = text.partition("\n")
    complete = final or bool(newline)
    known = known_label(line, names, speaker, complete)
    if names or known is None or known.name is not None:
        return known
    head = line[: MAX_LABEL + 1]
    positions = [at for at in map(head.find, _COLONS) if at >= 0]
    if not positions:
        return Label() if complete or len(line) > MAX_LABEL else None
    candidate = line[: min(positions)].strip()
    return Label(candidate, min(positions) + 1) if looks_like_name(candidate) else Label()


def known_label(
    line: str, names: Iterable[str], speaker: str | None, complete: bool, brackets: bool = False
) -> Label | None:
    """The label of `line` among the known names, in the plain or another form; `None` if more text is needed.

    `brackets`: whether brackets of the line may be layers, as in CoSER notation.
    """
    known = {*names, ENVIRONMENT, speaker or ENVIRONMENT} - {""}
    plain = _longest(((name, _read_plain(line, name)) for name in known), complete)
    if plain is None or plain.name is not None or known == {ENVIRONMENT}:
        return plain
    # The speaker first, then alphabetically, so that the choice between names that differ only in case is fixed.
    ordered = sorted(known, key=lambda name: (name != speaker, name))
    return _longest(((name, _read_restyled(line, name, brackets)) for name in ordered), complete)


def _longest(readings: Iterable[tuple[str, Label | None]], complete: bool) -> Label | None:
    """The label with the longest name; `None` while a longer name could still match."""
    best, open_length = Label(), 0
    for name, found in readings:
        if found is None:
            open_length = max(open_length, len(name))
        elif found.name is not None and len(name) > len(best.name or ""):
            best = found
    return best if complete or open_length <= len(best.name or "") else None


def _read_plain(line: str, name: str) -> Label | None:
    """`Name:` with optional white space before the colon."""
    if not line.startswith(name):
        return None if name.startswith(line.rstrip()) else Label()
    rest = line[len(name) :].lstrip()
    if not rest:
        return None
    return Label(name, len(line) - len(rest) + 1) if rest.startswith(_COLONS) else Label()


def _read_restyled(line: str, name: str, brackets: bool = False) -> Label | None:
    """`NAME:`, `**Name:**`, `[Name]:`, `Name (direction):` and combinations; `None` if more text is needed.

    White space is allowed before a direction and the colon. If brackets may be layers, the colon must directly follow
    those of the label, and square brackets may hold only a name: rendering puts a space between a layer and the speech
    after it, so that `[thought] : …` does not become a label, and anything more than a name is a thought.
    """
    mark, bracket = _LEAD.findall(line)[0]
    start = len(mark + bracket)
    if not start and line[:1].islower() and line[:1] != name[:1]:
        return Label()  # "will: …" may be an ordinary word, "WILL: …" is not
    end = _name_end(line, start, name)
    if end is None or end < 0:
        return None if end is None else Label()
    at, direction = end, ""
    closing = _CLOSING.get(bracket, "")
    pending = mark  # the emphasis must end: before the direction, after it, or after the colon
    while True:
        white = at + len(line[at:]) - len(line[at:].lstrip())
        if white == len(line):
            return None
        if closing and line[at] == closing:
            at, closing = at + 1, ""
        elif pending and not closing and pending.startswith(line[at : at + len(pending)]):
            if not line.startswith(pending, at):
                return None
            at, pending = at + len(pending), ""
        elif not direction and line[white] in ROUND and not (closing and brackets):
            inner = _DIRECTION.match(line, white)
            if inner is None:
                return None if _OPEN_DIRECTION.fullmatch(line, white) else Label()
            direction, at = inner[1].strip(), inner.end()
            if not direction:
                return Label()
        else:
            break
    at = at if brackets and (bracket or direction) else white
    if closing or not line.startswith(_COLONS, at):
        return Label()
    at += 1
    if pending:
        if not line.startswith(pending, at):
            return None if pending.startswith(line[at:]) else Label()
        at += len(pending)
    return Label(name, at, True, direction)


def _name_end(line: str, start: int, name: str) -> int | None:
    """End of `name`, which starts at `start`; -1 if other text is there, `None` if more text is needed."""
    wanted, found = _folded(name), 0
    for at in range(start, len(line)):
        if found == len(wanted):
            return at
        letter = _folded(line[at])
        if not wanted.startswith(letter, found):
            return -1
        found += len(letter)
    return None


@lru_cache(maxsize=4096)
def _folded(text: str) -> str:
    """The text without differences of case (`STRASSE`, `Straße`) and apostrophes."""
    return text.casefold().replace("’", "'")


def foreign_lines(text: str, names: Sequence[str], own: str | None) -> bool:
    """Whether a line of speech starts with the label of another member of the cast."""
    return foreign_start(text, names, own) is not None


def foreign_start(text: str, names: Sequence[str], own: str | None) -> int | None:
    """Start of the first line with the label of another member of the cast; `None` if there is none."""
    return next(labelled_lines(text, {*names, ENVIRONMENT} - {own or ""}), (None, None))[0]


def labelled_lines(text: str, names: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Start of the line and of the name, for each line that starts with a label of one of `names`, in any form."""
    if not any(colon in text for colon in _COLONS):
        return
    wanted = tuple(sorted(filter(None, names), key=lambda name: (-len(name), name)))
    if not wanted:
        return
    for found in _line_pattern(wanted).finditer(text):
        start = found.start("label")
        end = text.find("\n", start)
        line = text[start : end if end >= 0 else len(text)]
        written = _folded(found["name"])
        for name in (name for name in wanted if _folded(name) == written):
            if any(reading and reading.name for reading in (_read_plain(line, name), _read_restyled(line, name))):
                yield found.start(), found.start("name")
                break


@lru_cache(maxsize=64)
def _line_pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    """Pattern of lines that may have a label: a fast filter before the rules above."""
    written = dict.fromkeys(form for name in names for form in (name, _folded(name)))
    known = "|".join(re.escape(form).replace("ss", "(?:ss|ß)").replace("'", "['’]") for form in written)
    direction = rf"(?:{_WHITE}[{ROUND}][^{ROUND}{CLOSE_ROUND}\n]*+[{CLOSE_ROUND}])?"
    ends = rf"{direction}[\]］】]?[*_]{{0,3}}{direction}[*_]{{0,3}}{_WHITE}[:：]"
    label = rf"[*_]{{0,3}}[\[［【]?(?P<name>{known}){ends}"
    return re.compile(rf"^{_WHITE}(?P<label>{label})", re.MULTILINE | re.IGNORECASE)
