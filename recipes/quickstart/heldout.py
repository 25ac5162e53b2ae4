"""Held-out loss by layer of a finished model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from her_hf.processing.rows import build
from her_hf.processing.trunk import IGNORED, Row
from her_hf.scenes import Scene
from her_hf.training.one_pass.collator import OnePassCollator
from her_hf.training.one_pass.layers import LAYERS, label_layers
from her_hf.training.one_pass.loss import token_losses


def scene_rows(scenes: Iterable[Scene], tokenizer: PreTrainedTokenizerBase) -> list[Row]:
    """The rows of all characters' turns."""
    return [
        row
        for scene in scenes
        for character in scene.characters
        for row in build(scene.messages_for(character.name), tokenizer)
    ]


def layer_losses(
    folder: Path, scenes: Sequence[Scene], *, bf16: bool, progress: Callable[[float], None] = lambda share: None
) -> dict[str, dict[str, float]]:
    """Mean negative log-likelihood a token of each layer.

    Args:
        folder (`Path`): A model with the HER template.
        scenes (`Sequence[Scene]`): Held-out scenes; every character's turns count.
        bf16 (`bool`): Whether the forward pass runs under bf16 autocast.
        progress (`Callable`, *optional*): Called with the share of the rows that is done.

    Returns:
        `dict`: Layer name to `{"loss": nats a token, "tokens": count}`, with `"all"` for every trained token.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").eval()
    collate = OnePassCollator(pad_token_id=tokenizer.pad_token_id)
    sums = {layer: [0.0, 0] for layer in LAYERS}
    rows = scene_rows(scenes, tokenizer)
    for done, row in enumerate(rows, start=1):
        layers = torch.tensor(label_layers(row, tokenizer))
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            losses = token_losses(model, collate([row]), "sdpa")[0].float()
        for index, layer in enumerate(LAYERS):
            chosen = layers == index
            sums[layer][0] += losses[chosen].sum().item()
            sums[layer][1] += int(chosen.sum())
        assert int((layers != IGNORED).sum()) == sum(label != IGNORED for label in row["labels"])
        progress(done / len(rows))
    found = {layer: {"loss": total / count, "tokens": count} for layer, (total, count) in sums.items() if count}
    everything = sum(entry["tokens"] for entry in found.values())
    found["all"] = {"loss": sum(e["loss"] * e["tokens"] for e in found.values()) / everything, "tokens": everything}
    return found
