"""Which pairs a reward model can still learn from: those of which it neither finds the label certain nor impossible.

Where all answers to a prompt earn the same, GRPO learns nothing, so such a pair costs its answers for nothing. Asking
for the probability of each verdict costs a fraction of sampling.

Source: our own; DAPO (arXiv 2503.14476) leaves out such prompts too, after sampling their answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from her_hf.durable import digest
from her_hf.inference import Caller
from her_hf.inference.local import LocalModel
from her_hf.journal import Journal
from her_hf.judging.pairwise.judge import OneOrder, PairJudging, PairwiseJudge
from her_hf.judging.pairwise.pairs import Pair
from her_hf.judging.pairwise.reward_model import HERRewardModel

DOUBTS_FILE = "doubts.jsonl"
"""In the run's folder: the doubt of each pair, so that a run that goes on has the same pairs."""


def doubtful_pairs(
    pairs: Sequence[Pair],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    least: float,
    both_orders: bool = True,
    file: str | Path,
    progress: bool = True,
) -> list[Pair]:
    """The pairs of which a reward model is in doubt in at least one order.

    Args:
        pairs (`Sequence[Pair]`): Pairs with labels.
        model (`PreTrainedModel`): The reward model, whole and on its device. It is asked in the compact form, at once.
        tokenizer (`PreTrainedTokenizerBase`): Its tokenizer, with the chat template of its base.
        least (`float`): Least doubt: the probability of the label lies between `least` and `1 - least`.
        both_orders (`bool`, *optional*, defaults to `True`): Whether the exchanged order counts too.
        file (`str` or `Path`): A JSONL file with a line a pair, written as they come; pairs that are in it already are
            not asked again.
        progress (`bool`, *optional*, defaults to `True`): Whether to show a progress bar.

    Returns:
        `list[Pair]`: In the order given.

    Raises:
        `ValueError`: If the probabilities of a pair cannot be had, or no pair is left.

    Example:

    ```python
    >>> doubtful_pairs(pairs, model, tokenizer, least=0.02, file="outputs/rm-rl/doubts.jsonl")
    ```
    """
    settings = PairJudging(form="compact", reasoning=False, read="probability", both_orders=both_orders)
    local = LocalModel(tokenizer, model.eval(), name=str(model.config.name_or_path))
    journal = Journal(file, key=lambda row: (row["asked"], row["pair"]))
    with closing(HERRewardModel(PairwiseJudge(Caller(local), settings))) as judge:
        asked = digest(judge.fingerprint())
        waiting = [pair for pair in pairs if (asked, labelled_key(pair)) not in journal]
        bar = tqdm(waiting, total=len(pairs), initial=len(pairs) - len(waiting), desc="doubt", disable=not progress)
        for pair in bar:
            doubts = [_doubt(order, pair) for order in judge.judge([pair])[0].per_order]
            journal.add({"pair": labelled_key(pair), "asked": asked, "doubts": doubts})
    rows = journal.rows((asked, labelled_key(pair)) for pair in pairs)
    kept = [pair for pair, row in zip(pairs, rows, strict=True) if max(row["doubts"]) >= least]
    if not kept:
        raise ValueError(
            f"{local.name} is in doubt of none of {len(pairs)} pairs (least_doubt: {least}): none is left to learn "
            "from. Lower least_doubt, or name pairs that it was not trained on."
        )
    return kept


def labelled_key(pair: Pair) -> str:
    """What identifies a pair with its label, and with its character, who stands in the prompt but not in its key."""
    return digest([pair.key, pair.character, pair.label])


def _doubt(order: OneOrder, pair: Pair) -> float:
    """How far the label's probability is from certain or impossible, from 0 to 0.5."""
    if order.probabilities is None:
        cause = order.missing.detail if order.missing else "no probabilities"
        raise ValueError(f"pair {pair.key}: its doubt cannot be told ({cause})")
    right = order.probabilities[str(pair.label)]
    return min(right, 1 - right)
