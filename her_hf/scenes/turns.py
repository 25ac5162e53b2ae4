"""From message text to turns: reading one message, and merging consecutive turns of a speaker."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from her_hf.dual_layer import ENVIRONMENT, Issue, Layer, Segment, Turn, View, parse_turn, visible_runs


def read_turn(text: str, speaker: str, *, notation: str = "her", origin_id: Iterable[int] = ()) -> Turn:
    """Reads the text of one message whose speaker is known.

    Args:
        text (`str`): The message, with or without a leading `Speaker: `.
        speaker (`str`): Who speaks. Another leading name stays part of the text.
        notation (`str`, *optional*, defaults to `"her"`): `"her"` (tags) or `"coser"` (`[thought]`, `(action)`).
        origin_id (`Iterable[int]`, *optional*): Indices of the raw messages.

    Returns:
        `Turn`: Its name is always `speaker`.
    """
    ids = tuple(origin_id)
    if speaker == ENVIRONMENT:
        return environment_turn(text, origin_id=ids)
    turn = parse_turn(text, notation=notation, names=(speaker,), origin_id=ids)
    if turn.name == ENVIRONMENT:  # a label that every parse knows; here it is what the speaker says
        turn = parse_turn(f"{speaker}: {text}", notation=notation, names=(speaker,), origin_id=ids)
    return replace(turn, name=speaker)


def environment_turn(text: str, *, origin_id: tuple[int, ...] = ()) -> Turn:
    """A turn of Environment: all its text is speech that everyone sees, brackets included.

    Tags in the data are parsed, and their content becomes speech too, except for system thinking, which nobody sees.
    """
    turn = parse_turn(text, names=(ENVIRONMENT,), speaker=ENVIRONMENT)
    segments = as_speech(turn.segments)
    issues = turn.issues if segments else tuple(dict.fromkeys((*turn.issues, Issue.EMPTY)))
    return Turn(ENVIRONMENT, turn.system_thinking, segments, issues, origin_id)


def as_speech(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """Environment's segments as one run of speech, without system thinking."""
    spoken = (
        segment if segment.layer is Layer.SYSTEM_THINKING else replace(segment, layer=Layer.SPEECH)
        for segment in segments
    )
    return visible_runs(spoken, View.OTHERS)


def merge_turns(turns: Iterable[Turn]) -> list[Turn]:
    """Merges consecutive turns of a speaker; origin ids, issues and all text are kept.

    Source: HER step 1, which merges consecutive messages of a speaker and records `origin_id`.
    """
    merged: list[Turn] = []
    for turn in turns:
        if merged and merged[-1].name == turn.name:
            merged[-1] = _join(merged[-1], turn)
        else:
            merged.append(turn)
    return merged


def _join(first: Turn, second: Turn) -> Turn:
    thoughts = [turn.system_thinking for turn in (first, second) if turn.system_thinking is not None]
    segments = visible_runs(first.segments + second.segments, View.FULL)
    issues = dict.fromkeys(first.issues + second.issues)
    if segments:
        issues.pop(Issue.EMPTY, None)
    return Turn(
        name=first.name,
        system_thinking="\n\n".join(filter(None, thoughts)) if thoughts else None,
        segments=segments,
        issues=tuple(issues),
        origin_id=first.origin_id + second.origin_id,
    )
