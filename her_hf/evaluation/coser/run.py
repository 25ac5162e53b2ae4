"""CoSER's evaluation from scenes to scores: play, judge, count, and go on after a kill.

A scene is judged as soon as it is played, while others are still played.

In the output folder: `run.json` and `judging.json` (the settings), `ledger.sqlite` (every answer of a model),
`dialogues.jsonl`, `judgements.jsonl`, `results.json`, `sessions.jsonl` (one line a start: seconds and tokens spent),
`notes.json` (what models noted, if anything).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from her_hf.dual_layer import Turn
from her_hf.durable import Journal, claim, digest
from her_hf.inference import Caller
from her_hf.judging import DIMENSIONS, Judging, Missing, judge_dialogue
from her_hf.runs.addresses import missing_row
from her_hf.runs.progress import bar, together
from her_hf.runs.results import data_of, write_results
from her_hf.runs.starts import Clock, by_first_role, keep_notes, note_start, run_now
from her_hf.scenes import Scene
from her_hf.simulation.coser import CoserSettings, Memory, Performance, Troupe, play_scene

from ..rows import Row, SceneKey, scene_key, turns_of
from .results import coser_results

DIALOGUES, JUDGEMENTS = "dialogues.jsonl", "judgements.jsonl"
JUDGING = "judging.json"


@dataclass
class CoserRun:
    """One evaluation.

    Args:
        scenes (`Sequence[Scene]`): What is played.
        out (`Path`): Output folder.
        settings ([`~her_hf.simulation.coser.CoserSettings`]): How scenes are played.
        judging ([`~her_hf.judging.Judging`]): How judges are asked.
        troupe ([`~her_hf.simulation.coser.Troupe`], *optional*): Who plays; `None` if the dialogues are there already.
        judges (`Sequence[Caller]`, *optional*): Who judges; none if the dialogues are only to be played.
        memory (`Callable`, *optional*): Looks up passages of the book for the actor.
        memory_name (`str`, *optional*, defaults to `"none"`): What it is called in the settings.
        source, split (`str`, *optional*): Where the scenes come from, for the results.
        at_once (`int`, *optional*, defaults to 256): Most scenes in hand at a time, played or judged.
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
    at_once: int = 256
    show: bool = True


async def run_coser(run: CoserRun) -> Row:
    """Plays what is not played yet, judges what is not judged yet, and writes the results.

    Args:
        run ([`CoserRun`]): The evaluation.

    Returns:
        `dict`: The contents of `results.json`; see [`~her_hf.evaluation.coser.results.coser_results`]. Without judges
            it has no scores.

    Raises:
        [`~her_hf.durable.OtherRunError`]: If the folder holds a run of other settings.
        `ModelError`: If a model cannot even be asked what it is.
        `AccessRefused`: If a server refuses the key; what was answered until then is kept.
        `FileNotFoundError`: If nobody plays and there are no dialogues.
        `ValueError`: If a scene comes twice, or the dialogues are not of these scenes.
    """
    clock = Clock()
    keys = [scene.key for scene in run.scenes]
    if len(set(keys)) != len(keys):
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise ValueError(f"scenes are known by (book, i_p, i_c), but these keys come more than once: {twice[:5]}")
    ready = None if run.troupe else _played(run)
    played_by = await _claim_playing(run) if run.troupe else None
    judged_by = await _claim_judging(run) if run.judges else None
    try:
        dialogues, judgements = await _play_and_judge(run, ready, played_by or {}, clock)
        settings = {**(played_by or _settings_of(dialogues)), **(judged_by or {})}
        settings["data"] = data_of(run.source, run.split, [[*scene.key, _scene_digest(scene)] for scene in run.scenes])
        results = coser_results(run.scenes, dialogues, judgements, settings)
        write_results(run.out, results)
        return results
    finally:
        keep_notes(run.out, _callers(run))
        note_start(run.out, clock, _callers(run))


