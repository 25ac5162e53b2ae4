"""Does a turn know what another character only thought? A mechanical look at her-mini's scenes.

Before turn k its speaker knows: the scenario, all names and profiles, what was said and done, and all of its own
(motivation, plans, thoughts). Secret are the others' motivations and all they planned or thought before turn k. A run
of four tokens that is secret and not known, or such a word that is rare in the data set, may not stand in turn k.

What this cannot see: a thought that was guessed in other words, a common word, an inflected form. And it can accuse
two characters who hit on one rare word by themselves; such turns were reworded, so there is no list of exceptions.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from her_hf.dual_layer import Layer, parse_turn
from her_hf.scoring.diversity import Gram, shingles, tokenize

RUN = 4
"""Tokens in a run: words in English, characters in Chinese."""
RARE_IN_SCENES = 2
"""A single word counts as rare if no more scenes than this hold it. Chinese is not cut into words: runs only."""
SHORTEST_WORD = 4

Scene = Mapping[str, Any]
_ENDING = re.compile(r"(?:['’]s|s)$")


def leaks(scenes: Sequence[Scene]) -> Iterator[tuple[int, int, str]]:
    """Finds turns that use what another only thought.

    Args:
        scenes (`Sequence[Scene]`): Rows of her-mini.

    Yields:
        `tuple[int, int, str]`: Index of the scene, index of the turn, and what was found, with whose thought it was.
    """
    spread = Counter(word for scene in scenes for word in _words(" ".join(_all_texts(scene))))
    for index, scene in enumerate(scenes):
        rare = {word for word, count in spread.items() if count <= RARE_IN_SCENES}
        for turn, found in _in_scene(scene, rare):
            yield index, turn, found


def _in_scene(scene: Scene, rare: set[str]) -> Iterator[tuple[int, str]]:
    names = [character["name"] for character in scene["key_characters"]]
    profiles = [character["character_profile"] for character in scene["character_datasets"]]
    open_texts = [scene["scenario"], *names, *profiles]
    secrets = {character["name"]: [character["motivation"]] for character in scene["key_characters"]}
    for index, dialogue in enumerate(scene["dialogues"]):
        speaker = dialogue["character"]
        texts = _turn_texts(dialogue, names)
        here = [text for _, text in texts]
        known = open_texts + secrets.get(speaker, [])
        for name, secret in secrets.items():
            if name == speaker:
                continue
            for found in _shared(secret, here, known, rare, scene["language"]):
                yield index, f"{found!r}, so far only in a thought or motive of {name}"
        for layer, text in texts:
            (secrets.setdefault(speaker, []) if layer.is_thinking else open_texts).append(text)


def _shared(
    secret: Sequence[str], here: Sequence[str], known: Sequence[str], rare: set[str], language: str
) -> list[str]:
    runs = sorted((_runs(secret) & _runs(here)) - _runs(known))
    found = [" ".join(run) if language == "en" else "".join(run) for run in runs]
    if language == "en":
        words = (_words(" ".join(secret)) & _words(" ".join(here)) & rare) - _words(" ".join(known))
        found += sorted(words)
    return found


def _runs(texts: Sequence[str]) -> set[Gram]:
    return {run for text in texts for run in shingles(tokenize(text), RUN) if len(run) == RUN}


def _words(text: str) -> set[str]:
    """Words of some length, without a plural or possessive s."""
    return {_ENDING.sub("", word) for word in tokenize(text) if len(word) >= SHORTEST_WORD}


def _turn_texts(dialogue: Mapping[str, Any], names: Sequence[str]) -> list[tuple[Layer, str]]:
    turn = parse_turn(dialogue["standard_format"], names=names)
    plan = (Layer.SYSTEM_THINKING, dialogue["sys_thinking_revised"])
    return [plan, *((segment.layer, segment.text) for segment in turn.segments)]


def _all_texts(scene: Scene) -> Iterator[str]:
    yield scene["scenario"]
    for character in scene["character_datasets"]:
        yield from (character["character"], character["character_profile"], character["motivation"])
    for dialogue in scene["dialogues"]:
        yield from (dialogue["sys_thinking_revised"], dialogue["standard_format"])
