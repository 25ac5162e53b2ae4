"""Which tokens of a one-pass row attend to which, and which models support such a mask.

Each token has three numbers: `own`, the part it belongs to (a trunk or a branch); `parent`, the trunk of that part;
and `limit`, the end of the span of that trunk that it attends to. A token attends to earlier tokens of its own part,
and to tokens of its parent before the limit. Conversations packed into one row have different parents, so they are
hidden from each other.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..internals import attention_of, compiled_block_mask, is_recurrent
from .branches import BRANCHES, no_mask, spans_of

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask
    from transformers import PreTrainedModel

ATTENTION = ("sdpa", "flex_attention", BRANCHES)
"""Attention implementations that follow the mask of a one-pass row."""

_SHORT = 1024
"""Rows up to this length take the boolean mask: computing hidden pairs costs less than many small parts (measured on a
CPU, rows of 455 tokens: 15.2 s a batch of eight against 19.1 s)."""

_STATIC_ROPE = {"default", "linear", "llama3", "yarn", "proportional"}


def boolean_mask(own: Tensor, parent: Tensor, limit: Tensor) -> Tensor:
    """The mask for sdpa: `True` where a query (dim 2) sees a key (dim 3).

    Args:
        own, parent, limit (`Tensor`): Shape `(rows, tokens)`, integers.

    Returns:
        `Tensor`: Boolean, shape `(rows, 1, tokens, tokens)`. Padding attends to padding, so no line of it is empty.
    """
    at = torch.arange(own.size(1), device=own.device)
    earlier = at[None, None, :] <= at[None, :, None]
    same_part = own[:, :, None] == own[:, None, :]
    trunk = (own[:, None, :] == parent[:, :, None]) & (at[None, None, :] < limit[:, :, None])
    return (earlier & (same_part | trunk))[:, None]


def block_mask(own: Tensor, parent: Tensor, limit: Tensor) -> BlockMask:
    """The same mask for FlexAttention, which skips blocks hidden from all tokens; its memory is linear in the row."""

    def sees(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        same_part = own[row, query] == own[row, key]
        trunk = (own[row, key] == parent[row, query]) & (key < limit[row, query])
        return (key <= query) & (same_part | trunk)

    rows, tokens = own.shape
    return compiled_block_mask(sees, rows, tokens, own.device)


def attention_inputs(inputs: Mapping[str, Tensor], implementation: str) -> dict[str, Any]:
    """The arguments that carry the mask, in the form that the model's attention follows.

    Args:
        inputs (`Mapping[str, Tensor]`): A batch of [`~her_hf.training.one_pass.collator.OnePassCollator`].
        implementation (`str`): `"her_branches"` (part by part, unless rows are short), `"sdpa"` or
            `"flex_attention"`.

    Returns:
        `dict`: Arguments of the model's forward. A batch for which plain causal attention is right gets no mask.
    """
    if "limit" not in inputs:
        return {"attention_mask": None}
    if implementation == BRANCHES and inputs["input_ids"].size(1) > _SHORT:
        return {"attention_mask": no_mask(inputs["input_ids"]), "branch_spans": spans_of(inputs["spans"])}
    make = block_mask if implementation == "flex_attention" else boolean_mask
    return {"attention_mask": make(inputs["own"], inputs["parent"], inputs["limit"])}


def check_model(model: PreTrainedModel) -> None:
    """Refuses a model that would be silently wrong on one-pass rows.

    Raises:
        `ValueError`: If its attention ignores a boolean mask (eager and the flash kernels), or a layer depends on the
            order of the row rather than on `position_ids` and the mask: sliding-window, chunked, linear or recurrent
            layers, RoPE that depends on the length, positions that cannot be given, an encoder-decoder. The message
            names the remedy.
    """
    config = model.config.get_text_config()
    name = type(model).__name__
    problems = list(_attention_problems(config)) + list(_layer_problems(config)) + list(_position_problems(config))
    if getattr(model.config, "is_encoder_decoder", False):
        problems.append("it is an encoder-decoder")
    if is_recurrent(model):
        problems.append("it has recurrent layers, whose state passes through the row regardless of the mask")
    if "position_ids" not in inspect.signature(type(_plain(model)).forward).parameters:
        problems.append("its forward takes no position_ids")
    if problems:
        raise ValueError(
            f"one-pass training cannot use {name}: {'; '.join(problems)}. Load it with attn_implementation sdpa (or "
            "flex_attention on CUDA); where the layers themselves are the reason, set `one_pass: false` and "
            "`pack_rows: false`."
        )


def _plain(model: PreTrainedModel) -> PreTrainedModel:
    """The model without a PEFT wrapper."""
    unwrap = getattr(model, "get_base_model", None)
    return unwrap() if unwrap else model


def _attention_problems(config: Any) -> Iterator[str]:
    implementation = attention_of(config)
    if implementation == "eager":
        yield "attn_implementation='eager' adds a boolean mask to the scores instead of hiding tokens"
    elif implementation not in ATTENTION:
        yield f"attn_implementation={implementation!r} does not follow a 4-D mask"


def _layer_problems(config: Any) -> Iterator[str]:
    types = set(getattr(config, "layer_types", None) or getattr(config, "layers_block_type", None) or ())
    if odd := sorted(types - {"full_attention", "attention"}):
        yield f"it has layers of type {', '.join(odd)}"
    elif not types and _window(config):
        yield f"it has sliding-window attention (sliding_window={config.sliding_window})"
    if not types and getattr(config, "attention_chunk_size", None):
        yield "it has chunked attention"


def _window(config: Any) -> bool:
    return (
        getattr(config, "sliding_window", None) is not None
        and getattr(config, "use_sliding_window", True) is not False
    )


def _position_problems(config: Any) -> Iterator[str]:
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    nested = [value for value in rope.values() if isinstance(value, dict)] or [rope]
    for parameters in nested:
        kind = parameters.get("rope_type", parameters.get("type", "default"))
        if kind not in _STATIC_ROPE:
            yield f"its RoPE of type {kind!r} depends on the length of the row"
    if getattr(config, "alibi", False):
        yield "its ALiBi positions are the order of the row"
