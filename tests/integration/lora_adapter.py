"""A LoRA adapter for any checkpoint: not trained, but strong enough to change what the model says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

RANK = 4


def write_adapter(checkpoint: Path, out: Path) -> Any:
    """Writes the adapter and returns the peft model, base and adapter together.

    Args:
        checkpoint (`Path`): The base.
        out (`Path`): Folder to write.

    Returns:
        `peft.PeftModel`: In float32, ready for inference.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    torch.manual_seed(0)
    adapted = get_peft_model(model, config)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:  # zero at the start, so that a fresh adapter changes nothing
                weight.normal_(0.0, 0.05)
    adapted.save_pretrained(out)
    return adapted.eval()


def next_token_logprobs(model: Any, prompt_ids: list[int]) -> list[float]:
    """Log probability of every token of the vocabulary after a prompt."""
    import torch

    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt_ids])).logits[0, -1]
    return list(torch.log_softmax(logits.double(), dim=-1).tolist())
