"""What the `evaluate` modules in `spaces/` compute: plain functions from plain values to figures.

Dialogues, scenes, seeds and judgements come as JSON has them (or as text of it), in lists of one length and order.
What is wrong with them is said with its place. A judgement that is missing is counted and left out of every mean.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from her_hf.dual_layer import ENVIRONMENT, View
from her_hf.dual_layer.labels import find_label
from her_hf.durable import digest
from her_hf.inference import Caller, ChatModel, Ledger
from her_hf.judging import DIMENSIONS, GcaJudgement, Judging, Missing, judge_dialogue, parse_flaws
from her_hf.judging.gca import THOUGHTS
from her_hf.judging.reenactment import Chunk, ChunkJudging, chunks_of, judge_chunk, parse_errors
from her_hf.scenes import Scene, SceneError, read_turn, scenes_in
from her_hf.scenes.seeds import Seed, read_seed
from her_hf.scoring.leaks import spoken_thoughts
from her_hf.scoring.minimax import (
    CHUNK_TURNS,
    COLUMNS,
    PILLARS,
    chunk_scores,
    curve,
    overall,
    pillars,
    seed_columns,
    session_scores,
    summarize_sessions,
)
from her_hf.scoring.replies import SampledReply, is_well_formed, score_replies, stays_in_role
from her_hf.scoring.statistics import bootstrap_interval

from .format import wilson_interval
from .gca_results import gca_results
from .minimax_judging import SCALE
from .models import open_caller
from .progress import bar, together
from .rows import Row, scene_key, turns_of

T = TypeVar("T")
R = TypeVar("R")

Judge = str | Path | Caller | ChatModel
"""A server's URL, a folder, a Hub id, or a model of `her_hf.inference`."""

AT_ONCE = 256
"""Most judgements in hand at a time."""

NOT_GIVEN = {"cause": "not_given", "detail": ""}


# -- values of any shape through the columns of `evaluate`


class JsonColumns:
    """Lets an `evaluate` module take values of any shape: they pass through its columns as JSON.

    A column has one type, and dialogues, scenes and flaws fit none. Stands before `evaluate.Metric` among the bases of a
    module with two columns of strings, `predictions` and `references`; [`from_json`] reads what `_compute` gets.
    """

    def add_batch(self, *, predictions: Any = None, references: Any = None) -> None:
        """Adds a batch of predictions, with their references if there are any."""
        found, paired = to_json(predictions, references)
        super().add_batch(predictions=found, references=paired)  # type: ignore[misc]

    def add(self, *, prediction: Any = None, reference: Any = None) -> None:
        """Adds one prediction, with its reference if there is one."""
        (found,), (paired,) = to_json([prediction], [reference])
        super().add(prediction=found, reference=paired)  # type: ignore[misc]


def to_json(predictions: Any, references: Any = None) -> tuple[list[str], list[str]]:
    """Both lists as lists of JSON texts; references that are not there are `null`.

    Raises:
        `ValueError`: If one is no list, there is nothing, lengths differ, or a value is none that JSON has.
    """
    found = _listed("predictions", predictions)
    paired = [None] * len(found) if references is None else _listed("references", references)
    if len(found) != len(paired):
        raise ValueError(
            f"each prediction needs its own reference, in the same order: got {len(found)} predictions and "
            f"{len(paired)} references."
        )
    return (
        [_dumped(f"predictions[{at}]", value) for at, value in enumerate(found)],
        [_dumped(f"references[{at}]", value) for at, value in enumerate(paired)],
    )


def from_json(texts: Iterable[str]) -> list[Any]:
    """What [`to_json`] wrote."""
    return [json.loads(text) for text in texts]


def _listed(what: str, values: Any) -> list[Any]:
    if values is None or isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise ValueError(f"{what} must be a list, got {type(values).__name__}; put a single one into a list.")
    found = list(values)
    if not found:
        raise ValueError(f"{what} must not be empty: there is nothing to score.")
    return found


