"""Scores in the manner of MiniMax's Role-Play Bench, computed for `spaces/minimax_rpb`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from her_hf.durable import digest
from her_hf.evaluation.minimax.judging import SCALE
from her_hf.evaluation.rows import Row
from her_hf.inference import Caller
from her_hf.judging import Missing
from her_hf.judging.critics.minimax import JUDGED, Chunk, ChunkJudging, chunks_of, judge_chunk, parse_errors
from her_hf.scenes import SceneError
from her_hf.scenes.seeds import Seed, read_seed
from her_hf.scoring.keys import stray_keys
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
from her_hf.scoring.statistics import bootstrap_interval
from her_hf.settings import CONCURRENCY

from .judges import Asking, Judge, ask_all, check_who_judges
from .values import NOT_GIVEN, parsed, same_length, shown

ROLES = (JUDGED, "user")

_OF_A_ROW = (
    *("language", "seed_id", "model", "run", "chunk", "rounds", "judged"),
    *("errors", "repaired", "quotes_not_found", "unrated", "missing"),
)
"""What a row of `judgements.jsonl` holds."""

Errors = list[dict[str, Any]] | Missing | None
"""The judgement of a chunk; `None` if none was given."""


@dataclass(frozen=True)
class _Session:
    """A dialogue to score: its seed, the group of runs of that seed, and its chunks (none if it failed)."""

    seed: Seed | None
    group: str
    chunks: Sequence[Chunk]


def minimax_rpb(
    sessions: Sequence[Any],
    seeds: Sequence[Any] | None = None,
    *,
    judgements: Sequence[Any] | None = None,
    judge: Judge | None = None,
    judge_model: str | None = None,
    chunk: int = CHUNK_TURNS,
    seed: int = 42,
    ledger: str | Path | None = None,
    concurrency: int = CONCURRENCY,
    show: bool = True,
) -> Row:
    """Scores in the manner of MiniMax's Role-Play Bench, on our own scale.

    Args:
        sessions (`Sequence`): For each dialogue its turns, `{"role": "ai" | "user", "text"}`, starting with the two of
            the opening, or a row of `dialogues.jsonl`. Alternatively a judge's results: for each dialogue by chunk a
            list of errors, or `None`; then neither `judge` nor `judgements` is given.
        seeds (`Sequence`, *optional*): For each dialogue its seed, a row of `MiniMaxAI/role-play-bench`, or `None`.
            Runs of the same seed are averaged first; without seeds each dialogue is its own group. A judge needs them.
        judgements (`Sequence`, *optional*): For each dialogue by chunk the list of errors (`{"column", "severity"}`),
            the judge's answer as text, or `None`.
        judge (`Judge`, *optional*): The judge to call instead.
        judge_model (`str`, *optional*): Its name on the server.
        chunk (`int`, *optional*, defaults to 20): Number of turns that are judged together.
        seed (`int`, *optional*, defaults to 42): Seed of the judge's calls.
        ledger (`str` or `Path`, *optional*): A SQLite file that stores answers, so that no call is made twice.
        concurrency (`int`, *optional*, defaults to 16): Maximum number of calls in flight.
        show (`bool`, *optional*, defaults to `True`): Whether to show a progress bar while judging.

    Returns:
        `dict`: `overall`, the pillars `worlds`, `stories`, `preferences` and the six columns (0 to 100, or `None`);
            `missing` (chunks without a judgement) and `missing_by_cause`; `seeds` and `sessions` with a score,
            `missing_sessions`; `intervals` (95% bootstrap over seeds); `curve` (quality by turn number); `scale`
            (which scores can be compared); and `cases`, one per dialogue: its scores, and by chunk its `errors`.

    Raises:
        `ValueError`: If lengths differ, a value has the wrong form, a column is unknown, or not exactly one of `judge`
            and `judgements` is given.
        `ModelError`: If the judge cannot be reached.
    """
    settings = ChunkJudging(chunk, seed=seed)
    values = [parsed(f"predictions[{at}]", value) for at, value in enumerate(sessions)]
    same_length("predictions", values, "references", [None] * len(values) if seeds is None else seeds)
    own_seeds = [_seed(at, value) for at, value in enumerate(seeds or [None] * len(values))]
    pairs = list(zip(values, own_seeds, strict=True))
    if any(map(_is_judged, values)):
        if judge is not None or judgements is not None or not all(map(_is_judged, values)):
            raise ValueError(
                "predictions that are judged chunks cannot be combined with judge, judgements or dialogues: give one "
                "kind only."
            )
        judgements = values
        played = [_judged_session(at, value, own) for at, (value, own) in enumerate(pairs)]
    else:
        check_who_judges(judge, judgements)
        played = [_session(at, value, own, chunk) for at, (value, own) in enumerate(pairs)]
    if judge is None:
        same_length("predictions", values, "judgements", judgements or [])
        found = [_given(f"judgements[{at}]", value, played[at].chunks) for at, value in enumerate(judgements or [])]
    else:
        found = _judged(Asking(judge, judge_model, ledger, concurrency, show), played, settings)
    return _figures(played, found, chunk)


# -- dialogues


def _seed(at: int, value: Any) -> Seed | None:
    row = parsed(f"references[{at}]", value)
    if row is None:
        return None
    if not isinstance(row, dict):
        raise ValueError(f"references[{at}] must be a seed, an object, or None, got {shown(row)}.")
    try:
        return read_seed(row)
    except SceneError as error:
        raise error.at("references", f"item {at}") from None


def _is_judged(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(one is None or isinstance(one, list) for one in value)


def _judged_session(at: int, value: Sequence[Any], seed: Seed | None) -> _Session:
    """A session with judgements only."""
    return _Session(seed, _group(at, seed, {}), [Chunk(number, (), ()) for number in range(len(value))])


def _session(at: int, value: Any, seed: Seed | None, size: int) -> _Session:
    where = f"predictions[{at}]"
    row = value if isinstance(value, Mapping) else {"turns": value}
    if seed is not None and row.get("seed_id", seed.id) != seed.id:
        raise ValueError(
            f"{where} is of the seed {row['seed_id']!r}, but its reference is {seed.id!r}: use the same order."
        )
    group = _group(at, seed, row)
    if row.get("failure"):
        return _Session(seed, group, ())
    turns = parsed(where, row.get("turns", row.get("dialogue")))  # the public dialogues are JSON text
    if not isinstance(turns, list):
        raise ValueError(
            f"{where} must be a list of turns, a row of dialogues.jsonl, or judged chunks, got {shown(value)}."
        )
    lines = [_line(f"{where}, turn {number}", number, turn, seed) for number, turn in enumerate(turns)]
    chunks = chunks_of(lines, size)
    if not chunks:
        raise ValueError(f"{where} has no turn to judge: no turn after the opening has the role 'ai'.")
    return _Session(seed, group, chunks)


def _group(at: int, seed: Seed | None, row: Mapping[str, Any]) -> str:
    """The group of a dialogue: runs of the same seed share it."""
    if seed is not None:
        return f"{seed.language}/{seed.id}"
    return f"{row.get('language', '?')}/{row['seed_id']}" if "seed_id" in row else f"session {at:06}"


def _line(where: str, number: int, turn: Any, seed: Seed | None) -> Row:
    role, text = (turn.get("role"), turn.get("text")) if isinstance(turn, Mapping) else (None, None)
    if role not in ROLES or not isinstance(text, str):
        raise ValueError(f"{where} must have `role` (one of {list(ROLES)}) and the text `text`, got {shown(turn)}.")
    name = (seed.ai_name if role == JUDGED else seed.user_name) if seed else str(turn.get("name", role))
    return {"role": role, "name": name, "text": text, "round": number}


# -- judgements


def _judged(asking: Asking, sessions: Sequence[_Session], settings: ChunkJudging) -> list[list[Errors]]:
    """The judge's judgements, by session and chunk."""
    lacking = [at for at, session in enumerate(sessions) if session.seed is None]
    if lacking:
        raise ValueError(f"a judge needs the setting: give seeds as references; they are missing for {lacking[:5]}.")

    async def one(caller: Caller, unit: tuple[int, Chunk]) -> Errors:
        at, chunk = unit
        seed = sessions[at].seed
        assert seed is not None
        key = [seed.language, seed.id, digest([list(chunk.before), list(chunk.turns)])]
        found = await judge_chunk(caller, seed, chunk, settings=settings, key=key)
        return found if isinstance(found, Missing) else found.errors

    units = [(at, chunk) for at, session in enumerate(sessions) for chunk in session.chunks]
    found: list[list[Errors]] = [[] for _ in sessions]
    for (at, _), errors in zip(units, ask_all(asking, units, one), strict=True):
        found[at].append(errors)
    return found


