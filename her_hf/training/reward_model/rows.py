"""Labelled pairs to rows of a reward model: one prompt a row, and a branch for each way to answer it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datasets import Dataset
from tqdm.auto import tqdm

from her_hf.judging.pairwise.answers import compact_answer, published_answer
from her_hf.judging.pairwise.pair_files import count_from_prompt, read_pairs
from her_hf.judging.pairwise.pairs import BadPair, Pair
from her_hf.judging.pairwise.prompts import compact_messages, pair_messages
from her_hf.processing.trunk import IGNORED, Row, Sample, build_row, shared_prefix
from her_hf.processing.window import token_ids

from ..one_pass.dataset import rows_dataset

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PARTS = ("thinking", "decision", "form")
"""Parts of an answer by which the held-out loss is reported: the text in `<think>`; the tokens that say which reply is
meant, wherever one is named; the rest."""

_THINKING, _DECISION, _FORM = range(len(PARTS))
_THINK = re.compile(r"<think>(.*?)</think>", re.DOTALL)
_DECIDES = re.compile(r'\bcand_([12])\b(?!":)')


@dataclass
class PairReport:
    """What became of the pairs.

    Args:
        pairs (`int`): Pairs that are trained.
        rows (`int`): Rows: a pair in one order each.
        answers (`int`): Answers that are trained.
        tokens (`int`): Tokens of all rows.
        trained_tokens (`int`): Tokens with a label.
        longest_prompt (`int`): Tokens of the longest prompt.
        unlabelled (`int`): Pairs without a label, left out.
        invalid (`int`): Rows of the source that are not a pair, left out.
        from_prompt (`int`): Pairs of the source that carry no circumstances: what the model is told of their scenes is
            read out of their prompts.
        too_long (`int`): Pairs left out because one of their rows is longer than the window.
        certain (`int`): Pairs left out because the initial model finds their label certain or impossible.
    """

    pairs: int = 0
    rows: int = 0
    answers: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    longest_prompt: int = 0
    unlabelled: int = 0
    invalid: int = 0
    from_prompt: int = 0
    too_long: int = 0
    certain: int = 0

    def as_dict(self) -> dict[str, int]:
        """The counts, for JSON."""
        return asdict(self)

    def left_out(self) -> dict[str, int]:
        """Why pairs were left out, in words, and how many; only what occurred."""
        counts = {
            "pairs without a label": self.unlabelled,
            "rows of the source that are not a pair": self.invalid,
            "pairs that are too long": self.too_long,
            "pairs whose label is certain or impossible for the initial model": self.certain,
        }
        return {reason: count for reason, count in counts.items() if count}


def labelled_pairs(source: str, split: str | None, limit: int | None, report: PairReport) -> list[Pair]:
    """The pairs of a source that have a label; the others are counted.

    Args:
        source (`str`): A preference set (folder or Hub id), or a JSONL file of pairs.
        split (`str`, *optional*): Split of a preference set.
        limit (`int`, *optional*): Take at most this many, the first ones.
        report ([`PairReport`]): Takes the counts.

    Raises:
        `FileNotFoundError`: If there is no such file.
        `ValueError`: If no pair with a label is left.
    """
    found = read_pairs(source, split=None if Path(source).is_file() else split)
    report.invalid += sum(isinstance(pair, BadPair) for pair in found)
    report.from_prompt += count_from_prompt(found)
    pairs = [pair for pair in found if isinstance(pair, Pair)]
    report.unlabelled += sum(pair.label is None for pair in pairs)
    labelled = [pair for pair in pairs if pair.label is not None][:limit]
    if not labelled:
        raise ValueError(f"{source} holds no pair with a label to train on, in {len(found)} rows")
    return labelled


def reward_rows(
    pairs: Sequence[Pair],
    tokenizer: PreTrainedTokenizerBase,
    report: PairReport,
    *,
    form: str = "published",
    both_orders: bool = True,
    direct_answers: bool = True,
    thinking_share: float = 1.0,
    decision_share: float | None = None,
    max_context: int | None = None,
    progress: bool = True,
) -> Dataset:
    """Rows of labelled pairs: one for each order, with the prompt as trunk and its answers as branches.

    Both orders in one row would share the context and save a fifth of the tokens, but attention over the longer rows
    costs as much again. The orders of a pair are neighbours, so that `row_group_size` keeps them in one step.

    Args:
        pairs (`Sequence[Pair]`): Pairs with labels.
        tokenizer (`PreTrainedTokenizerBase`): With the base's own chat template.
        report ([`PairReport`]): Takes the counts.
        form (`str`, *optional*, defaults to `"published"`): `"published"` or `"compact"`.
        both_orders (`bool`, *optional*, defaults to `True`): Each pair in both orders.
        direct_answers (`bool`, *optional*, defaults to `True`): Also train the answer without thinking.
        thinking_share (`float`, *optional*, defaults to 1.0): Share of the pairs whose answer with thinking is
            trained, from 0 to 1, spread evenly over the pairs.
        decision_share (`float`, *optional*): Share of an answer's loss on the tokens that decide, between 0 and 1. All
            tokens have the same weight if not given.
        max_context (`int`, *optional*): Pairs with a longer row are left out.
        progress (`bool`, *optional*, defaults to `True`): Whether to show a progress bar.

    Returns:
        `Dataset`: Rows as [`~her_hf.processing.trunk.Row`], with `layers`: indices into [`PARTS`]; and with `weights`,
            given a `decision_share`.

    Raises:
        `ValueError`: If the tokenizer's template does not keep a prompt as the prefix of the whole, or no row is left.
    """
    rows: list[Row] = []
    for number, pair in enumerate(tqdm(pairs, desc="rows", disable=not progress)):
        thinks = int((number + 1) * thinking_share) > int(number * thinking_share)
        ways = [way for way, wanted in ((True, thinks), (False, direct_answers)) if wanted]
        orders = [
            [_answered(one, tokenizer, form, reasoning=reasoning) for reasoning in ways]
            for one in ((pair, pair.swapped()) if both_orders else (pair,))
        ]
        built = [_row(answers, tokenizer, decision_share) for answers in orders]
        if max_context is not None and any(max(row["position_ids"]) >= max_context for row in built):
            report.too_long += 1
            continue
        rows += built
        report.pairs += 1
        report.rows += len(built)
        report.answers += sum(len(row["branches"]) for row in built)
        report.tokens += sum(len(row["input_ids"]) for row in built)
        report.trained_tokens += sum(label != IGNORED for row in built for label in row["labels"])
        prompts = [prompt for answers in orders for _, prompt in answers]
        report.longest_prompt = max(report.longest_prompt, *prompts)
    if not rows:
        raise ValueError(
            f"no row is left to train: rows of all {report.too_long} pairs are longer than {max_context} tokens. "
            "Use the compact form, or a larger max_context."
        )
    return rows_dataset(rows)


_Answered = tuple[list[int], int]
"""The ids of a prompt and its answer up to the end of the turn, and how many of them are prompt."""


def _row(answers: Sequence[_Answered], tokenizer: PreTrainedTokenizerBase, decision_share: float | None) -> Row:
    """One row: what all its prompts begin with is the trunk, the rest of each prompt and its answer a branch."""
    shared = shared_prefix([ids[:prompt] for ids, prompt in answers])
    samples = []
    for number, (ids, prompt) in enumerate(answers):
        parts = [IGNORED] * prompt + _parts(ids[prompt:], tokenizer)
        samples.append(
            Sample(
                ids,
                [at >= prompt for at in range(len(ids))],
                shared,
                number,
                layers=parts,
                weights=None if decision_share is None else _weights(parts, decision_share),
            )
        )
    return build_row(samples)


def _weights(parts: Sequence[int], decision_share: float) -> list[float]:
    """Weight of each token; those of an answer add up to 1, its deciding tokens to that share of it.

    A tie does not give its share to the other tokens, so that the choice between a tie and a reply weighs the same
    whichever is right; the weights of an answer that names no reply add up to less.
    """
    weights = [0.0] * len(parts)
    trained = [at for at, part in enumerate(parts) if part != IGNORED]
    deciding = [at for at in trained if parts[at] == _DECISION]
    others = [at for at in trained if parts[at] != _DECISION]
    for at in deciding:
        weights[at] = decision_share / len(deciding)
    for at in others:
        weights[at] = (1 - decision_share) / len(others)
    return weights


def _answered(pair: Pair, tokenizer: PreTrainedTokenizerBase, form: str, *, reasoning: bool) -> _Answered:
    if form == "compact":
        messages, answer = compact_messages(pair, reasoning=reasoning), compact_answer(pair, reasoning=reasoning)
    else:
        messages, answer = pair_messages(pair, reasoning=reasoning), published_answer(pair, reasoning=reasoning)
    prompt = token_ids(messages, tokenizer, add_generation_prompt=True)
    whole = token_ids([*messages, {"role": "assistant", "content": answer}], tokenizer)
    if whole[: len(prompt)] != prompt:
        raise ValueError(
            "the chat template changes the prompt once there is an answer, so training would not see the prompt that "
            "is used later: name a base whose template keeps the prompt"
        )
    end = tokenizer.eos_token_id
    if end in whole[len(prompt) :]:
        whole = whole[: len(whole) - whole[::-1].index(end)]
    return whole, len(prompt)


def _parts(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The part of each token of an answer: decision if anything in it decides, else that of its middle character."""
    ends, text = [], ""
    for at in range(len(ids)):
        text = tokenizer.decode(ids[: at + 1], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        ends.append(len(text))
    marks = [_FORM] * (len(text) + 1)
    for match in _THINK.finditer(text):
        marks[match.start(1) : match.end(1)] = [_THINKING] * len(match[1])
    for match in _DECIDES.finditer(text):
        marks[match.start(1)] = _DECISION
    starts = [0, *ends[:-1]]
    return [
        _DECISION if _DECISION in marks[start:end] else marks[min((start + end) // 2, len(text))]
        for start, end in zip(starts, ends, strict=True)
    ]
