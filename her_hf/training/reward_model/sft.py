"""The first stage of a reward model: supervised fine-tuning on labelled pairs, from the plain base.

Source: HER (arXiv 2601.21459): the base's own template, candidates without system thinking, principles not given.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.logging import get_logger
from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from trl import ModelConfig

from her_hf.hub.cards import AT_ONCE_USE, REWARD_USE, ModelCard
from her_hf.judging.pairwise.reward_model import write_reward_settings
from her_hf.processing import take_any_roles
from her_hf.processing.attach import load_tokenizer

from ..one_pass.config import OnePassConfig
from ..run.job import (
    Job,
    card_name,
    launch_command,
    one_pass,
    resolve_base,
    row_digests,
    run_job,
    training_figures,
    training_settings,
    window_of,
)
from ..run.tokenizers import base_config
from .config import RewardDataConfig
from .rows import PARTS, PairReport, labelled_pairs, reward_rows

logger = get_logger(__name__)

METHOD = (
    "A generative pairwise reward model for role-play: it reads a scene and two replies, names the principles that "
    "part them, and gives a verdict (cand_1, cand_2 or tie)."
)


def run_rm_sft(data: RewardDataConfig, model_config: ModelConfig, args: OnePassConfig) -> dict[str, Any]:
    """Trains the reward model, or goes on where a killed run stopped, or reports what a finished run measured.

    Args:
        data ([`RewardDataConfig`]): The data.
        model_config (`ModelConfig`): TRL's model settings.
        args ([`OnePassConfig`]): The trainer's settings; the batch size is in answers.

    Returns:
        `dict`: The contents of `results.json`.

    Raises:
        [`~her_hf.durable.OtherRunError`]: If `output_dir` holds another run.
        `ValueError`: If a setting, the data or the model cannot be trained on.
    """
    if data.decision_share is not None and not args.per_reply:
        raise ValueError("decision_share says what counts within an answer: set per_reply: true")
    base = resolve_base(str(model_config.model_name_or_path))
    tokenizer = plain_tokenizer(base, model_config.model_revision)
    config = base_config(base, model_config.model_revision, tokenizer)
    args.max_tokens = window_of(args.max_tokens, config)
    show = PartialState().is_main_process and not args.disable_tqdm
    rows, report = _rows(data, tokenizer, args.max_tokens, held_out=False, show=show)
    held_out, held_out_report = None, None
    if data.eval_split or data.eval_dataset:
        held_out, held_out_report = _rows(data, tokenizer, args.max_tokens, held_out=True, show=False)
    _tell(report, "training")

    def save(folder: Path) -> None:
        tokenizer.save_pretrained(folder)
        write_reward_settings(folder, form=data.form, reasoning=data.thinking_share > 0)

    job = Job(
        base,
        **one_pass(rows, held_out, tokenizer, model_config, args, layers=PARTS),
        settings={**vars(data), **row_digests(rows, held_out)},
        results={
            "pairs": report.as_dict(),
            "held_out_pairs": held_out_report.as_dict() if held_out_report else None,
        },
        card=lambda results, secret: _card(data, model_config, args, results, secret),
        save=save,
        message="HER-RM, SFT",
    )
    return run_job(job, model_config, args)


def plain_tokenizer(base: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a base with its own chat template, which takes conversations with and without system message.

    Raises:
        `ValueError`: If it cannot be loaded, or has no chat template that renders a conversation.
    """
    tokenizer = load_tokenizer(base, revision)
    if tokenizer.chat_template is None:
        raise ValueError(f"{base} has no chat template: a reward model is trained from a chat model")
    if note := take_any_roles(tokenizer):
        logger.info(note)
    return tokenizer


def _rows(
    data: RewardDataConfig,
    tokenizer: PreTrainedTokenizerBase,
    window: int | None,
    *,
    held_out: bool,
    show: bool,
) -> tuple[Dataset, PairReport]:
    report = PairReport()
    source = (data.eval_dataset or data.dataset) if held_out else data.dataset
    split = data.eval_split if held_out else data.train_split
    pairs = labelled_pairs(source, split, data.max_eval_pairs if held_out else data.max_pairs, report)
    rows = reward_rows(
        pairs,
        tokenizer,
        report,
        form=data.form,
        both_orders=data.both_orders,
        at_once=data.at_once,
        # Held-out losses compare between runs only if they are taken over the same answers.
        thinking_share=1.0 if held_out else data.thinking_share,
        decision_share=data.decision_share,
        max_tokens=window,
        progress=show,
    )
    return rows, report


def _tell(report: PairReport, what: str) -> None:
    logger.info(
        f"{what}: {report.pairs} pairs in {report.rows} rows with {report.answers} answers, {report.tokens} tokens, "
        f"longest prompt {report.longest_prompt}"
    )
    for name in ("unlabelled", "bad", "too_long"):
        if count := getattr(report, name):
            logger.warning(f"{what}: left out, {name.replace('_', ' ')}: {count}")


def _card(
    data: RewardDataConfig, model_config: ModelConfig, args: OnePassConfig, results: dict[str, Any], secret: str | None
) -> ModelCard:
    pairs = results["pairs"]
    return ModelCard(
        name=card_name(args),
        base=str(model_config.model_name_or_path),
        dataset=data.dataset,
        method=f"{METHOD} This checkpoint is its first stage (HER-RM, SFT): supervised fine-tuning on labelled pairs.",
        license=data.license,
        adapter=model_config.use_peft,
        use=REWARD_USE + (AT_ONCE_USE if data.form == "compact" and data.at_once else ""),
        settings={
            **training_settings(model_config, args, results),
            "answers a step": args.replies_per_step,
            "form": data.form,
            "loss": _loss(data, args),
        },
        data={
            "split": data.train_split,
            "pairs seen": pairs["pairs"],
            "rows (a pair in one order)": pairs["rows"],
            "answers trained": pairs["answers"],
            "tokens of a pass": pairs["tokens"],
            "longest prompt, tokens": pairs["longest_prompt"],
            "pairs left out (no label, no pair, too long)": pairs["unlabelled"] + pairs["bad"] + pairs["too_long"],
        },
        figures=training_figures(results),
        command=launch_command(secret),
        tags=("reward-model",),
    )


def _loss(data: RewardDataConfig, args: OnePassConfig) -> str:
    if data.decision_share is None:
        return "mean over answers" if args.per_reply else "mean over trained tokens"
    return f"mean over answers; in each, the tokens that decide count {data.decision_share:.0%}"
