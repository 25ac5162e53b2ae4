"""CoSER's scores of simulated dialogues, computed for `spaces/coser_gca`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from her_hf.dual_layer import ENVIRONMENT, View
from her_hf.evaluation.coser.results import coser_results
from her_hf.evaluation.rows import Row, scene_key, turns_of
from her_hf.inference import Caller
from her_hf.judging import DIMENSIONS, CoserJudgement, JsonReply, Judging, Missing, judge_dialogue, parse_flaws
from her_hf.judging.critics.coser import THOUGHTS, conversation_text, read_flaws
from her_hf.scenes import Scene, SceneError, read_turn, scenes_in
from her_hf.settings import CONCURRENCY

from .judges import Asking, Judge, ask_all, check_who_judges
from .values import NOT_GIVEN, parsed, same_length, shown

NOTATIONS = ("her", "coser")

_OF_A_ROW = frozenset(("key", "judge", "sample", "dimension", "repaired", "unrated", "other_types", "missing"))
"""What a row of `judgements.jsonl` holds beside its flaws."""

Found = CoserJudgement | Missing | None
"""The judgement of one scene in one dimension; `None` if none was given."""


def coser_gca(
    dialogues: Sequence[Any],
    scenes: Sequence[Any],
    *,
    judgements: Sequence[Any] | None = None,
    judge: Judge | None = None,
    judge_model: str | None = None,
    thoughts: str = "coser",
    notation: str = "her",
    seed: int = 42,
    ledger: str | Path | None = None,
    concurrency: int = CONCURRENCY,
    show: bool = True,
) -> Row:
    """CoSER's scores of simulated dialogues.

    Args:
        dialogues (`Sequence`): For each scene its turns, `{"name", "text"}`, or a row of `dialogues.jsonl`.
        scenes (`Sequence`): The scenes as rows of CoSER's test set, or rows of any kind that `load_scenes` reads. Each
            has a different key (book, i_p, i_c).
        judgements (`Sequence`, *optional*): For each scene by dimension (code or name) the list of flaws, the judge's
            answer as text, or `None`; an absent dimension is missing.
        judge (`Judge`, *optional*): The judge to call instead.
        judge_model (`str`, *optional*): Its name on the server.
        thoughts (`str`, *optional*, defaults to `"coser"`): `"coser"` removes inner thoughts from both conversations
            before they are judged and compared, `"her"` keeps them. Scores of the two cannot be compared.
        notation (`str`, *optional*, defaults to `"her"`): Notation of the turns: `"her"` (tags) or `"coser"`
            (`[thought]`).
        seed (`int`, *optional*, defaults to 42): Seed of the judge's calls.
        ledger (`str` or `Path`, *optional*): A SQLite file that stores answers, so that no call is made twice.
        concurrency (`int`, *optional*, defaults to 16): Maximum number of calls in flight.
        show (`bool`, *optional*, defaults to `True`): Whether to show a progress bar while judging.

    Returns:
        `dict`: `SC`, `AN`, `CF`, `SQ` and `avg` (0 to 100, or `None`); `missing` (number of judgements) and
            `missing_by_cause`; `bleu` and `rouge_l` (0 to 1, or `None` without a reference); `intervals` (95%
            bootstrap over scenes); `thoughts`; and `cases`, one per scene that was played to its end: its scores,
            `character_turns`, by dimension its `flaws` (`None` if missing) and the cause of each `missing` judgement.

    Raises:
        `ValueError`: If lengths differ, a value has the wrong form, a speaker is not in the cast, a dimension is
            unknown, or not exactly one of `judge` and `judgements` is given.
        `ModelError`: If the judge cannot be reached.
    """
    check_who_judges(judge, judgements)
    if thoughts not in THOUGHTS:
        raise ValueError(f"thoughts must be one of {sorted(THOUGHTS)}, got {thoughts!r}.")
    if notation not in NOTATIONS:
        raise ValueError(f"notation must be one of {list(NOTATIONS)}, got {notation!r}.")
    same_length("predictions", dialogues, "references", scenes)
    played = [_scene(at, value) for at, value in enumerate(scenes)]
    _check_unique(played)
    rows = [
        _dialogue(f"predictions[{at}]", value, scene, notation)
        for at, (value, scene) in enumerate(zip(dialogues, played, strict=True))
    ]
    if judge is None:
        same_length("predictions", dialogues, "judgements", judgements or [])
        found = _given(judgements or [], [conversation_text(turns_of(row), thoughts) for row in rows])
    else:
        asking = Asking(judge, judge_model, ledger, concurrency, show)
        found = _judged(asking, played, rows, Judging(thoughts, seed=seed))
    whole = [at for at, row in enumerate(rows) if row["ended_by"] != "failed"]
    judged = [_judgement(rows[at], dimension, found.get((at, dimension))) for at in whole for dimension in DIMENSIONS]
    return _figures(coser_results(played, rows, judged, {"judge_thoughts": thoughts}), judged, thoughts)


def _figures(results: Row, judged: Sequence[Row], thoughts: str) -> Row:
    by_scene: dict[Any, list[Row]] = {}
    for row in judged:
        by_scene.setdefault(scene_key(row), []).append(row)
    return {
        **results["figures"]["scores"],
        "missing": results["missing"]["missing"],
        "missing_by_cause": results["missing"]["by_cause"],
        **results["figures"]["overlap"],
        "intervals": results["intervals"],
        "thoughts": thoughts,
        "cases": [
            {
                **{name: case[name] for name in ("key", *DIMENSIONS, "avg", "character_turns", "bleu", "rouge_l")},
                "flaws": {row["dimension"]: row["flaws"] for row in by_scene[scene_key(case)]},
                "missing": {row["dimension"]: row["missing"] for row in by_scene[scene_key(case)] if row["missing"]},
            }
            for case in results["cases"]
        ],
    }


# -- dialogues


def _scene(at: int, value: Any) -> Scene:
    row = parsed(f"references[{at}]", value)
    if not isinstance(row, dict):
        raise ValueError(f"references[{at}] must be a scene, an object like CoSER's test set has, got {shown(row)}.")
    try:
        found, _ = scenes_in(row)
    except SceneError as error:
        raise error.at("references", f"item {at}") from None
    if len(found) != 1:
        raise ValueError(f"references[{at}] must be one scene, got a row with {len(found)}.")
    return found[0]


def _check_unique(scenes: Sequence[Scene]) -> None:
    twice = sorted(key for key, times in Counter(scene.key for scene in scenes).items() if times > 1)
    if twice:
        raise ValueError(
            f"scenes are identified by (book, i_p, i_c), but these keys occur more than once: {twice[:5]}. To score "
            "several dialogues of a scene, call compute once for each."
        )


def _dialogue(where: str, value: Any, scene: Scene, notation: str) -> Row:
    """A row of `dialogues.jsonl`, its turns in HER notation."""
    given = parsed(where, value)
    row = dict(given) if isinstance(given, Mapping) else {"turns": given}
    if "key" in row and scene_key(row) != scene.key:
        raise ValueError(
            f"{where} is of the scene {scene_key(row)}, but its reference is {scene.key}: use the same order."
        )
    failed, turns = row.get("ended_by") == "failed", row.get("turns")
    if not isinstance(turns, list) or not (turns or failed):
        raise ValueError(
            f"{where} must be a list of turns with `name` and `text`, or a row of dialogues.jsonl, got {shown(given)}."
        )
    names = {member.name for member in scene.cast} | {ENVIRONMENT}
    return {
        "key": list(scene.key),
        "ended_by": "failed" if failed else "given",
        "turns": [_turn(f"{where}, turn {number}", turn, names, notation) for number, turn in enumerate(turns)],
    }


def _turn(where: str, entry: Any, names: set[str], notation: str) -> Row:
    name, text = (entry.get("name"), entry.get("text")) if isinstance(entry, Mapping) else (None, None)
    if not isinstance(name, str) or not isinstance(text, str):
        raise ValueError(f"{where} must have the texts `name` and `text`, got {shown(entry)}.")
    if name not in names:
        raise ValueError(
            f"{where} is by {name!r}, who is not in the scene's cast {sorted(names)}: spell names as in the scene."
        )
    turn = replace(read_turn(text, name, notation=notation), name=None)
    return {"name": name, "text": turn.render(view=View.SELF), "origin": entry.get("origin", "model")}


# -- judgements


def _judged(
    asking: Asking, scenes: Sequence[Scene], rows: Sequence[Row], settings: Judging
) -> dict[tuple[int, str], Found]:
    """The judge's judgements, by scene and dimension; a dialogue that failed is not judged."""

    async def one(caller: Caller, unit: tuple[int, str]) -> Found:
        at, dimension = unit
        return await judge_dialogue(caller, scenes[at], turns_of(rows[at]), dimension, settings=settings)

    units = [(at, dimension) for at, row in enumerate(rows) if row["ended_by"] != "failed" for dimension in DIMENSIONS]
    return dict(zip(units, ask_all(asking, units, one), strict=True))


