"""Labelled pairs to rows of a reward model: one prompt a row, and a branch for each way to answer it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import Dataset
from tqdm.auto import tqdm

from her_hf.judging.answers import compact_answer, published_answer
from her_hf.judging.pair_prompts import compact_messages, pair_messages
from her_hf.judging.pairs import BadPair, Pair, read_pairs
from her_hf.processing.rows import IGNORED, Row

from .data import rows_dataset

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PARTS = ("thinking", "decision", "form")
"""Parts of an answer by which the held-out loss is told apart: what is in `<think>`; winners and verdict; the rest."""

_THINKING, _DECISION, _FORM = range(len(PARTS))
_THINK = re.compile(r"<think>(.*?)</think>", re.DOTALL)
_WINNER = re.compile(r'"(cand_1|cand_2|tie)"')


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
        too_long (`int`): Rows longer than the window, left out.
    """

    pairs: int = 0
    rows: int = 0
    answers: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    longest_prompt: int = 0
    unlabelled: int = 0
    bad: int = 0
    too_long: int = 0

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
    max_tokens: int | None = None,
    progress: bool = True,
) -> Dataset:
    """Rows of labelled pairs.

    Args:
        pairs (`Sequence[Pair]`): Pairs with labels.
        tokenizer (`PreTrainedTokenizerBase`): With the base's own chat template.
        report ([`PairReport`]): Takes the counts.
        form (`str`, *optional*, defaults to `"published"`): `"published"` or `"compact"`.
        both_orders (`bool`, *optional*, defaults to `True`): Each pair in both orders.
        at_once (`bool`, *optional*, defaults to `True`): A second branch with the answer without thinking.
        max_tokens (`int`, *optional*): Longer rows are left out.
        progress (`bool`, *optional*, defaults to `True`): Whether to show a progress bar.

    Returns:
        `Dataset`: Rows as [`~her_hf.processing.rows.Row`], with `layers`: indices into [`PARTS`].

    Raises:
        `ValueError`: If the tokenizer's template does not keep a prompt as the prefix of the whole, or no row is left.
    """
    rows: list[Row] = []
    layers: list[list[int]] = []
    for pair in tqdm(pairs, desc="rows", disable=not progress):
        report.pairs += 1
        for one in (pair, pair.swapped()) if both_orders else (pair,):
            row, marks, prompt = _row(one, tokenizer, form, at_once=at_once)
            if max_tokens is not None and max(row["position_ids"]) >= max_tokens:
                report.too_long += 1
                continue
            rows.append(row)
            layers.append(marks)
            report.rows += 1
            report.answers += len(row["branches"])
            report.tokens += len(row["input_ids"])
            report.trained_tokens += sum(label != IGNORED for label in row["labels"])
            report.longest_prompt = max(report.longest_prompt, prompt)
    if not rows:
        raise ValueError(
            f"no row is left to train: all {report.too_long} are longer than {max_tokens} tokens. Use the compact "
            "form, or a larger max_tokens."
        )
    return rows_dataset(rows).add_column("layers", layers)


def _row(pair: Pair, tokenizer: PreTrainedTokenizerBase, form: str, *, at_once: bool) -> tuple[Row, list[int], int]:
    """One row: what all its prompts begin with is the trunk, the rest of each prompt and its answer a branch."""
    samples = [_sample(pair, tokenizer, form, reasoning=True)]
    if at_once:
        samples.append(_sample(pair, tokenizer, form, reasoning=False))
    trunk = min(prompt for _, prompt in samples)
    for ids, _ in samples[1:]:
        shared = next((at for at in range(trunk) if ids[at] != samples[0][0][at]), trunk)
        trunk = min(trunk, shared)
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


def _sample(pair: Pair, tokenizer: PreTrainedTokenizerBase, form: str, *, reasoning: bool) -> tuple[list[int], int]:
    """The ids of prompt and answer up to the end of the turn, and how many of them are prompt."""
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
    """The part of each token of an answer, by the character in its middle."""
    ends, text = [], ""
    for at in range(len(ids)):
        text = tokenizer.decode(ids[: at + 1], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        ends.append(len(text))
    marks = [_FORM] * (len(text) + 1)
    for match in _THINK.finditer(text):
        marks[match.start(1) : match.end(1)] = [_THINKING] * len(match[1])
    for match in _WINNER.finditer(text):
        marks[match.start(1) : match.end(1)] = [_DECISION] * len(match[1])
    starts = [0, *ends[:-1]]
    return [marks[min((start + end) // 2, len(text))] for start, end in zip(starts, ends, strict=True)]
