"""The CoSER evaluation: play scenes, judge them, compute scores; an interrupted run resumes.

A scene is judged as soon as it is played, while other scenes are still being played.

Output folder: `run.json` and `judging.json` (the settings), `ledger.sqlite` (all answers of models),
`dialogues.jsonl`, `judgements.jsonl`, `results.json`, `sessions.jsonl` (one line per start: time and tokens),
`notes.json` (notes of the models, if any).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from her_hf.concurrency import WINDOW, each
from her_hf.dual_layer import Turn
from her_hf.durable import claim, digest
from her_hf.inference import Caller
from her_hf.journal import Journal, Rows
from her_hf.judging import DIMENSIONS, Judging, Missing, judge_dialogue
from her_hf.runs.addresses import missing_row
from her_hf.runs.progress import Progress
from her_hf.runs.results import data_of, write_results
from her_hf.runs.starts import Clock, Notes, by_first_role, note_start, run_now
from her_hf.runs.units import Cause, Stage
from her_hf.scenes import Scene
from her_hf.simulation.coser import CoserSettings, Memory, Performance, Troupe, play_scene

from ..rows import DialogueShape, JudgementShape, Row, SceneKey, scene_key, turns_of
from .results import coser_results

DIALOGUES, JUDGEMENTS = "dialogues.jsonl", "judgements.jsonl"
JUDGING = "judging.json"


@dataclass
class CoserRun:
    """One evaluation.

    Args:
        scenes (`Sequence[Scene]`): The scenes to play.
        out (`Path`): Output folder.
        settings ([`~her_hf.simulation.coser.CoserSettings`]): How scenes are played.
        judging ([`~her_hf.judging.Judging`]): How judges are asked.
        troupe ([`~her_hf.simulation.coser.Troupe`], *optional*): The models that play; `None` to judge existing
            dialogues.
        judges (`Sequence[Caller]`, *optional*): The judges; empty to play only.
        memory (`Callable`, *optional*): Retrieves passages of the book for the actor.
        memory_name (`str`, *optional*, defaults to `"none"`): Its name in the settings.
        source, split (`str`, *optional*): Source and split of the scenes, for the results.
        window (`int`, *optional*, defaults to 256): Maximum scenes in progress, played or judged.
        show (`bool`, *optional*, defaults to `True`): Whether to show progress bars.
    """

    scenes: Sequence[Scene]
    out: Path
    settings: CoserSettings
    judging: Judging
    troupe: Troupe | None = None
    judges: Sequence[Caller] = ()
    memory: Memory | None = None
    memory_name: str = "none"
    source: str = ""
    split: str | None = None
    window: int = WINDOW
    show: bool = True


async def run_coser(run: CoserRun) -> Row:
    """Plays and judges the remaining scenes, and writes the results.

    Args:
        run ([`CoserRun`]): The evaluation.

    Returns:
        `dict`: The contents of `results.json`; see [`~her_hf.evaluation.coser.results.coser_results`]. Without judges
            it has no scores.

    Raises:
        [`~her_hf.durable.OtherRunError`]: If the folder has a run with other settings.
        `ModelError`: If a model cannot be identified.
        `AccessRefused`: If a server refuses the key; answers until then are kept.
        `FileNotFoundError`: If there is no troupe and a dialogue is missing.
        `ValueError`: If a scene is repeated, or a dialogue is not of these scenes.
    """
    clock, notes = Clock(), Notes(run.out, _callers(run))
    keys = [scene.key for scene in run.scenes]
    if len(set(keys)) != len(keys):
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise ValueError(f"scenes must have distinct keys (book, i_p, i_c); repeated: {twice[:5]}")
    ready = None if run.troupe else _played(run)
    played_by = await _claim_playing(run) if run.troupe else None
    judged_by = await _claim_judging(run) if run.judges else None
    try:
        dialogues, judgements = await _play_and_judge(run, ready, played_by, judged_by, clock, notes)
        settings = {**(played_by or _settings_of(dialogues)), **(judged_by or {})}
        settings["data"] = data_of(run.source, run.split, [[*scene.key, _scene_digest(scene)] for scene in run.scenes])
        results = coser_results(run.scenes, dialogues, judgements, settings)
        write_results(run.out, results)
        return results
    finally:
        await notes.keep()
        note_start(run.out, clock, _callers(run))


async def _play_and_judge(
    run: CoserRun, ready: Journal | None, played_by: Row | None, judged_by: Row | None, clock: Clock, notes: Notes
) -> tuple[Rows, Rows | None]:
    """Rows of `dialogues.jsonl`, and of `judgements.jsonl` if there are judges.

    The order in which scenes finish does not affect any row or file, because every unit has its own seeds.
    """
    async with AsyncExitStack() as stages:
        players = judges = None
        if run.troupe and played_by is not None:
            players = await stages.enter_async_context(_Players(run, run.troupe, played_by, notes).stage)
        if judged_by is not None:
            judges = _Judges(run, await judge_names(run.judges), judged_by, notes)
            await stages.enter_async_context(judges.stage)

        async def whole(scene: Scene) -> None:
            if players:
                dialogue = await players.row(scene)
                clock.lap("playing")
            else:
                dialogue = _existing(ready, scene)
            if judges:
                await judges.judge(scene, dialogue)
                clock.lap("judging")

        await each(run.scenes, whole, window=run.window)
    keys = [scene.key for scene in run.scenes]
    if players:
        await players.settle(keys)
    journal = players.journal if players else ready
    assert journal is not None
    dialogues = journal.rows(keys)
    return dialogues, await judges.settled(dialogues) if judges else None


def _settings_of(dialogues: Iterable[Row]) -> Row:
    """The settings of existing dialogues, if their rows have them."""
    said = next((row.get("settings") for row in dialogues), None)
    return dict(said) if isinstance(said, Mapping) else {}


async def _claim_playing(run: CoserRun) -> Row:
    troupe = run.troupe
    assert troupe is not None
    playing = {
        **run.settings.as_dict(),
        "memory": run.memory_name,
        "actor": await troupe.actor.fingerprint(),
        "environment": await troupe.environment.fingerprint(),
        "next_speaker": await troupe.next_speaker.fingerprint(),
    }
    claim(run.out, playing, has_results=lambda folder: (folder / DIALOGUES).exists())
    return playing


async def _claim_judging(run: CoserRun) -> Row:
    names = [await judge.fingerprint() for judge in run.judges]
    if len({digest(name) for name in names}) < len(names):
        raise ValueError("a judge is repeated: use several samples of one judge instead (--judge-samples)")
    judging = {**{f"judge_{key}": value for key, value in run.judging.as_dict().items()}, "judges": names}
    # A folder with dialogues belongs to an evaluation, even if they were played elsewhere.
    ours = [entry.name for entry in run.out.iterdir()] if (run.out / DIALOGUES).exists() or run.troupe else []
    claim(run.out, judging, has_results=lambda folder: (folder / JUDGEMENTS).exists(), note=JUDGING, allowed=ours)
    return judging


# -- simulation


class _DialogueShape(DialogueShape):
    ended_by: str
    settings: Any = None  # those of this run, or the row is of another
    failure: Cause | None = None
    scene_digest: str


class _Players:
    """Plays the remaining scenes."""

    def __init__(self, run: CoserRun, troupe: Troupe, played_by: Row, notes: Notes) -> None:
        self._run, self._troupe, self._played_by, self._notes = run, troupe, played_by, notes
        turns = run.settings.turns
        self.stage: Stage[Scene] = Stage(
            Journal(run.out / DIALOGUES, key=scene_key, shape=_DialogueShape, same={"settings": played_by}),
            key=lambda scene: scene.key,
            make=self._play,
            is_valid=_is_played,
            progress=Progress("playing", "turn", total=turns * len(run.scenes), show=run.show),
            steps=turns,  # also if the scene ended early
            counted=lambda row: len(row["turns"]),
        )

    async def _play(self, scene: Scene) -> Row:
        run = self._run
        performance = await play_scene(
            scene, self._troupe, run.settings, memory=run.memory, on_turn=lambda _: self.stage.progress.advance()
        )
        await self._notes.keep()
        return _dialogue_row(scene, performance, self._played_by)


def _played(run: CoserRun) -> Journal:
    """The existing dialogues.

    Raises:
        `FileNotFoundError`: If one is missing.
        `ValueError`: If one was played from another version of its scene.
    """
    journal = Journal(run.out / DIALOGUES, key=scene_key, shape=DialogueShape)
    missing = [scene.key for scene in run.scenes if scene.key not in journal]
    if missing:
        raise FileNotFoundError(
            f"{journal.file} has no dialogue of {len(missing)} of {len(run.scenes)} scenes, such as {missing[0]}. "
            "Play them first (without --judge-only), or name the scenes that were played."
        )
    for scene in run.scenes:
        known = _existing(journal, scene).get("scene_digest")
        if known is not None and known != _scene_digest(scene):
            raise ValueError(
                f"the dialogue of {scene.key} in {journal.file} was played from another version of the scene than the "
                "one given. Name the scenes that were played, or play it again."
            )
    return journal


def _existing(journal: Journal | None, scene: Scene) -> Row:
    """The existing dialogue of a scene."""
    row = journal.get(scene.key) if journal else None
    if row is None:
        raise FileNotFoundError(f"the dialogue of {scene.key} was removed from {DIALOGUES} during this run")
    return row


def _scene_digest(scene: Scene) -> str:
    return digest(scene.model_dump_json())


def _is_played(scene: Scene, row: Row) -> bool:
    """Whether this version of the scene was played; a failed dialogue is played again."""
    return bool(row["ended_by"] != "failed" and row["scene_digest"] == _scene_digest(scene))


def _dialogue_row(scene: Scene, performance: Performance, settings: Row) -> Row:
    return {
        "key": list(scene.key),
        "topic": scene.topic,
        "tag": scene.tag,
        "language": scene.language,
        "turns": [turn.as_dict() for turn in performance.turns],
        "ended_by": performance.ended_by,
        "failure": performance.failure,
        "named": performance.named,
        "drawn": performance.drawn,
        "scene_digest": _scene_digest(scene),
        "settings": settings,
    }


# -- judging

UnitKey = tuple[SceneKey, str, str, int]
"""(scene, dimension, judge, sample)."""


@dataclass(frozen=True)
class _Unit:
    """A judgement to make, with the digest of its dialogue and scene."""

    key: UnitKey
    scene: Scene
    turns: list[Turn]
    judged: str


class _JudgementShape(JudgementShape):
    sample: int
    judged: str


def _unit_key(row: Row) -> UnitKey:
    return scene_key(row), str(row["dimension"]), str(row["judge"]), int(row["sample"])


class _Judges:
    """Judges the remaining dialogues."""

    def __init__(self, run: CoserRun, names: Sequence[str], judged_by: Row, notes: Notes) -> None:
        self._run, self._names, self._judged_by, self._notes = run, names, digest(judged_by), notes
        self._callers = dict(zip(names, run.judges, strict=True))
        journal = Journal(
            run.out / JUDGEMENTS, key=_unit_key, shape=_JudgementShape, same={"settings": self._judged_by}
        )
        total = len(DIMENSIONS) * len(names) * run.judging.samples * len(run.scenes)
        self.stage: Stage[_Unit] = Stage(
            journal,
            key=lambda unit: unit.key,
            make=self._judge,
            is_valid=_is_judged,
            progress=Progress("judging", "judgement", total=total, show=run.show),
        )

    def _keys(self, key: SceneKey) -> list[UnitKey]:
        samples = range(self._run.judging.samples)
        return [(key, dimension, name, at) for dimension in DIMENSIONS for name in self._names for at in samples]

    async def judge(self, scene: Scene, dialogue: Row) -> None:
        """Judges one scene, all its judgements concurrently; a failed dialogue is not judged."""
        keys = self._keys(scene.key)
        if dialogue.get("ended_by") == "failed":
            self.stage.progress.skip(len(keys))
            return
        turns = turns_of(dialogue)
        judged = digest([_scene_digest(scene), *(turn.render(view="self") for turn in turns)])
        await each((_Unit(key, scene, turns, judged) for key in keys), self.stage.row, window=len(keys))

    async def _judge(self, unit: _Unit) -> Row:
        key, dimension, name, sample = unit.key
        settings = self._run.judging
        found = await judge_dialogue(
            self._callers[name], unit.scene, unit.turns, dimension, settings=settings, sample=sample
        )
        await self._notes.keep()
        row: Row = {"key": list(key), "dimension": dimension, "judge": name, "sample": sample, "judged": unit.judged}
        row["settings"] = self._judged_by
        if isinstance(found, Missing):
            return row | {"flaws": None, "missing": missing_row(found.as_dict())}
        kept = asdict(found)
        del kept["dimension"]
        return row | {**kept, "missing": None}

    async def settled(self, dialogues: Iterable[Row]) -> Rows:
        """Rows of `judgements.jsonl` by scene, dimension, judge and sample; the file is put into this order."""
        whole = [scene_key(row) for row in dialogues if row.get("ended_by") != "failed"]
        keys = [unit for key in whole for unit in self._keys(key)]
        await self.stage.settle(keys)
        return self.stage.journal.rows(keys)


def _is_judged(unit: _Unit, row: Row) -> bool:
    """Whether this dialogue of this scene was judged; a failed request is repeated."""
    return bool(row["judged"] == unit.judged and (row["missing"] or {}).get("cause") != "request")


async def judge_names(judges: Sequence[Caller]) -> list[str]:
    """A short name of each judge, with a number if two share a name."""
    names = [str((await judge.fingerprint())["model"]) for judge in judges]
    return [name if names.count(name) == 1 else f"{name} #{at + 1}" for at, name in enumerate(names)]


def _callers(run: CoserRun) -> dict[str, Caller]:
    troupe = run.troupe
    players = [(role, getattr(troupe, role)) for role in ("actor", "environment", "next_speaker")] if troupe else []
    return by_first_role([*players, *((f"judge {at}", judge) for at, judge in enumerate(run.judges, start=1))])


def run_coser_now(run: CoserRun) -> Row:
    """Synchronous version of [`run_coser`], which closes the connections at the end."""
    return run_now(run_coser(run), _callers(run))
