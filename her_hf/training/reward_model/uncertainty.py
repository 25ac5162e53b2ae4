"""Which pairs a reward model can still learn from: those whose label it finds neither certain nor impossible.

Where all answers to a prompt earn the same reward, GRPO has no gradient, so sampling answers to such a pair is wasted.
Computing the probability of each verdict costs a fraction of sampling.

Source: our own; DAPO (arXiv 2503.14476) drops such prompts too, after sampling their answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import BaseModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from her_hf.durable import digest
from her_hf.inference import Caller
from her_hf.inference.local import LocalModel
from her_hf.journal import Journal
from her_hf.judging.pairwise.judge import OneOrder, PairJudging, PairwiseJudge
from her_hf.judging.pairwise.pairs import Pair
from her_hf.runs.progress import Progress
from her_hf.runs.units import Stage, run_units

UNCERTAINTY_FILE = "uncertainty.jsonl"
"""In the run's folder: the uncertainty of each pair, so that a resumed run trains on the same pairs."""


def uncertain_pairs(
    pairs: Sequence[Pair],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    minimum: float,
    both_orders: bool = True,
    file: str | Path,
    progress: bool = True,
) -> list[Pair]:
    """The pairs about which a reward model is uncertain in at least one order.

    Args:
        pairs (`Sequence[Pair]`): Pairs with labels.
        model (`PreTrainedModel`): The reward model, whole and on its device. It is prompted in the compact form for a
            direct answer.
        tokenizer (`PreTrainedTokenizerBase`): Its tokenizer, with the chat template of its base.
        minimum (`float`): Minimal uncertainty: the probability of the label lies between this and 1 minus this.
        both_orders (`bool`, *optional*, defaults to `True`): Whether the exchanged order counts too.
        file (`str` or `Path`): A JSONL file with a line for each pair, written one by one; pairs that it holds already
            are not computed again.
        progress (`bool`, *optional*, defaults to `True`): Whether to show a progress bar.

    Returns:
        `list[Pair]`: In the given order.

    Raises:
        `ValueError`: If the model gives no probabilities for a pair, a line of the file is of another shape, or no
            pair is left.

    Example (not run: it needs a model):

    ```python
    >>> uncertain_pairs(pairs, model, tokenizer, minimum=0.02, file="outputs/rm-rl/uncertainty.jsonl")
    ```
    """
    settings = PairJudging(form="compact", reasoning=False, read="probability", both_orders=both_orders)
    local = LocalModel(tokenizer, model.eval(), name=str(model.config.name_or_path))
    with ThreadPoolExecutor(1) as thread:  # of its own: a notebook already runs a loop
        judge = PairwiseJudge(Caller(local), settings)
        found = thread.submit(asyncio.run, _uncertainties(judge, pairs, Path(file), progress)).result()
    kept = [pair for pair in pairs if found[labelled_key(pair)] >= minimum]
    if not kept:
        raise ValueError(
            f"{local.name} is certain about all {len(pairs)} pairs (min_uncertainty: {minimum}): no pair is left to "
            "learn from. Lower min_uncertainty, or name pairs that it was not trained on."
        )
    return kept


class _Shape(BaseModel):
    pair: str
    judge: str
    uncertainty: list[float]


async def _uncertainties(judge: PairwiseJudge, pairs: Sequence[Pair], file: Path, progress: bool) -> dict[str, float]:
    """The larger uncertainty of each pair's orders, by the pair's key."""
    fingerprint = digest({"model": await judge.caller.fingerprint(), **judge.settings.as_dict()})
    by_key = {labelled_key(pair): pair for pair in pairs}

    async def one(key: str) -> dict[str, object]:
        verdict = await judge.judge(by_key[key])
        found = [_uncertainty(order, by_key[key]) for order in verdict.per_order]
        return {"pair": key, "judge": fingerprint, "uncertainty": found}

    stage = Stage(
        Journal(file, key=lambda row: (row["judge"], row["pair"]), shape=_Shape),
        key=lambda key: (fingerprint, key),
        make=one,
        is_valid=lambda key, row: True,  # what was stored counts, not what another device would compute
        progress=Progress("uncertainty", "pair", total=len(by_key), show=progress),
    )
    rows = await run_units(by_key, stage, window=1)  # one model in this process
    return {row["pair"]: max(row["uncertainty"]) for row in rows}


def labelled_key(pair: Pair) -> str:
    """Identifies all that the model is shown of a pair, and its label."""
    return digest([pair.shown_key, pair.label])


def _uncertainty(order: OneOrder, pair: Pair) -> float:
    """How far the label's probability is from certain or impossible, from 0 to 0.5."""
    if order.probabilities is None:
        cause = order.missing.detail if order.missing else "no probabilities"
        raise ValueError(f"pair {pair.key}: its uncertainty cannot be computed ({cause})")
    right = order.probabilities[str(pair.label)]
    return min(right, 1 - right)