def _given(where: str, value: Any, chunks: Sequence[Chunk]) -> list[Errors]:
    """The given judgements of a session, by chunk."""
    if value is None or not chunks:
        return [None] * len(chunks)
    if not isinstance(value, list):
        raise ValueError(f"{where} must be a list with an entry for each chunk, or None, got {shown(value)}.")
    if len(value) != len(chunks):
        raise ValueError(f"{where} must have an entry for each of the {len(chunks)} chunks, got {len(value)}.")
    return [_read(f"{where}[{chunk.index}]", one, chunk) for chunk, one in zip(chunks, value, strict=True)]


def _read(where: str, given: Any, chunk: Chunk) -> Errors:
    if given is None:
        return None
    if isinstance(given, str):
        found = parse_errors(given, chunk, shown="\n".join(turn["text"] for turn in [*chunk.before, *chunk.turns]))
        return found if isinstance(found, Missing) else found.errors
    errors = given.get("errors") if isinstance(given, Mapping) else given
    if not isinstance(errors, list) or not all(isinstance(error, Mapping) for error in errors):
        raise ValueError(
            f"{where} must be a list of errors ([] means none), an answer as text, or None, got {shown(given)}."
        )
    if stray := stray_keys(given, _OF_A_ROW) if isinstance(given, Mapping) else []:
        return Missing("wrong_keys", f'wanted {{"errors": […]}} alone, got {shown(stray)} beside it')
    unknown = [error.get("column") for error in errors if error.get("column") not in COLUMNS]
    if unknown:
        raise ValueError(f"{where} has errors with unknown columns {unknown[:5]}; use {list(COLUMNS)}.")
    try:
        chunk_scores(errors)
    except ValueError as error:
        return Missing("bad_value", str(error))
    return [dict(error) for error in errors]


