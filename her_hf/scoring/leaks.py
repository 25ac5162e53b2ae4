"""Mechanical detection of leaks: a turn's own thinking in its speech, and use of what another character only thought.

A paraphrased thought is not detected. False positives occur by chance: two characters use the same phrase, or a plan
names the action that follows. So compare a rate with that of a reference; it is not a count of errors.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from her_hf.dual_layer import ZERO_WIDTH_SPACE, Layer, Turn, View

from .diversity import Gram, grams, is_cjk, shingles, tokenize

SPOKEN_RUN = 6
"""Number of words of the turn's own thought whose repetition is not by chance. In CoSER's 100 `id` scenes, 2 of 1,135
turns by characters repeat four words of their own thought, none five; in her-mini, 2 of 328 English turns repeat six,
because the plan names the action."""
SPOKEN_RUN_CJK = 8
"""The same in Chinese characters, one or two of which make a word: found in 1 of 112 turns of her-mini."""
SECRET_RUN = 4
"""Number of tokens (words, Chinese characters) of another's thought whose repetition is not by chance: found in 13 of
those 1,135 turns of CoSER ("i need to stay"), and in 17 if the thoughts are those of the next scene, so the chance
rate is about 1.5%. Shorter than the runs above, because another's thought should not be known at all, while everyone
may act on their own."""
BRACKETED = 3
"""Minimum tokens in brackets for a thought in CoSER notation; fewer are a remark such as [sic] or a title."""
SHORTEST_WORD = 4
"""Minimum letters of a single word that can reveal a secret."""

# Bounds and exclusions keep these linear on hostile text.
_THINK_TAG = re.compile(
    rf"<{ZERO_WIDTH_SPACE}?\s{{0,8}}/?\s{{0,8}}[\w-]{{0,64}}?"
    r"(?:think|thought|reason|reflect|monologue|思考|思维|内心|心理)[\w-]{0,64}>?",
    re.IGNORECASE,
)
# A bracket followed by a zero-width space is escaped, so it is text.
_BRACKETS = re.compile(rf"[\[［【](?!{ZERO_WIDTH_SPACE})[^\[\]［］【】]*[\]］】]")
_QUOTED = re.compile(r"\"[^\"]*\"|“[^“”]*”|「[^「」]*」|『[^『』]*』")
_ENDING = re.compile(r"(?:['’]s|s)$")


@dataclass(frozen=True)
class KnownSecret:
    """A run of words in a turn that so far occurred only in another character's thinking.

    Args:
        turn (`int`): Index of the turn.
        owner (`str`): Whose thought it is.
        found (`str`): The run, in lower case.
    """

    turn: int
    owner: str
    found: str


def spoken_thoughts(turn: Turn) -> list[str]:
    """Finds thinking that leaked into speech or actions.

    There are three forms: a thinking tag that was not read as one, such as `<thinking>` or an unfinished `<think`; a
    thought left in brackets, CoSER's notation; a repetition of [`SPOKEN_RUN`] words of the turn's own system or role
    thinking. Quoted text in the thinking is speech that was heard or planned, and does not count.

    Args:
        turn (`Turn`): A turn with its thinking.

    Returns:
        `list[str]`: The leaks, in this order; empty if there are none.

    Example:

    ```python
    >>> spoken_thoughts(parse_turn("Ann: <thinking>I must hide it.</thinking> Tea? [I must hide it.]"))
    ['<thinking>', '</thinking>', '[I must hide it.]']
    ```
    """
    seen = [segment.text for segment in turn.segments if View.OTHERS.shows(segment.layer)]
    hidden = [turn.system_thinking or "", *(s.text for s in turn.segments if s.layer.is_thinking)]
    found = [match[0] for text in seen for match in _THINK_TAG.finditer(text)]
    brackets = [match[0] for text in seen for match in _BRACKETS.finditer(text)]
    found += [text for text in brackets if len(tokenize(text)) >= BRACKETED]
    spoken = [tokenize(text) for text in seen]
    size = _spoken_run([token for tokens in spoken for token in tokens])
    own = {run for text in hidden for part in _QUOTED.split(text) for run in grams(tokenize(part), size)}
    runs = dict.fromkeys(run for tokens in spoken for run in grams(tokens, size))
    return found + [written(run) for run in runs if run in own]


def _spoken_run(tokens: Sequence[str]) -> int:
    return SPOKEN_RUN_CJK if 2 * sum(map(is_cjk, tokens)) > len(tokens) else SPOKEN_RUN


def known_secrets(
    turns: Sequence[Turn],
    *,
    open_texts: Iterable[str] = (),
    own_texts: Mapping[str, Iterable[str]] | None = None,
    layers: Collection[Layer] = (Layer.ROLE_THINKING, Layer.ROLE_ACTION, Layer.SPEECH),
    telling: Collection[str] = (),
) -> list[KnownSecret]:
    """Finds turns that use what another character only thought.

    Before a turn, its speaker knows the open texts, what was said and done, and everything of its own. The others'
    thoughts and plans so far and their own texts are secret. A run of [`SECRET_RUN`] tokens that is secret and not
    known to the speaker is a finding.

    Args:
        turns (`Sequence[Turn]`): A dialogue in order, with thinking; each turn has a name.
        open_texts (`Iterable[str]`, *optional*): Texts known to all: scenario, names, profiles.
        own_texts (`Mapping[str, Iterable[str]]`, *optional*): By name the texts known only to this character: its
            motivation.
        layers (`Collection[Layer]`, *optional*): Layers of a turn that are searched; by default all except system
            thinking.
        telling (`Collection[str]`, *optional*): Single words, as returned by [`long_words`], that reveal a secret by
            themselves because they are rare.

    Returns:
        `list[KnownSecret]`: Findings by turn, then by owner, runs before words.

    Raises:
        `ValueError`: If a turn has no name.

    Example:

    ```python
    >>> ann = parse_turn("Ann: <role_thinking>It lies well under the mat.</role_thinking> Tea?")
    >>> known_secrets([ann, parse_turn("Bob: Is it well under the mat?")])
    [KnownSecret(turn=1, owner='Ann', found='well under the mat')]
    ```
    """
    words = frozenset(telling)
    open_marks = _marks(open_texts, words)
    own_marks = {name: _marks(texts, words) for name, texts in (own_texts or {}).items()}
    found = []
    for index, turn in enumerate(turns):
        if turn.name is None:
            raise ValueError(f"turn {index} has no name: set the speaker, dataclasses.replace(turn, name=...).")
        texts = list(_texts(turn))
        here = _marks((text for layer, text in texts if layer in layers), words)
        unknown = here - open_marks - own_marks.get(turn.name, set())
        for owner, marks in own_marks.items():
            if owner != turn.name:
                secrets = sorted(marks & unknown, key=lambda mark: (len(mark) == 1, mark))
                found += [KnownSecret(index, owner, written(mark)) for mark in secrets]
        own_marks.setdefault(turn.name, set()).update(
            _marks((text for layer, text in texts if layer.is_thinking), words)
        )
        open_marks |= _marks((text for layer, text in texts if not layer.is_thinking), words)
    return found


def long_words(text: str) -> set[str]:
    """Words of at least [`SHORTEST_WORD`] letters, without a plural or possessive s; none for Chinese.

    Example:

    ```python
    >>> sorted(long_words("Two zeppelins, the zeppelin's"))
    ['zeppelin']
    ```
    """
    return {_ENDING.sub("", word) for word in tokenize(text) if len(word) >= SHORTEST_WORD}


def written(run: Gram) -> str:
    """A run of tokens as text: words with spaces between them, Chinese without."""
    return ("" if any(map(is_cjk, run)) else " ").join(run)


def _texts(turn: Turn) -> Iterator[tuple[Layer, str]]:
    yield Layer.SYSTEM_THINKING, turn.system_thinking or ""
    for segment in turn.segments:
        yield segment.layer, segment.text


def _marks(texts: Iterable[str], telling: frozenset[str]) -> set[Gram]:
    """What identifies a text: its runs, and its telling words as runs of one token."""
    marks: set[Gram] = set()
    for text in texts:
        marks.update(run for run in shingles(tokenize(text), SECRET_RUN) if len(run) == SECRET_RUN)
        if telling:
            marks.update((word,) for word in long_words(text) & telling)
    return marks
