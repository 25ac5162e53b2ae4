"""Replies of a model to held-out scenes, each written as soon as its batch is finished."""

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
    waiting = sorted((key for key in wanted if key not in done), key=lambda key: units.index(wanted[key][0]))
    model = LocalModel.load(str(folder), device="cpu", dtype=dtype) if waiting else None
    for start in range(0, len(waiting), BATCH_SIZE):
        assert model is not None
        batch = waiting[start : start + BATCH_SIZE]
        finished, tokens = len(wanted) - len(waiting) + start, itertools.count(1)

        def each_token(
            finished: int = finished, tokens: itertools.count[int] = tokens, size: int = len(batch)
        ) -> None:
            progress((finished + size * next(tokens) / sampling.max_tokens) / len(wanted))

        replies = asyncio.run(
            model.chat_many(
                [
                    scene.messages_for(character, turns=index)
                    for (scene, character, index), _ in (wanted[key] for key in batch)
                ],
                sampling=sampling,
                seeds=[int(key, 16) % SEED_LIMIT for key in batch],
                batch_size=BATCH_SIZE,
                each_token=each_token,
            )
        )
        done.add(*(_row(key, *wanted[key], reply) for key, reply in zip(batch, replies, strict=True)))
    progress(1.0)
    return list(done.rows(wanted))


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
