"""Dual-layer form, without a judge: replies of a model to turns of scenes, or dialogues that were played before.

In the output folder: `run.json` (the settings), `ledger.sqlite` (every answer of the model), `replies.jsonl`,
`results.json`, `sessions.jsonl` (one line a start: seconds and tokens spent), `notes.json` (what the model noted, if
anything).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from her_hf.dual_layer import ENVIRONMENT, Turn
from her_hf.durable import claim, derive_seed, digest
from her_hf.inference import Caller, ModelError
from her_hf.inference.window import WindowFull
from her_hf.journal import Journal, read_rows
from her_hf.runs.addresses import failure_of
from her_hf.runs.progress import Progress
from her_hf.runs.results import data_of, write_results
from her_hf.runs.starts import Clock, keep_notes, note_start, run_now
from her_hf.runs.units import WINDOW, Cause, Stage, run_units
from her_hf.scenes import Scene, read_turn
from her_hf.scoring.dialogues import SampledDialogue
from her_hf.scoring.leaks import known_secrets
from her_hf.scoring.replies import SampledReply
from her_hf.settings import setting
from her_hf.simulation.styles import ActorSettings, Style, actor_messages

from ..rows import DialogueShape, Row, SceneKey, failure_in, notation_of, scene_key
from .results import FormedReply, form_results

REPLIES = "replies.jsonl"

Unit = tuple[Scene, str, int]
"""A reply to sample: the scene, who replies, and the index of the turn."""


@dataclass(frozen=True)
class FormSettings(ActorSettings):
    """How a model is asked for replies.

    Args:
        max_replies (`int`, *optional*, defaults to 100): Maximum turns that are replied to, spread over all scenes.
    """

    max_replies: int = setting(100, help="Maximum turns to reply to, spread over all scenes.", min=1)


@dataclass
class FormRun:
    """One evaluation of a model's form.

    Args:
        scenes (`Sequence[Scene]`): Scenes with their dialogues.
        out (`Path`): Output folder.
        model ([`~her_hf.inference.Caller`]): The model under test.
        settings ([`FormSettings`], *optional*): How it is asked.
        source, split (`str`, *optional*): Where the scenes come from, for the results.
        window (`int`, *optional*, defaults to 256): Maximum replies in progress at a time.
        show (`bool`, *optional*, defaults to `True`): Whether to show a progress bar.
    """

    scenes: Sequence[Scene]
    out: Path
    model: Caller
    settings: FormSettings = FormSettings()
    source: str = ""
    split: str | None = None
    window: int = WINDOW
    show: bool = True


# -- sampling


def choose_units(scenes: Sequence[Scene], count: int) -> list[Unit]:
    """Turns of characters to reply to: spread over all scenes, from the second turn on, so that there is something to
    answer.

    Raises:
        `ValueError`: If `count` is below 1, a scene comes twice, or no scene has such a turn.
    """
    if count < 1:
        raise ValueError(f"the number of replies must be at least 1, got {count}")
    twice = sorted(key for key, times in Counter(scene.key for scene in scenes).items() if times > 1)
    if twice:
        raise ValueError(f"scenes are known by (book, i_p, i_c), but these keys come more than once: {twice[:5]}")
    units = [
        (scene, str(turn.name), index)
        for scene in scenes
        for index, turn in enumerate(scene.dialogue)
        if index > 0 and turn.name != ENVIRONMENT
    ]
    if not units:
        raise ValueError(
            f"no turn to reply to: none of {len(scenes)} scenes has a character speak after the first turn"
        )
    step = max(1.0, len(units) / count)
    return [units[int(place * step)] for place in range(min(count, len(units)))]


def unit_key(unit: Unit) -> list[Any]:
    """What identifies a unit: book, i_p, i_c and the index of the turn."""
    scene, _, index = unit
    return [*scene.key, index]


async def run_form(run: FormRun) -> Row:
    """Samples the replies that are not there yet and writes `results.json`.

    Args:
        run ([`FormRun`]): The evaluation.

    Returns:
        `dict`: See [`~her_hf.evaluation.form.results.form_results`]; a reply that could not be had is missing, and the
            next start asks again.

    Raises:
        [`~her_hf.durable.OtherRunError`]: If the folder holds a run of other settings.
        `ModelError`: If the model cannot even be asked what it is.
        `AccessRefused`: If its server refuses the key; what was answered until then is kept.
        `ValueError`: As [`choose_units`].
    """
    units = choose_units(run.scenes, run.settings.max_replies)
    sampling = run.settings.sampling()
    settings = {
        "evaluation": "form",
        "model": await run.model.fingerprint(),
        "style": run.settings.style,
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": run.settings.seed,
    }
    claim(run.out, settings, has_results=lambda folder: (folder / REPLIES).exists())
    clock, callers = Clock(), {"model": run.model}
    try:
        rows = await _sample(run, units, digest(settings))
        clock.lap("replying")
        return _results(run, units, rows, settings)
    finally:
        keep_notes(run.out, callers)
        note_start(run.out, clock, callers)


def _results(run: FormRun, units: Sequence[Unit], rows: Sequence[Row], settings: Row) -> Row:
    """The results, written."""
    style = run.settings.how
    found = [_of_scene(unit, row, style) for unit, row in zip(units, rows, strict=True) if row["text"] is not None]
    known = [[*scene.key, digest(scene.model_dump_json())] for scene in run.scenes]
    settings = {**settings, "data": data_of(run.source, run.split, known)}
    results = form_results(found, settings, expected=len(units), failures=[row for row in rows if row["failure"]])
    write_results(run.out, results)
    return results


class ReplyShape(BaseModel):
    """What a page reads of a row of `replies.jsonl`."""

    key: list[Any]
    text: str | None


class _Shape(ReplyShape):
    asked: str
    failure: Cause | None


async def _sample(run: FormRun, units: Sequence[Unit], sampled_by: str) -> list[Row]:
    """Rows of `replies.jsonl` in the order of the units."""

    async def one(unit: Unit) -> Row:
        messages = _messages(unit, run.settings.how)
        row = {"key": unit_key(unit), "character": unit[1], "asked": digest(messages)}
        row["scene_digest"] = digest(unit[0].model_dump_json())
        return {**row, "settings": sampled_by, **await _reply(run, unit, messages)}

    def is_valid(unit: Unit, row: Row) -> bool:
        """Whether this very question was answered; a call that failed is made again."""
        return not row["failure"] and bool(row["asked"] == digest(_messages(unit, run.settings.how)))

    stage = Stage(
        Journal(run.out / REPLIES, key=lambda row: tuple(row["key"]), shape=_Shape, same={"settings": sampled_by}),
        key=lambda unit: tuple(unit_key(unit)),
        make=one,
        is_valid=is_valid,
        progress=Progress("replies", "reply", total=len(units), show=run.show),
    )
    return list(await run_units(units, stage, window=run.window))


def _messages(unit: Unit, style: Style) -> list[dict[str, Any]]:
    scene, character, index = unit
    return actor_messages(scene.model_copy(update={"dialogue": scene.dialogue[:index]}), character, style)


async def _reply(run: FormRun, unit: Unit, messages: list[dict[str, Any]]) -> Row:
    sampling = run.settings.sampling(derive_seed(run.settings.seed, unit_key(unit)))
    thinking = run.settings.how.thinking
    try:
        names = [member.name for member in unit[0].cast]
        fitted, dropped = await run.model.fit(messages, max_tokens=sampling.max_tokens, thinking=thinking, names=names)
        reply = await run.model.ask(fitted, sampling=sampling, thinking=thinking)
    except (ModelError, WindowFull) as error:
        return {"text": None, "failure": failure_of(error)}
    return {
        "text": reply.text,
        "ended": reply.ended,
        "tokens": reply.usage.completion_tokens,
        "dropped": dropped,
        "failure": None,
    }


def run_form_now(run: FormRun) -> Row:
    """[`run_form`] from code that is not asynchronous; connections are closed at the end."""
    return run_now(run_form(run), {"model": run.model})


def _of_scene(unit: Unit, row: Row, style: Style) -> FormedReply:
    """A sampled reply, after the turns of the original that came before it."""
    scene, character, index = unit
    names = tuple(member.name for member in scene.cast)
    reply = SampledReply(row["text"], character, names, bool(row["ended"]), notation=style.notation)
    turns = [*scene.dialogue[:index], read_turn(reply.text, character, notation=style.notation)]
    return FormedReply(row["key"], reply, index in _knowing(turns, scene))


def _knowing(turns: Sequence[Turn], scene: Scene) -> set[int]:
    """Indices of the turns that use what another only thought."""
    told = SampledDialogue.of_scene((), scene)
    return {secret.turn for secret in known_secrets(turns, open_texts=told.open_texts, own_texts=told.own_texts)}


# -- dialogues that are there


def read_dialogues(file: Path) -> list[Row]:
    """Rows of `dialogues.jsonl`, of several with one key the last; the file is not touched.

    Raises:
        `FileNotFoundError`: If there is no such file.
        `ValueError`: If a whole line is no row of `her-hf eval coser`; the message names the line.
    """
    if not file.is_file():
        raise FileNotFoundError(f"There is no file {file}: give the dialogues.jsonl of her-hf eval coser.")
    return list(
        dict(read_rows(file, key=scene_key, shape=DialogueShape, what="a dialogue of her-hf eval coser")).values()
    )


def score_played(dialogues: Sequence[Row], scenes: Sequence[Scene] | None, settings: Mapping[str, Any]) -> Row:
    """Form of the characters' turns in dialogues that were played before.

    Args:
        dialogues (`Sequence[dict]`): Rows of `dialogues.jsonl` as `her-hf eval coser` writes them. Turns of the
            original and of Environment are not scored; a dialogue that could not be played to its end counts as
            missing.
        scenes (`Sequence[Scene]`, *optional*): What was played. Without them it is not known what all knew from the
            start, so knowledge of another's thought is not looked for.
        settings (`Mapping`): What the results shall say of how they came.

    Returns:
        `dict`: See [`~her_hf.evaluation.form.results.form_results`].

    Raises:
        `ValueError`: If a row is none of `her-hf eval coser`'s, its scene is not among the scenes, or no turn is there
            to score.
    """
    by_key = {scene.key: scene for scene in scenes} if scenes is not None else None
    found: list[FormedReply] = []
    failures = []
    for row in dialogues:
        key = scene_key(row)
        if row.get("ended_by") == "failed":
            failures.append({"key": list(key), "failure": failure_in(row)})
            continue
        found += _of_dialogue(key, row, _scene_of(key, by_key))
    if not found:
        raise ValueError(
            f"no turn of a character that a model gave is in {len(dialogues)} dialogues: nothing to score"
        )
    return form_results(found, settings, expected=len(dialogues), failures=failures)


def _scene_of(key: SceneKey, scenes: Mapping[SceneKey, Scene] | None) -> Scene | None:
    if scenes is None:
        return None
    if key not in scenes:
        raise ValueError(
            f"the scene of dialogue {key} is not among the {len(scenes)} scenes: name those it comes from"
        )
    return scenes[key]


def _of_dialogue(key: SceneKey, row: Row, scene: Scene | None) -> list[FormedReply]:
    entries = row.get("turns") or []
    for index, entry in enumerate(entries):
        if not isinstance(entry.get("name"), str) or not isinstance(entry.get("text"), str):
            raise ValueError(
                f"dialogue {key}, turn {index}: needs `name` and `text`, got {sorted(entry)}. Correct it."
            )
    notation = notation_of(row)
    names = tuple(member.name for member in scene.cast) if scene else tuple({entry["name"]: None for entry in entries})
    turns = [_whole_turn(entry, notation) for entry in entries]
    knowing = _knowing(turns, scene) if scene else None
    return [
        FormedReply(
            [*key, index],
            SampledReply(
                entry.get("raw", entry["text"]),
                entry["name"],
                names,
                bool(entry.get("ended", True)),
                notation=notation,
            ),
            None if knowing is None else index in knowing,
        )
        for index, entry in enumerate(entries)
        if entry.get("origin", "model") == "model" and entry["name"] != ENVIRONMENT
    ]


def _whole_turn(entry: Row, notation: str) -> Turn:
    """A turn with its thinking; without the model's own text, what the record keeps, which is in HER notation."""
    if "raw" in entry and entry["name"] != ENVIRONMENT:
        return read_turn(entry["raw"], entry["name"], notation=notation)
    return read_turn(entry["text"], entry["name"])
