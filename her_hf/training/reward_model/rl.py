"""The second stage of a reward model: reinforcement learning on whether its verdicts are right.

Source: HER (arXiv 2601.21459), section on the reward model: a verifiable reward, the predicted verdict equals the
label. Its reward function, group size and learning rate are not published; ours are in the recipe.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accelerate.logging import get_logger
from transformers import PreTrainedModel, TrainerCallback
from trl import ModelConfig, get_peft_config

from her_hf.durable import digest
from her_hf.hub.card_layout import ModelCard
from her_hf.judging.pairwise.prompts import prompts_used
from her_hf.judging.pairwise.reward_model import write_reward_settings

from ..internals import AnswerHeadTrainer
from ..run.base import open_base, positions_of
from ..run.job import Job, run_job
from ..run.tokenizers import plain_tokenizer
from .config import RewardRLConfig, RewardRLDataConfig
from .model_card import reward_card
from .prompts import fitting_pairs, prompt_rows, select_pairs
from .rewards import VerdictReward
from .rows import PairReport, labelled_pairs
from .uncertainty import labelled_key

logger = get_logger(__name__)


class VerdictTrainer(AnswerHeadTrainer):
    """TRL's GRPO with the counters of our runs, and without TRL's card."""

    @property
    def progress(self) -> dict[str, int]:
        """Tokens seen so far; stored with a checkpoint."""
        return {"num_tokens": int(self.state.num_input_tokens_seen)}

    @progress.setter
    def progress(self, counts: dict[str, int]) -> None:
        """Does nothing: the trainer's own state, which a checkpoint restores, holds the count."""

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Writes nothing: the recipe writes our card."""


def run_rm_rl(data: RewardRLDataConfig, model_config: ModelConfig, args: RewardRLConfig) -> dict[str, Any]:
    """Reinforces a reward model, or resumes a killed run, or returns what a finished run measured.

    Args:
        data ([`~her_hf.training.reward_model.config.RewardRLDataConfig`]): Data and reward.
        model_config (`ModelConfig`): TRL's model settings; the model is the checkpoint of `rm_sft.py`.
        args ([`~her_hf.training.reward_model.config.RewardRLConfig`]): The trainer's settings.

    Returns:
        `dict`: The contents of `results.json`.

    Raises:
        [`~her_hf.durable.OtherRunError`]: If `output_dir` holds another run.
        `ValueError`: If a setting, the data or the model cannot be trained on.
    """
    base = open_base(model_config, plain_tokenizer)
    reward = VerdictReward(form=data.form_reward, follows=data.follows_reward)
    report = PairReport()
    pairs = labelled_pairs(data.dataset, data.train_split, data.max_pairs, report)

    def trainer(model: PreTrainedModel, callbacks: list[TrainerCallback]) -> VerdictTrainer:
        fitting = fitting_pairs(pairs, data, base.tokenizer, _prompt_room(model, args))
        selected = select_pairs(fitting, data, model, base.tokenizer, args)
        prompts = prompt_rows(selected, data, seed=args.seed)
        report.pairs, report.rows = len(selected), len(prompts)
        report.too_long, report.certain = len(pairs) - len(fitting), len(fitting) - len(selected)
        _log_report(report, args)
        _check_step(report, args)
        return VerdictTrainer(
            model,
            reward_funcs=reward,
            args=args,
            train_dataset=prompts,
            processing_class=base.tokenizer,
            callbacks=callbacks,
            peft_config=get_peft_config(model_config),
        )

    def save(folder: Path) -> None:
        base.tokenizer.save_pretrained(folder)
        write_reward_settings(folder, form=data.form, reasoning=data.reasoning)

    job = Job(
        base,
        trainer,
        settings={
            **vars(data),
            "pairs": digest([labelled_key(pair) for pair in pairs]),
            "prompts": digest(prompts_used()),
        },
        results={},
        card=lambda results, token: _card(data, model_config, args, results, token),
        save=save,
        measure=lambda trained: {"pairs": report.as_dict()},
        message="HER-RM, RL",
    )
    return run_job(job, model_config, args)


def _prompt_room(model: PreTrainedModel, args: RewardRLConfig) -> int | None:
    """Most tokens of a prompt beside an answer; `None` if the model's configuration does not say how long it reads."""
    positions, answer = positions_of(model.config), args.max_completion_length
    if answer is None or (positions is not None and answer >= positions):
        raise ValueError(f"max_completion_length must be below the model's window ({positions} tokens), got {answer}")
    return None if positions is None else positions - answer


def _log_report(report: PairReport, args: RewardRLConfig) -> None:
    logger.info(f"training: {report.pairs} pairs as {report.rows} prompts, {args.num_generations} answers each")
    for reason, count in report.left_out().items():
        logger.warning(f"training: left out, {reason}: {count}")


def _prompts_per_step(args: RewardRLConfig) -> int:
    return int(args.generation_batch_size // args.num_generations)


def _check_step(report: PairReport, args: RewardRLConfig) -> None:
    """Refuses fewer prompts than one step takes, with which TRL would finish without training."""
    if report.rows < (step := _prompts_per_step(args)):
        raise ValueError(
            f"a step takes {step} prompts, but only {report.rows} are left: give more pairs, lower min_uncertainty, "
            "or make a step smaller (gradient_accumulation_steps, per_device_train_batch_size)"
        )


def _card(
    data: RewardRLDataConfig,
    model_config: ModelConfig,
    args: RewardRLConfig,
    results: dict[str, Any],
    token: str | None,
) -> ModelCard:
    pairs = results["pairs"]
    small = "a small one for a well-formed answer"
    if data.reasoning:
        small = "small ones for a well-formed answer and for principles that the verdict follows from"
    counts = {
        "prompts (a pair in one order)": pairs["rows"],
        "prompts seen, at most": min(pairs["rows"], results["steps"] * _prompts_per_step(args)),
    }
    if (least := data.min_uncertainty) is not None:
        likely = f"the first stage gives their label a probability below {least} or above {1 - least}"
        counts[f"pairs left out, as {likely}"] = pairs["certain"]
    return reward_card(
        data,
        model_config,
        args,
        results,
        token,
        stage=f"second stage (HER-RM, RL): GRPO with a reward for the right verdict, and {small}.",
        direct=not data.reasoning,
        settings={
            "answers to a prompt": args.num_generations,
            "temperature": args.temperature,
            "longest answer, tokens": args.max_completion_length,
            "KL weight (beta)": args.beta,
            "form": f"{data.form}, {'thinking first' if data.reasoning else 'direct answers'}",
            "reward": f"right verdict 1, readable {data.form_reward}, unreadable -1"
            + (f", follows {data.follows_reward}" if data.reasoning else ""),
        },
        counts=counts,
        tags=("grpo",),
    )
