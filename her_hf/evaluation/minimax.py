"""MiniMax-style situated reenactment from seeds to scores: play, judge, count, and go on after a kill.

In the output folder: `run.json` and `judging.json` (the settings), `ledger.sqlite` (every answer of a model),
`dialogues.jsonl`, `judgements.jsonl`, `results.json`, `sessions.jsonl` (one line a start: seconds and tokens spent).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from her_hf.durable import RUN_FILE, Journal, claim, digest, read_json, write_json
from her_hf.inference import Caller
from her_hf.judging.reenactment import OPENING_TURNS, ChunkJudging
from her_hf.scenes.seeds import Seed
from her_hf.simulation.reenactment import ReenactmentSettings, Session, play_session

from .minimax_judging import Dialogue, Row, chunk_key, dialogue_key, judge_dialogues
from .minimax_results import minimax_results
from .progress import bar, together
from .starts import SESSIONS, Clock, by_first_role, note_start, notes_so_far, run_now, spent

DIALOGUES, JUDGEMENTS, RESULTS = "dialogues.jsonl", "judgements.jsonl", "results.json"
LEDGER, JUDGING = "ledger.sqlite", "judging.json"
BESIDE = (RUN_FILE, LEDGER, f"{LEDGER}-wal", f"{LEDGER}-shm", DIALOGUES, SESSIONS, RESULTS, "report.md")
"""What may lie in the folder when judging begins there."""


@dataclass
class MinimaxRun:
    """One evaluation.

    Args:
        seeds (`Sequence[Seed]`): What is played.
        out (`Path`): Output folder.
        settings ([`~her_hf.simulation.reenactment.ReenactmentSettings`], *optional*): How seeds are played; `None` if
            the dialogues are there already.
        npc, user ([`~her_hf.inference.Caller`], *optional*): The model under test, and the one that plays the user.
        judge ([`~her_hf.inference.Caller`], *optional*): Who judges; `None` if the dialogues are only to be played.
        judging ([`~her_hf.judging.reenactment.ChunkJudging`], *optional*): How the judge is asked.
        runs (`int`, *optional*, defaults to 3): How often each seed is played.
        at_once (`int`, *optional*, defaults to 256): Most dialogues or judgements in hand at a time.
        show (`bool`, *optional*, defaults to `True`): Whether to show progress bars.
    """

    seeds: Sequence[Seed]
    out: Path
    settings: ReenactmentSettings | None = None
    npc: Caller | None = None
    user: Caller | None = None
    judge: Caller | None = None
    judging: ChunkJudging = field(default_factory=ChunkJudging)
    runs: int = 3
    at_once: int = 256
    show: bool = True

    def __post_init__(self) -> None:
        playing = [self.settings, self.npc, self.user]
        if any(part is None for part in playing) and any(part is not None for part in playing):
            raise ValueError("to play, a run needs settings, npc and user; to judge only, none of them")
        if self.runs < 1:
            raise ValueError(f"runs must be at least 1, got {self.runs}")

    @property
    def units(self) -> list[tuple[Seed, int]]:
        """Every seed with every run, counted from 1."""
        return [(seed, run) for seed in self.seeds for run in range(1, self.runs + 1)]


async def run_minimax(run: MinimaxRun) -> Row:
    """Plays what is not played yet, judges what is not judged yet, and writes the results.

    Args:
        run ([`MinimaxRun`]): The evaluation.

    Returns:
        `dict`: The contents of `results.json`; see [`~her_hf.evaluation.minimax_results.minimax_results`], and
            `spent`, what this start has used of each model. Without a judge it has no scores.

    Raises:
        [`~her_hf.durable.OtherRunError`]: If the folder holds a run of other settings.
        `ModelError`: If a model cannot even be asked what it is.
        `FileNotFoundError`: If nobody plays and dialogues are missing.
        `ValueError`: If a seed comes twice, or a dialogue is not of these seeds.
    """
    clock = Clock()
    keys = [seed.key for seed in run.seeds]
    if not keys or len(set(keys)) != len(keys):
        raise ValueError(f"needs seeds, each (language, id) once; got {keys[:5]}")
    played_by = await _claim_playing(run)
    judged_by = await _claim_judging(run)
    try:
        dialogues = await _play(run, played_by) if run.settings else _played(run)
        clock.lap("playing")
        judgements = await _judge(run, dialogues) if run.judge else None
        clock.lap("judging")
        turns = int(played_by.get("turns") or max(len(row["turns"]) for row in dialogues) - OPENING_TURNS)
        settings = {**played_by, **judged_by, "runs": run.runs}
        results = minimax_results(dialogues, judgements, settings, turns=turns, chunk=run.judging.chunk)
        results["spent"] = spent(_callers(run))
        results["notes"] = notes_so_far(run.out, _callers(run))
        write_json(run.out / RESULTS, results)
        return results
    finally:
        note_start(run.out, clock, _callers(run))


async def _claim_playing(run: MinimaxRun) -> Row:
    """How dialogues are played, or were."""
    if run.settings is None or run.npc is None or run.user is None:
        file = run.out / RUN_FILE
        return read_json(file) if file.exists() else {}
    playing = {
        **run.settings.as_dict(),
        "evaluation": "minimax",
        "npc": await run.npc.fingerprint(),
        "user": await run.user.fingerprint(),
    }
    claim(run.out, playing, begun=lambda folder: (folder / DIALOGUES).exists())
    return playing


async def _claim_judging(run: MinimaxRun) -> Row:
    if run.judge is None:
        return {}
    judging = {f"judge_{name}": value for name, value in run.judging.as_dict().items()}
    judging["judge"] = await run.judge.fingerprint()
    if run.settings is None and not (run.out / DIALOGUES).exists():
        raise FileNotFoundError(_not_played(run, len(run.units), run.units[0]))
    claim(run.out, judging, begun=lambda folder: (folder / JUDGEMENTS).exists(), note=JUDGING, beside=BESIDE)
    return judging


# -- playing


async def _play(run: MinimaxRun, played_by: Row) -> list[Row]:
    """Rows of `dialogues.jsonl` in the order of seeds and runs."""
    settings, npc, user = run.settings, run.npc, run.user
    assert settings is not None and npc is not None and user is not None
    journal = Journal(run.out / DIALOGUES, key=dialogue_key)
    made_with = digest(played_by)
    waiting = [unit for unit in run.units if not _is_played(journal.rows.get(_key(*unit)), unit[0])]
    total = len(run.units) * settings.turns
    with bar(total, "playing", "turn", show=run.show, done=total - len(waiting) * settings.turns) as progress:

        async def play(seed: Seed, number: int) -> None:
            session = await play_session(seed, number, npc, user, settings, on_turn=lambda _: progress.update())
            journal.add(_dialogue_row(seed, number, session, made_with))
            progress.update(settings.turns + OPENING_TURNS - len(session.lines))  # one that broke off is done too

        await together((play(*unit) for unit in waiting), run.at_once)
    return journal.settle([_key(*unit) for unit in run.units])


def _key(seed: Seed, number: int) -> tuple[str, str, None, int]:
    return seed.language, seed.id, None, number


def _is_played(row: Row | None, seed: Seed) -> bool:
    """Whether this seed, as it is now, was played to its end; a dialogue that broke off is played again."""
    return row is not None and not row["failure"] and row["seed_digest"] == _digest(seed)


def _digest(seed: Seed) -> str:
    return digest(seed.model_dump())


def _dialogue_row(seed: Seed, number: int, session: Session, made_with: str) -> Row:
    return {
        "seed_id": seed.id,
        "language": seed.language,
        "run": number,
        "turns": [line.as_dict() for line in session.lines],
        "ended_by": "failed" if session.failure else "turns",
        "failure": session.failure,
        "dropped_turns": session.dropped_turns,
        "asked_again": session.asked_again,
        "seed_digest": _digest(seed),
        "settings": made_with,
    }


def _played(run: MinimaxRun) -> list[Row]:
    """The dialogues that were played before."""
    journal = Journal(run.out / DIALOGUES, key=dialogue_key)
    missing = [unit for unit in run.units if _key(*unit) not in journal.rows]
    if missing:
        raise FileNotFoundError(_not_played(run, len(missing), missing[0]))
    for seed, number in run.units:
        if journal.rows[_key(seed, number)]["seed_digest"] != _digest(seed):
            raise ValueError(
                f"{journal.file}: run {number} of seed {seed.id!r} was played from another text than the seed has now."
                " Name the seeds it was played from, or play it again."
            )
    return [journal.rows[_key(*unit)] for unit in run.units]


def _not_played(run: MinimaxRun, missing: int, first: tuple[Seed, int]) -> str:
    return (
        f"{run.out / DIALOGUES} holds no dialogue for {missing} of {len(run.units)} runs of seeds, such as run "
        f"{first[1]} of {first[0].id!r}. Play them first (without --judge-only), or name the seeds and the number of "
        "runs that were played."
    )


# -- judging


async def _judge(run: MinimaxRun, dialogues: Sequence[Row]) -> list[Row]:
    """Rows of `judgements.jsonl`; a dialogue that broke off is not judged."""
    assert run.judge is not None
    seeds = {seed.key: seed for seed in run.seeds}
    whole = [
        Dialogue(
            {name: row[name] for name in ("seed_id", "language", "run")},
            seeds[row["language"], row["seed_id"]],
            row["turns"],
        )
        for row in dialogues
        if not row["failure"]
    ]
    journal = Journal(run.out / JUDGEMENTS, key=chunk_key)
    return await judge_dialogues(run.judge, whole, run.judging, journal, at_once=run.at_once, show=run.show)


def _callers(run: MinimaxRun) -> dict[str, Caller]:
    return by_first_role((("npc", run.npc), ("user", run.user), ("judge", run.judge)))


def run_minimax_now(run: MinimaxRun) -> Row:
    """[`run_minimax`] from code that is not asynchronous; connections are closed at the end."""
    return run_now(run_minimax(run), _callers(run))
