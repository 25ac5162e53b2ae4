"""Calibrates a minimax judge: the rank correlation of its scores with published scores of public dialogues.

Source: the Hub dataset MiniMaxAI/role-play-bench, which contains seeds, dialogues of eleven models and six scores per
dialogue. Re-implementations accept a judge with a Spearman correlation of at least 0.7; absolute scores may differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from her_hf.concurrency import WINDOW, each
from her_hf.durable import claim, derive_seed, write_json
from her_hf.inference import Caller
from her_hf.journal import Rows
from her_hf.judging.critics.minimax import OPENING_TURNS, ChunkJudging, chunks_of
from her_hf.runs.results import missing_part
from her_hf.runs.starts import Clock, Notes, note_start, run_now
from her_hf.scenes.errors import SceneError
from her_hf.scenes.fields import needed_items, needed_text
from her_hf.scenes.load import read_file
from her_hf.scenes.prompt import LANGUAGES
from her_hf.scenes.seeds import HUB, Seed, bench_files, load_seeds
from her_hf.scoring.minimax import COLUMNS, PILLARS, Columns, overall, pillars, session_scores
from her_hf.scoring.statistics import spearman
from her_hf.simulation.minimax import NPC, USER

from ..rows import Row
from .judging import SCALE, Dialogue, Judges, dialogue_key, read_judgements
from .run import ALLOWED, JUDGEMENTS

CALIBRATION = "calibration.json"

ACCEPTED = 0.7
"""Minimum Spearman correlation of the overall score at which a judge is accepted."""

_ROLES = (NPC, USER)
_NAMES = ("language", "seed_id", "model", "run")


@dataclass
class Calibration:
    """A judge to calibrate.

    Args:
        judge ([`~her_hf.inference.Caller`]): The judge.
        out (`Path`): Output folder.
        source (`str`, *optional*): The Hub dataset, or a folder with the same `data/{zh,en}/*.parquet`.
        language (`str`, *optional*): Only dialogues of this language.
        limit (`int`, *optional*): Maximum dialogues, a random sample by the seed.
        judging ([`~her_hf.judging.critics.minimax.ChunkJudging`], *optional*): How the judge is asked; its seed
            also selects the sample.
        window (`int`, *optional*, defaults to 256): Maximum dialogues in progress.
        show (`bool`, *optional*, defaults to `True`): Whether to show a progress bar.
    """

    judge: Caller
    out: Path
    source: str = HUB
    language: str | None = None
    limit: int | None = None
    judging: ChunkJudging = field(default_factory=ChunkJudging)
    window: int = WINDOW
    show: bool = True


@dataclass(frozen=True)
class Published:
    """A public dialogue and its published scores, columns 0 to 100."""

    dialogue: Dialogue
    columns: Columns


async def calibrate(run: Calibration) -> Row:
    """Judges public dialogues and computes rank correlations.

    Args:
        run ([`Calibration`]): The calibration.

    Returns:
        `dict`: The contents of `calibration.json`: `spearman` (`overall`, `pillars`, `columns`; each `rho` and `n`, or
            `rho` null and `why`), the same by language, `accepted`, `missing`, `cases`, `settings`.

    Raises:
        `SceneError`: If a public file does not exist, or a row is invalid.
        [`~her_hf.durable.OtherRunError`]: If the folder has a run with other settings.
        `ModelError`: If the judge cannot be identified.
    """
    public = sampled(load_published(run.source, run.language), run.limit, run.judging.seed)
    settings: Row = {f"judge_{name}": value for name, value in run.judging.as_dict().items()}
    settings |= {"evaluation": "minimax-calibrate", "judge": await run.judge.fingerprint()}
    claim(run.out, settings, has_results=lambda folder: (folder / JUDGEMENTS).exists(), allowed=ALLOWED)
    clock, callers = Clock(), {"judge": run.judge}
    notes = Notes(run.out, callers)
    try:
        judgements = await _judge(run, [item.dialogue for item in public], settings, notes)
        clock.lap("judging")
        settings |= {"source": str(run.source), "language": run.language, "limit": run.limit}
        results = {**calibration_results(public, judgements), "settings": settings, "scale": SCALE}
        write_json(run.out / CALIBRATION, results)
        return results
    finally:
        await notes.keep()
        note_start(run.out, clock, callers)


async def _judge(run: Calibration, dialogues: Sequence[Dialogue], judged_by: Row, notes: Notes) -> Rows:
    """Rows of `judgements.jsonl`."""
    total = sum(len(chunks_of(dialogue.turns, run.judging.chunk)) for dialogue in dialogues)
    file = run.out / JUDGEMENTS
    judges = Judges(notes, run.judge, run.judging, file, judged_by, total=total, show=run.show)
    async with judges.stage:
        await each(dialogues, judges.judge, window=run.window)
    return await judges.settled(dialogues)


def calibrate_now(run: Calibration) -> Row:
    """Synchronous version of [`calibrate`], which closes the connections at the end."""
    return run_now(calibrate(run), {"judge": run.judge})


# -- reading the public files


def load_published(source: str, language: str | None = None) -> list[Published]:
    """The public dialogues that have scores.

    Args:
        source (`str`): The Hub dataset, or a folder with a copy of it.
        language (`str`, *optional*): Only this one.

    Raises:
        `SceneError`: If a file does not exist, a row is invalid, or no dialogue has scores.
        `ValueError`: If the language is unknown.
    """
    if language is not None and language not in LANGUAGES:
        raise ValueError(f"language must be one of {list(LANGUAGES)}, got {language!r}")
    return [item for code in LANGUAGES if language in (None, code) for item in _published(source, code)]


def _published(source: str, language: str) -> list[Published]:
    files = {kind: bench_files(source, kind, language) for kind in ("dialogues", "evaluations")}
    seeds = {seed.id: seed for seed in load_seeds(source, language)}
    scores = dict(pair for file in files["evaluations"] for pair in read_file(file, _read_scores))

    def read(row: Row) -> tuple[list[Published], list[SceneError]]:
        key = _key(row)
        if key[0] not in seeds:
            raise SceneError(
                f"must be one of the {len(seeds)} seeds, got {key[0]!r}; get the seeds of the same release.",
                field="seed_id",
            )
        if key not in scores:
            return [], []
        names = dict(zip(_NAMES, (language, *key), strict=True))
        return [Published(Dialogue(names, seeds[key[0]], _turns(row, seeds[key[0]])), scores[key])], []

    return [item for file in files["dialogues"] for item in read_file(file, read)]


def _key(row: Row) -> tuple[str, str, str]:
    """(seed, model, run) of a row."""
    return tuple(str(row[name]) if row.get(name) is not None else needed_text(row, name) for name in _COLUMNS)  # type: ignore[return-value]


_COLUMNS = ("seed_id", "model_name", "run_id")


def _read_scores(row: Row) -> tuple[list[tuple[tuple[str, str, str], dict[str, float]]], list[SceneError]]:
    scores = {}
    for column in COLUMNS:
        value = row.get(column)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
            raise SceneError(f"must be a score from 0 to 100, got {value!r}.", field=column)
        scores[column] = float(value)
    return [(_key(row), scores)], []


def _turns(row: Row, seed: Seed) -> list[Row]:
    """The turns of a public dialogue in the form of `dialogues.jsonl`, numbered by their index."""
    turns = []
    for number, entry in enumerate(needed_items(row, "dialogue")):
        field_ = f"dialogue[{number}]."
        role, text = entry.get("role"), entry.get("text")
        if role not in _ROLES:
            raise SceneError(f"must be one of {list(_ROLES)}, got {role!r}.", field=f"{field_}role")
        if not isinstance(text, str):
            raise SceneError(f"must be text, got {text!r}.", field=f"{field_}text")
        name = seed.ai_name if role == NPC else seed.user_name
        turns.append({"role": role, "name": name, "text": text.strip(), "round": number})
    if len(turns) <= OPENING_TURNS:
        raise SceneError(
            f"must have more than the {OPENING_TURNS} scripted turns, got {len(turns)}; remove the row.",
            field="dialogue",
        )
    return turns


def sampled(public: Sequence[Published], limit: int | None, seed: int) -> list[Published]:
    """A random sample of at most `limit` dialogues, in the order of the source."""
    if limit is None or limit >= len(public):
        return list(public)
    drawn = sorted(public, key=lambda item: derive_seed(seed, list(item.dialogue.names.values())))[:limit]
    chosen = {dialogue_key(item.dialogue.names) for item in drawn}
    return [item for item in public if dialogue_key(item.dialogue.names) in chosen]


# -- comparing


def calibration_results(public: Sequence[Published], judgements: Iterable[Row]) -> Row:
    """Rank correlations of the judge's scores with the published ones; a pure function.

    A dialogue without any judgement is excluded and counted.
    """
    given = read_judgements(judgements)
    cases = []
    for item in public:
        judged = session_scores(given.columns[dialogue_key(item.dialogue.names)]).columns
        cases.append({**item.dialogue.names, "published": _figures(item.columns), "judged": _figures(judged)})
    scored = [case for case in cases if case["judged"] is not None]
    languages = sorted({case["language"] for case in cases})
    correlations = _correlations(scored)
    rho = correlations["overall"]["rho"]
    return {
        "evaluation": "minimax-calibrate",
        "spearman": correlations,
        "by_language": {
            code: _correlations([case for case in scored if case["language"] == code]) for code in languages
        },
        "accepted": rho is not None and rho >= ACCEPTED,
        "accepted_from": ACCEPTED,
        "dialogues": len(cases),
        "missing_dialogues": len(cases) - len(scored),
        "missing": missing_part("judgement", given.total, given.causes),
        "cases": cases,
    }


def _figures(columns: Columns | None) -> Row | None:
    if columns is None:
        return None
    return {"overall": overall(columns), "pillars": pillars(columns), "columns": dict(columns)}


def _correlations(cases: Sequence[Row]) -> Row:
    def of(*path: str) -> Row:
        def values(side: str) -> list[float]:
            found: list[Any] = [case[side] for case in cases]
            for step in path:
                found = [value[step] for value in found]
            return found

        try:
            return dict(spearman(values("published"), values("judged"))._asdict())
        except ValueError as error:  # too few dialogues, or all scores are equal
            return {"rho": None, "n": len(cases), "why": str(error)}

    return {
        "overall": of("overall"),
        "pillars": {name: of("pillars", name) for name in PILLARS},
        "columns": {name: of("columns", name) for name in COLUMNS},
    }
