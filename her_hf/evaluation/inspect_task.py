"""CoSER's given-circumstance acting as an inspect-ai task, with our simulation, critics and formula.

    inspect eval her_hf/coser -T scenes=/data/scenes.json -T style=plain \
        --model openai/gpt-4o-mini --model-role grader=openai/gpt-4o

inspect-ai calls the models (its limits, retries, caches and logs apply); everything else is as in `her-hf eval coser`.
Model roles: `grader` judges and is required; `environment` plays Environment (default: the model under test);
`next_speaker` selects the next speaker (default: the model of `environment`). A dialogue or judgement that failed is
unscored, with its cause, and excluded from means.

Only this module and `her_hf.inference.inspect_ai` import inspect-ai. The task can also be given as the path of this
file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

# Absolute imports, because inspect may load this file by its path, outside its package.
from her_hf.dual_layer import ENVIRONMENT, View
from her_hf.evaluation.rows import Row, turns_of
from her_hf.extras import missing_library
from her_hf.judging import DIMENSIONS, CoserJudgement, Judging, Missing, judge_dialogue
from her_hf.scenes import Scene, load_scenes
from her_hf.scoring.coser import coser_score, summarize_cases
from her_hf.simulation.coser import CoserSettings, Memory, Performance, Troupe, play_scene
from her_hf.simulation.retrieval import open_memory

try:
    from inspect_ai import Task, task
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.model import ModelOutput, get_model
    from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, Value, mean, metric, scorer, stderr
    from inspect_ai.solver import Generate, Solver, TaskState, solver
    from inspect_ai.util import collect

    from her_hf.inference.inspect_ai import inspect_caller
except ImportError as error:
    raise missing_library("CoSER's task", error, module="inspect_ai") from error

DIALOGUE = "her_hf:dialogue"
"""Key of the dialogue in a sample's store; the value has the form of a row of `dialogues.jsonl`."""


@task
def coser(
    scenes: str,
    split: str | None = None,
    style: str = "her",
    rounds: int | None = None,
    continue_from: int = 0,
    max_tokens: int | None = None,
    temperature: float | None = None,
    judge_thoughts: str = "coser",
    judge_max_tokens: int = 2048,
    retrieval: str = "none",
    books: str | None = None,
    seed: int = 42,
    simulate_only: bool = False,
) -> Task:
    """Simulates CoSER scenes and judges them in four dimensions.

    Args:
        scenes (`str`): A file, a folder or a Hub dataset. If the task is given as a path, inspect resolves relative
            paths against the folder of that file.
        split (`str`, *optional*): Split of the scenes' source.
        style (`str`, *optional*, defaults to `"her"`): The prompt style of the model under test: `"her"`, `"coser"`
            or `"plain"`. It is never guessed from the model.
        rounds, continue_from, max_tokens, temperature (*optional*): See [`~her_hf.simulation.coser.CoserSettings`];
            they override inspect's own options.
        judge_thoughts (`str`, *optional*, defaults to `"coser"`): `"coser"` hides inner thoughts from judges, `"her"`
            shows them. Scores of the two are not comparable.
        judge_max_tokens (`int`, *optional*, defaults to 2048): Maximum tokens of a judgement.
        retrieval (`str`, *optional*, defaults to `"none"`): How passages of the book are retrieved for the actor:
            `"none"`, `"bm25"` or `"embeddings"`.
        books (`str`, *optional*): CoSER book file or a folder of them.
        seed (`int`, *optional*, defaults to 42): Every call derives its own seed from this; each further epoch adds 1.
        simulate_only (`bool`, *optional*, defaults to `False`): Only simulate; judge later with
            `inspect score LOG --scorer her_hf/coser_critics`.

    Returns:
        `Task`: Scores `SC`, `AN`, `CF` and `SQ`, 0 to 100, each with mean and standard error; `avg`, the mean of their
            means; `missing`, the share of missing judgements.

    Raises:
        `SceneError`: If the scenes cannot be read.
        `ValueError`: If a setting is unknown or out of range.

    Source: CoSER (ICML 2025); HER, arXiv 2601.21459.
    """
    found = load_scenes(scenes, split=split)
    settings = CoserSettings(
        style, rounds=rounds, continue_from=continue_from, max_tokens=max_tokens, temperature=temperature, seed=seed
    )
    memory = open_memory(retrieval, Path(books).expanduser() if books else None, found)
    judges = None if simulate_only else coser_critics(thoughts=judge_thoughts, max_tokens=judge_max_tokens, seed=seed)
    return Task(
        dataset=MemoryDataset([sample_of(scene) for scene in found], name="coser"),
        solver=coser_play(settings.as_dict(), memory=memory, judged=not simulate_only),
        scorer=judges,
    )


def sample_of(scene: Scene) -> Sample:
    """A scene as a sample, which contains the whole scene, so that a log can be judged without the scenes' source."""
    original = "\n\n".join(turn.render("coser", View.OTHERS) for turn in scene.dialogue)
    kept = scene.model_dump(mode="json", exclude={"raw_messages"})
    return Sample(
        id="/".join(map(str, scene.key)),
        input=scene.scenario,
        target=original,
        metadata={"book": scene.book, "tag": scene.tag, "language": scene.language, "scene": kept},
    )


# -- simulation


