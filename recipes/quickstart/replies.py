"""Replies of a model to held-out scenes, each written as soon as its batch is there."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from her_hf.durable import Journal
from her_hf.evaluation.format import Unit
from her_hf.inference.interface import Sampling
from her_hf.inference.local import LocalModel


def unit_key(unit: Unit, settings: dict[str, Any]) -> str:
    """Everything that could change the reply, as one short key."""
    scene, character, index = unit
    messages = scene.messages_for(character, turns=index)
    blob = json.dumps([scene.key, character, index, messages, settings], ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(blob.encode()).hexdigest()[:16]


def sample_replies(
    folder: Path, units: Sequence[Unit], out: Path, *, sampling: Sampling, seed: int, batch_size: int = 12
) -> list[dict[str, Any]]:
    """Samples a reply for each unit; a killed run goes on behind the last finished batch.

    Args:
        folder (`Path`): A model with the HER template.
        units (`Sequence[Unit]`): What to reply to.
        out (`Path`): JSONL file; finished replies in it with the same key are kept.
        sampling (`Sampling`): How to draw.
        seed (`int`): Each unit's own seed comes from this and its key.
        batch_size (`int`, *optional*, defaults to 12): Replies generated together.

    Returns:
        `list[dict]`: In the order of the units: `key, scene_key, character, turn, text, ended, tokens`.
    """
    settings = {
        "model": _fingerprint(folder),
        "sampling": repr(sampling),
        "seed": seed,
        "dtype": "bfloat16",
        "batch": batch_size,
    }
    keys = [unit_key(unit, settings) for unit in units]
    done = Journal(out, key=lambda row: row["key"])
    waiting = [(key, unit) for key, unit in zip(keys, units, strict=True) if key not in done.rows]
    if waiting:
        model = LocalModel.load(str(folder), dtype="bfloat16")  # twice as fast on a CPU
        with tqdm(
            total=len(units), initial=len(units) - len(waiting), desc=f"replies of {folder.name}", unit="reply"
        ) as bar:
            for start in range(0, len(waiting), batch_size):
                batch = waiting[start : start + batch_size]
                replies = asyncio.run(
                    model.chat_many(
                        [scene.messages_for(character, turns=index) for _, (scene, character, index) in batch],
                        sampling=sampling,
                        seeds=[int(key, 16) % 2**31 for key, _ in batch],
                        batch_size=batch_size,
                    )
                )
                for (key, (scene, character, index)), reply in zip(batch, replies, strict=True):
                    done.add(
                        {
                            "key": key,
                            "scene_key": list(scene.key),
                            "character": character,
                            "turn": index,
                            "text": reply.text,
                            "ended": reply.ended,
                            "tokens": reply.usage.completion_tokens,
                        }
                    )
                bar.update(len(batch))
    return [done.rows[key] for key in keys]


def _fingerprint(folder: Path) -> str:
    """Digest of the weights and the chat template."""
    digest = hashlib.sha256()
    for file in [*sorted(folder.glob("*.safetensors")), folder / "chat_template.jinja"]:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
