"""The results of a quickstart: settings, figures of both models, patterns, and replies side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from her_hf.durable import read_json
from her_hf.hub.base import EMBEDDED, EMBEDDED_ID
from her_hf.scenes import Scene
from her_hf.scoring.replies import SampledReply, score_replies
from recipes.quickstart.folder import RunFolder, Settings
from recipes.quickstart.plan import Plan

Scenes = Mapping[tuple[str, int, int], Scene]
Replies = Mapping[str, Sequence[dict[str, Any]]]


def collect_results(
    folder: RunFolder,
    settings: Settings,
    plan: Plan,
    data: Mapping[str, int],
    log: Sequence[Mapping[str, Any]],
    replies: Replies,
    losses: Mapping[str, dict[str, dict[str, float]]],
    test_scenes: Sequence[Scene],
) -> dict[str, Any]:
    """The contents of `results.json`.

    Args:
        folder ([`~recipes.quickstart.folder.RunFolder`]): The run's folder, with all stages finished.
        settings ([`~recipes.quickstart.folder.Settings`]): What was asked for.
        plan ([`~recipes.quickstart.plan.Plan`]): How much was done.
        data, log, replies, losses: Results of the stages of those names (log: of `train`, losses: of `loss`).
        test_scenes (`Sequence[Scene]`): The scenes that were replied to.
    """
    scenes = {scene.key: scene for scene in test_scenes}
    sampled = {name: [_as_reply(row, scenes) for row in rows] for name, rows in replies.items()}
    return {
        "settings": {
            **dataclasses.asdict(settings),
            **data,
            "base": EMBEDDED_ID if settings.base == EMBEDDED else settings.base,
            "data": "her-mini (English)",
            "commits": folder.kept("commit"),
            "steps": max((row["step"] for row in log if "step" in row), default=0),
            "prompts": plan.prompts,
            "max_new_tokens": plan.max_new_tokens,
            "trained_in": read_json(folder.path / "her-sft" / "results.json")["precision"],
        },
        "plan": plan.as_dict(),
        "models": {name: {"figures": score_replies(sampled[name]), "loss": losses[name]} for name in sampled},
        "patterns": {
            "data": [turn.pattern for scene in scenes.values() for turn in scene.dialogue],
            **{name: [reply.turn.pattern for reply in rows] for name, rows in sampled.items()},
        },
        "samples": _samples(replies, scenes),
        "seconds": folder.kept("seconds"),
    }


def _scene_of(row: dict[str, Any], scenes: Scenes) -> Scene:
    book, i_p, i_c = row["scene_key"]
    return scenes[(book, i_p, i_c)]


def _as_reply(row: dict[str, Any], scenes: Scenes) -> SampledReply:
    names = tuple(member.name for member in _scene_of(row, scenes).cast)
    return SampledReply(row["text"], speaker=row["character"], names=names, ended=row["ended"])


def _samples(replies: Replies, scenes: Scenes, count: int = 5) -> list[dict[str, Any]]:
    """Replies side by side, evenly spread: not the best ones."""
    total = len(replies["base"])
    samples = []
    for place in range(min(count, total)):
        index = place * total // count
        row = replies["base"][index]
        scene = _scene_of(row, scenes)
        turn = row["turn"]
        samples.append(
            {
                "book": scene.book,
                "character": row["character"],
                "turn": turn,
                "before": scene.dialogue[turn - 1].render(view="others"),
                "reference": scene.dialogue[turn].render(),
                **{name: rows[index]["text"] for name, rows in replies.items()},
            }
        )
    return samples
