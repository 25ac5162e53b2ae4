"""Does a turn know what another character only thought? A mechanical look at her-mini's scenes.

Before turn k its speaker knows: the scenario, all names and profiles, what was said and done, and all of its own
(motivation, plans, thoughts). Secret are the others' motivations and all they planned or thought before turn k. A run
of four tokens that is secret and not known, or such a word that is rare in the data set, may not stand in turn k.

What this cannot see: a thought that was guessed in other words, a common word, an inflected form. And it can accuse
two characters who hit on one rare word by themselves; such turns were reworded, so there is no list of exceptions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from her_hf.dual_layer import Layer, Turn, parse_turn
from her_hf.scoring.leaks import known_secrets, long_words

RARE_IN_SCENES = 2
"""A single word counts as rare if no more scenes than this hold it. Chinese is not cut into words: runs only."""

Scene = Mapping[str, Any]


def leaks(scenes: Sequence[Scene]) -> Iterator[tuple[int, int, str]]:
    """Finds turns that use what another only thought.

    Args:
        scenes (`Sequence[Scene]`): Rows of her-mini.

    Yields:
        `tuple[int, int, str]`: Index of the scene, index of the turn, and what was found, with whose thought it was.
    """
    spread = Counter(word for scene in scenes for word in long_words(" ".join(_all_texts(scene))))
    rare = {word for word, count in spread.items() if count <= RARE_IN_SCENES}
    for index, scene in enumerate(scenes):
        names = [character["name"] for character in scene["key_characters"]]
        profiles = [character["character_profile"] for character in scene["character_datasets"]]
        for secret in known_secrets(
            [_turn(dialogue, names) for dialogue in scene["dialogues"]],
            open_texts=[scene["scenario"], *names, *profiles],
            own_texts={character["name"]: [character["motivation"]] for character in scene["key_characters"]},
            layers=tuple(Layer),
            telling=rare if scene["language"] == "en" else (),
        ):
            yield index, secret.turn, f"{secret.found!r}, so far only in a thought or motive of {secret.owner}"


def _turn(dialogue: Mapping[str, Any], names: Sequence[str]) -> Turn:
    turn = parse_turn(dialogue["standard_format"], names=names)
    return replace(turn, name=dialogue["character"], system_thinking=dialogue["sys_thinking_revised"])


def _all_texts(scene: Scene) -> Iterator[str]:
    yield scene["scenario"]
    for character in scene["character_datasets"]:
        yield from (character["character"], character["character_profile"], character["motivation"])
    for dialogue in scene["dialogues"]:
        yield from (dialogue["sys_thinking_revised"], dialogue["standard_format"])
