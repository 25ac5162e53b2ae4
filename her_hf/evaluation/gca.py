"""CoSER's evaluation from scenes to scores: play, judge, count, and go on after a kill.

In the output folder: `run.json` and `judging.json` (the settings), `ledger.sqlite` (every answer of a model),
`dialogues.jsonl`, `judgements.jsonl`, `results.json`, `sessions.jsonl` (one line a start: seconds and tokens spent).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from her_hf.dual_layer import Turn
from her_hf.durable import Journal, claim, digest, write_json
from her_hf.inference import Caller
from her_hf.judging import DIMENSIONS, Judging, Missing, judge_dialogue
from her_hf.scenes import Scene
from her_hf.simulation.gca import GcaSettings, Memory, Performance, Troupe, play_scene

from .gca_results import gca_results
from .progress import bar, together
from .rows import Row, SceneKey, scene_key, turns_of
from .starts import Clock, by_first_role, note_start, notes_so_far, run_now

DIALOGUES, JUDGEMENTS, RESULTS = "dialogues.jsonl", "judgements.jsonl", "results.json"
JUDGING = "judging.json"


@dataclass
class GcaRun:
    """One evaluation.

    Args:
        scenes (`Sequence[Scene]`): What is played.
        out (`Path`): Output folder.
        settings ([`~her_hf.simulation.gca.GcaSettings`]): How scenes are played.
        judging ([`~her_hf.judging.Judging`]): How judges are asked.
        troupe ([`~her_hf.simulation.gca.Troupe`], *optional*): Who plays; `None` if the dialogues are there already.
        judges (`Sequence[Caller]`, *optional*): Who judges; none if the dialogues are only to be played.
        memory (`Callable`, *optional*): Looks up passages of the book for the actor.
        memory_name (`str`, *optional*, defaults to `"none"`): What it is called in the settings.
        at_once (`int`, *optional*, defaults to 256): Most scenes or judgements in hand at a time.
        show (`bool`, *optional*, defaults to `True`): Whether to show progress bars.
    """

    scenes: Sequence[Scene]
    out: Path
    settings: GcaSettings
    judging: Judging
    troupe: Troupe | None = None
    judges: Sequence[Caller] = ()
    memory: Memory | None = None
    memory_name: str = "none"
    at_once: int = 256
    show: bool = True


async def run_gca(run: GcaRun) -> Row:
    """Plays what is not played yet, judges what is not judged yet, and writes the results.

    Args:
        run ([`GcaRun`]): The evaluation.

    Returns:
        `dict`: The contents of `results.json`; see [`~her_hf.evaluation.gca_results.gca_results`]. Without judges it
            has no scores.

    Raises:
        [`~her_hf.durable.OtherRunError`]: If the folder holds a run of other settings.
        `ModelError`: If a model cannot even be asked what it is.
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
        dialogues = await _play(run, run.troupe, played_by or {}) if run.troupe else ready or []
        clock.lap("playing")
        judgements = await _judge(run, dialogues) if run.judges else None
        clock.lap("judging")
        settings = {**(played_by or _settings_of(dialogues)), **(judged_by or {})}
        results = gca_results(run.scenes, dialogues, judgements, settings)
        results["notes"] = notes_so_far(run.out, _callers(run))
        write_json(run.out / RESULTS, results)
        clock.lap("counting")
        return results
    finally:
        note_start(run.out, clock, _callers(run))


def _settings_of(dialogues: Sequence[Row]) -> Row:
    """How dialogues that were there already were played, if their rows say so."""
    said = dialogues[0].get("settings") if dialogues else None
    return dict(said) if isinstance(said, Mapping) else {}


async def _claim_playing(run: GcaRun) -> Row:
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


async def _claim_judging(run: GcaRun) -> Row:
    names = [await judge.fingerprint() for judge in run.judges]
    if len({digest(name) for name in names}) < len(names):
        raise ValueError("the same judge is named twice: give it more samples instead (--judge-samples)")
    judging = {**{f"judge_{key}": value for key, value in run.judging.as_dict().items()}, "judges": names}
    # A folder with dialogues is an evaluation's, whoever played them.
    ours = [entry.name for entry in run.out.iterdir()] if (run.out / DIALOGUES).exists() or run.troupe else []
    claim(run.out, judging, begun=lambda folder: (folder / JUDGEMENTS).exists(), note=JUDGING, beside=ours)
    return judging