# -- figures


def _figures(sessions: Sequence[_Session], found: Sequence[Sequence[Errors]], size: int) -> Row:
    scored = [[chunk_scores(errors) if isinstance(errors, list) else None for errors in chunks] for chunks in found]
    columns = [session_scores(chunks).columns if chunks else None for chunks in scored]
    groups: dict[str, list[Any]] = {}
    for session, own in zip(sessions, columns, strict=True):
        groups.setdefault(session.group, []).append(own)
    total = summarize_sessions(groups)
    causes = Counter(missing["cause"] for chunks in found for errors in chunks if (missing := _missing(errors)))
    rows = [_flat(own) for own in seed_columns(groups).values()]
    ends = {name: bootstrap_interval([row[name] for row in rows]) for name in ("overall", *PILLARS, *COLUMNS)}
    return {
        **_flat(total["columns"]),
        "missing": causes.total(),
        "missing_by_cause": dict(sorted(causes.items())),
        "seeds": total["seeds"],
        "sessions": total["sessions"],
        "missing_sessions": total["missing_sessions"],
        "intervals": {name: list(own) if own else None for name, own in ends.items()},
        "curve": [point._asdict() for point in curve(scored, size, turns=_longest(sessions))],
        "scale": SCALE,
        "cases": [
            {"seed": session.group, **_flat(own), "chunks": list(map(_chunk_case, errors, scores))}
            for session, own, errors, scores in zip(sessions, columns, found, scored, strict=True)
        ],
    }


def _longest(sessions: Sequence[_Session]) -> int | None:
    """Number of turns of the longest dialogue; `None` if any was given as judgements only."""
    chunks = [chunk for session in sessions for chunk in session.chunks]
    if not all(chunk.turns for chunk in chunks):
        return None
    return max((sum(len(chunk.turns) for chunk in session.chunks) for session in sessions), default=None)


def _flat(columns: Mapping[str, float] | None) -> dict[str, float | None]:
    """Overall score, pillars and columns in one dict."""
    if columns is None:
        return dict.fromkeys(("overall", *PILLARS, *COLUMNS))
    return {"overall": overall(columns), **pillars(columns), **columns}


def _missing(errors: Errors) -> dict[str, str] | None:
    """Cause and detail of a missing judgement; `None` if there is a judgement."""
    if isinstance(errors, list):
        return None
    return errors.as_dict() if errors else NOT_GIVEN


def _chunk_case(errors: Errors, scores: Mapping[str, float] | None) -> Row:
    there = errors if isinstance(errors, list) else None
    return {"overall": overall(scores) if scores else None, "errors": there, "missing": _missing(errors)}