def _given(judgements: Sequence[Any], played: Sequence[str]) -> dict[tuple[int, str], Found]:
    """The given judgements, by scene and dimension; an answer is read together with the dialogue it may quote."""
    codes = {**{code: code for code in DIMENSIONS}, **{name: code for code, name in DIMENSIONS.items()}}
    found: dict[tuple[int, str], Found] = {}
    for at, value in enumerate(judgements):
        where = f"judgements[{at}]"
        if value is not None and not isinstance(value, Mapping):
            raise ValueError(f"{where} must be an object with flaws by dimension, or None, got {shown(value)}.")
        unknown = [name for name in value or {} if name not in codes]
        if unknown:
            raise ValueError(f"{where} has unknown dimensions {unknown[:5]}; use {list(DIMENSIONS)}.")
        for name, flaws in (value or {}).items():
            found[at, codes[name]] = _read(f"{where}[{name!r}]", codes[name], flaws, played[at])
    return found


def _read(where: str, dimension: str, given: Any, played: str) -> Found:
    if given is None:
        return None
    if isinstance(given, str):
        return parse_flaws(given, dimension, shown=played)
    flaws = given.get("flaws") if isinstance(given, Mapping) else given
    if not isinstance(flaws, list):
        raise ValueError(
            f"{where} must be a list of flaws ([] means none), an answer as text, or None, got {shown(given)}."
        )
    whole = {key: one for key, one in given.items() if key not in _OF_A_ROW} if isinstance(given, Mapping) else {}
    # Numbers of other libraries become texts.
    plain = json.loads(json.dumps({**whole, "flaws": flaws}, default=str))
    return read_flaws(JsonReply(plain, repaired=False), dimension)


def _judgement(dialogue: Row, dimension: str, found: Found) -> Row:
    """A row of `judgements.jsonl`."""
    row: Row = {"key": dialogue["key"], "judge": "judge", "sample": 0, "dimension": dimension}
    if isinstance(found, CoserJudgement):
        return {**row, **asdict(found), "missing": None}
    return {**row, "flaws": None, "missing": found.as_dict() if found else NOT_GIVEN}
