"""The cache of a batch gives the tokens that transformers' own gives, and reads equal prompts once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import DynamicCache

from her_hf.inference.cache import RoomyLayer, read_once, roomy_cache
from tests.support.one_pass import tiny_model

PAD = 0


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(3)
    return tiny_model("llama", 97, dtype=torch.float64).eval()


def batch(*prompts: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, prompts))
    ids = torch.tensor([[PAD] * (width - len(row)) + row for row in prompts])
    return ids, (ids != PAD).long()


def generate(model: Any, ids: torch.Tensor, mask: torch.Tensor, cache: Any) -> list[list[int]]:
    options = {"max_new_tokens": 300, "do_sample": False, "pad_token_id": PAD, "eos_token_id": None}
    out = model.generate(input_ids=ids, attention_mask=mask, cache=cache, **options)
    return out.tolist()


def test_same_tokens_beyond_the_room_of_a_layer(model: Any) -> None:
    ids, mask = batch([5, 6, 7, 8, 9], [11, 12], [21, 22, 23])
    wanted = generate(model, ids, mask, DynamicCache(config=model.config))
    cache = roomy_cache(model)
    assert cache is not None and all(type(layer) is RoomyLayer for layer in cache.layers)
    assert generate(model, ids, mask, cache) == wanted
    assert cache.get_seq_length() == ids.shape[1] + 299


def test_equal_prompts_are_read_once(model: Any) -> None:
    long, short = [5, 6, 7, 8, 9], [11, 12]
    ids, mask = batch(short, long, short, long, short)
    wanted = generate(model, ids, mask, DynamicCache(config=model.config))
    read: list[int] = []
    hook = model.model.layers[0].register_forward_pre_hook(
        lambda module, args, kwargs: read.append(args[0].shape[0] * args[0].shape[1]), with_kwargs=True
    )
    cache = roomy_cache(model)
    with torch.inference_mode():
        read_once(model, cache, ids, mask, [0, 1, 0, 1, 0])
        found = generate(model, ids, mask, cache)
    hook.remove()
    assert found == wanted
    assert read[:2] == [2 * 4, 5]  # two prompts but for their last tokens, then the last token of all five


def test_a_layer_whose_tensors_were_exchanged_goes_on_from_them() -> None:
    layer = RoomyLayer()
    first, second = torch.randn(2, 1, 3, 4), torch.randn(2, 1, 1, 4)
    layer.update(first, first)
    layer.batch_select_indices(torch.tensor([1, 1]))
    keys, values = layer.update(second, second)
    assert torch.equal(keys, torch.cat([first[[1, 1]], second], dim=-2)) and torch.equal(keys, values)
    layer.crop(-2)
    keys, _ = layer.update(second, second)
    assert torch.equal(keys, torch.cat([first[[1, 1]][..., :2, :], second], dim=-2))
