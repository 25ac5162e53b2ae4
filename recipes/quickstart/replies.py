"""Replies of a model to held-out scenes, generated in batches; each is written as soon as its batch is finished."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from her_hf.durable import SEED_LIMIT
from her_hf.evaluation.form.run import Unit
from her_hf.inference.interface import Reply, Sampling
from her_hf.inference.local import LocalModel
from her_hf.journal import Journal
from her_hf.runs.progress import Progress
from her_hf.runs.units import Stage, run_units

BATCH_SIZE = 32
"""Replies generated together: one batch takes less time than its halves in sequence."""


def unit_key(unit: Unit, draw: int, settings: dict[str, Any]) -> str:
    """A short key of everything that could change the reply."""
    scene, character, index = unit
    messages = scene.messages_for(character, turns=index)
    blob = json.dumps([scene.key, character, index, draw, messages, settings], ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(blob.encode()).hexdigest()[:16]


def sample_replies(
    folder: Path,
    units: Sequence[Unit],
    out: Path,
    *,
    draws: int = 1,
    sampling: Sampling,
    seed: int,
    dtype: str,
    progress: Callable[[float], None] = lambda share: None,
) -> list[dict[str, Any]]:
    """Samples replies to each unit; a killed run resumes after the last finished batch.

    Args:
        folder (`Path`): A model with the HER template.
        units (`Sequence[Unit]`): What to reply to.
        out (`Path`): JSONL file; finished replies in it with the same key are kept.
        draws (`int`, *optional*, defaults to 1): Replies to each unit; its prompt is processed once for all of them.
        sampling (`Sampling`): How to draw.
        seed (`int`): Each reply's own seed comes from this and its key.
        dtype (`str`): Of the weights, a torch name.
        progress (`Callable`, *optional*): Called after each token with the share of the replies that is done.

    Returns:
        `list[dict]`: All first draws in the order of the units, then all second ones: `key, scene_key, character,
        turn, draw, text, ended, tokens`.
    """
    settings = {"model": _fingerprint(folder), "sampling": repr(sampling), "seed": seed, "dtype": dtype}
    wanted = {unit_key(unit, draw, settings): (unit, draw) for draw in range(draws) for unit in units}
    done = Journal(out, key=lambda row: row["key"], shape=_Shape)
    # Equal prompts are neighbours, so that a batch processes them once.
    ordered = sorted(wanted, key=lambda key: units.index(wanted[key][0]))
    waiting = [key for key in ordered if key not in done]
    model = LocalModel.load(str(folder), device="cpu", dtype=dtype) if waiting else None
    batches = _Batches(model, [(key, wanted[key][0]) for key in waiting], len(wanted), sampling, progress)

    async def one(key: str) -> dict[str, Any]:
        return _row(key, *wanted[key], await batches.reply(key))

    stage = Stage(
        done,
        key=lambda key: key,
        make=one,
        is_valid=lambda key, row: True,  # the key is of everything that could change the reply
        progress=Progress("replies", "reply", show=False),
    )
    asyncio.run(run_units(ordered, stage, window=BATCH_SIZE))
    progress(1.0)
    return list(done.rows(wanted))


class _Batches:
    """Replies that are generated in batches, in order: the first unit of a batch that is taken starts it.

    Args:
        model ([`~her_hf.inference.local.LocalModel`], *optional*): The model; `None` if there is nothing to sample.
        waiting (`Sequence[tuple[str, Unit]]`): Keys and units of the replies to sample. They must be taken in this
            order, with at most a batch in progress, so that one batch is finished before the next one is started.
        total (`int`): Number of all replies, for the progress.
        sampling (`Sampling`): How to draw.
        progress (`Callable`): Called after each token with the share of the replies that is done.
    """

    def __init__(
        self,
        model: LocalModel | None,
        waiting: Sequence[tuple[str, Unit]],
        total: int,
        sampling: Sampling,
        progress: Callable[[float], None],
    ) -> None:
        self._model, self._waiting, self._total = model, waiting, total
        self._sampling, self._progress = sampling, progress
        self._places = {key: place for place, (key, _) in enumerate(waiting)}
        self._batch: tuple[int, asyncio.Task[dict[str, Reply]]] | None = None

    async def reply(self, key: str) -> Reply:
        """The reply of a unit."""
        number = self._places[key] // BATCH_SIZE
        if self._batch is None or self._batch[0] != number:
            self._batch = number, asyncio.create_task(self._generate(number * BATCH_SIZE))
        _, replies = self._batch
        return (await replies)[key]

    async def _generate(self, start: int) -> dict[str, Reply]:
        assert self._model is not None
        batch = self._waiting[start : start + BATCH_SIZE]
        finished, tokens = self._total - len(self._waiting) + start, itertools.count(1)

        def each_token() -> None:
            done = finished + len(batch) * next(tokens) / self._sampling.max_tokens
            self._progress(done / self._total)

        replies = await self._model.chat_many(
            [scene.messages_for(character, turns=index) for _, (scene, character, index) in batch],
            sampling=self._sampling,
            seeds=[int(key, 16) % SEED_LIMIT for key, _ in batch],
            batch_size=BATCH_SIZE,
            each_token=each_token,
        )
        return {key: reply for (key, _), reply in zip(batch, replies, strict=True)}


class _Shape(BaseModel):
    key: str
    scene_key: list[str | int]
    character: str
    turn: int
    draw: int
    text: str
    ended: bool
    tokens: int | None


def _row(key: str, unit: Unit, draw: int, reply: Reply) -> dict[str, Any]:
    scene, character, index = unit
    return {
        "key": key,
        "scene_key": list(scene.key),
        "character": character,
        "turn": index,
        "draw": draw,
        "text": reply.text,
        "ended": reply.ended,
        "tokens": reply.usage.completion_tokens,
    }


def _fingerprint(folder: Path) -> str:
    """Digest of the weights and the chat template."""
    digest = hashlib.sha256()
    for file in [*sorted(folder.glob("*.safetensors")), folder / "chat_template.jinja"]:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
