"""Labelled pairs to rows of a reward model: one prompt a row, and a branch for each way to answer it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import Dataset
from tqdm.auto import tqdm

from her_hf.judging.pairwise.answers import compact_answer, published_answer
from her_hf.judging.pairwise.pair_files import count_from_prompt, read_pairs
from her_hf.judging.pairwise.pairs import BadPair, Pair
from her_hf.judging.pairwise.prompts import compact_messages, pair_messages
from her_hf.processing.rows import IGNORED, Row

from ..one_pass.data import rows_dataset

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PARTS = ("thinking", "decision", "form")
"""Parts of an answer by which the held-out loss is told apart: what is in `<think>`; which reply is meant, wherever
one is named; the rest."""

_THINKING, _DECISION, _FORM = range(len(PARTS))
_THINK = re.compile(r"<think>(.*?)</think>", re.DOTALL)
_DECIDES = re.compile(r'\bcand_([12])\b(?!":)')

Sample = tuple[list[int], int]
"""The ids of a prompt and its answer up to the end of the turn, and how many of them are prompt."""


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
        bad (`int`): Rows of the source that are no pair, left out.
        from_prompt (`int`): Pairs of the source that carry no circumstances: what the model is told of their scenes is
            read out of their prompts.
        too_long (`int`): Pairs left out, as a row of theirs is longer than the window.
        not_in_doubt (`int`): Pairs left out, as the model that is started from finds their label certain or
            impossible.
    """

    pairs: int = 0
    rows: int = 0
    answers: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    longest_prompt: int = 0
    unlabelled: int = 0
    bad: int = 0
    from_prompt: int = 0
    too_long: int = 0
    not_in_doubt: int = 0

    def as_dict(self) -> dict[str, int]:
        """The counts, for JSON."""
        return asdict(self)


def labelled_pairs(source: str, split: str | None, most: int | None, report: PairReport) -> list[Pair]:
    """The pairs of a source that have a label; the others are counted.

    Raises:
        `FileNotFoundError`: If there is no such file.
        `ValueError`: If no pair with a label is left.
    """
    found = read_pairs(source, split=None if Path(source).is_file() else split)
    report.bad += sum(isinstance(pair, BadPair) for pair in found)
    report.from_prompt += count_from_prompt(found)
    pairs = [pair for pair in found if isinstance(pair, Pair)]
    report.unlabelled += sum(pair.label is None for pair in pairs)
    labelled = [pair for pair in pairs if pair.label is not None][:most]
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
    at_once: bool = True,
    thinking_share: float = 1.0,
    decision_share: float | None = None,
    max_tokens: int | None = None,
    progress: bool = True,
) -> Dataset:
    """Rows of labelled pairs: one for each order, with the prompt as trunk and its answers as branches.

    Both orders in one row would share the context and take a fifth fewer tokens, but longer rows cost as much again.
    The orders of a pair lie beside each other, so that `rows_together` keeps them in one step.

    Args:
        pairs (`Sequence[Pair]`): Pairs with labels.
        tokenizer (`PreTrainedTokenizerBase`): With the base's own chat template.
        report ([`PairReport`]): Takes the counts.
        form (`str`, *optional*, defaults to `"published"`): `"published"` or `"compact"`.
        both_orders (`bool`, *optional*, defaults to `True`): Each pair in both orders.
        at_once (`bool`, *optional*, defaults to `True`): Also the answer without thinking.
        thinking_share (`float`, *optional*, defaults to 1.0): Share of the pairs whose answer with thinking is
            trained, from 0 to 1, dealt evenly over the pairs.
        decision_share (`float`, *optional*): Share of an answer's loss that lies on the tokens that decide, between 0
            and 1. Every token counts alike if not given.
        max_tokens (`int`, *optional*): Pairs of which a row is longer are left out.
        progress (`bool`, *optional*, defaults to `True`): Whether to show a progress bar.

    Returns:
        `Dataset`: Rows as [`~her_hf.processing.rows.Row`], with `layers`: indices into [`PARTS`]; and with `weights`,
            given a `decision_share`.

    Raises:
        `ValueError`: If the tokenizer's template does not keep a prompt as the prefix of the whole, or no row is left.
    """
    rows: list[Row] = []
    layers: list[list[int]] = []
    for number, pair in enumerate(tqdm(pairs, desc="rows", disable=not progress)):
        thinks = int((number + 1) * thinking_share) > int(number * thinking_share)
        ways = [way for way, wanted in ((True, thinks), (False, at_once)) if wanted]
        orders = [
            _row([_sample(one, tokenizer, form, reasoning=reasoning) for reasoning in ways], tokenizer)
            for one in ((pair, pair.swapped()) if both_orders else (pair,))
        ]
        if max_tokens is not None and any(max(row["position_ids"]) >= max_tokens for row, _, _ in orders):
            report.too_long += 1
            continue
        report.pairs += 1
        for row, marks, prompt in orders:
            if decision_share is not None:
                row["weights"] = _weights(row, marks, decision_share)
            rows.append(row)
            layers.append(marks)
            report.rows += 1
            report.answers += len(row["branches"])
            report.tokens += len(row["input_ids"])
            report.trained_tokens += sum(label != IGNORED for label in row["labels"])
            report.longest_prompt = max(report.longest_prompt, prompt)
    if not rows:
        raise ValueError(
            f"no row is left to train: rows of all {report.too_long} pairs are longer than {max_tokens} tokens. "
            "Use the compact form, or a larger max_tokens."
        )
    made = rows_dataset(rows).add_column("layers", layers)
    return made if decision_share is None else made.add_column("weights", [row["weights"] for row in rows])


