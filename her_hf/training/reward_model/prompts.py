"""Labelled pairs to the prompts that a reward model is reinforced on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import broadcast_object_list, parse_flag_from_env
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments
from transformers.integrations import is_deepspeed_zero3_enabled

from her_hf.inference import Message
from her_hf.judging.pairwise.pairs import Pair
from her_hf.judging.pairwise.prompts import compact_messages, pair_messages
from her_hf.processing.window import count_tokens

from .config import RewardRLDataConfig
from .uncertainty import UNCERTAINTY_FILE, uncertain_pairs


def prompt_rows(pairs: Sequence[Pair], data: RewardRLDataConfig, *, seed: int) -> Dataset:
    """Prompts with their labels, columns `prompt` and `label`: pairs shuffled, orders of each side by side."""
    shuffled = random.Random(seed).sample(pairs, len(pairs))
    rows = [{"prompt": prompt, "label": label} for pair in shuffled for prompt, label in _prompts(pair, data)]
    return Dataset.from_list(rows)


def _prompts(pair: Pair, data: RewardRLDataConfig) -> Iterator[tuple[list[Message], str | None]]:
    ask = compact_messages if data.form == "compact" else pair_messages
    for one in (pair, pair.swapped()) if data.both_orders else (pair,):
        yield ask(one, reasoning=data.reasoning), one.label


def fitting_pairs(
    pairs: Sequence[Pair], data: RewardRLDataConfig, tokenizer: PreTrainedTokenizerBase, limit: int | None
) -> list[Pair]:
    """The pairs whose prompts have at most `limit` tokens, in every order.

    Raises:
        `ValueError`: If no pair is left.
    """
    if limit is None:
        return list(pairs)

    def longest(pair: Pair) -> int:
        return max(count_tokens(prompt, tokenizer, add_generation_prompt=True) for prompt, _ in _prompts(pair, data))

    kept = [pair for pair in pairs if longest(pair) <= limit]
    if not kept:
        raise ValueError(
            f"the prompts of all {len(pairs)} pairs are longer than {limit} tokens, which is what the model's "
            "window leaves beside max_completion_length: lower that, or use form: compact"
        )
    return kept


def select_pairs(
    pairs: list[Pair],
    data: RewardRLDataConfig,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    args: TrainingArguments,
) -> list[Pair]:
    """The pairs that are trained: all, or those about which the model is uncertain; the same in every process.

    Args:
        pairs (`list[Pair]`): Pairs that could be trained.
        data ([`~her_hf.training.reward_model.config.RewardRLDataConfig`]): Its `min_uncertainty` decides.
        model (`PreTrainedModel`): The initial model.
        tokenizer (`PreTrainedTokenizerBase`): Its tokenizer.
        args (`TrainingArguments`): Device, and the folder that stores the uncertainty of each pair.

    Raises:
        `ValueError`: If the model is not whole in a process, or no pair is left.
    """
    if data.min_uncertainty is None:
        return pairs
    if is_deepspeed_zero3_enabled() or args.fsdp or parse_flag_from_env("ACCELERATE_USE_FSDP"):
        raise ValueError(
            "min_uncertainty needs the whole model in one process, and FSDP and ZeRO-3 divide it: leave the setting "
            "out, or train with DDP"
        )
    # One process decides: rounding on another device could make two processes disagree about a pair.
    state, kept = PartialState(), [pairs]
    if state.is_main_process:
        placed = model if getattr(model, "is_quantized", False) else model.to(args.device)
        kept = [
            uncertain_pairs(
                pairs,
                placed,
                tokenizer,
                minimum=data.min_uncertainty,
                both_orders=data.both_orders,
                file=Path(args.output_dir) / UNCERTAINTY_FILE,
                progress=not args.disable_tqdm,
            )
        ]
    broadcast_object_list(kept, from_process=0)
    return kept[0]
