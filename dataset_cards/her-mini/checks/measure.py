"""What her-mini's figures are and how they are counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from her_hf.dual_layer import Layer, parse_turn
from her_hf.scoring.diversity import self_bleu
from her_hf.scoring.replies import pattern_statistics

if TYPE_CHECKING:
    from .duplicates import Pair

Scene = Mapping[str, Any]
_NO_SIGN = re.compile(r"[\W_]")


def length_of(text: str, language: str) -> int:
    """Words split at white space; of Chinese the characters, digits and letters, without punctuation."""
    return len(_NO_SIGN.sub("", text)) if language == "zh" else len(text.split())


def reply_of(dialogue: Mapping[str, Any]) -> str:
    """Role thinking, actions and speech of a turn as plain text, without tags."""
    return parse_turn(dialogue["standard_format"], names=[dialogue["character"]]).text_of(Layer)


def patterns_of(scenes: Sequence[Scene]) -> list[str]:
    """The pattern of every turn, scene after scene."""
    return [
        parse_turn(dialogue["standard_format"], names=[dialogue["character"]]).pattern
        for scene in scenes
        for dialogue in scene["dialogues"]
    ]


def statistics(rows: Sequence[tuple[str, Scene]], pairs: Sequence[Pair]) -> dict[str, Any]:
    """All figures of the data set.

    Args:
        rows (`Sequence[tuple[str, Scene]]`): Each scene with the name of its split.
        pairs (`Sequence[Pair]`): From `near_duplicates`.

    Returns:
        `dict`: Plain numbers, texts, lists and dicts, ready for JSON. Shares are between 0 and 1.
    """
    scenes = [scene for _, scene in rows]
    patterns = patterns_of(scenes)
    by_split: dict[str, list[Scene]] = {}
    for split, scene in rows:
        by_split.setdefault(split, []).append(scene)
    by_language: dict[str, list[Scene]] = {}
    for scene in scenes:
        by_language.setdefault(scene["language"], []).append(scene)
    return {
        "scenes": len(scenes),
        "turns": len(patterns),
        "books": len({scene["book_name"] for scene in scenes}),
        "characters": len({(scene["book_name"], one["name"]) for scene in scenes for one in scene["key_characters"]}),
        "patterns": pattern_statistics(patterns),
        "shares_of_turns": {
            "with role thinking": _share("T" in pattern for pattern in patterns),
            "with an action": _share("A" in pattern for pattern in patterns),
            "with speech": _share("S" in pattern for pattern in patterns),
        },
        "splits": {split: _counts(own) for split, own in by_split.items()},
        "languages": {language: _language(language, by_language[language]) for language in sorted(by_language)},
        "near_duplicates": {
            "candidates": len(pairs),
            "largest_similarity": round(pairs[0].similarity, 4) if pairs else 0.0,
        },
    }


def _counts(scenes: Sequence[Scene]) -> dict[str, Any]:
    return {
        "scenes": len(scenes),
        "en": sum(scene["language"] == "en" for scene in scenes),
        "zh": sum(scene["language"] == "zh" for scene in scenes),
        "turns": sum(len(scene["dialogues"]) for scene in scenes),
        "books": sorted({scene["book_name"] for scene in scenes}),
    }


def _language(language: str, scenes: Sequence[Scene]) -> dict[str, Any]:
    plans = [dialogue["sys_thinking_revised"] for scene in scenes for dialogue in scene["dialogues"]]
    replies = [reply_of(dialogue) for scene in scenes for dialogue in scene["dialogues"]]
    return {
        "unit": "characters" if language == "zh" else "words",
        "turns": len(plans),
        "system_thinking_length": _spread([length_of(text, language) for text in plans]),
        "reply_length": _spread([length_of(text, language) for text in replies]),
        "self_bleu_4": {
            "system thinking": round(self_bleu(plans), 4) if len(plans) > 1 else 0.0,
            "reply": round(self_bleu(replies), 4) if len(replies) > 1 else 0.0,
        },
    }


def _spread(lengths: Sequence[int]) -> dict[str, float]:
    return {"min": min(lengths), "mean": round(sum(lengths) / len(lengths), 1), "max": max(lengths)}


def _share(holds: Iterable[bool]) -> float:
    flags = list(holds)
    return round(flags.count(True) / len(flags), 4)


def pattern_counts(scenes: Sequence[Scene]) -> list[tuple[str, int, int]]:
    """Each pattern with its turns in English and in Chinese, the commonest first."""
    counts = {
        language: Counter(patterns_of([scene for scene in scenes if scene["language"] == language]))
        for language in ("en", "zh")
    }
    both = counts["en"] + counts["zh"]
    return [(p, counts["en"][p], counts["zh"][p]) for p in sorted(both, key=lambda p: (-both[p], p))]