async def _play_and_judge(
    run: CoserRun, ready: Mapping[SceneKey, Row] | None, played_by: Row, clock: Clock
) -> tuple[list[Row], list[Row] | None]:
    """Rows of `dialogues.jsonl`, and of `judgements.jsonl` if there are judges.

    Which scene is done first changes no row and no file in the end: every unit has seeds of its own.
    """
    with ExitStack() as bars:
        players = _Players(run, run.troupe, played_by, bars) if run.troupe else None
        judges = _Judges(run, await judge_names(run.judges), bars) if run.judges else None

        async def whole(scene: Scene) -> Row:
            if players:
                dialogue = await players.play(scene)
                clock.lap("playing")
            else:
                dialogue = (ready or {})[scene.key]
            if judges:
                await judges.judge(scene, dialogue)
                clock.lap("judging")
            return dialogue

        dialogues = await together(map(whole, run.scenes), run.at_once)
    if players:
        players.journal.settle([scene.key for scene in run.scenes])
    return dialogues, judges.settle(dialogues) if judges else None


def _settings_of(dialogues: Sequence[Row]) -> Row:
    """How dialogues that were there already were played, if their rows say so."""
    said = dialogues[0].get("settings") if dialogues else None
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
    claim(run.out, playing, begun=lambda folder: (folder / DIALOGUES).exists())
    return playing


async def _claim_judging(run: CoserRun) -> Row:
    names = [await judge.fingerprint() for judge in run.judges]
    if len({digest(name) for name in names}) < len(names):
        raise ValueError("the same judge is named twice: give it more samples instead (--judge-samples)")
    judging = {**{f"judge_{key}": value for key, value in run.judging.as_dict().items()}, "judges": names}
    # A folder with dialogues is an evaluation's, whoever played them.
    ours = [entry.name for entry in run.out.iterdir()] if (run.out / DIALOGUES).exists() or run.troupe else []
    claim(run.out, judging, begun=lambda folder: (folder / JUDGEMENTS).exists(), note=JUDGING, beside=ours)
    return judging


# -- playing


class _Players:
    """Plays scenes that are not played yet."""

    def __init__(self, run: CoserRun, troupe: Troupe, played_by: Row, bars: ExitStack) -> None:
        self._run, self._troupe, self._played_by = run, troupe, played_by
        self.journal = Journal(run.out / DIALOGUES, key=scene_key)
        turns = run.settings.turns
        done = sum(_is_played(self.journal.rows.get(scene.key), _scene_digest(scene)) for scene in run.scenes)
        total = turns * len(run.scenes)
        self._progress = bars.enter_context(bar(total, "playing", "turn", show=run.show, done=turns * done))

    async def play(self, scene: Scene) -> Row:
        """The row of a scene, on the disk."""
        run, scene_digest = self._run, _scene_digest(scene)
        row = self.journal.rows.get(scene.key)
        if row is not None and _is_played(row, scene_digest):
            return row
        performance = await play_scene(
            scene, self._troupe, run.settings, memory=run.memory, on_turn=lambda _: self._progress.update()
        )
        keep_notes(run.out, _callers(run))
        row = _dialogue_row(scene, performance, self._played_by, scene_digest)
        await asyncio.to_thread(self.journal.add, row)  # waits for the disk, which should hold up nobody else
        self._progress.update(run.settings.turns - len(performance.turns))  # a scene that ended early is done too
        return row


def _played(run: CoserRun) -> dict[SceneKey, Row]:
    """Rows of dialogues that are there already, by scene.

    Raises:
        `FileNotFoundError`: If one is missing.
        `ValueError`: If one was played from a scene that reads otherwise.
    """
    journal = Journal(run.out / DIALOGUES, key=scene_key)
    missing = [scene.key for scene in run.scenes if scene.key not in journal.rows]
    if missing:
        raise FileNotFoundError(
            f"{journal.file} holds no dialogue for {len(missing)} of {len(run.scenes)} scenes, such as {missing[0]}. "
            "Play them first (without --judge-only), or name the scenes that were played."
        )
    for scene in run.scenes:
        known = journal.rows[scene.key].get("scene_digest")
        if known is not None and known != _scene_digest(scene):
            raise ValueError(
                f"the dialogue of {scene.key} in {journal.file} was played from a scene that reads otherwise than the "
                "one given. Name the scenes that were played, or play again."
            )
    return {scene.key: journal.rows[scene.key] for scene in run.scenes}


def _scene_digest(scene: Scene) -> str:
    return digest(scene.model_dump_json())