# -- playing


async def _play(run: GcaRun, troupe: Troupe, played_by: Row) -> list[Row]:
    """Rows of `dialogues.jsonl` in the order of the scenes."""
    journal = Journal(run.out / DIALOGUES, key=scene_key)
    digests = {scene.key: _scene_digest(scene) for scene in run.scenes}
    waiting = [scene for scene in run.scenes if not _is_played(journal.rows.get(scene.key), digests[scene.key])]
    turns = len(run.scenes) * run.settings.turns
    done = turns - len(waiting) * run.settings.turns
    with bar(turns, "playing", "turn", show=run.show, done=done) as progress:

        async def play(scene: Scene) -> None:
            performance = await play_scene(
                scene, troupe, run.settings, memory=run.memory, on_turn=lambda _: progress.update()
            )
            row = _dialogue_row(scene, performance, played_by, digests[scene.key])
            await asyncio.to_thread(journal.add, row)  # waits for the disk, which should hold up nobody else
            progress.update(run.settings.turns - len(performance.turns))  # a scene that ended early is done too

        await together(map(play, waiting), run.at_once)
    return journal.settle([scene.key for scene in run.scenes])


def _played(run: GcaRun) -> list[Row]:
    """Rows of dialogues that are there already.

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
    return [journal.rows[scene.key] for scene in run.scenes]


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


async def _judge(run: GcaRun, dialogues: Sequence[Row]) -> list[Row]:
    """Rows of `judgements.jsonl`, in order of scenes, dimensions, judges and samples."""
    journal = Journal(run.out / JUDGEMENTS, key=_unit)
    scenes = {scene.key: scene for scene in run.scenes}
    names = await judge_names(run.judges)
    order: list[Unit] = []
    waiting: list[tuple[Unit, Caller, list[Turn], str]] = []
    with bar(0, "judging", "judgement", show=run.show) as progress:

        async def judge(unit: Unit, caller: Caller, turns: list[Turn], judged: str) -> None:
            key, dimension, name, sample = unit
            found = await judge_dialogue(caller, scenes[key], turns, dimension, settings=run.judging, sample=sample)
            row: Row = {"key": list(key), "dimension": dimension, "judge": name, "sample": sample, "judged": judged}
            if isinstance(found, Missing):
                row |= {"flaws": None, "missing": found.as_dict()}
            else:
                kept = asdict(found)
                del kept["dimension"]
                row |= {**kept, "missing": None}
            await asyncio.to_thread(journal.add, row)
            progress.update()

        for dialogue in dialogues:
            if dialogue.get("ended_by") == "failed":
                continue
            turns = turns_of(dialogue)
            scene = _scene_digest(scenes[scene_key(dialogue)])
            judged = digest([scene, *(turn.render(view="self") for turn in turns)])
            for dimension in DIMENSIONS:
                for caller, name in zip(run.judges, names, strict=True):
                    for sample in range(run.judging.samples):
                        unit = (scene_key(dialogue), dimension, name, sample)
                        order.append(unit)
                        if not _is_judged(journal.rows.get(unit), judged):
                            waiting.append((unit, caller, turns, judged))
        progress.total = len(order)
        progress.update(len(order) - len(waiting))
        await together((judge(*job) for job in waiting), run.at_once)
    return journal.settle(order)


def _is_judged(row: Row | None, judged: str) -> bool:
    """Whether this very dialogue of this very scene was judged; a request that failed is made again."""
    if row is None or row.get("judged") != judged:
        return False
    return not (row.get("missing") and row["missing"]["cause"] == "request")


async def judge_names(judges: Sequence[Caller]) -> list[str]:
    """A short name of each judge, told apart by a number if two have the same."""
    names = [str((await judge.fingerprint())["model"]) for judge in judges]
    return [name if names.count(name) == 1 else f"{name} #{at + 1}" for at, name in enumerate(names)]


def _callers(run: GcaRun) -> dict[str, Caller]:
    troupe = run.troupe
    players = [(role, getattr(troupe, role)) for role in ("actor", "environment", "next_speaker")] if troupe else []
    return by_first_role([*players, *((f"judge {at}", judge) for at, judge in enumerate(run.judges, start=1))])


def run_gca_now(run: GcaRun) -> Row:
    """[`run_gca`] from code that is not asynchronous; connections are closed at the end."""
    return run_now(run_gca(run), _callers(run))
