"""Small tokenizer, models and conversations shared by the tests of rows, training and recipes."""

from __future__ import annotations

import types
from typing import Any

import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    Glm4Config,
    Glm4ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerBase,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from her_hf.processing import HERProcessor
from tests.support.paths import FIXTURES


def tiny_tokenizer(base: str = "smollm2") -> PreTrainedTokenizerBase:
    """A small tokenizer of a known base's style, with the HER template attached."""
    return HERProcessor.attach(FIXTURES / "tokenizers" / base).tokenizer


_SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 16384,
    "initializer_range": 0.2,  # large enough that attention really tells tokens apart
}

_KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "llama": (LlamaConfig, LlamaForCausalLM, {}),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 8}),
    "mistral": (MistralConfig, MistralForCausalLM, {"sliding_window": None}),
    "glm4": (Glm4Config, Glm4ForCausalLM, {"head_dim": 8, "pad_token_id": 0}),
    "gemma3": (Gemma3TextConfig, Gemma3ForCausalLM, {"head_dim": 8, "sliding_window": 16}),
}


def _norm_in_own_precision(self: Any, hidden: torch.Tensor) -> torch.Tensor:
    """RMSNorm as in transformers, which however computes it in float32 even in a float64 model (noise of 2e-8)."""
    scale = torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
    return self.weight * (hidden * scale)


def tiny_model(kind: str, vocabulary: int, *, dtype: torch.dtype = torch.float64, **overrides: Any) -> Any:
    """A random model of two layers, of one of these kinds; in float64 its norms are in float64 too."""
    torch.manual_seed(0)
    config, architecture, own = _KINDS[kind]
    model: Any = architecture(
        config(**{**_SIZES, **own, "vocab_size": vocabulary, "attn_implementation": "sdpa", **overrides})
    )
    for module in model.modules():
        if dtype is torch.float64 and type(module).__name__.endswith("RMSNorm"):
            module.forward = types.MethodType(_norm_in_own_precision, module)
    return model.to(dtype)


def reply(name: str, number: int, thinking: bool = True) -> dict[str, str]:
    """An own turn: canonical SELF text, with system thinking beside it."""
    message = {
        "role": "assistant",
        "content": f"{name}: <role_thinking>Ledger {number}, I am done.</role_thinking> "
        f"<role_action>turns page {number}</role_action> You are early, {number}.",
    }
    if thinking:
        message["reasoning_content"] = (
            f"{name} keeps ledger {number} hidden and plays for time, move {number} of many."
        )
    return message


def user(*turns: str) -> dict[str, str]:
    """Others' turns, merged into one message."""
    return {"role": "user", "content": "\n\n".join(turns)}


def conversation(replies: int, name: str = "Mara") -> list[dict[str, str]]:
    """A scene of `replies` replies, with merged user turns, an Environment turn and a trailing user turn."""
    messages = [{"role": "system", "content": f"You are {name} from The Salt Ledger."}]
    messages.append(user("===Conversation Start===", "Environment: Rain drums on the tin roof."))
    for number in range(replies):
        messages.append(reply(name, number))
        messages.append(
            user(f"Odo: <role_action>shakes coat {number}</role_action> The ferry left.", "Environment: Rain.")
        )
    return messages


def conversations() -> list[list[dict[str, str]]]:
    """Three scenes of different length; in one the role speaks first, and one of its turns has no system thinking."""
    first = [{"role": "system", "content": "You are Odo."}, user("===Conversation Start===")]
    first += [reply("Odo", 1), user("Mara: Quiet."), reply("Odo", 2), user("Mara: Go.", "Environment: A bell.")]
    first += [reply("Odo", 3, thinking=False), user("Mara: Now."), reply("Odo", 4)]
    return [conversation(4), first, conversation(1, "Ilse")]
