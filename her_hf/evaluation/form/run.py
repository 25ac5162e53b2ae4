"""The form evaluation: replies of a model to turns of scenes, or existing dialogues, without a judge.

Output folder: `run.json` (the settings), `ledger.sqlite` (all answers of the model), `replies.jsonl`, `results.json`,
`sessions.jsonl` (one line per start: time and tokens), `notes.json` (notes of the model, if any).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from her_hf.concurrency import WINDOW
from her_hf.dual_layer import ENVIRONMENT, Turn
from her_hf.durable import claim, derive_seed, digest
from her_hf.inference import Caller, ModelError
from her_hf.inference.window import WindowFull
from her_hf.journal import Journal, Rows, read_rows
from her_hf.runs.addresses import failure_of
from her_hf.runs.progress import Progress
from her_hf.runs.results import data_of, write_results
from her_hf.runs.starts import Clock, Notes, note_start, run_now
from her_hf.runs.units import Cause, Stage, run_units
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
    """How a model is prompted for replies.

    Args:
        max_replies (`int`, *optional*, defaults to 100): Maximum turns to reply to, spread over all scenes.
    """

    max_replies: int = setting(100, help="Maximum turns to reply to, spread over all scenes.", min=1)


@dataclass
class FormRun:
    """One form evaluation of a model.

    Args:
        scenes (`Sequence[Scene]`): Scenes with their dialogues.
        out (`Path`): Output folder.
        model ([`~her_hf.inference.Caller`]): The model under test.
        settings ([`FormSettings`], *optional*): How it is prompted.
        source, split (`str`, *optional*): Source and split of the scenes, for the results.
        window (`int`, *optional*, defaults to 256): Maximum replies in progress.
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
    """Selects turns of characters to reply to, spread over all scenes, except first turns, which have no context.

    Raises:
        `ValueError`: If `count` is below 1, a scene is repeated, or no scene has such a turn.
    """
    if count < 1:
        raise ValueError(f"the number of replies must be at least 1, got {count}")
    twice = sorted(key for key, times in Counter(scene.key for scene in scenes).items() if times > 1)
    if twice:
        raise ValueError(f"scenes must have distinct keys (book, i_p, i_c); repeated: {twice[:5]}")
    units = [
        (scene, str(turn.name), index)
        for scene in scenes
        for index, turn in enumerate(scene.dialogue)
        if index > 0 and turn.name != ENVIRONMENT
    ]
    if not units:
        raise ValueError(
            f"no turn to reply to: in none of {len(scenes)} scenes does a character speak after the first turn"
        )
    step = max(1.0, len(units) / count)
    return [units[int(place * step)] for place in range(min(count, len(units)))]


def unit_key(unit: Unit) -> list[Any]:
    """The key of a unit: book, i_p, i_c and the index of the turn."""
    scene, _, index = unit
    return [*scene.key, index]


