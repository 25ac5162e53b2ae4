"""The minimax evaluation: play dialogues from seeds, judge them, compute scores; an interrupted run resumes.

A dialogue is judged as soon as it is played, while others are still being played.

Output folder: `run.json` and `judging.json` (the settings), `ledger.sqlite` (all answers of models),
`dialogues.jsonl`, `judgements.jsonl`, `results.json`, `sessions.jsonl` (one line per start: time and tokens),
`notes.json` (notes of the models, if any).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from her_hf.concurrency import WINDOW, each
from her_hf.durable import RUN_FILE, claim, digest, read_json
from her_hf.inference import Caller
from her_hf.journal import Journal, Rows
from her_hf.judging.critics.minimax import OPENING_TURNS, ChunkJudging
from her_hf.runs.progress import Progress
from her_hf.runs.results import RESULTS, data_of, write_results
from her_hf.runs.starts import NOTES, SESSIONS, Clock, Notes, by_first_role, note_start, run_now
from her_hf.runs.units import Cause, Stage
from her_hf.scenes.seeds import Seed
from her_hf.simulation.minimax import RUNS, MinimaxSettings, Session, play_session

from ..rows import Row
from .judging import Dialogue, Judges, dialogue_key
from .results import minimax_results, planned_chunks

DIALOGUES, JUDGEMENTS = "dialogues.jsonl", "judgements.jsonl"
LEDGER, JUDGING = "ledger.sqlite", "judging.json"
REPORTS = ("report.md", "report.html")
ALLOWED = (RUN_FILE, LEDGER, f"{LEDGER}-wal", f"{LEDGER}-shm", DIALOGUES, SESSIONS, NOTES, RESULTS, *REPORTS)
"""Files that the folder may have before judging starts."""


Unit = tuple[Seed, int]
"""A seed, and the number of the run."""


@dataclass
class MinimaxRun:
    """One evaluation.

    Args:
        seeds (`Sequence[Seed]`): The seeds to play.
        out (`Path`): Output folder.
        settings ([`~her_hf.simulation.minimax.MinimaxSettings`], *optional*): How seeds are played; `None` to
            judge existing dialogues.
        npc, user ([`~her_hf.inference.Caller`], *optional*): The model under test, and the user simulator.
        judge ([`~her_hf.inference.Caller`], *optional*): The judge; `None` to play only.
        judging ([`~her_hf.judging.critics.minimax.ChunkJudging`], *optional*): How the judge is asked.
        runs (`int`, *optional*, defaults to 3): Dialogues per seed.
        source, split (`str`, *optional*): Source and language of the seeds, for the results.
        window (`int`, *optional*, defaults to 256): Maximum dialogues in progress, played or judged.
        show (`bool`, *optional*, defaults to `True`): Whether to show progress bars.
    """

    seeds: Sequence[Seed]
    out: Path
    settings: MinimaxSettings | None = None
    npc: Caller | None = None
    user: Caller | None = None
    judge: Caller | None = None
    judging: ChunkJudging = field(default_factory=ChunkJudging)
    runs: int = RUNS
    source: str = ""
    split: str | None = None
    window: int = WINDOW
    show: bool = True

    def __post_init__(self) -> None:
        playing = [self.settings, self.npc, self.user]
        if any(part is None for part in playing) and any(part is not None for part in playing):
            raise ValueError("give all of settings, npc and user to play, or none of them to judge existing dialogues")
        if self.runs < 1:
            raise ValueError(f"runs must be at least 1, got {self.runs}")

    @property
    def units(self) -> list[Unit]:
        """Every seed with every run, counted from 1."""
        return [(seed, run) for seed in self.seeds for run in range(1, self.runs + 1)]


async def run_minimax(run: MinimaxRun) -> Row:
    """Plays and judges the remaining dialogues, and writes the results.

    Args:
        run ([`MinimaxRun`]): The evaluation.

    Returns:
        `dict`: The contents of `results.json`; see [`~her_hf.evaluation.minimax.results.minimax_results`]. Without a
            judge it has no scores.

    Raises:
        [`~her_hf.durable.OtherRunError`]: If the folder has a run with other settings.
        `ModelError`: If a model cannot be identified.
        `AccessRefused`: If a server refuses the key; answers until then are kept.
        `FileNotFoundError`: If there are no settings to play and a dialogue is missing.
        `ValueError`: If a seed is repeated, or a dialogue is not of these seeds.
    """
    clock, notes = Clock(), Notes(run.out, _callers(run))
    keys = [seed.key for seed in run.seeds]
    if not keys or len(set(keys)) != len(keys):
        raise ValueError(f"seeds must be given, with distinct keys (language, id); got {keys[:5]}")
    played_by = await _claim_playing(run)
    judged_by = await _claim_judging(run)
    ready = None if run.settings else _played(run)
    try:
        dialogues, judgements = await _play_and_judge(run, ready, played_by, judged_by, clock, notes)
        turns = _turns_of(dialogues, played_by)
        settings = {**played_by, **judged_by, "runs": run.runs}
        settings["data"] = data_of(run.source, run.split, [[*seed.key, _digest(seed)] for seed in run.seeds])
        results = minimax_results(dialogues, judgements, settings, turns=turns, chunk=run.judging.chunk)
        write_results(run.out, results)
        return results
    finally:
        await notes.keep()
        note_start(run.out, clock, _callers(run))


def _turns_of(dialogues: Iterable[Row], played_by: Row) -> int:
    """Generated turns of a complete dialogue: from the settings, else from the longest dialogue."""
    return int(played_by.get("turns") or max(len(row["turns"]) for row in dialogues) - OPENING_TURNS)


async def _play_and_judge(
    run: MinimaxRun, ready: Journal | None, played_by: Row, judged_by: Row, clock: Clock, notes: Notes
) -> tuple[Rows, Rows | None]:
    """Rows of `dialogues.jsonl`, and of `judgements.jsonl` if there is a judge.

    The order in which dialogues finish does not affect any row or file, because every unit has its own seeds.
    """
    keys = [_key(unit) for unit in run.units]
    async with AsyncExitStack() as stages:
        players = None
        if ready is None:
            players = await stages.enter_async_context(_Players(run, played_by, notes).stage)
        judges = _judges(run, ready, played_by, judged_by, notes)
        if judges:
            await stages.enter_async_context(judges.stage)

        async def whole(unit: Unit) -> None:
            if players:
                row = await players.row(unit)
                clock.lap("playing")
            else:
                row = _existing(ready, unit)
            if judges and not row["failure"]:  # a failed dialogue is not judged
                await judges.judge(_to_judge(unit[0], row))
                clock.lap("judging")

        await each(run.units, whole, window=run.window)
    if players:
        await players.settle(keys)
    journal = players.journal if players else ready
    assert journal is not None
    rows = journal.rows(keys)
    if judges is None:
        return rows, None
    units = zip(run.units, rows, strict=True)
    return rows, await judges.settled(_to_judge(seed, row) for (seed, _), row in units if not row["failure"])


async def _claim_playing(run: MinimaxRun) -> Row:
    """The settings of playing, now or when the dialogues were played."""
    if run.settings is None or run.npc is None or run.user is None:
        file = run.out / RUN_FILE
        return read_json(file) if file.exists() else {}
    playing = {
        **run.settings.as_dict(),
        "evaluation": "minimax",
        "npc": await run.npc.fingerprint(),
        "user": await run.user.fingerprint(),
    }
    claim(run.out, playing, has_results=lambda folder: (folder / DIALOGUES).exists())
    return playing


async def _claim_judging(run: MinimaxRun) -> Row:
    if run.judge is None:
        return {}
    judging = {f"judge_{name}": value for name, value in run.judging.as_dict().items()}
    judging["judge"] = await run.judge.fingerprint()
    if run.settings is None and not (run.out / DIALOGUES).exists():
        raise FileNotFoundError(_not_played(run, run.units))
    claim(run.out, judging, has_results=lambda folder: (folder / JUDGEMENTS).exists(), note=JUDGING, allowed=ALLOWED)
    return judging


# -- simulation


class _LineShape(BaseModel):
    role: str
    name: str
    text: str
    round: int
    reply: str | None = None


class DialogueShape(BaseModel):
    """What a page reads of a row of `dialogues.jsonl`."""

    language: str
    seed_id: str
    run: int
    turns: list[_LineShape]
    failure: Cause | None


class _DialogueShape(DialogueShape):
    seed_digest: str


class _Players:
    """Plays the remaining dialogues."""

    def __init__(self, run: MinimaxRun, played_by: Row, notes: Notes) -> None:
        self._run, self._made_with, self._notes = run, digest(played_by), notes
        turns = int(played_by["turns"])
        self.stage: Stage[Unit] = Stage(
            Journal(run.out / DIALOGUES, key=dialogue_key, shape=_DialogueShape, same={"settings": self._made_with}),
            key=_key,
            make=self._play,
            is_valid=_is_played,
            progress=Progress("playing", "turn", total=turns * len(run.units), show=run.show),
            steps=turns,  # also if the dialogue ended early
            counted=lambda row: len(row["turns"]) - OPENING_TURNS,
        )

    async def _play(self, unit: Unit) -> Row:
        run = self._run
        settings, npc, user = run.settings, run.npc, run.user
        assert settings is not None and npc is not None and user is not None
        session = await play_session(*unit, npc, user, settings, on_turn=lambda _: self.stage.progress.advance())
        await self._notes.keep()
        return _dialogue_row(unit, session, self._made_with)


Key = tuple[str, str, None, int]
"""Key of a row of `dialogues.jsonl`; see [`dialogue_key`]."""


def _key(unit: Unit) -> Key:
    seed, number = unit
    return seed.language, seed.id, None, number


def _is_played(unit: Unit, row: Row) -> bool:
    """Whether this version of the seed was played; a failed dialogue is played again."""
    return not row["failure"] and bool(row["seed_digest"] == _digest(unit[0]))


def _digest(seed: Seed) -> str:
    return digest(seed.model_dump())


def _dialogue_row(unit: Unit, session: Session, made_with: str) -> Row:
    seed, number = unit
    return {
        "seed_id": seed.id,
        "language": seed.language,
        "run": number,
        "turns": [line.as_dict() for line in session.lines],
        "ended_by": "failed" if session.failure else "turns",
        "failure": session.failure,
        "dropped_turns": session.dropped_turns,
        "repeated_calls": session.repeated_calls,
        "seed_digest": _digest(seed),
        "settings": made_with,
    }


def _played(run: MinimaxRun) -> Journal:
    """The existing dialogues."""
    journal = Journal(run.out / DIALOGUES, key=dialogue_key, shape=_DialogueShape)
    missing = [unit for unit in run.units if _key(unit) not in journal]
    if missing:
        raise FileNotFoundError(_not_played(run, missing))
    for seed, number in run.units:
        if _existing(journal, (seed, number))["seed_digest"] != _digest(seed):
            raise ValueError(
                f"{journal.file}: run {number} of seed {seed.id!r} was played from another version of the seed than "
                "the one given. Name the seeds that were played, or play it again."
            )
    return journal


def _existing(journal: Journal | None, unit: Unit) -> Row:
    """The row of an existing dialogue."""
    row = journal.get(_key(unit)) if journal else None
    if row is None:
        raise FileNotFoundError(f"run {unit[1]} of seed {unit[0].id!r} was removed from {DIALOGUES} during this run")
    return row


def _not_played(run: MinimaxRun, missing: Sequence[Unit]) -> str:
    seed, number = missing[0]
    return (
        f"{run.out / DIALOGUES} has no dialogue of {len(missing)} of {len(run.units)} runs of seeds, such as run "
        f"{number} of {seed.id!r}. Play them first (without --judge-only), or name the seeds and the number of runs "
        "that were played."
    )


# -- judging


def _judges(run: MinimaxRun, ready: Journal | None, played_by: Row, judged_by: Row, notes: Notes) -> Judges | None:
    """The judges, if there is a judge."""
    if run.judge is None:
        return None
    rows = ready.rows(map(_key, run.units)) if ready else ()
    total = planned_chunks(_turns_of(rows, played_by), run.judging.chunk) * len(run.units)
    file = run.out / JUDGEMENTS
    return Judges(notes, run.judge, run.judging, file, judged_by, total=total, show=run.show)


def _to_judge(seed: Seed, row: Row) -> Dialogue:
    return Dialogue({name: row[name] for name in ("seed_id", "language", "run")}, seed, row["turns"])


def _callers(run: MinimaxRun) -> dict[str, Caller]:
    return by_first_role((("npc", run.npc), ("user", run.user), ("judge", run.judge)))


def run_minimax_now(run: MinimaxRun) -> Row:
    """Synchronous version of [`run_minimax`], which closes the connections at the end."""
    return run_now(run_minimax(run), _callers(run))
