"""What of a run's `results.json` is compared with another's, by the kind of evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from her_hf.scoring.coser import DIMENSIONS
from her_hf.scoring.minimax import COLUMNS, PILLARS, Columns, overall, pillars, seed_columns

from .rows import Row, scene_key

Parts = Mapping[Any, float | None]
"""What a score of one unit consists of, by what both sides are paired on: dimensions, replies, or the score alone."""

Scores = dict[tuple[Any, ...], dict[str, Parts]]
"""By scene or seed its scores by name; a scene without a score of any kind has an empty entry."""


@dataclass(frozen=True)
class Kind:
    """How runs of one evaluation are compared.

    Args:
        unit (`str`): What both are tested on: whole units are swapped and drawn.
        counted (`str`): What pairs are counted in.
        player (`str`): The setting that names the model under test.
        bound (`Sequence[str]`): Settings that must be equal, or the scores mean different things.
        names (`Sequence[str]`): The scores, the one over all last, if there is one.
        scores (`Callable`): Reads them out of `results.json`.
        file (`str`): The file of the folder that says what was played.
        key (`Callable`): What identifies the unit of a row of it.
        text (`str`): The field of such a row that holds the digest of what was played.
        pooled (`bool`, *optional*, defaults to `False`): Whether all parts of a score weigh alike, whatever unit they
            belong to; else each part has its mean over units first, and the score is the mean of these.
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


def _coser_scores(results: Row) -> Scores:
    """Scores of each scene; one that could not be played has none."""
    cases: Scores = {scene_key(row): {} for row in results["missing"]["failures"]}
    return cases | {scene_key(case): _coser_parts(case) for case in results["cases"]}


def _coser_parts(scores: Row) -> dict[str, Parts]:
    """Each dimension by itself, and the average of the four, which holds those that are there."""
    dimensions = {name: scores[name] for name in DIMENSIONS}
    return {**{name: {name: score} for name, score in dimensions.items()}, "avg": dimensions}


def shared_judges(sides: Sequence[Row]) -> dict[str, tuple[Scores, Scores]]:
    """By judge the scores that it gave on both sides, if there are several."""
    judges = [(side["figures"].get("by_judge") or {}).keys() for side in sides]
    if min(map(len, judges)) < 2:
        return {}
    found = []
    for side in sides:
        failed: Scores = {scene_key(row): {} for row in side["missing"]["failures"]}
        found.append(
            {
                judge: failed | {scene_key(case): _coser_parts(case["judges"][judge]) for case in side["cases"]}
                for judge in side["figures"]["by_judge"]
            }
        )
    return {judge: (found[0][judge], found[1][judge]) for judge in judges[0] if judge in judges[1]}


def _form_scores(results: Row) -> Scores:
    """Of each scene its replies by the index of the turn, in percent."""
    found: Scores = {}
    for case in results["cases"]:
        *scene, turn = case["key"]
        unit = found.setdefault(tuple(scene), {name: {} for name in FORM})
        # Without scenes nobody looked for what others thought, so a leak of either kind cannot be told.
        said = {**case, "spoken_thoughts": bool(case["spoken_thoughts"])}
        said["leak"] = None if case["knows_secret"] is None else case["leak"]
        for name in FORM:
            unit[name][turn] = None if said[name] is None else 100.0 * said[name]  # type: ignore[index]
    return found


def _minimax_scores(results: Row) -> Scores:
    """Scores of each seed, means over its runs."""
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


FORM = ("well_formed", "own_role", "ended", "visible", "spoken_thoughts", "knows_secret", "leak")
"""Of each reply yes or no."""

KINDS = {
    "coser": Kind(
        unit="scene",
        counted="scene",
        player="actor",
        bound=("judge_thoughts", "judges", "judge_prompts"),
        names=(*DIMENSIONS, "avg"),
        scores=_coser_scores,
        file="dialogues.jsonl",
        key=scene_key,
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
}
"""By the name of the evaluation."""
