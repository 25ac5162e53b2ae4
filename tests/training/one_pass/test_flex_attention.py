"""FlexAttention on a GPU: loss and gradients are those of sdpa with the boolean mask."""

from __future__ import annotations

import pytest
import torch

from her_hf.processing.rows import build
from her_hf.training.one_pass.collator import OnePassCollator
from her_hf.training.one_pass.loss import token_losses
from tests.support.gradients import gradients, worst
from tests.support.one_pass import conversations, tiny_model, tiny_tokenizer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="needs a GPU: FlexAttention has no backward pass on a CPU"
    ),
]


@pytest.mark.parametrize("pack", [False, True], ids=["padding", "packing"])
def test_equals_sdpa(pack: bool) -> None:
    tokenizer = tiny_tokenizer()
    rows = [row for messages in conversations() for row in build(messages, tokenizer)]
    batch = OnePassCollator(pad_token_id=0, pack=pack, pad_to_multiple_of=128)(rows)
    found = {}
    for attention in ("sdpa", "flex_attention"):
        options = {"dtype": torch.float32, "head_dim": 16, "attn_implementation": attention}
        model = tiny_model("qwen3", len(tokenizer), **options).to("cuda")
        inputs = {name: value.to("cuda") for name, value in batch.items()}
        loss = token_losses(model, inputs, attention).sum()
        loss.backward()
        found[attention] = (loss.item(), gradients(model))
    (wanted_loss, wanted), (loss, grads) = found["sdpa"], found["flex_attention"]
    assert loss == pytest.approx(wanted_loss, rel=1e-4)
    assert worst(grads, wanted) < 1e-3