def _row(samples: Sequence[Sample], tokenizer: PreTrainedTokenizerBase) -> tuple[Row, list[int], int]:
    """One row: what all its prompts begin with is the trunk, the rest of each prompt and its answer a branch.

    Also the parts of its tokens, and the tokens of its longest prompt.
    """
    trunk = min(prompt for _, prompt in samples)
    for ids, _ in samples[1:]:
        trunk = next((at for at in range(trunk) if ids[at] != samples[0][0][at]), trunk)
    row = Row(
        input_ids=samples[0][0][:trunk],
        position_ids=list(range(trunk)),
        labels=[IGNORED] * trunk,
        trunk_len=trunk,
        branches=[],
        reply_ids=[],
    )
    marks = [IGNORED] * trunk
    for number, (ids, prompt) in enumerate(samples):
        start = len(row["input_ids"])
        row["input_ids"] += ids[trunk:]
        row["position_ids"] += range(trunk, len(ids))
        row["labels"] += [IGNORED] * (prompt - trunk) + ids[prompt:]
        row["branches"].append([start, len(row["input_ids"]), trunk])
        row["reply_ids"].append(number)
        marks += [IGNORED] * (prompt - trunk) + _parts(ids[prompt:], tokenizer)
    return row, marks, max(prompt for _, prompt in samples)


def _weights(row: Row, marks: Sequence[int], decision_share: float) -> list[float]:
    """What each token counts; an answer counts 1, and its deciding tokens that share of it.

    A tie takes no share, so that the choice between a tie and a reply weighs the same whichever is right; an answer
    that names no reply counts so much less.
    """
    weights = [0.0] * len(marks)
    for start, end, _ in row["branches"]:
        trained = [at for at in range(start, end) if marks[at] != IGNORED]
        deciding = [at for at in trained if marks[at] == _DECISION]
        others = [at for at in trained if marks[at] != _DECISION]
        for at in deciding:
            weights[at] = decision_share / len(deciding)
        for at in others:
            weights[at] = (1 - decision_share) / len(others)
    return weights


def _sample(pair: Pair, tokenizer: PreTrainedTokenizerBase, form: str, *, reasoning: bool) -> Sample:
    if form == "compact":
        messages, answer = compact_messages(pair, reasoning=reasoning), compact_answer(pair, reasoning=reasoning)
    else:
        messages, answer = pair_messages(pair, reasoning=reasoning), published_answer(pair, reasoning=reasoning)
    prompt = _ids(tokenizer, messages, add_generation_prompt=True)
    whole = _ids(tokenizer, [*messages, {"role": "assistant", "content": answer}])
    if whole[: len(prompt)] != prompt:
        raise ValueError(
            "the chat template changes the prompt once there is an answer, so that what is trained is not what is "
            "asked for later: use a base whose template keeps it"
        )
    end = tokenizer.eos_token_id
    if end in whole[len(prompt) :]:
        whole = whole[: len(whole) - whole[::-1].index(end)]
    return whole, len(prompt)


def _ids(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, Any]], **how: Any) -> list[int]:
    ids: list[int] = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **how)["input_ids"]
    return ids


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