@solver
def coser_play(settings: dict[str, Any], memory: Memory | None = None, judged: bool = True) -> Solver:
    """Simulates the sample's scene and saves the dialogue in its store.

    Args:
        settings (`dict`): [`CoserSettings.as_dict`], so that the log contains them.
        memory (`Callable`, *optional*): Retrieves passages of the book for the actor.
        judged (`bool`, *optional*, defaults to `True`): Whether a grader is required; if it is missing, the sample
            then fails before the simulation.
    """
    known = {field.name for field in fields(CoserSettings)}  # the dict also holds the digest of the prompts
    given = CoserSettings(**{name: value for name, value in settings.items() if name in known})

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        if judged:
            get_model(role="grader", required=True)
        scene = _scene_of(state)
        troupe = _troupe(given)
        performance = await play_scene(scene, troupe, replace(given, seed=given.seed + state.epoch - 1), memory=memory)
        state.store.set(DIALOGUE, _row(performance))
        shown = "\n\n".join(played.turn.render("coser", View.SELF) for played in performance.turns)
        state.output = ModelOutput.from_content(model=troupe.actor.name, content=shown)
        state.messages.append(state.output.message)
        return state

    return solve


def _scene_of(state: TaskState) -> Scene:
    return Scene.model_validate(state.metadata["scene"])


def _troupe(settings: CoserSettings) -> Troupe:
    """The models of all roles; roles of one model get the same chat template arguments."""
    actor, world = get_model(), get_model(role="environment")
    director = get_model(role="next_speaker", default=world)
    same = [settings.how.thinking and str(model) == str(actor) for model in (actor, world, director)]
    return Troupe(
        *(inspect_caller(model, template=one) for model, one in zip((actor, world, director), same, strict=True))
    )


def _row(performance: Performance) -> Row:
    return {
        "key": list(performance.key),
        "turns": [played.as_dict() for played in performance.turns],
        "ended_by": performance.ended_by,
        "failure": performance.failure,
        "named": performance.named,
        "drawn": performance.drawn,
    }


# -- judging


@metric
def coser_overall() -> Metric:
    """Mean of the four dimensions' means (`avg`), and the share of missing judgements (`missing`)."""

    def overall(scores: list[SampleScore]) -> Value:
        if not scores:  # called before the first sample is finished
            return {"avg": math.nan, "missing": math.nan}
        cases = [_case(score.score.as_dict()) for score in scores]
        summary = summarize_cases(cases)
        average = summary["scores"]["avg"]
        share = sum(summary["missing"].values()) / (len(cases) * len(DIMENSIONS))
        return {"avg": math.nan if average is None else average, "missing": share}

    return overall


def _case(value: Mapping[str, Any]) -> dict[str, float | None]:
    return {code: None if math.isnan(value[code]) else float(value[code]) for code in DIMENSIONS}


@scorer(metrics=[{"*": [mean(), stderr()]}, coser_overall()])
def coser_critics(thoughts: str = "coser", max_tokens: int = 2048, seed: int = 42) -> Scorer:
    """Judges the dialogue in four dimensions with the model of role `grader`.

    Args:
        thoughts (`str`, *optional*, defaults to `"coser"`): Whether the judge sees inner thoughts (`"her"`) or not.
        max_tokens (`int`, *optional*, defaults to 2048): Maximum tokens of a judgement.
        seed (`int`, *optional*, defaults to 42): Every call derives its own seed from this.
    """
    judging = Judging(thoughts, max_tokens=max_tokens, seed=seed)

    async def score(state: TaskState, target: Target) -> Score:
        row = state.store.get(DIALOGUE)
        if row is None:
            raise ValueError(
                "coser_critics needs the dialogue of coser_play, which this sample does not have: run coser_play first"
            )
        if row["ended_by"] == "failed":
            return _failed(row["failure"] or {})
        grader = get_model(role="grader", required=True)
        judge, scene, turns = inspect_caller(grader), _scene_of(state), turns_of(row)
        judged = await collect(
            *(judge_dialogue(judge, scene, turns, dimension, settings=judging) for dimension in DIMENSIONS)
        )
        return _score(dict(zip(DIMENSIONS, judged, strict=True)), row, judging, str(grader))

    return score


def _failed(failure: Mapping[str, str]) -> Score:
    """The score of a failed dialogue."""
    why = f"the dialogue failed ({failure.get('cause')}): {failure.get('detail')}"
    return Score(
        value=dict.fromkeys(DIMENSIONS, math.nan),
        explanation=f"All dimensions unscored: {why}",
        reason="scoring_failed",
        metadata={"failure": dict(failure)},
    )


def _score(found: Mapping[str, CoserJudgement | Missing], row: Row, judging: Judging, grader: str) -> Score:
    """Scores by dimension; a missing one is NaN, which inspect counts as unscored and excludes from means."""
    count = sum(turn["name"] != ENVIRONMENT for turn in row["turns"] if turn["origin"] == "model")
    points = {
        code: math.nan if isinstance(one, Missing) else coser_score(one.flaws, count) for code, one in found.items()
    }
    lines = [line for code, one in found.items() for line in _explained(code, points[code], one)]
    missing = any(isinstance(one, Missing) for one in found.values())
    return Score(
        value=points,
        explanation="\n".join(lines),
        reason="grader_failed" if missing else None,
        metadata={
            "grader": grader,
            "thoughts": judging.thoughts,
            "character_turns": count,
            "judgements": {code: asdict(one) for code, one in found.items()},
        },
    )


def _explained(code: str, points: float, found: CoserJudgement | Missing) -> list[str]:
    """The score and flaws of a dimension, or the cause of a missing judgement."""
    if isinstance(found, Missing):
        return [f"{DIMENSIONS[code]}: unscored ({found.cause}): {found.detail}"]
    flaws = [
        f"- {flaw.get('severity', '?')} {flaw.get('type', '?')}: {flaw.get('instance', '')}" for flaw in found.flaws
    ]
    return [f"{DIMENSIONS[code]}: {points:.1f}, flaws found: {len(flaws)}", *flaws]
