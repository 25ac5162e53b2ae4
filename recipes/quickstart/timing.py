"""How fast this machine trains and samples, measured on a row and a few prompts in seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from her_hf.inference.interface import Sampling
from her_hf.inference.local import LocalModel
from her_hf.processing.trunk import Row
from her_hf.training.one_pass.branches import use_branches
from her_hf.training.one_pass.collator import OnePassCollator
from her_hf.training.one_pass.loss import token_losses
from her_hf.training.run.freezing import freeze

from .plan import DECODER_LAYERS, Speeds

_TOKENS, _PROMPTS = 12, 8


def measure(folder: Path, rows: Sequence[Row], prompts: Sequence[Any], *, bf16: bool) -> Speeds:
    """Times one training row and a few tokens of a batch of replies.

    Args:
        folder (`Path`): The base with the HER template.
        rows (`Sequence[Row]`): Training rows; the shortest warms up, one of middling length is timed.
        prompts (`Sequence[list[dict]]`): Conversations to sample from.
        bf16 (`bool`): Whether bfloat16 is used.
    """
    return Speeds(*_training(folder, rows, bf16=bf16), *asyncio.run(_sampling(folder, prompts, bf16=bf16)))


def _training(folder: Path, rows: Sequence[Row], *, bf16: bool) -> tuple[float, float]:
    """Seconds a token forward, and backward for each decoder layer."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    layers = min(*DECODER_LAYERS, model.config.get_text_config().num_hidden_layers)
    freeze(model, last_layers=layers)
    implementation = use_branches(model)
    collate = OnePassCollator(pad_token_id=0)
    ordered = sorted(rows, key=lambda row: len(row["input_ids"]))
    forward = backward = 0.0
    timed = ordered[len(ordered) // 2]
    for row in (ordered[0], timed):
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = token_losses(model, collate([row]), implementation).float().mean()
        middle = time.perf_counter()
        loss.backward()
        forward, backward = middle - start, time.perf_counter() - middle
    tokens = len(timed["input_ids"])
    return forward / tokens, backward / tokens / layers


async def _sampling(folder: Path, prompts: Sequence[Any], *, bf16: bool) -> tuple[float, float]:
    """Seconds a token of the prompts, and a sampled token."""
    model = LocalModel.load(str(folder), device="cpu", dtype="bfloat16" if bf16 else "float32")
    asked = list(prompts[:_PROMPTS])
    read = sum([(await model.prompt(messages)).tokens for messages in asked])

    async def seconds(tokens: int) -> float:
        start = time.perf_counter()
        await model.chat_many(asked, sampling=Sampling(tokens, 0.0), batch_size=len(asked))
        return time.perf_counter() - start

    await model.chat_many(asked[:1], sampling=Sampling(2, 0.0))  # the first call pays for what is set up once
    first, more = await seconds(1), await seconds(_TOKENS)
    return first / read, max(more - first, 0.01 * first) / (_TOKENS - 1) / len(asked)
