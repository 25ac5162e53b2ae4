"""Sampling that depends on each prompt's own seed alone, not on neighbours in a batch or torch's global state."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Sequence

import torch
from transformers import LogitsProcessor, StoppingCriteria

from her_hf.durable import SEED_LIMIT


class SeededSampler(LogitsProcessor):  # type: ignore[misc]
    """Draws the next token of each row and leaves it as the only possible one, so that greedy search takes it.

    Args:
        seeds (`Sequence[int | None]`): One a row; `None` draws a fresh one.
        temperature (`float`): Above 0.
        top_p (`float`): Probability mass to draw from.
    """

    def __init__(self, seeds: Sequence[int | None], temperature: float, top_p: float) -> None:
        self._draws = [random.Random(secrets.randbelow(SEED_LIMIT) if seed is None else seed) for seed in seeds]
        self._temperature, self._top_p = temperature, top_p

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        probabilities, order = (scores.float() / self._temperature).softmax(-1).sort(dim=-1, descending=True)
        mass = probabilities.cumsum(-1)
        # The likeliest tokens that together reach top_p: those before which less than top_p has been seen.
        kept = ((mass - probabilities) < self._top_p).sum(-1, keepdim=True)
        total = mass.gather(-1, kept - 1)
        draws = torch.tensor([[draw.random()] for draw in self._draws], dtype=mass.dtype, device=mass.device)
        place = (mass <= draws * total).sum(-1, keepdim=True).clamp(max=kept - 1)
        return torch.full_like(scores, float("-inf")).scatter(-1, order.gather(-1, place), 0.0)


class Stopper(StoppingCriteria):  # type: ignore[misc]
    """Ends rows that wrote a stop text, and all of them when the caller no longer wants a reply.

    Args:
        cancelled (`Callable[[], bool]`): Asked after every token.
        found (`Callable[[list[int]], bool]`, *optional*): Whether these generated ids contain a stop text.
        start (`int`, *optional*, defaults to 0): Length of the prompt.
    """

    def __init__(
        self, cancelled: Callable[[], bool], found: Callable[[list[int]], bool] | None = None, start: int = 0
    ) -> None:
        self._cancelled, self._found, self._start = cancelled, found, start

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **kwargs: object) -> torch.BoolTensor:
        rows, device = input_ids.shape[0], input_ids.device
        cancelled = self._cancelled()  # once a token
        if cancelled or self._found is None:
            return torch.full((rows,), cancelled, dtype=torch.bool, device=device)
        done = [self._found(row[self._start :].tolist()) for row in input_ids]
        return torch.tensor(done, dtype=torch.bool, device=device)
