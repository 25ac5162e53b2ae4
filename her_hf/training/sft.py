"""HER-SFT from settings to a folder that carries the method: scenes or conversations, rows, training, card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.logging import get_logger
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import ModelConfig

from her_hf.dual_layer import parse_turn
from her_hf.hub.card_layout import ModelCard
from her_hf.processing import HERProcessor
from her_hf.processing.rows import RowReport
from her_hf.scenes import ChatSample, Scene, SceneError, load_samples

from .conversations import Conversation, RowSettings, conversations, make_rows, replies_of
from .one_pass.config import OnePassConfig
from .run.base import open_base, window_of
from .run.job import one_pass_job, run_job
from .run.model_card import training_card
from .run.tokenizers import her_tokenizer

logger = get_logger(__name__)


@dataclass
class SFTDataConfig:
    """Settings of the data that HER-SFT trains on; those of the trainer are in
    [`~her_hf.training.one_pass.config.OnePassConfig`].

    Args:
        dataset (`str`): A folder, a file or a Hub id that [`~her_hf.scenes.load_samples`] reads: scenes, or
            conversations (`messages` or `conversations`). A config follows a colon: `owner/name:config`.
        train_split (`str`, *optional*, defaults to `"train"`): Split to train on.
        eval_split (`str`, *optional*, defaults to `"validation"`): Held-out split; empty for none.
        languages (`list[str]`, *optional*): Keep only scenes and conversations in these languages; all if not given.
        max_scenes (`int`, *optional*): Use only the first scenes or conversations of the training split.
        max_eval_scenes (`int`, *optional*): Use only the first scenes or conversations of the held-out split.
        system_thinking (`bool`, *optional*, defaults to `True`): Train system thinking; `False` is the ablation.
            Conversations keep their own system prompt in either case.
        last_reply_only (`bool`, *optional*, defaults to `False`): Train only the last reply of each conversation, for
            data with one sample a reply (HER's `sft_single_turn`). Scenes are trained whole.
        license (`str`, *optional*): License of the model, for its card; not stated if not given.
    """

    dataset: str = field(
        metadata={
            "help": "Folder, file or Hub id of scenes (her-mini, HER rows, CoSER) or conversations (messages or "
            "ShareGPT); a config of it follows a colon: owner/name:config."
        }
    )
    train_split: str = field(default="train", metadata={"help": "Split to train on."})
    eval_split: str = field(default="validation", metadata={"help": "Held-out split; an empty string for none."})
    languages: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Keep only what is in these languages (en, zh); all if empty. A conversation must name its own."
        },
    )
    max_scenes: int | None = field(
        default=None, metadata={"help": "Use only this many training scenes or conversations, the first ones."}
    )
    max_eval_scenes: int | None = field(
        default=None, metadata={"help": "Use only this many held-out scenes or conversations, the first ones."}
    )
    system_thinking: bool = field(
        default=True,
        metadata={
            "help": "Train system thinking. False: the ablation without it; scenes get their own prompt variant, "
            "conversations keep their system prompt."
        },
    )
    last_reply_only: bool = field(
        default=False,
        metadata={
            "help": "Train only the last reply of each conversation: for data with one sample a reply, whose earlier "
            "replies are history. Scenes are trained whole."
        },
    )
    license: str | None = field(
        default=None, metadata={"help": "License of the trained model, for its card (it follows base and data)."}
    )


def run_sft(data: SFTDataConfig, model_config: ModelConfig, args: OnePassConfig) -> dict[str, Any]:
    """Trains, or resumes a killed run, or returns what a finished run measured.

    Args:
        data ([`SFTDataConfig`]): The data.
        model_config (`ModelConfig`): TRL's model settings: name, dtype, attention, LoRA.
        args ([`~her_hf.training.one_pass.config.OnePassConfig`]): The trainer's settings.

    Returns:
        `dict`: The contents of `results.json`: row counts, training figures, held-out loss by layer.

    Raises:
        [`~her_hf.durable.OtherRunError`]: If `output_dir` holds another run.
        `ValueError`: If a setting, the data or the model cannot be trained on; the message says how to fix it.
    """
    base = open_base(model_config, her_tokenizer)
    args.max_context = window_of(args.max_context, base.config)
    settings = RowSettings(args.max_context, args.row_tokens, args.one_pass)
    progress = PartialState().is_main_process and not args.disable_tqdm
    samples = _samples(data, data.train_split, data.max_scenes)
    trained = _conversations(samples, data)
    rows, report = make_rows(trained, base.tokenizer, settings, processes=args.dataset_num_proc, progress=progress)
    held_out, held_out_report = _held_out(data, trained, base.tokenizer, settings, args)
    _log_report(report, "training", data)
    _log_chats(samples, trained, data)
    if held_out_report:
        _log_report(held_out_report, "held-out", data)

    def prepare(model: PreTrainedModel) -> None:
        model.generation_config = HERProcessor(base.tokenizer).generation_config(model.generation_config)

    def save(folder: Path) -> None:
        # The adapter of a LoRA run has no generation config of its own; the processor completes or writes it.
        HERProcessor(base.tokenizer).save_pretrained(folder)

    job = one_pass_job(
        base,
        rows,
        held_out,
        model_config,
        args,
        settings=vars(data),
        prepare=prepare,
        results={
            "samples": _counts(samples),
            "rows": report.as_dict(),
            "held_out_rows": held_out_report.as_dict() if held_out_report else None,
        },
        card=lambda results, token: _card(data, model_config, args, samples, results, token),
        save=save,
        message="HER-SFT",
    )
    return run_job(job, model_config, args)


def _samples(data: SFTDataConfig, split: str, limit: int | None) -> list[Scene | ChatSample]:
    samples = load_samples(data.dataset, split=split)
    if data.languages:
        unknown = sum(not sample.language for sample in samples)
        if unknown:
            raise ValueError(
                f"languages is set, but {unknown} of {len(samples)} conversations of {data.dataset}, split {split!r}, "
                "do not name theirs: give each row a field 'language', or leave languages empty"
            )
        samples = [sample for sample in samples if sample.language in data.languages]
    samples = samples[:limit] if limit is not None else samples
    if not samples:
        raise ValueError(
            f"{data.dataset}, split {split!r}, holds no scene or conversation in {data.languages or 'any language'}"
        )
    return samples


def _conversations(samples: Sequence[Scene | ChatSample], data: SFTDataConfig) -> list[Conversation]:
    return conversations(samples, system_thinking=data.system_thinking, last_reply_only=data.last_reply_only)


def _held_out(
    data: SFTDataConfig,
    trained: Sequence[Conversation],
    tokenizer: PreTrainedTokenizerBase,
    settings: RowSettings,
    args: OnePassConfig,
) -> tuple[Dataset | None, RowReport | None]:
    if not data.eval_split:
        if str(args.eval_strategy.value) != "no":
            raise ValueError("eval_strategy is set, but eval_split is empty: name a split, or set eval_strategy: 'no'")
        return None, None
    try:
        samples = _samples(data, data.eval_split, data.max_eval_scenes)
    except SceneError as error:
        hint = "This is the held-out data: eval_split names its split; set it to an empty string for none."
        raise SceneError(f"{error.problem} {hint}", field=error.field, source=error.source, row=error.row) from error
    held_out = _conversations(samples, data)
    known = {_identity(conversation) for conversation in trained}
    both = sum(_identity(conversation) in known for conversation in held_out)
    if both:
        logger.warning(f"held-out: {both} of {len(held_out)} conversations are trained too")
    return make_rows(held_out, tokenizer, settings, progress=False)


def _identity(conversation: Conversation) -> int:
    """Equal for conversations with equal messages; small, since there may be many."""
    return hash(repr(conversation.messages))


def _counts(samples: Sequence[Scene | ChatSample]) -> dict[str, int]:
    scenes = sum(isinstance(sample, Scene) for sample in samples)
    return {"scenes": scenes, "chat_samples": len(samples) - scenes}


def _log_report(report: RowReport, what: str, data: SFTDataConfig) -> None:
    ratio = f", {report.token_ratio:.2f} times fewer tokens than per-reply" if report.token_ratio else ""
    logger.info(f"{what}: {report.replies} replies in {report.rows} rows, {report.tokens} tokens{ratio}")
    counts = {
        "replies left out, longer than the window": report.left_out,
        "turns dropped whole to fit the window": report.dropped_turns,
        "empty replies, left out": report.empty,
        "replies that open a conversation without a prompt, kept as history": report.unprompted,
        "turns of the Environment, never trained": report.environment,
        "replies before the last, kept as history": report.history,
        # The ablation has none on purpose.
        "replies without system thinking, trained as when it is switched off": (
            report.without_thinking if data.system_thinking else 0
        ),
        "replies with system thinking elsewhere than once at their start, which is not trained": report.stray_thinking,
        "replies in a row of their own": report.own_rows,
        "replies moved to another window": report.other_window,
        "replies moved because a row was full": report.row_full,
    }
    for name, count in counts.items():
        if count:
            logger.warning(f"{what}: {name}: {count}")


def _log_chats(samples: Sequence[Scene | ChatSample], trained: Sequence[Conversation], data: SFTDataConfig) -> None:
    """Logs what chat data holds that is not trained on, and what may be trained by mistake."""
    chats = [sample for sample in samples if isinstance(sample, ChatSample)]
    unused = Counter(name for chat in chats for name in chat.unused)
    if unused:
        counts = ", ".join(f"{name} ({count})" for name, count in unused.most_common(20))
        logger.info(f"training: fields of conversations that are not used: {counts}")
    silent = sum(all(message["role"] != "assistant" for message in found.messages) for found in trained)
    if silent:
        logger.warning(f"training: conversations without a reply: {silent}")
    single = sum(map(_thinks_last, chats)) if not data.last_reply_only else 0
    if single:
        logger.warning(
            f"training: conversations with system thinking in their last reply only: {single}. If each is a sample "
            "of that reply, set last_reply_only: otherwise the replies before it are trained too"
        )


def _thinks_last(chat: ChatSample) -> bool:
    """Whether a conversation looks like a sample of its last reply, with a history that lost its system thinking."""
    replies = [chat.messages[index] for index in replies_of(chat)]
    return len(replies) > 1 and _thinks(replies[-1]) and not any(map(_thinks, replies[:-1]))


def _thinks(reply: dict[str, str]) -> bool:
    inline = "<" in reply["content"] and parse_turn(reply["content"]).system_thinking is not None
    return inline or "reasoning_content" in reply


def _card(
    data: SFTDataConfig,
    model_config: ModelConfig,
    args: OnePassConfig,
    samples: Sequence[Scene | ChatSample],
    results: dict[str, Any],
    token: str | None,
) -> ModelCard:
    rows = results["rows"]
    way = "one pass a conversation (a shared trunk, a branch a reply)" if args.one_pass else "one sample a reply"
    thinks = data.system_thinking and rows["without_thinking"] < rows["replies"]
    chats = results["samples"]["chat_samples"]
    return training_card(
        data,
        model_config,
        args,
        results,
        token,
        method=(
            "Supervised fine-tuning for dual-layer role-play (HER-SFT): the last turn of each history is trained, "
            f"{'system thinking, ' if thinks else ''}role thinking, actions and speech. Trained in {way}."
            f"{'' if thinks else ' No reply has system thinking: pass enable_thinking=False to the chat template.'}"
            f"{f' {chats} conversations are trained as the data has them, with its system prompts.' if chats else ''}"
        ),
        languages=sorted({sample.language for sample in samples} - {""}),
        settings={
            "replies a step": args.replies_per_step,
            "loss": "mean over replies" if args.per_reply else "mean over trained tokens",
            "window": args.max_context or "none",
        },
        data={
            "scenes": results["samples"]["scenes"],
            "conversations of chat data": chats,
            "conversations": rows["conversations"],
            "replies": rows["replies"],
            "tokens trained": rows["trained_tokens"],
            "tokens of a pass": rows["tokens"],
            "replies left out (longer than the window)": rows["left_out"],
            "turns dropped whole to fit the window": rows["dropped_turns"],
            "empty replies left out": rows["empty"],
            "replies without a prompt, kept as history": rows["unprompted"],
            "turns of the Environment, never trained": rows["environment"],
            "replies before the last, kept as history": rows["history"],
            "replies without system thinking": rows["without_thinking"],
            "replies with stray system thinking, which is not trained": rows["stray_thinking"],
        },
    )