def _is_played(row: Row | None, scene_digest: str) -> bool:
    """Whether this scene, as it is now, was played to its end; one that failed is played again."""
    return row is not None and row.get("ended_by") != "failed" and row.get("scene_digest") == scene_digest


def _dialogue_row(scene: Scene, performance: Performance, settings: Row, scene_digest: str) -> Row:
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
        "scene_digest": scene_digest,
        "settings": settings,
    }


# -- judging

Unit = tuple[SceneKey, str, str, int]
"""(scene, dimension, judge, sample)."""


def _unit(row: Row) -> Unit:
    return scene_key(row), str(row["dimension"]), str(row["judge"]), int(row["sample"])


class _Judges:
    """Judges dialogues that are not judged yet."""

    def __init__(self, run: CoserRun, names: Sequence[str], bars: ExitStack) -> None:
        self._run, self._names = run, names
        self._journal = Journal(run.out / JUDGEMENTS, key=_unit)
        self._callers = dict(zip(names, run.judges, strict=True))
        total = len(self._units(run.scenes[0].key)) * len(run.scenes) if run.scenes else 0
        self._progress = bars.enter_context(bar(total, "judging", "judgement", show=run.show))

    def _units(self, key: SceneKey) -> list[Unit]:
        samples = range(self._run.judging.samples)
        return [(key, dimension, name, at) for dimension in DIMENSIONS for name in self._names for at in samples]

    async def judge(self, scene: Scene, dialogue: Row) -> None:
        """Judges one scene, all its judgements at a time; one that could not be played is not judged."""
        units = self._units(scene.key)
        if dialogue.get("ended_by") == "failed":
            self._progress.update(len(units))
            return
        turns = turns_of(dialogue)
        judged = digest([_scene_digest(scene), *(turn.render(view="self") for turn in turns)])
        waiting = [unit for unit in units if not _is_judged(self._journal.rows.get(unit), judged)]
        self._progress.update(len(units) - len(waiting))
        await together((self._judge(unit, scene, turns, judged) for unit in waiting), len(waiting) or 1)

    async def _judge(self, unit: Unit, scene: Scene, turns: list[Turn], judged: str) -> None:
        key, dimension, name, sample = unit
        settings = self._run.judging
        found = await judge_dialogue(self._callers[name], scene, turns, dimension, settings=settings, sample=sample)
        keep_notes(self._run.out, _callers(self._run))
        row: Row = {"key": list(key), "dimension": dimension, "judge": name, "sample": sample, "judged": judged}
        if isinstance(found, Missing):
            row |= {"flaws": None, "missing": missing_row(found.as_dict())}
        else:
            kept = asdict(found)
            del kept["dimension"]
            row |= {**kept, "missing": None}
        await asyncio.to_thread(self._journal.add, row)
        self._progress.update()

    def settle(self, dialogues: Sequence[Row]) -> list[Row]:
        """Rows of `judgements.jsonl`, in order of scenes, dimensions, judges and samples."""
        whole = [scene_key(row) for row in dialogues if row.get("ended_by") != "failed"]
        return self._journal.settle([unit for key in whole for unit in self._units(key)])


def _is_judged(row: Row | None, judged: str) -> bool:
    """Whether this very dialogue of this very scene was judged; a request that failed is made again."""
    if row is None or row.get("judged") != judged:
        return False
    return not (row.get("missing") and row["missing"]["cause"] == "request")


async def judge_names(judges: Sequence[Caller]) -> list[str]:
    """A short name of each judge, with a number if two have the same."""
    names = [str((await judge.fingerprint())["model"]) for judge in judges]
    return [name if names.count(name) == 1 else f"{name} #{at + 1}" for at, name in enumerate(names)]


def _callers(run: CoserRun) -> dict[str, Caller]:
    troupe = run.troupe
    players = [(role, getattr(troupe, role)) for role in ("actor", "environment", "next_speaker")] if troupe else []
    return by_first_role([*players, *((f"judge {at}", judge) for at, judge in enumerate(run.judges, start=1))])


def run_coser_now(run: CoserRun) -> Row:
    """[`run_coser`] from code that is not asynchronous; connections are closed at the end."""
    return run_now(run_coser(run), _callers(run))