def _dumped(where: str, value: Any) -> str:
    try:
        return json.dumps(value, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{where} must be a value that JSON has ({error}); make it lists, dicts and texts.") from None


def _plain(value: Any) -> Any:
    """Scenes and seeds as rows."""
    if isinstance(value, Scene | Seed):
        return value.model_dump(mode="json")
    raise TypeError(f"got {type(value).__name__}")


def _parsed(where: str, value: Any) -> Any:
    """A value that may be given as JSON text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} must be JSON if it is a text, got {_shown(value)} ({error}).") from None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


# -- asking judges


def _ask_all(
    judge: Judge,
    units: Sequence[T],
    one: Callable[[Caller, T], Awaitable[R]],
    *,
    judge_model: str | None,
    ledger: str | Path | None,
    concurrency: int,
    show: bool,
) -> list[R]:
    """Asks a judge about all units; results in their order.

    Raises:
        `ModelError`: If the judge cannot even be asked what it is.
    """
    with ExitStack() as stack:
        kept = stack.enter_context(Ledger(ledger)) if ledger is not None else None
        caller = _caller(judge, judge_model, kept, concurrency)

        async def whole() -> list[R]:
            try:
                await caller.fingerprint()  # a judge that is not there is an error, not so many missing judgements
                with bar(len(units), "judging", "judgement", show=show) as progress:

                    async def counted(unit: T) -> R:
                        found = await one(caller, unit)
                        progress.update()
                        return found

                    return await together((counted(unit) for unit in units), AT_ONCE)
            finally:
                if caller is not judge:
                    await caller.close()

        return _wait_for(whole())


def _caller(judge: Judge, name: str | None, ledger: Ledger | None, concurrency: int) -> Caller:
    if isinstance(judge, Caller):
        return judge
    if isinstance(judge, str | Path):
        return open_caller(str(judge), model=name, ledger=ledger, concurrency=concurrency)
    if hasattr(judge, "chat") and hasattr(judge, "fingerprint"):
        return Caller(judge, ledger=ledger, concurrency=concurrency)
    raise ValueError(
        f"judge must be a server's URL, a folder, a Hub id or a model of her_hf.inference, got {type(judge).__name__}."
    )


def _wait_for(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs to the end in a loop of its own thread, so that it works in a notebook, where a loop is running already."""
    future = asyncio.run_coroutine_threadsafe(coroutine, _loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


@lru_cache(maxsize=1)
def _loop() -> asyncio.AbstractEventLoop:
    """One loop for all computations: locks and connections of a caller belong to the loop that used them first."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="her_hf judging", daemon=True).start()
    return loop


def _one_way(judge: Judge | None, judgements: Any) -> None:
    if (judge is None) == (judgements is None):
        got = "both" if judge is not None else "neither"
        raise ValueError(
            f"give either judge (a URL, folder or model that is asked now) or judgements (what a judge found), got {got}."
        )


# -- CoSER


def coser_gca(
    dialogues: Sequence[Any],
    scenes: Sequence[Any],
    *,
    judgements: Sequence[Mapping[str, Any] | None] | None = None,
    judge: Judge | None = None,
    judge_model: str | None = None,
    thoughts: str = "coser",
    notation: str = "her",
    seed: int = 42,
    ledger: str | Path | None = None,
    concurrency: int = 16,
    show: bool = True,
) -> Row:
    """CoSER's scores of simulated dialogues.

    Args:
        dialogues (`Sequence`): For each scene its turns, `{"name", "text"}`, or a row of `dialogues.jsonl`.
        scenes (`Sequence`): The scenes as CoSER's test set has them, or rows of any kind that `load_scenes` reads. No
            two have the same book, i_p and i_c.
        judgements (`Sequence[Mapping]`, *optional*): For each scene by dimension (code or name) the list of flaws, the
            judge's answer as text, or `None`; what is not there is missing.
        judge (`Judge`, *optional*): Who is asked instead.
        judge_model (`str`, *optional*): Its name on the server.
        thoughts (`str`, *optional*, defaults to `"coser"`): `"coser"` removes inner thoughts from both conversations
            before they are judged and compared, `"her"` keeps them. Scores of the two do not compare.
        notation (`str`, *optional*, defaults to `"her"`): Of the turns: `"her"` (tags) or `"coser"` (`[thought]`).
        seed (`int`, *optional*, defaults to 42): Of the judge's calls.
        ledger (`str` or `Path`, *optional*): A SQLite file that keeps answers, so that none is asked for twice.
        concurrency (`int`, *optional*, defaults to 16): Most calls at once.
        show (`bool`, *optional*, defaults to `True`): Whether to show a progress bar while judging.

    Returns:
        `dict`: `SC`, `AN`, `CF`, `SQ` and `avg` (0 to 100, or `None`), `missing` (count of judgements) and
            `missing_by_cause`, `bleu` and `rouge_l` (0 to 1, or `None` without a reference), `intervals` (95% bootstrap
            over scenes), `thoughts`, and `cases`: one a scene, with its scores, `character_turns`, and by dimension
            its `flaws` (`None` if missing) and why they are missing.

    Raises:
        `ValueError`: If lengths differ, a value is not of its form, a speaker is not in the cast, a dimension is
            unknown, or not exactly one of `judge` and `judgements` is given.
        `ModelError`: If the judge cannot be reached.
    """
    _one_way(judge, judgements)
    if thoughts not in THOUGHTS:
        raise ValueError(f"thoughts must be one of {sorted(THOUGHTS)}, got {thoughts!r}.")
    if notation not in ("her", "coser"):
        raise ValueError(f"notation must be 'her' or 'coser', got {notation!r}.")
    _same_length("predictions", dialogues, "references", scenes)
    played = [_scene(at, value) for at, value in enumerate(scenes)]
    _check_unique(played)
    rows = [
        _dialogue(f"predictions[{at}]", value, scene, notation)
        for at, (value, scene) in enumerate(zip(dialogues, played, strict=True))
    ]
    whole = [at for at, row in enumerate(rows) if row["ended_by"] != "failed"]
    if judge is not None:
        settings = Judging(thoughts, seed=seed)

        async def one(caller: Caller, unit: tuple[int, str]) -> GcaJudgement | Missing:
            at, dimension = unit
            return await judge_dialogue(caller, played[at], turns_of(rows[at]), dimension, settings=settings)

        units = [(at, dimension) for at in whole for dimension in DIMENSIONS]
        answers = _ask_all(
            judge, units, one, judge_model=judge_model, ledger=ledger, concurrency=concurrency, show=show
        )
        found: dict[tuple[int, str], GcaJudgement | Missing | None] = dict(zip(units, answers, strict=True))
    else:
        assert judgements is not None
        _same_length("predictions", dialogues, "judgements", judgements)
        given = [_given_flaws(f"judgements[{at}]", value) for at, value in enumerate(judgements)]
        found = {(at, dimension): given[at].get(dimension) for at in whole for dimension in DIMENSIONS}
    judged = [_flaw_row(rows[at], dimension, one_found) for (at, dimension), one_found in found.items()]
    results = gca_results(played, rows, judged, {"judge_thoughts": thoughts})
    by_key: dict[Any, dict[str, Row]] = {}
    for row in judged:
        by_key.setdefault(scene_key(row), {})[row["dimension"]] = row
    return {
        **results["scores"],
        "missing": results["missing"]["missing"],
        "missing_by_cause": results["missing"]["by_cause"],
        **results["overlap"],
        "intervals": results["intervals"],
        "thoughts": thoughts,
        "cases": [_gca_case(case, by_key[tuple(case["key"])]) for case in results["cases"]],
    }


def _gca_case(case: Row, judged: Mapping[str, Row]) -> Row:
    return {
        **{name: case[name] for name in ("key", *DIMENSIONS, "avg", "character_turns", "bleu", "rouge_l")},
        "flaws": {dimension: row["flaws"] for dimension, row in judged.items()},
        "missing": {dimension: row["missing"] for dimension, row in judged.items() if row["missing"]},
    }


def _same_length(first: str, one: Sequence[Any], second: str, other: Sequence[Any]) -> None:
    for name, values in ((first, one), (second, other)):
        if isinstance(values, str | bytes | Mapping) or not isinstance(values, Sequence):
            raise ValueError(f"{name} must be a list, got {type(values).__name__}.")
    if len(one) != len(other):
        raise ValueError(
            f"{first} and {second} must be of one length and order, got {len(one)} {first} and {len(other)} {second}."
        )


def _scene(at: int, value: Any) -> Scene:
    row = _parsed(f"references[{at}]", value)
    if not isinstance(row, dict):
        raise ValueError(f"references[{at}] must be a scene, an object as CoSER's test set has it, got {_shown(row)}.")
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
            f"scenes are known by (book, i_p, i_c), but these keys come more than once: {twice[:5]}. To score a scene "
            "several times, call compute once for each."
        )


def _dialogue(where: str, value: Any, scene: Scene, notation: str) -> Row:
    """A row of `dialogues.jsonl`, its turns in HER notation."""
    given = _parsed(where, value)
    row = given if isinstance(given, Mapping) else {"turns": given}
    if "key" in row and scene_key(dict(row)) != scene.key:
        raise ValueError(
            f"{where} is of the scene {tuple(row['key'])}, but its reference is {scene.key}: give both in one order."
        )
    failed, turns = row.get("ended_by") == "failed", row.get("turns")
    if not isinstance(turns, list) or not (turns or failed):
        raise ValueError(
            f"{where} must be a list of turns with `name` and `text`, or a row of dialogues.jsonl, got {_shown(given)}."
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
        raise ValueError(f"{where} must have the texts `name` and `text`, got {_shown(entry)}.")
    if name not in names:
        raise ValueError(
            f"{where} is by {name!r}, who is not in the scene's cast {sorted(names)}: write names as the scene does."
        )
    turn = replace(read_turn(text, name, notation=notation), name=None)
    return {"name": name, "text": turn.render(view=View.SELF), "origin": entry.get("origin", "model")}


def _given_flaws(where: str, value: Any) -> dict[str, GcaJudgement | Missing | None]:
    """By dimension what was given of a scene."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} must be an object with flaws by dimension, or None, got {_shown(value)}.")
    codes = {**{code: code for code in DIMENSIONS}, **{name: code for code, name in DIMENSIONS.items()}}
    unknown = [name for name in value if name not in codes]
    if unknown:
        raise ValueError(f"{where} has unknown dimensions {unknown}; there are {list(DIMENSIONS)}.")
    return {codes[name]: _read_flaws(f"{where}[{name!r}]", codes[name], given) for name, given in value.items()}


def _read_flaws(where: str, dimension: str, given: Any) -> GcaJudgement | Missing | None:
    if given is None:
        return None
    if isinstance(given, str):
        return parse_flaws(given, dimension)
    flaws = given.get("flaws") if isinstance(given, Mapping) else given
    if not isinstance(flaws, list):
        raise ValueError(
            f"{where} must be a list of flaws ([] means none), an answer as text, or None, got {_shown(given)}."
        )
    # Read as an answer is. A quoted `</think>` must not look like the end of the judge's own thinking.
    return parse_flaws(json.dumps({"flaws": flaws}, default=str).replace("</", "<\\/"), dimension)


def _flaw_row(dialogue: Row, dimension: str, found: GcaJudgement | Missing | None) -> Row:
    """A row of `judgements.jsonl`."""
    row: Row = {"key": dialogue["key"], "judge": "judge", "sample": 0, "dimension": dimension}
    if isinstance(found, GcaJudgement):
        return {**row, **asdict(found), "missing": None}
    return {**row, "flaws": None, "missing": found.as_dict() if found else NOT_GIVEN}


# -- situated reenactment


@dataclass(frozen=True)
class _Session:
    """A dialogue to score: its seed, the name that its seed's runs share, and its chunks; none if it broke off."""

    seed: Seed | None
    group: str
    chunks: Sequence[Chunk]


Errors = list[dict[str, Any]] | Missing | None
"""What was found in a chunk; `None` if it was not given."""


def minimax_rpb(
    sessions: Sequence[Any],
    seeds: Sequence[Any] | None = None,
    *,
    judgements: Sequence[Sequence[Any] | None] | None = None,
    judge: Judge | None = None,
    judge_model: str | None = None,
    chunk: int = CHUNK_TURNS,
    seed: int = 42,
    ledger: str | Path | None = None,
    concurrency: int = 16,
    show: bool = True,
) -> Row:
    """Scores of situated reenactment in the manner of MiniMax's Role-Play Bench, on a scale of our own.

    Args:
        sessions (`Sequence`): For each dialogue its turns, `{"role": "ai" | "user", "text"}`, the two of the opening
            first, or a row of `dialogues.jsonl`. Or what a judge found: for each dialogue by chunk a list of errors,
            or `None`; then neither `judge` nor `judgements` is given.
        seeds (`Sequence`, *optional*): For each dialogue its seed, a row of `MiniMaxAI/role-play-bench`, or `None`.
            Runs of one seed are averaged first; without seeds each dialogue stands for itself. A judge needs them.
        judgements (`Sequence`, *optional*): For each dialogue by chunk the list of errors (`{"column", "severity"}`),
            the judge's answer as text, or `None`.
        judge, judge_model, seed, ledger, concurrency, show (*optional*): As in [`coser_gca`].
        chunk (`int`, *optional*, defaults to 20): Turns that are judged together.

    Returns:
        `dict`: `overall`, the pillars `worlds`, `stories` and `preferences`, and the six columns (0 to 100, or `None`);
            `missing` (chunks without a judgement) and `missing_by_cause`; `seeds`, `sessions`, `missing_sessions`;
            `intervals` (95% bootstrap over seeds); `curve` (quality against turn number); `scale` (what the numbers
            compare with); `cases`, one a dialogue.

    Raises:
        `ValueError`: If lengths differ, a value is not of its form, a column is unknown, or it is not clear who judges.
        `ModelError`: If the judge cannot be reached.
    """
    values = [_parsed(f"predictions[{at}]", value) for at, value in enumerate(sessions)]
    if seeds is not None:
        _same_length("predictions", values, "references", seeds)
    given_seeds = [_seed(at, value) for at, value in enumerate(seeds or [None] * len(values))]
    ready = [_is_judged(value) for value in values]
    if any(ready):
        if not all(ready) or judge is not None or judgements is not None:
            raise ValueError(
                "predictions that are judged chunks already come without judge and judgements, and not beside turns."
            )
        judgements = values
        found_sessions = [
            _Session(own, _group(at, own, {}), [Chunk(number, (), ()) for number in range(len(value))])
            for at, (value, own) in enumerate(zip(values, given_seeds, strict=True))
        ]
    else:
        _one_way(judge, judgements)
        found_sessions = [_session(at, value, own, chunk) for at, (value, own) in enumerate(zip(values, given_seeds))]
    if judge is not None:
        found = _judge_sessions(found_sessions, judge, chunk, seed, judge_model, ledger, concurrency, show)
    else:
        assert judgements is not None
        _same_length("predictions", values, "judgements", judgements)
        found = [
            _given_chunks(f"judgements[{at}]", value, session.chunks)
            for at, (value, session) in enumerate(zip(judgements, found_sessions, strict=True))
        ]
    return _minimax_figures(found_sessions, found, chunk)


def _is_judged(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(one is None or isinstance(one, list) for one in value)


def _seed(at: int, value: Any) -> Seed | None:
    row = _parsed(f"references[{at}]", value)
    if row is None:
        return None
    if not isinstance(row, dict):
        raise ValueError(f"references[{at}] must be a seed, an object, or None, got {_shown(row)}.")
    try:
        return read_seed(row)
    except SceneError as error:
        raise error.at("references", f"item {at}") from None


def _group(at: int, seed: Seed | None, row: Mapping[str, Any]) -> str:
    """What runs of one seed share."""
    if seed is not None:
        return f"{seed.language}/{seed.id}"
    return f"{row.get('language', '?')}/{row['seed_id']}" if "seed_id" in row else f"session {at:06}"


def _session(at: int, value: Any, seed: Seed | None, size: int) -> _Session:
    where = f"predictions[{at}]"
    row = value if isinstance(value, Mapping) else {"turns": value}
    if seed is not None and row.get("seed_id", seed.id) != seed.id:
        raise ValueError(
            f"{where} is of the seed {row['seed_id']!r}, but its reference is {seed.id!r}: give one order."
        )
    if row.get("failure"):
        return _Session(seed, _group(at, seed, row), ())
    turns = row.get("turns", row.get("dialogue"))
    turns = _parsed(where, turns)
    if not isinstance(turns, list):
        raise ValueError(
            f"{where} must be a list of turns, a row of dialogues.jsonl, or judged chunks, got {_shown(value)}."
        )
    lines = [_line(f"{where}, turn {number}", number, turn, seed) for number, turn in enumerate(turns)]
    chunks = chunks_of(lines, size)
    if not chunks:
        raise ValueError(
            f"{where} has no turn to judge: after the two turns of the opening comes none with the role 'ai'."
        )
    return _Session(seed, _group(at, seed, row), chunks)


def _line(where: str, number: int, turn: Any, seed: Seed | None) -> Row:
    role, text = (turn.get("role"), turn.get("text")) if isinstance(turn, Mapping) else (None, None)
    if role not in ("ai", "user") or not isinstance(text, str):
        raise ValueError(f"{where} must have `role` ('ai' or 'user') and the text `text`, got {_shown(turn)}.")
    name = (seed.ai_name if role == "ai" else seed.user_name) if seed else str(turn.get("name", role))
    return {"role": role, "name": name, "text": text, "round": number}


def _judge_sessions(
    sessions: Sequence[_Session],
    judge: Judge,
    size: int,
    seed: int,
    judge_model: str | None,
    ledger: str | Path | None,
    concurrency: int,
    show: bool,
) -> list[list[Errors]]:
    lacking = [at for at, session in enumerate(sessions) if session.seed is None]
    if lacking:
        raise ValueError(f"a judge is told the setting: give the seeds as references; missing for {lacking[:5]}.")
    settings = ChunkJudging(size, seed=seed)
    units = [(at, chunk) for at, session in enumerate(sessions) for chunk in session.chunks]

    async def one(caller: Caller, unit: tuple[int, Chunk]) -> Errors:
        at, chunk = unit
        own = sessions[at].seed
        assert own is not None
        key = [own.language, own.id, digest([list(map(dict, chunk.before)), list(map(dict, chunk.turns))])]
        found = await judge_chunk(caller, own, chunk, settings=settings, key=key)
        return found if isinstance(found, Missing) else found.errors

    answers = _ask_all(judge, units, one, judge_model=judge_model, ledger=ledger, concurrency=concurrency, show=show)
    found: list[list[Errors]] = [[] for _ in sessions]
    for (at, _), answer in zip(units, answers, strict=True):
        found[at].append(answer)
    return found


def _given_chunks(where: str, value: Any, chunks: Sequence[Chunk]) -> list[Errors]:
    if value is None or not chunks:
        return [None] * len(chunks)
    if not isinstance(value, list):
        raise ValueError(f"{where} must be a list with an entry for each chunk, or None, got {_shown(value)}.")
    if len(value) != len(chunks):
        raise ValueError(f"{where} must have an entry for each of the {len(chunks)} chunks, got {len(value)}.")
    return [_read_errors(f"{where}[{chunk.index}]", one, chunk) for chunk, one in zip(chunks, value, strict=True)]


def _read_errors(where: str, given: Any, chunk: Chunk) -> Errors:
    if given is None:
        return None
    if isinstance(given, str):
        found = parse_errors(given, chunk)
        return found if isinstance(found, Missing) else found.errors
    errors = given.get("errors") if isinstance(given, Mapping) else given
    if not isinstance(errors, list) or not all(isinstance(error, Mapping) for error in errors):
        raise ValueError(
            f"{where} must be a list of errors ([] means none), an answer as text, or None, got {_shown(given)}."
        )
    unknown = [error.get("column") for error in errors if error.get("column") not in COLUMNS]
    if unknown:
        raise ValueError(f"{where} has errors with unknown columns {unknown[:5]}; there are {list(COLUMNS)}.")
    try:
        chunk_scores(errors)
    except ValueError as error:
        return Missing("bad_value", str(error))
    return [dict(error) for error in errors]


def _minimax_figures(sessions: Sequence[_Session], found: Sequence[Sequence[Errors]], size: int) -> Row:
    scored = [[chunk_scores(errors) if isinstance(errors, list) else None for errors in chunks] for chunks in found]
    columns = [session_scores(chunks).columns if chunks else None for chunks in scored]
    groups: dict[str, list[Any]] = {}
    for session, own in zip(sessions, columns, strict=True):
        groups.setdefault(session.group, []).append(own)
    total = summarize_sessions(groups)
    missing = Counter(
        errors.cause if errors else NOT_GIVEN["cause"]
        for chunks in found
        for errors in chunks
        if not isinstance(errors, list)
    )
    by_seed = [_flat(own) for own in seed_columns(groups).values()]
    names = ("overall", *PILLARS, *COLUMNS)
    ends = {name: bootstrap_interval([row[name] for row in by_seed]) for name in names}
    return {
        **_flat(total["columns"]),
        "missing": missing.total(),
        "missing_by_cause": dict(sorted(missing.items())),
        "seeds": total["seeds"],
        "sessions": total["sessions"],
        "missing_sessions": total["missing_sessions"],
        "intervals": {name: list(own) if own else None for name, own in ends.items()},
        "curve": [point._asdict() for point in curve(scored, size)],
        "scale": SCALE,
        "cases": [
            {"seed": session.group, **_flat(own), "chunks": [_chunk_case(*pair) for pair in zip(chunks, scores)]}
            for session, own, chunks, scores in zip(sessions, columns, found, scored, strict=True)
        ],
    }


def _flat(columns: Mapping[str, float] | None) -> dict[str, float | None]:
    """Overall, pillars and columns side by side."""
    if columns is None:
        return dict.fromkeys(("overall", *PILLARS, *COLUMNS))
    return {"overall": overall(columns), **pillars(columns), **columns}


def _chunk_case(errors: Errors, scores: Mapping[str, float] | None) -> Row:
    missing = None if isinstance(errors, list) else errors.as_dict() if errors else NOT_GIVEN
    return {
        "overall": overall(scores) if scores else None,
        "errors": errors if isinstance(errors, list) else None,
        "missing": missing,
    }


# -- dual-layer form


def dual_layer(replies: Sequence[Any], contexts: Sequence[Any]) -> Row:
    """Dual-layer form of replies; no judge is needed.

    Args:
        replies (`Sequence[str]`): Replies with system thinking inline, opening tag included.
        contexts (`Sequence[Mapping]`): For each reply `speaker` (who should speak) and, *optional*, `names` (the cast),
            `ended` (whether the model ended its turn itself; unsaid, it counts as ended) and `notation` (`"her"` or
            `"coser"`).

    Returns:
        `dict`: `replies` (count); `well_formed`, `own_role`, `visible`, `leak_rate` (own thinking that reached speech)
            and `ended` (shares, 0 to 1; `ended` is `None` if no context says it); `pattern_entropy` (nats),
            `distinct_patterns`, `top_pattern`, `top_share`, `self_bleu` (`None` of a single reply); `characters` (mean
            length of each layer); `issues` (replies with each); `intervals` (95% Wilson); `cases`, one a reply.

    Raises:
        `ValueError`: If lengths differ or a value is not of its form.
    """
    _same_length("predictions", replies, "references", contexts)
    found = [_sampled(at, text, context) for at, (text, context) in enumerate(zip(replies, contexts, strict=True))]
    figures = dict(score_replies(found))
    patterns: Any = figures.pop("patterns")
    total = len(found)
    shares = {name: figures[name] for name in ("well_formed", "own_role", "visible", "leak_rate")}
    said = any(_parsed("", context).get("ended") is not None for context in contexts)
    if said:
        shares["ended"] = figures["ended"]
    ends = {name: wilson_interval(float(str(share)), total) for name, share in shares.items()}
    ends["top_share"] = wilson_interval(patterns["top_share"], patterns["count"] or total)
    return {
        **figures,
        "ended": figures["ended"] if said else None,
        "pattern_entropy": patterns["entropy"],
        "distinct_patterns": patterns["distinct"],
        "top_pattern": patterns["top"],
        "top_share": patterns["top_share"],
        "intervals": ends,
        "cases": [_form_case(reply) for reply in found],
    }


def _sampled(at: int, text: Any, context: Any) -> SampledReply:
    if not isinstance(text, str):
        raise ValueError(f"predictions[{at}] must be a reply, a text, got {_shown(text)}.")
    where = f"references[{at}]"
    given = _parsed(where, context)
    if not isinstance(given, Mapping) or not isinstance(given.get("speaker"), str) or not given["speaker"].strip():
        raise ValueError(f"{where} must be an object with the text `speaker`, who should speak, got {_shown(given)}.")
    unknown = sorted(set(given) - {"speaker", "names", "ended", "notation"})
    if unknown:
        raise ValueError(f"{where} has unknown keys {unknown}; there are speaker, names, ended, notation.")
    speaker, names, ended, notation = (given.get(key) for key in ("speaker", "names", "ended", "notation"))
    if names and (not isinstance(names, list) or not all(isinstance(name, str) for name in names)):
        raise ValueError(f"{where}: names must be a list of texts, got {_shown(names)}.")
    if names and speaker not in names:
        raise ValueError(f"{where}: speaker {speaker!r} is not among names {names}: name the whole cast.")
    if ended is not None and not isinstance(ended, bool):
        raise ValueError(f"{where}: ended must be true or false, got {_shown(ended)}.")
    if notation not in (None, "her", "coser"):
        raise ValueError(f"{where}: notation must be 'her' or 'coser', got {_shown(notation)}.")
    return SampledReply(text, speaker, tuple(names or ()), ended is not False, notation=notation or "her")


def _form_case(reply: SampledReply) -> Row:
    turn = reply.turn
    return {
        "well_formed": is_well_formed(reply),
        "own_role": stays_in_role(reply),
        "pattern": turn.pattern,
        "leaks": spoken_thoughts(turn),
        "issues": [str(issue) for issue in turn.issues],
    }


# -- what a person pastes


def read_pasted(text: str, names: Sequence[str] = ()) -> list[Row]:
    """A dialogue as a person pastes it: JSON (a list of turns, or an object with `turns`), or lines `Name: text`.

    Args:
        text (`str`): What was pasted.
        names (`Sequence[str]`, *optional*): The cast; without it, what looks like a name opens a turn.

    Returns:
        `list[dict]`: Turns with `name` and `text`; of JSON whatever its turns hold.

    Raises:
        `ValueError`: If there is no turn.

    Example:

    ```python
    >>> read_pasted("Ann: Tea?\\nWith milk?\\nBob: Please.")
    [{'name': 'Ann', 'text': 'Tea?\\nWith milk?'}, {'name': 'Bob', 'text': 'Please.'}]
    ```
    """
    if text.lstrip()[:1] in ("[", "{"):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None  # a thought in brackets opens the dialogue
        turns = value.get("turns") if isinstance(value, Mapping) else value
        if isinstance(turns, list):
            return turns
    turns = []
    before: list[str] = []  # e.g. system thinking, which stands before the label
    for line in text.strip().splitlines():
        label = find_label(line.lstrip(), names)
        if label is not None and label.name is not None:
            own = line.lstrip()[label.length :].strip()
            turns.append({"name": label.name, "text": "\n".join([*before, own])})
            before = []
        elif turns:
            turns[-1]["text"] += f"\n{line}"
        else:
            before.append(line)
    if not turns:
        raise ValueError("No turn was found: write each as `Name: text` on a line of its own, or paste JSON.")
    return [{**turn, "text": turn["text"].strip()} for turn in turns]
