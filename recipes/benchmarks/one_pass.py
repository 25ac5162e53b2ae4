"""Compares one-pass and per-reply training: tokens, wall time, loss and gradients; prints JSON.

```bash
python recipes/benchmarks/one_pass.py --data her-mini
python recipes/benchmarks/one_pass.py --data coser --conversations 6
```

The token ratio is over all conversations of the data. Time, loss and gradients are measured on a seeded sample of
them, forward and backward, one row or sample at a time, without padding. Per-reply training uses plain causal
attention, its fastest form. Both are warmed up on their first sample. On a shared machine the ratio of CPU times is
more stable than that of wall times.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from her_hf.devices import describe_device, settle_dtype
from her_hf.processing.rows import Rows, build
from her_hf.processing.trunk import Row
from her_hf.scenes import Scene, SceneError, load_scenes
from her_hf.training.conversations import Conversation, conversations
from her_hf.training.one_pass.attention import check_model
from her_hf.training.one_pass.branches import use_branches
from her_hf.training.one_pass.collator import OnePassCollator
from her_hf.training.one_pass.loss import token_losses
from her_hf.training.run.base import resolve_base
from her_hf.training.run.tokenizers import her_tokenizer

SOURCES = {"coser": "../shared/data/coser/scenes_id.json", "her-mini": "dataset_cards/her-mini"}
SPLITS = {"coser": None, "her-mini": "train"}
FILLED = {"coser": 580, "her-mini": 0}


def main() -> None:
    """Parses arguments, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=sorted(SOURCES), default="her-mini", help="data to use")
    parser.add_argument("--source", help="path or Hub id of the data, instead of the default path")
    parser.add_argument("--split", help="split of the source")
    parser.add_argument("--model", default="smollm2-135m", help="smollm2-135m (embedded), a folder or a Hub id")
    parser.add_argument("--conversations", type=int, default=4, help="number of conversations to time")
    parser.add_argument(
        "--max-context",
        type=int,
        default=4096,
        help="tokens of prompt and reply together; longer conversations are not timed",
    )
    parser.add_argument(
        "--max-row", type=int, default=4096, help="longest row to time; a token takes about 2 MB in float32"
    )
    parser.add_argument("--thinking", type=int, help="tokens of synthetic system thinking for turns without any")
    parser.add_argument("--attention", default="branches", choices=["branches", "sdpa", "flex_attention"])
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64", "bfloat16"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="torch device")
    parser.add_argument("--repeats", type=int, default=1, help="number of repeats; the fastest is reported")
    parser.add_argument("--tokens-only", action="store_true", help="only count tokens")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    source = arguments.source or SOURCES[arguments.data]
    if not arguments.source and not Path(source).exists():
        parser.error(
            f"{source} does not exist: run from the project's root, or name the {arguments.data} data with --source"
        )
    try:
        figures = measure(arguments)
    except SceneError as error:
        parser.error(str(error))
    print(json.dumps(figures, indent=2, ensure_ascii=False))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All figures of one data set."""
    source = arguments.source or SOURCES[arguments.data]
    split = arguments.split or (SPLITS[arguments.data] if not arguments.source else None)
    scenes = load_scenes(source, split=split)
    base = resolve_base(arguments.model)  # after the data, which may be missing: this writes the embedded base
    tokenizer = her_tokenizer(base)
    filled = arguments.thinking if arguments.thinking is not None else FILLED[arguments.data]
    if filled:
        scenes = [fill_thinking(scene, tokenizer, filled) for scene in scenes]
    found = conversations(scenes)
    whole = [build(conversation.messages, tokenizer, name=conversation.name) for conversation in found]
    one, many = sum(rows.report.tokens for rows in whole), sum(rows.report.per_reply_tokens for rows in whole)
    replies = sum(rows.report.replies for rows in whole)
    figures: dict[str, Any] = {
        "data": arguments.data,
        "scenes": len(scenes),
        "conversations": len(found),
        "replies": replies,
        "replies_per_conversation": round(replies / len(found), 2),
        "tokens_one_pass": one,
        "tokens_per_reply": many,
        "token_ratio": round(many / one, 3),
    }
    if arguments.tokens_only:
        return figures
    chosen = choose(whole, found, arguments)
    return {**figures, **compare(chosen, tokenizer, base, arguments)}


def fill_thinking(scene: Scene, tokenizer: Any, tokens: int) -> Scene:
    """The scene with `tokens` tokens of system thinking, made of its own words, in every turn without any."""
    words = f"{scene.scenario} {scene.topic}".split() or ["quiet"]

    def thinking(seed: int) -> str:
        generator = random.Random(seed)
        text = " ".join(generator.choice(words) for _ in range(tokens))
        kept = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"][:tokens]
        return text[: kept[-1][1]]

    turns = [
        turn if turn.system_thinking else replace(turn, system_thinking=thinking(index))
        for index, turn in enumerate(scene.dialogue)
    ]
    return scene.model_copy(update={"dialogue": turns})


def choose(whole: Sequence[Rows], found: Sequence[Conversation], arguments: argparse.Namespace) -> list[Conversation]:
    """A seeded sample of conversations whose replies fit the window and whose row fits the memory."""
    fitting = [
        conversation
        for conversation, rows in zip(found, whole, strict=True)
        if len(rows) == 1
        and max(rows[0]["position_ids"]) < arguments.max_context
        and len(rows[0]["input_ids"]) <= arguments.max_row
    ]
    if not fitting:
        raise SystemExit("no conversation is short enough to be timed: raise --max-row and --max-context")
    return random.Random(arguments.seed).sample(fitting, min(arguments.conversations, len(fitting)))


def compare(
    chosen: Sequence[Conversation], tokenizer: Any, base: str, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Time, loss and gradients of both kinds of training on the same conversations."""
    model = AutoModelForCausalLM.from_pretrained(
        base,
        dtype=settle_dtype(arguments.dtype, arguments.device),
        attn_implementation="sdpa" if arguments.attention == "branches" else arguments.attention,
    ).to(arguments.device)
    model.train()
    check_model(model)
    attention = use_branches(model) if arguments.attention == "branches" else arguments.attention
    sides = {}
    for name, one_pass in (("one_pass", True), ("per_reply", False)):
        rows = [row for conversation in chosen for row in build(conversation.messages, tokenizer, one_pass=one_pass)]
        train(model, rows[:1], attention, arguments.device)  # warm up: threads, kernels, allocator
        runs = [train(model, rows, attention, arguments.device) for _ in range(max(1, arguments.repeats))]
        sides[name] = (sum(len(row["input_ids"]) for row in rows), *min(runs, key=lambda run: run[0]))
    tokens, seconds, cpu_seconds, loss, gradients = sides["one_pass"]
    many_tokens, many_seconds, many_cpu_seconds, many_loss, many_gradients = sides["per_reply"]
    differences = [
        float((gradients[name] - many_gradients[name]).norm() / many_gradients[name].norm()) for name in gradients
    ]
    return {
        "timed_conversations": len(chosen),
        "timed_token_ratio": round(many_tokens / tokens, 3),
        "seconds_one_pass": round(seconds, 2),
        "seconds_per_reply": round(many_seconds, 2),
        "wall_time_ratio": round(many_seconds / seconds, 3),
        "cpu_time_ratio": round(many_cpu_seconds / cpu_seconds, 3),
        "loss_one_pass": loss,
        "loss_per_reply": many_loss,
        "loss_difference": abs(loss - many_loss),
        "gradient_difference_worst": max(differences),
        "model": Path(arguments.model).name,
        "attention": arguments.attention,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": describe_device(arguments.device),
    }


def train(
    model: Any, rows: Sequence[Row], attention: str, device: str
) -> tuple[float, float, float, dict[str, torch.Tensor]]:
    """Seconds, CPU seconds, loss and gradients of one accumulated step over `rows`, one at a time."""
    blocks = 128 if attention == "flex_attention" else None
    collator = OnePassCollator(pad_token_id=0, pad_to_multiple_of=blocks)
    batches = [{name: value.to(device) for name, value in collator([row]).items()} for row in rows]
    total = sum(int((inputs["sizes"] > 0).sum()) for inputs in batches)
    model.zero_grad()
    _wait(device)
    start, cpu_start = time.perf_counter(), time.process_time()
    loss = 0.0
    for inputs in batches:
        part = token_losses(model, inputs, attention).sum() / total
        part.backward()
        loss += part.item()
    _wait(device)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    gradients = {name: p.grad.detach().clone() for name, p in model.named_parameters() if p.grad is not None}
    return seconds, cpu_seconds, loss, gradients


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
