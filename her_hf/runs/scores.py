"""The scores of each scene, seed, reply or pair in `results.json`, by evaluation: what paired tests compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from her_hf.scoring.coser_dimensions import DIMENSIONS
from her_hf.scoring.minimax import COLUMNS, PILLARS, Columns, overall, pillars, seed_columns

Row = dict[str, Any]

Parts = Mapping[Any, float | None]
"""The values that a score of one unit consists of: by dimension, by reply, or the score alone."""

Scores = dict[tuple[Any, ...], dict[str, Parts]]
"""Scores by name for each scene or seed; empty for a scene without any score."""


@dataclass(frozen=True)
class Kind:
    """How runs of one evaluation are compared.

    Args:
        unit (`str`): The unit that is permuted and resampled as a whole.
        counted (`str`): The kind of pair that is counted.
        player (`str`): The setting that names the model under test.
        bound (`Sequence[str]`): Settings that must be equal for scores to be comparable.
        names (`Sequence[str]`): The scores; an overall score comes last.
        scores (`Callable`): Reads the scores from `results.json`.
        file (`str`): The JSONL file of the run with one row per dialogue or reply.
        key (`Callable`): Returns the unit of such a row.
        text (`str`): The field of such a row with the digest of the scene or seed.
        pooled (`bool`, *optional*, defaults to `False`): Whether all parts of a score have equal weight, regardless of
            their unit; otherwise the score is the mean over parts of each part's mean over units.
    """

    unit: str
    counted: str
    player: str
    bound: Sequence[str]
    names: Sequence[str]
    scores: Callable[[Row], Scores]
    file: str
    key: Callable[[Row], tuple[Any, ...]]
    text: str
    pooled: bool = False


def _scene_key(row: Row) -> tuple[Any, ...]:
    return tuple(row["key"])


def _coser_scores(results: Row) -> Scores:
    """Scores of each scene; empty for a scene that failed."""
    cases: Scores = {_scene_key(row): {} for row in results["missing"]["failures"]}
    return cases | {_scene_key(case): _coser_parts(case) for case in results["cases"]}


def _coser_parts(scores: Row) -> dict[str, Parts]:
    """Each dimension, and the average with all dimensions as its parts."""
    dimensions = {name: scores[name] for name in DIMENSIONS}
    return {**{name: {name: score} for name, score in dimensions.items()}, "avg": dimensions}


def shared_judges(sides: Sequence[Row]) -> dict[str, tuple[Scores, Scores]]:
    """The scores of each judge that both runs have, if there are several judges."""
    judges = [(side["figures"].get("by_judge") or {}).keys() for side in sides]
    if min(map(len, judges)) < 2:
        return {}
    found = []
    for side in sides:
        failed: Scores = {_scene_key(row): {} for row in side["missing"]["failures"]}
        found.append(
            {
                judge: failed | {_scene_key(case): _coser_parts(case["judges"][judge]) for case in side["cases"]}
                for judge in side["figures"]["by_judge"]
            }
        )
    return {judge: (found[0][judge], found[1][judge]) for judge in judges[0] if judge in judges[1]}


def _form_scores(results: Row) -> Scores:
    """The replies of each scene by the index of the turn, in percent."""
    found: Scores = {}
    for case in results["cases"]:
        *scene, turn = case["key"]
        unit = found.setdefault(tuple(scene), {name: {} for name in FORM})
        # Without scenes, use of another's thought was not looked for, so the sum of both leaks is unknown.
        values = {**case, "spoken_thoughts": bool(case["spoken_thoughts"])}
        values["leak"] = None if case["knows_secret"] is None else case["leak"]
        for name in FORM:
            unit[name][turn] = None if values[name] is None else 100.0 * values[name]  # type: ignore[index]
    return found


def _minimax_scores(results: Row) -> Scores:
    """Scores of each seed, as means over its runs."""
    runs: dict[str, list[Columns | None]] = {}
    keys = {}
    for case in results["cases"]:
        key = _seed_key(case)
        keys[repr(key)] = key
        runs.setdefault(repr(key), []).append(case["columns"])
    found = seed_columns(runs)
    return {
        key: _alone({**columns, **pillars(columns), "overall": overall(columns)}) if (columns := found[name]) else {}
        for name, key in keys.items()
    }


def _alone(scores: Mapping[str, float]) -> dict[str, Parts]:
    return {name: {name: score} for name, score in scores.items()}


def _seed_key(row: Row) -> tuple[str, str]:
    return str(row["language"]), str(row["seed_id"])


def _reward_scores(results: Row) -> Scores:
    """Whether each verdict is the label, in percent; a pair without label or verdict has no score."""
    return {
        tuple(case["key"]): {}
        if case["label"] is None or case["verdict"] is None
        else _alone({"accuracy": 100.0 * (case["verdict"] == case["label"])})
        for case in results["cases"]
    }


FORM = ("well_formed", "own_role", "ended", "visible", "spoken_thoughts", "knows_secret", "leak")
"""Properties of a reply that are true or false."""

KINDS = {
    "coser": Kind(
        unit="scene",
        counted="scene",
        player="actor",
        bound=("judge_thoughts", "judges", "judge_prompts"),
        names=(*DIMENSIONS, "avg"),
        scores=_coser_scores,
        file="dialogues.jsonl",
        key=_scene_key,
        text="scene_digest",
    ),
    "minimax": Kind(
        unit="seed",
        counted="seed",
        player="npc",
        bound=("judge", "judge_chunk", "judge_prompts", "penalties", "weights"),
        names=(*COLUMNS, *PILLARS, "overall"),
        scores=_minimax_scores,
        file="dialogues.jsonl",
        key=_seed_key,
        text="seed_digest",
    ),
    "form": Kind(
        unit="scene",
        counted="reply",
        player="model",
        bound=("replies",),
        names=FORM,
        scores=_form_scores,
        file="replies.jsonl",
        key=lambda row: tuple(row["key"][:3]),
        text="scene_digest",
        pooled=True,
    ),
    "reward": Kind(
        unit="pair",
        counted="pair",
        player="model",
        bound=("labels",),
        names=("accuracy",),
        scores=_reward_scores,
        file="judged.jsonl",
        key=lambda row: (row["index"], row["key"]),
        text="key",
    ),
}
"""Kinds by evaluation."""


def compared_settings(results: Row) -> Row:
    """The settings of a run as they are compared with those of another.

    The data is reduced to its digest, because equal scenes may have another path.
    """
    settings = dict(results["settings"])
    if "data" in settings:
        settings["data"] = settings["data"]["digest"]
    if results["evaluation"] == "form":
        settings["replies"] = "of simulated dialogues" if "dialogues" in settings else "to turns of scenes"
    return settings
