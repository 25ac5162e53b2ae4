"""Sampling that depends only on each prompt's own seed, not on its batch or on torch's global state."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Sequence

import torch
from transformers import LogitsProcessor, StoppingCriteria
from transformers.generation.streamers import BaseStreamer

from her_hf.durable import SEED_LIMIT


class SeededSampler(LogitsProcessor):  # type: ignore[misc]
    """Samples the next token of each row and leaves it as the only possible one, so that greedy search takes it.

    Args:
        seeds (`Sequence[int | None]`): One per row; `None` for a random one.
        temperature (`float`): Above 0.
        top_p (`float`): Probability mass to sample from.
    """

    def __init__(self, seeds: Sequence[int | None], temperature: float, top_p: float) -> None:
        self._draws = [random.Random(secrets.randbelow(SEED_LIMIT) if seed is None else seed) for seed in seeds]
        self._temperature, self._top_p = temperature, top_p

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        probabilities, order = (scores.float() / self._temperature).softmax(-1).sort(dim=-1, descending=True)
        mass = probabilities.cumsum(-1)
        # The most likely tokens that together reach top_p: those with less than top_p before them.
        kept = ((mass - probabilities) < self._top_p).sum(-1, keepdim=True)
        total = mass.gather(-1, kept - 1)
        draws = torch.tensor([[draw.random()] for draw in self._draws], dtype=mass.dtype, device=mass.device)
        place = (mass <= draws * total).sum(-1, keepdim=True).clamp(max=kept - 1)
        return torch.full_like(scores, float("-inf")).scatter(-1, order.gather(-1, place), 0.0)


class Stopper(StoppingCriteria):  # type: ignore[misc]
    """Ends rows that contain a stop text, and all rows when the caller no longer wants a reply.

    Args:
        cancelled (`Callable[[], bool]`): Called after every token.
        found (`Callable[[list[int]], bool]`, *optional*): Whether these generated ids contain a stop text.
        start (`int`, *optional*, defaults to 0): Length of the prompt.
    """

    def __init__(
        self, cancelled: Callable[[], bool], found: Callable[[list[int]], bool] | None = None, start: int = 0
    ) -> None:
        self._cancelled, self._found, self._start = cancelled, found, start

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **kwargs: object) -> torch.BoolTensor:
        rows, device = input_ids.shape[0], input_ids.device
        cancelled = self._cancelled()  # once per token
        if cancelled or self._found is None:
            return torch.full((rows,), cancelled, dtype=torch.bool, device=device)
        done = [self._found(row[self._start :].tolist()) for row in input_ids]
        return torch.tensor(done, dtype=torch.bool, device=device)


class Taps(BaseStreamer):  # type: ignore[misc]
    """Passes on each generated id, without the prompt, which `generate` passes first."""

    def __init__(self, take: Callable[[list[int]], None]) -> None:
        self._take, self._prompt = take, True

    def put(self, value: torch.Tensor) -> None:
        if not self._prompt:
            self._take(value.reshape(-1).tolist())
        self._prompt = False

    def end(self) -> None:
        """Required by `generate`; the end is known from its return."""
