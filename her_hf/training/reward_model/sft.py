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

from her_hf.hub.card_layout import ModelCard
from her_hf.judging.pairwise.reward_model import write_reward_settings

from ..one_pass.config import OnePassConfig
from ..run.base import open_base, window_of
from ..run.job import one_pass_job, run_job
from ..run.tokenizers import plain_tokenizer
from .config import RewardDataConfig
from .model_card import reward_card
from .rows import PARTS, PairReport, labelled_pairs, reward_rows

logger = get_logger(__name__)


def run_rm_sft(data: RewardDataConfig, model_config: ModelConfig, args: OnePassConfig) -> dict[str, Any]:
    """Trains the reward model, or resumes a killed run, or returns what a finished run measured.

    Args:
        data ([`~her_hf.training.reward_model.config.RewardDataConfig`]): The data.
        model_config (`ModelConfig`): TRL's model settings.
        args ([`~her_hf.training.one_pass.config.OnePassConfig`]): The trainer's settings; the batch size is in
            answers.

    Returns:
        `dict`: The contents of `results.json`.

    Raises:
        [`~her_hf.durable.OtherRunError`]: If `output_dir` holds another run.
        `ValueError`: If a setting, the data or the model cannot be trained on.
    """
    if data.decision_share is not None and not args.per_reply:
        raise ValueError("decision_share divides the loss within each answer: set per_reply: true")
    base = open_base(model_config, plain_tokenizer)
    args.max_context = window_of(args.max_context, base.config)
    progress = PartialState().is_main_process and not args.disable_tqdm
    rows, report = _rows(data, base.tokenizer, args.max_context, held_out=False, progress=progress)
    held_out, held_out_report = None, None
    if data.eval_split or data.eval_dataset:
        held_out, held_out_report = _rows(data, base.tokenizer, args.max_context, held_out=True, progress=False)
    _log_report(report)

    def save(folder: Path) -> None:
        base.tokenizer.save_pretrained(folder)
        write_reward_settings(folder, form=data.form, reasoning=data.thinking_share > 0)

    job = one_pass_job(
        base,
        rows,
        held_out,
        model_config,
        args,
        settings=vars(data),
        layers=PARTS,
        results={
            "pairs": report.as_dict(),
            "held_out_pairs": held_out_report.as_dict() if held_out_report else None,
        },
        card=lambda results, token: _card(data, model_config, args, results, token),
        save=save,
        message="HER-RM, SFT",
    )
    return run_job(job, model_config, args)


def _rows(
    data: RewardDataConfig,
    tokenizer: PreTrainedTokenizerBase,
    window: int | None,
    *,
    held_out: bool,
    progress: bool,
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
        direct_answers=data.direct_answers,
        # Held-out losses of different runs can be compared only if they are taken over the same answers.
        thinking_share=1.0 if held_out else data.thinking_share,
        decision_share=data.decision_share,
        max_context=window,
        progress=progress,
    )
    return rows, report


def _log_report(report: PairReport) -> None:
    logger.info(
        f"training: {report.pairs} pairs in {report.rows} rows with {report.answers} answers, {report.tokens} tokens, "
        f"longest prompt {report.longest_prompt}"
    )
    for reason, count in report.left_out().items():
        logger.warning(f"training: left out, {reason}: {count}")


def _card(
    data: RewardDataConfig,
    model_config: ModelConfig,
    args: OnePassConfig,
    results: dict[str, Any],
    token: str | None,
) -> ModelCard:
    pairs = results["pairs"]
    return reward_card(
        data,
        model_config,
        args,
        results,
        token,
        stage="first stage (HER-RM, SFT): supervised fine-tuning on labelled pairs.",
        direct=data.direct_answers,
        settings={"answers a step": args.replies_per_step, "form": data.form, "loss": _loss(data, args)},
        counts={
            "rows (a pair in one order)": pairs["rows"],
            "answers trained": pairs["answers"],
            "tokens of a pass": pairs["tokens"],
            "longest prompt, tokens": pairs["longest_prompt"],
        },
    )


def _loss(data: RewardDataConfig, args: OnePassConfig) -> str:
    if data.decision_share is None:
        return "mean over answers" if args.per_reply else "mean over trained tokens"
    return f"mean over answers; in each, {data.decision_share:.0%} of the weight on the tokens that decide"
