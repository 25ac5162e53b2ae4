"""Loss and gradients of ordinary training and of one pass, to compare them."""

from __future__ import annotations

from typing import Any

import torch

from her_hf.processing.templates import training_template
from her_hf.training.one_pass.collator import OnePassCollator
from her_hf.training.one_pass.config import OnePassConfig
from her_hf.training.one_pass.loss import loss_weights, token_losses, total_weight


def gradients(model: Any) -> dict[str, torch.Tensor]:
    """A copy of all gradients by name."""
    return {name: p.grad.detach().clone() for name, p in model.named_parameters() if p.grad is not None}


def worst(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> float:
    """Largest relative norm of the difference over all parameters."""
    assert found.keys() == wanted.keys()
    return max(float((found[name] - wanted[name]).norm() / wanted[name].norm()) for name in wanted)


def reference(
    model: Any, tokenizer: Any, scenes: Any, *, per_reply: bool = False
) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of ordinary training: each reply a sample, plain causal attention, plain logits."""
    samples = []
    for messages in scenes:
        for index, message in enumerate(messages):
            if message["role"] != "assistant" or message["content"].startswith("Environment:"):
                continue
            rendered = tokenizer.apply_chat_template(
                messages[: index + 1],
                chat_template=training_template(tokenizer.get_chat_template()),
                tokenize=True,
                return_dict=True,
                return_assistant_tokens_mask=True,
            )
            samples.append((torch.tensor(rendered["input_ids"]), torch.tensor(rendered["assistant_masks"]).bool()))
    total = len(samples) if per_reply else sum(int(mask.sum()) for _, mask in samples)
    model.zero_grad()
    loss = 0.0
    for ids, mask in samples:
        logits = model(input_ids=ids[None]).logits[0, :-1]
        losses = torch.nn.functional.cross_entropy(logits, ids[1:], reduction="none")[mask[1:]]
        part = (losses.mean() if per_reply else losses.sum()) / total
        part.backward()
        loss += part.item()
    return loss, gradients(model)


def one_pass(
    model: Any, rows: list[Any], *, pack: bool, batch: int, per_reply: bool = False, attention: str = "sdpa"
) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of rows, `batch` of them at a time, accumulated."""
    collator = OnePassCollator(pad_token_id=0, pack=pack)
    batches = [collator(rows[at : at + batch]) for at in range(0, len(rows), batch)]
    total = sum(int(total_weight(inputs, per_reply=per_reply)) for inputs in batches)
    model.zero_grad()
    loss = 0.0
    for inputs in batches:
        losses = token_losses(model, inputs, attention)
        part = (losses * loss_weights(inputs, losses.dtype, per_reply=per_reply)).sum() / total
        part.backward()
        loss += part.item()
    return loss, gradients(model)


def trainer_config(folder: Any, **settings: Any) -> OnePassConfig:
    """Settings of a short run of the trainer."""
    defaults = {
        "output_dir": str(folder), "use_cpu": True, "max_grad_norm": 0.0, "report_to": "none", "save_strategy": "no",
        "disable_tqdm": True, "logging_steps": 1, "learning_rate": 1e-3, "seed": 3, "dataloader_pin_memory": False,
    }  # fmt: skip
    return OnePassConfig(**{**defaults, **settings})