async def run_form(run: FormRun) -> Row:
    """Samples the remaining replies and writes `results.json`.

    Args:
        run ([`FormRun`]): The evaluation.

    Returns:
        `dict`: See [`~her_hf.evaluation.form.results.form_results`]. A failed reply is missing; the next start
            repeats it.

    Raises:
        [`~her_hf.durable.OtherRunError`]: If the folder has a run with other settings.
        `ModelError`: If the model cannot be identified.
        `AccessRefused`: If its server refuses the key; answers until then are kept.
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
        await Notes(run.out, callers).keep()
        note_start(run.out, clock, callers)


def _results(run: FormRun, units: Sequence[Unit], rows: Rows, settings: Row) -> Row:
    """Computes and writes the results."""
    style = run.settings.how
    found = (_of_scene(unit, row, style) for unit, row in zip(units, rows, strict=True) if row["text"] is not None)
    known = [[*scene.key, digest(scene.model_dump_json())] for scene in run.scenes]
    settings = {**settings, "data": data_of(run.source, run.split, known)}
    results = form_results(found, settings, expected=len(units), failures=(row for row in rows if row["failure"]))
    write_results(run.out, results)
    return results


class ReplyShape(BaseModel):
    """What a page reads of a row of `replies.jsonl`."""

    key: list[Any]
    text: str | None


class _Shape(ReplyShape):
    asked: str
    failure: Cause | None


async def _sample(run: FormRun, units: Sequence[Unit], sampled_by: str) -> Rows:
    """Rows of `replies.jsonl` in the order of the units."""

    async def one(unit: Unit) -> Row:
        messages = _messages(unit, run.settings.how)
        row = {"key": unit_key(unit), "character": unit[1], "asked": digest(messages)}
        row["scene_digest"] = digest(unit[0].model_dump_json())
        return {**row, "settings": sampled_by, **await _reply(run, unit, messages)}

    def is_valid(unit: Unit, row: Row) -> bool:
        """Whether this prompt was answered; a failed call is repeated."""
        return not row["failure"] and bool(row["asked"] == digest(_messages(unit, run.settings.how)))

    stage = Stage(
        Journal(run.out / REPLIES, key=lambda row: tuple(row["key"]), shape=_Shape, same={"settings": sampled_by}),
        key=lambda unit: tuple(unit_key(unit)),
        make=one,
        is_valid=is_valid,
        progress=Progress("replies", "reply", total=len(units), show=run.show),
    )
    return await run_units(units, stage, window=run.window)


def _messages(unit: Unit, style: Style) -> list[dict[str, Any]]:
    scene, character, index = unit
    return actor_messages(scene.model_copy(update={"dialogue": scene.dialogue[:index]}), character, style)


async def _reply(run: FormRun, unit: Unit, messages: list[dict[str, Any]]) -> Row:
    sampling = run.settings.sampling(derive_seed(run.settings.seed, unit_key(unit)))
    thinking = run.settings.how.thinking
    try:
        names = [member.name for member in unit[0].cast]
        room = await run.model.fit(messages, max_tokens=sampling.max_tokens, thinking=thinking, names=names)
        drawn = replace(sampling, max_tokens=room.max_tokens)
        reply = await run.model.ask(room.messages, sampling=drawn, thinking=thinking)
    except (ModelError, WindowFull) as error:
        return {"text": None, "failure": failure_of(error)}
    return {
        "text": reply.text,
        "ended": reply.ended,
        "tokens": reply.usage.completion_tokens,
        "dropped": room.dropped,
        "failure": None,
    }


def run_form_now(run: FormRun) -> Row:
    """Synchronous version of [`run_form`], which closes the connections at the end."""
    return run_now(run_form(run), {"model": run.model})


def _of_scene(unit: Unit, row: Row, style: Style) -> FormedReply:
    """A sampled reply, after the preceding turns of the original."""
    scene, character, index = unit
    names = tuple(member.name for member in scene.cast)
    reply = SampledReply(row["text"], character, names, bool(row["ended"]), notation=style.notation)
    turns = [*scene.dialogue[:index], read_turn(reply.text, character, notation=style.notation)]
    return FormedReply(row["key"], reply, index in _knowing(turns, scene))


def _knowing(turns: Sequence[Turn], scene: Scene) -> set[int]:
    """Indices of the turns that use another's thought."""
    known = SampledDialogue.of_scene((), scene)
    return {secret.turn for secret in known_secrets(turns, open_texts=known.open_texts, own_texts=known.own_texts)}


# -- existing dialogues


def read_dialogues(file: Path) -> list[Row]:
    """Rows of `dialogues.jsonl`, the last one of each key; the file is not changed.

    Raises:
        `FileNotFoundError`: If there is no such file.
        `ValueError`: If a complete line is not a row of `her-hf eval coser`; the message names the line.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist: name the dialogues.jsonl of her-hf eval coser.")
    return list(
        dict(read_rows(file, key=scene_key, shape=DialogueShape, what="a dialogue of her-hf eval coser")).values()
    )


def score_played(dialogues: Sequence[Row], scenes: Sequence[Scene] | None, settings: Mapping[str, Any]) -> Row:
    """Form of the characters' turns in existing dialogues.

    Args:
        dialogues (`Sequence[dict]`): Rows of `dialogues.jsonl` as `her-hf eval coser` writes them. Turns of the
            original and of Environment are not scored; a failed dialogue counts as missing.
        scenes (`Sequence[Scene]`, *optional*): The scenes of the dialogues. Without them the initial common knowledge
            is unknown, so use of another's thought is not looked for.
        settings (`Mapping`): Settings for the results.

    Returns:
        `dict`: See [`~her_hf.evaluation.form.results.form_results`].

    Raises:
        `ValueError`: If a row is not one of `her-hf eval coser`, its scene is not among the scenes, or there is no
            turn to score.
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
        raise ValueError(f"no turn to score: none of {len(dialogues)} dialogues has a character's turn by a model")
    return form_results(found, settings, expected=len(dialogues), failures=failures)


def _scene_of(key: SceneKey, scenes: Mapping[SceneKey, Scene] | None) -> Scene | None:
    if scenes is None:
        return None
    if key not in scenes:
        raise ValueError(
            f"the scene of dialogue {key} is not among the {len(scenes)} scenes: name the scenes that were played"
        )
    return scenes[key]


def _of_dialogue(key: SceneKey, row: Row, scene: Scene | None) -> list[FormedReply]:
    entries = row.get("turns") or []
    for index, entry in enumerate(entries):
        if not isinstance(entry.get("name"), str) or not isinstance(entry.get("text"), str):
            raise ValueError(
                f"dialogue {key}, turn {index}: must have `name` and `text`, got {sorted(entry)}. Correct it."
            )
    notation = notation_of(row)
    names = tuple(member.name for member in scene.cast) if scene else tuple({entry["name"]: None for entry in entries})
    turns = [_full_turn(entry, notation) for entry in entries]
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


def _full_turn(entry: Row, notation: str) -> Turn:
    """A turn with its thinking; without the model's reply, the recorded text, which is in HER notation."""
    if "raw" in entry and entry["name"] != ENVIRONMENT:
        return read_turn(entry["raw"], entry["name"], notation=notation)
    return read_turn(entry["text"], entry["name"])
