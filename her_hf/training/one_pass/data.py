"""Scenes and chat data to rows: each member of a cast plays its own conversation, a chat sample is one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from datasets import Dataset, Features, Value, concatenate_datasets
from datasets import Sequence as SequenceFeature
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from her_hf.dual_layer import parse_turn
from her_hf.processes import end_with_parent
from her_hf.processing.rows import Row, RowReport, Rows, build
from her_hf.scenes import ChatSample, Scene

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_NUMBERS = SequenceFeature(Value("int32"))
_FEATURES = Features(
    {
        "input_ids": _NUMBERS,
        "position_ids": _NUMBERS,
        "labels": _NUMBERS,
        "trunk_len": Value("int32"),
        "branches": SequenceFeature(_NUMBERS),
        "reply_ids": _NUMBERS,
    }
)

_CHUNK = 256
"""Rows that wait as Python lists before they become Arrow, which takes about a tenth of the memory."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A scene as one of its cast sees it, or a chat sample.

    Args:
        name (`str`): Name for reports.
        messages (`list[dict[str, str]]`): The messages.
        names (`tuple[str, ...]`, *optional*): Who speaks in a scene; nothing for a chat sample.
        character (`str`, *optional*): Who is played in a scene.
        trained (`tuple[int, ...]`, *optional*): Indices of the replies that are trained; all if not given.
    """

    name: str
    messages: list[dict[str, str]]
    names: tuple[str, ...] = ()
    character: str = ""
    trained: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class RowSettings:
    """How conversations become rows; see [`~her_hf.processing.rows.build`]."""

    max_length: int | None = None
    row_length: int | None = None
    one_pass: bool = True


def conversations(
    samples: Iterable[Scene | ChatSample], *, system_thinking: bool = True, last_reply_only: bool = False
) -> list[Conversation]:
    """The conversations of scenes and chat data: one for each character of a scene that speaks in it, one a sample.

    The Environment is never trained. A chat sample stays as it is, with its own system prompt; a message of it counts
    as one turn when the window is full, as nobody says who speaks in it.

    Args:
        samples (`Iterable[Scene | ChatSample]`): What [`~her_hf.scenes.load_samples`] read.
        system_thinking (`bool`, *optional*, defaults to `True`): Whether replies carry it and the prompts of scenes
            ask for it.
        last_reply_only (`bool`, *optional*, defaults to `False`): Whether of a chat sample the last reply alone is
            trained, the others being its history. Scenes are trained whole.

    Returns:
        `list[Conversation]`: In the order of samples and casts.
    """
    found: list[Conversation] = []
    for index, sample in enumerate(samples):
        if isinstance(sample, Scene):
            found += _played(sample, system_thinking)
        else:
            kept = sample.messages if system_thinking else list(map(_without_system_thinking, sample.messages))
            trained = replies_of(sample)[-1:] if last_reply_only else None
            found.append(Conversation(f"conversation {index}", kept, trained=trained))
    return found


def replies_of(sample: ChatSample) -> tuple[int, ...]:
    """Indices of the messages that a model is to write."""
    return tuple(index for index, message in enumerate(sample.messages) if message["role"] == "assistant")


def _played(scene: Scene, system_thinking: bool) -> list[Conversation]:
    return [
        Conversation(
            name="/".join(map(str, scene.key)) + f"/{member.name}",
            messages=scene.messages_for(member.name, system_thinking=system_thinking),
            names=tuple(dict.fromkeys(turn.name for turn in scene.dialogue if turn.name)),
            character=member.name,
        )
        for member in scene.characters
        if any(turn.name == member.name for turn in scene.dialogue)
    ]


def _without_system_thinking(message: dict[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in message.items() if name != "reasoning_content"}
    turn = parse_turn(message["content"]) if message["role"] == "assistant" else None
    return kept | {"content": turn.render(view="self")} if turn and turn.system_thinking is not None else kept


def make_rows(
    items: Sequence[Conversation],
    tokenizer: PreTrainedTokenizerBase,
    settings: RowSettings,
    *,
    processes: int | None = None,
    progress: bool = True,
) -> tuple[Dataset, RowReport]:
    """Builds the rows of many conversations.

    Args:
        items (`Sequence[Conversation]`): The conversations.
        tokenizer (`PreTrainedTokenizerBase`): Carries the HER template.
        settings ([`RowSettings`]): Window and layout.
        processes (`int`, *optional*): Build in this many processes; in this one if not given.
        progress (`bool`, *optional*, defaults to `True`): Whether to show a progress bar.

    Returns:
        `tuple[Dataset, RowReport]`: All rows in order, and what became of the replies.

    Raises:
        `ValueError`: If no reply is left to train.
    """
    parts: list[Dataset] = []
    waiting: list[Row] = []
    report = RowReport()
    for built in tqdm(
        _built(items, tokenizer, settings, processes), total=len(items), desc="rows", disable=not progress
    ):
        waiting += built
        report.add(built.report)
        if len(waiting) >= _CHUNK:
            parts.append(rows_dataset(waiting))
            waiting = []
    if waiting:
        parts.append(rows_dataset(waiting))
    if not parts:
        raise ValueError(_nothing_left(report, settings))
    return concatenate_datasets(parts), report


def _nothing_left(report: RowReport, settings: RowSettings) -> str:
    """What became of all replies, and what helps."""
    losses = {
        f"replies longer than the window of {settings.max_length} tokens": report.left_out,
        "empty replies": report.empty,
        "openings without a prompt": report.unprompted,
        "turns of the Environment": report.environment,
    }
    told = [f"{report.conversations} conversations", *(f"{count} {name}" for name, count in losses.items() if count)]
    remedy = "set a larger max_tokens" if report.left_out else "use another split or other data"
    return f"no reply is left to train: {', '.join(told)}; {remedy}."


def rows_dataset(rows: Sequence[Row]) -> Dataset:
    """Rows as the trainer takes them."""
    columns: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in _FEATURES}  # type: ignore[literal-required]
    return Dataset.from_dict(columns, features=_FEATURES)


def _built(
    items: Sequence[Conversation], tokenizer: PreTrainedTokenizerBase, settings: RowSettings, processes: int | None
) -> Iterator[Rows]:
    if not processes or processes < 2:
        yield from (_build_one((item, tokenizer, settings)) for item in items)
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=end_with_parent) as pool:
        yield from pool.map(_build_one, ((item, tokenizer, settings) for item in items), chunksize=16)


def _build_one(job: tuple[Conversation, PreTrainedTokenizerBase, RowSettings]) -> Rows:
    item, tokenizer, settings = job
    return build(
        item.messages,
        tokenizer,
        max_length=settings.max_length,
        row_length=settings.row_length,
        one_pass=settings.one_pass,
        name=item.name,
        names=item.names,
        trained=item.trained,
    )


def digest(rows: Dataset) -> str:
    """A digest of what rows train, which changes with data, template, tokenizer and window."""
    sha = hashlib.sha256()
    for row in rows:
        sha.update(repr((row["input_ids"], row["labels"], row["branches"])).encode())
        if "weights" in row:
            sha.update(repr(row["weights"]).encode())
    return sha.hexdigest()[:16]
