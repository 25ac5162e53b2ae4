"""Attention over trunk and branches part by part, so that hidden pairs of tokens cost nothing.

sdpa with a boolean mask computes every pair of tokens of a row and discards most of them. Here the trunk attends to
itself (plain causal, the fastest kernel), and each branch to its part of the trunk and to itself. The numbers are
those of the mask; the work is that of per-reply training without the repeated trunks. FlexAttention does the same by
blocks, on CUDA.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from ..internals import attention_of, can_switch_attention

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BRANCHES = "her_branches"
"""Name of this attention among those of transformers; without spans, as in generation, it is sdpa."""

Span = tuple[int, int, int, int]
"""A part of a row and the span that it attends to beside itself: `(start, end, from, to)`; empty for a trunk."""


def use_branches(model: PreTrainedModel) -> str:
    """Switches an sdpa model to this attention, and returns the name of the one that is in use now.

    A model that cannot be switched, or that would not pass the spans on to its layers, keeps sdpa and takes the
    boolean mask.
    """
    config = model.config.get_text_config()
    if attention_of(config) == "sdpa" and can_switch_attention(model):
        model.set_attn_implementation(BRANCHES)
    return attention_of(config)


def spans_of(spans: Tensor) -> list[list[Span]]:
    """Spans of a batch as numbers; lines of -1 pad rows with fewer parts."""
    return [[(part[0], part[1], part[2], part[3]) for part in row if part[0] >= 0] for row in spans.tolist()]


def no_mask(like: Tensor) -> Tensor:
    """A mask of no tokens: transformers passes it on as it is, and code that really used it would fail."""
    return torch.empty(1, 1, 0, 0, dtype=torch.bool, device=like.device)


def branch_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    branch_spans: list[list[Span]] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of a batch of rows, with the signature that transformers calls.

    Args:
        module (`nn.Module`): The attention layer.
        query, key, value (`Tensor`): Shape `(rows, heads, tokens, size)`.
        attention_mask (`Tensor`, *optional*): Used only without spans.
        dropout, scaling: As in sdpa.
        branch_spans (`list[list[Span]]`, *optional*): The parts of each row; without them this is sdpa.

    Returns:
        `tuple[Tensor, None]`: Shape `(rows, tokens, heads, size)`; padding, which is in no part, gives zeros.
    """
    if branch_spans is None:
        found: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return found

    def attend(row: int, span: Span) -> Tensor:
        start, end, first, last = span
        line = slice(row, row + 1)
        own_query = query[line, :, start:end]
        if first == last:
            part = (own_query, key[line, :, start:end], value[line, :, start:end], None)
        else:
            keys = torch.cat([key[line, :, first:last], key[line, :, start:end]], dim=2)
            values = torch.cat([value[line, :, first:last], value[line, :, start:end]], dim=2)
            seen = torch.ones(end - start, last - first + end - start, dtype=torch.bool, device=query.device)
            part = (own_query, keys, values, seen.tril(last - first)[None, None])
        output: Tensor = sdpa_attention_forward(module, *part, dropout=dropout, scaling=scaling)[0]
        return output

    rows = []
    for row, spans in enumerate(branch_spans):
        parts = [attend(row, span) for span in spans]
        rest = query.size(2) - spans[-1][1] if spans else query.size(2)
        if rest:
            parts.append(query.new_zeros(1, rest, query.size(1), value.size(-1)))
        rows.append(torch.cat(parts, dim=1))
    return torch.cat(rows), None


AttentionInterface.register(BRANCHES, branch_attention)
AttentionMaskInterface.register(BRANCHES, sdpa_mask)
