"""Masks, and models that would be wrong with them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from datasets import Dataset

from her_hf.processing.rows import build
from her_hf.training.one_pass.attention import block_mask, boolean_mask
from her_hf.training.one_pass.branches import spans_of
from her_hf.training.one_pass.collator import OnePassCollator
from her_hf.training.one_pass.trainer import OnePassTrainer
from tests.support.gradients import trainer_config
from tests.support.one_pass import conversation, conversations, tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer()


@pytest.mark.parametrize(
    ("kind", "overrides", "words"),
    [
        ("llama", {"attn_implementation": "eager"}, "eager"),
        ("qwen3", {"sliding_window": 64, "use_sliding_window": True, "max_window_layers": 0}, "sliding"),
        ("mistral", {"sliding_window": 64}, "sliding"),
        ("gemma3", {}, "sliding.*one_pass: false"),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}, "dynamic"),
    ],
)
def test_models_that_would_be_wrong_are_refused(
    tokenizer: Any, tmp_path: Any, kind: str, overrides: dict[str, Any], words: str
) -> None:
    model = tiny_model(kind, len(tokenizer), dtype=torch.float32, **overrides)
    rows = Dataset.from_list(list(build(conversation(1), tokenizer)))
    with pytest.raises(ValueError, match=words):
        OnePassTrainer(model, trainer_config(tmp_path), train_dataset=rows, processing_class=tokenizer)


@pytest.mark.parametrize("pack", [False, True])
def test_masks_agree(tokenizer: Any, pack: bool) -> None:
    """The mask of sdpa, FlexAttention's, and the spans say the same of every pair of tokens that are not padding."""
    rows = [row for messages in conversations() for row in build(messages, tokenizer)]
    inputs = OnePassCollator(pad_token_id=0, pack=pack)(rows)
    numbers = inputs["own"], inputs["parent"], inputs["limit"]
    mask = boolean_mask(*numbers)[:, 0]
    at = torch.arange(mask.size(1))
    blocks = block_mask(*numbers)
    for row, spans in enumerate(spans_of(inputs["spans"])):
        flex = blocks.mask_mod(torch.tensor(row), torch.tensor(0), at[:, None], at[None, :])
        assert torch.equal(flex, mask[row])
        seen = torch.zeros_like(mask[row])
        for start, end, first, last in spans:
            seen[start:end, first:last] = True
            seen[start:end, start:end] = torch.ones(end - start, end - start, dtype=torch.bool).tril()
        real = inputs["own"][row] >= 0
        assert torch.equal(seen[real], mask[row][real])
        assert not mask[row][real][:, ~real].any()
