"""Loss of the trained tokens, from the logits of those positions alone."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from her_hf.processing.trunk import IGNORED

from ..internals import fused_log_probs
from .attention import attention_inputs


def model_inputs(inputs: Mapping[str, Tensor], implementation: str) -> dict[str, Any]:
    """The arguments of the model's forward for a batch, with the mask built on its device."""
    return {
        "input_ids": inputs["input_ids"],
        "position_ids": inputs["position_ids"],
        "use_cache": False,
        **attention_inputs(inputs, implementation),
    }


def token_losses(model: Any, inputs: Mapping[str, Tensor], implementation: str, *, fused: bool = False) -> Tensor:
    """Negative log-likelihood of each next token.

    Args:
        model: A causal language model, wrapped or not.
        inputs (`Mapping[str, Tensor]`): A batch of [`~her_hf.training.one_pass.collator.OnePassCollator`].
        implementation (`str`): The attention in use: `"her_branches"`, `"sdpa"` or `"flex_attention"`.
        fused (`bool`, *optional*, defaults to `False`): Use the chunked head that TRL puts on the model: less memory,
            log probabilities in float32. Otherwise the head runs on the trained positions only, in the model's own
            precision.

    Returns:
        `Tensor`: Shape `(rows, tokens)`; entry `t` belongs to token `t`, and is 0 where `labels` is -100 and for the
            first token.
    """
    labels = inputs["labels"]
    arguments = model_inputs(inputs, implementation)
    if fused:
        return torch.nn.functional.pad(-fused_log_probs(model, arguments, labels), (1, 0))
    targets = labels[:, 1:]
    if (head := _own_head(model)) is not None and len(labels) > 1:
        return _losses_of_trained(model, head, arguments, targets)
    # A batch without labels keeps one position, so that the loss still depends on the model and every rank runs a
    # backward pass.
    kept = (targets != IGNORED).any(dim=0).nonzero().flatten()
    kept = kept if kept.numel() else kept.new_zeros(1)
    if _takes_positions(model):
        logits = model(**arguments, logits_to_keep=kept).logits
    else:
        logits = model(**arguments).logits[:, kept]
    wide = logits if logits.dtype == torch.float64 else logits.float()
    chosen = targets[:, kept]
    found = cross_entropy(wide.flatten(0, 1), chosen.flatten(), reduction="none", ignore_index=IGNORED)
    losses = found.new_zeros(labels.shape)
    return losses.index_copy(1, kept + 1, found.view_as(chosen))


def _losses_of_trained(model: Any, head: Any, arguments: dict[str, Any], targets: Tensor) -> Tensor:
    """The same with the head applied only to each row's own trained positions.

    Rows of a batch are trained at different positions. Most logits of every row at all of these positions would be
    discarded, and with a large vocabulary they cost more than a layer.
    """
    hidden = model(**arguments, logits_to_keep=1, output_hidden_states=True).hidden_states[-1]
    trained = targets != IGNORED
    logits = head(hidden[:, :-1][trained].to(head.weight.dtype))
    wide = logits if logits.dtype == torch.float64 else logits.float()
    losses = wide.new_zeros(trained.size(0), trained.size(1) + 1)
    at = trained.nonzero()
    return losses.index_put((at[:, 0], at[:, 1] + 1), cross_entropy(wide, targets[trained], reduction="none"))


def _own_head(model: Any) -> Any:
    """The head of an unwrapped model whose logits are its head applied to the last hidden state; else `None`."""
    config = getattr(model, "config", None)
    scaled = any(getattr(config, name, None) for name in _SCALED)
    plain = isinstance(model, PreTrainedModel) and not scaled and _takes_positions(model)
    head = model.get_output_embeddings() if plain else None
    # A sharded head is complete only inside the model's own forward.
    return None if head is None or isinstance(head.weight, DTensor) else head


_SCALED = (
    "final_logit_softcapping",
    "logit_scale",
    "logits_scaling",
    "lm_head_multiplier",
    "output_multiplier",
    "num_codebooks",
)
"""Settings by which some models change the logits after their head."""


def loss_weights(inputs: Mapping[str, Tensor], dtype: torch.dtype, *, per_reply: bool = False) -> Tensor:
    """Weight of each token's loss: that of its row, else 1 for a trained token, or 1 over the size of its reply."""
    if "weights" in inputs:
        return inputs["weights"].to(dtype)
    sizes = inputs["sizes"]
    trained = sizes > 0
    return trained / sizes.clamp(min=1).to(dtype) if per_reply else trained.to(dtype)


def total_weight(inputs: Mapping[str, Tensor], *, per_reply: bool = False) -> Tensor:
    """Sum of the weights of a batch, its trained tokens or its replies: an integer, so that sums are exact."""
    trained = inputs["sizes"] > 0
    if not per_reply and "weights" not in inputs:
        return trained.sum()
    # Between the trained tokens of two replies there are untrained ones, the header of the second.
    return (trained & ~torch.nn.functional.pad(trained, (1, 0))[:, :-1]).sum()


def _takes_positions(model: Any) -> bool:
    """Whether the causal language model under all wrappers can compute the logits of some positions only."""
    while hasattr(model, "module"):
        model = model.module
    if hasattr(model, "get_base_model"):
        model = model.get_base_model()
    return "logits_to_keep" in inspect.signature(type(model).forward).parameters
