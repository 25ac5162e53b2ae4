"""A key-value cache for batches of replies: no copy per token, and equal prompts are read once.

It overrides a layer of transformers' cache and reads a private flag of its models, as of transformers 5.24.0;
tests/inference/test_internals.py fails when these change, and says what to check.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

_ROOM = 256
"""Number of tokens by which the memory of a layer grows."""


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """A layer that writes new tokens into memory allocated in advance.

    The layer of transformers concatenates old and new tensors for every token, which copies the whole cache: for 32
    replies to long prompts that takes longer than the model.
    """

    keys: Tensor
    values: Tensor

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """See `DynamicLayer.update`."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._memory: tuple[Tensor, Tensor] | None = None
        old = self.get_seq_length()
        new = old + key_states.shape[-2]
        memory = self._memory
        # Reordering or cropping the cache replaces the tensors here: those are copied once.
        if memory is None or memory[0].shape[-2] < new or self.keys.data_ptr() != memory[0].data_ptr():
            memory = (self._grown(self.keys, key_states, new), self._grown(self.values, value_states, new))
            self._memory = memory
        for kept, added in zip(memory, (key_states, value_states), strict=True):
            kept[..., old:new, :] = added
        self.keys, self.values = (kept[..., :new, :] for kept in memory)
        return self.keys, self.values

    @staticmethod
    def _grown(old: Tensor, added: Tensor, length: int) -> Tensor:
        memory = added.new_empty(*added.shape[:-2], length + _ROOM, added.shape[-1])
        if old.numel():
            memory[..., : old.shape[-2], :] = old
        return memory


def roomy_cache(model: Any) -> DynamicCache | None:
    """A cache for one call of `generate`; `None` for a model with its own kind of cache (a private flag tells)."""
    if not model._supports_default_dynamic_cache():
        return None
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def read_once(model: Any, cache: DynamicCache, ids: Tensor, mask: Tensor, distinct: Sequence[int]) -> None:
    """Fills a cache with prompts, reading equal ones once, except for the last token of each prompt.

    Args:
        model (`PreTrainedModel`): A causal language model.
        cache (`DynamicCache`): An empty cache; afterwards it has one row per prompt.
        ids, mask (`Tensor`): Prompts, padded on the left: `(prompts, tokens)`.
        distinct (`Sequence[int]`): For each prompt the first one that is equal to it.
    """
    chosen = sorted(set(distinct))
    device, seen = ids.device, mask[chosen, :-1]
    model(
        input_ids=ids[chosen, :-1],
        attention_mask=seen,
        position_ids=(seen.cumsum(-1) - 1).clamp(min=0),
        cache=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    cache.batch_select_indices(torch.tensor([chosen.index(first) for first in distinct], device=device))
