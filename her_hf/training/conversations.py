"""Conversations of scenes and chat data, and their rows: each character of a scene who speaks has one of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING

from datasets import Dataset, concatenate_datasets
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from her_hf.dual_layer import parse_turn
from her_hf.processes import end_with_parent
from her_hf.processing.rows import RowReport, Rows, build
from her_hf.processing.trunk import Row
from her_hf.scenes import ChatSample, Scene

from .one_pass.dataset import rows_dataset

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CHUNK = 256
"""Rows that wait as Python lists before they become Arrow, which takes about a tenth of the memory."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A scene as one of its characters sees it, or a chat sample.

    Args:
        name (`str`): Name for reports.
        messages (`list[dict[str, str]]`): The messages.
        names (`tuple[str, ...]`, *optional*): The speakers of a scene; empty for a chat sample.
        character (`str`, *optional*): The character of a scene that the model plays.
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

    max_context: int | None = None
    row_tokens: int | None = None
    one_pass: bool = True


def conversations(
    samples: Iterable[Scene | ChatSample], *, system_thinking: bool = True, last_reply_only: bool = False
) -> list[Conversation]:
    """The conversations of scenes and chat data: one for each character who speaks in a scene, one for each sample.

    The Environment is never trained. A chat sample stays as it is, with its own system prompt; when the window is
    full, each of its messages counts as one turn, since its speakers are not known.

    Args:
        samples (`Iterable[Scene | ChatSample]`): What [`~her_hf.scenes.load_samples`] read.
        system_thinking (`bool`, *optional*, defaults to `True`): Whether replies carry it and the prompts of scenes
            ask for it.
        last_reply_only (`bool`, *optional*, defaults to `False`): Whether only the last reply of a chat sample is
            trained and the others are history. Scenes are trained whole.

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
    """Indices of the messages that the model writes."""
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
    """Why no reply is left, and the remedy."""
    losses = {
        f"replies longer than the window of {settings.max_context} tokens": report.left_out,
        "empty replies": report.empty,
        "openings without a prompt": report.unprompted,
        "turns of the Environment": report.environment,
    }
    told = [f"{report.conversations} conversations", *(f"{count} {name}" for name, count in losses.items() if count)]
    remedy = "set a larger max_context" if report.left_out else "use another split or other data"
    return f"no reply is left to train: {', '.join(told)}; {remedy}."


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
        max_context=settings.max_context,
        row_tokens=settings.row_tokens,
        one_pass=settings.one_pass,
        name=item.name,
        names=item.names,
        trained=item.trained,
    )
