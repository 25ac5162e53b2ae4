"""The second stage of a reward model: reinforcement learning on whether its verdicts are right.

Source: HER (arXiv 2601.21459), section on the reward model: a verifiable reward, the predicted verdict equals the
label. Its reward function, group size and learning rate are not published; ours are in the recipe.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate.logging import get_logger
from transformers import PreTrainedModel, TrainerCallback
from trl import GRPOConfig, GRPOTrainer, ModelConfig, get_peft_config

from her_hf.durable import digest
from her_hf.hub.cards import AT_ONCE_USE, REWARD_USE, ModelCard
from her_hf.judging.pairwise.prompts import prompts_used
from her_hf.judging.pairwise.reward_model import write_reward_settings

from ..one_pass.config import SKIP, settle_device
from ..run.job import (
    Job,
    card_name,
    launch_command,
    positions_of,
    resolve_base,
    run_job,
    training_figures,
    training_settings,
)
from ..run.tokenizers import base_config
from .config import RewardRLDataConfig
from .doubt import labelled_key
from .prompts import fitting_pairs, prompt_rows, taken_pairs
from .rewards import VerdictReward
from .rows import PairReport, labelled_pairs
from .sft import METHOD, plain_tokenizer

logger = get_logger(__name__)


@dataclass
class RewardRLConfig(GRPOConfig):  # type: ignore[misc]
    """TRL's GRPO settings, with what a run on a CPU needs said for it.

    Args:
        shuffle_dataset (`bool`, *optional*, defaults to `False`): Leave it. Pairs are shuffled already, and the
            orders of each stand beside each other, so that a step of two prompts has both: alone, either teaches a
            place.
    """

    shuffle_dataset: bool | None = field(
        default=False, metadata={"help": "Leave it: pairs are shuffled already, both orders side by side."}
    )

    def __post_init__(self) -> None:
        settle_device(self)
        super().__post_init__()
        if self.sync_ref_model:
            raise ValueError(
                "sync_ref_model changes the reference model, which no checkpoint holds: a killed run could not go on "
                "exactly. Leave it out."
            )
        if self.ignore_data_skip:
            raise ValueError(f"ignore_data_skip is set, but {SKIP}. Leave it out.")
        self._check_saves()

    def _check_saves(self) -> None:
        """A checkpoint keeps no answers, so none may fall between two uses of the same ones."""
        uses = self.steps_per_generation * self.num_iterations
        steps = math.lcm(uses, self.gradient_accumulation_steps) // self.gradient_accumulation_steps
        if self.save_strategy == "no" or steps == 1:
            return
        if self.save_strategy != "steps" or self.save_steps < 1 or self.save_steps % steps:
            raise ValueError(
                f"answers are used for {steps} steps (steps_per_generation, num_iterations), but a checkpoint between "
                f"them could not be gone on from exactly: set save_strategy: steps and save_steps to a multiple of "
                f"{steps}; got {self.save_strategy.value} and {self.save_steps}"
            )


class VerdictTrainer(GRPOTrainer):  # type: ignore[misc]
    """TRL's GRPO with the counters of our runs, without TRL's card, and with a head that is quick on a CPU."""

    @property
    def progress(self) -> dict[str, int]:
        """Tokens seen so far; kept with a checkpoint."""
        return {"num_tokens": int(self.state.num_input_tokens_seen)}

    @progress.setter
    def progress(self, counts: dict[str, int]) -> None:
        """The trainer's own state, which a checkpoint restores, holds the count."""

    def _get_per_token_logps_and_entropies(
        self,
        model: PreTrainedModel,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """On a CPU the head runs on answers alone; the numbers are TRL's, up to rounding.

        TRL's own head leaves prompts out only where there is Triton. Elsewhere it scores them too, which took half of
        a step's time.
        """
        more = kwargs.get("compute_aux_loss") or kwargs.get("pixel_values") is not None
        if input_ids.device.type != "cpu" or self.args.cast_lm_head_to_fp32 or more:
            return super()._get_per_token_logps_and_entropies(  # type: ignore[no-any-return]
                model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
            )
        with self.accelerator.autocast():
            found = model(input_ids, attention_mask=attention_mask, logits_to_keep=logits_to_keep + 1, use_cache=False)
        likely = (found.logits[:, :-1].float() / self.temperature).log_softmax(-1)
        padding = attention_mask[:, -logits_to_keep:] == 0
        said = likely.gather(-1, input_ids[:, -logits_to_keep:, None]).squeeze(-1).masked_fill(padding, 0)
        if not kwargs.get("compute_entropy"):
            return said, None, None
        return said, -(likely.exp() * likely).sum(-1).masked_fill(padding, 0), None

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Writes nothing: the recipe writes our card."""


def run_rm_rl(data: RewardRLDataConfig, model_config: ModelConfig, args: RewardRLConfig) -> dict[str, Any]:
    """Reinforces a reward model, or goes on where a killed run stopped, or reports what a finished run measured.

    Args:
        data ([`RewardRLDataConfig`]): Data and reward.
        model_config (`ModelConfig`): TRL's model settings; the model is the checkpoint of `rm_sft.py`.
        args ([`RewardRLConfig`]): The trainer's settings.

    Returns:
        `dict`: The contents of `results.json`.

    Raises:
        [`~her_hf.durable.OtherRunError`]: If `output_dir` holds another run.
        `ValueError`: If a setting, the data or the model cannot be trained on.
    """
    base = resolve_base(str(model_config.model_name_or_path))
    tokenizer = plain_tokenizer(base, model_config.model_revision)
    base_config(base, model_config.model_revision, tokenizer)
    reward = VerdictReward(form=data.form_reward, follows=data.follows_reward)
    report = PairReport()
    pairs = labelled_pairs(data.dataset, data.train_split, data.max_pairs, report)

    def trainer(model: PreTrainedModel, callbacks: list[TrainerCallback]) -> VerdictTrainer:
        fitting = fitting_pairs(pairs, data, tokenizer, _room(model, args))
        taken = taken_pairs(fitting, data, model, tokenizer, args)
        prompts = prompt_rows(taken, data, seed=args.seed)
        report.pairs, report.rows, report.too_long = len(taken), len(prompts), len(pairs) - len(fitting)
        report.not_in_doubt = len(fitting) - len(taken)
        _tell(report, args)
        return VerdictTrainer(
            model,
            reward_funcs=reward,
            args=args,
            train_dataset=prompts,
            processing_class=tokenizer,
            callbacks=callbacks,
            peft_config=get_peft_config(model_config),
        )

    def save(folder: Path) -> None:
        tokenizer.save_pretrained(folder)
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
        card=lambda results, secret: _card(data, model_config, args, results, secret),
        save=save,
        measure=lambda trained: {"pairs": report.as_dict()},
        message="HER-RM, RL",
    )
    return run_job(job, model_config, args)


def _room(model: PreTrainedModel, args: RewardRLConfig) -> int | None:
    """The most tokens that a prompt may have beside an answer; `None` if the model does not say what it holds."""
    holds, answer = positions_of(model.config), args.max_completion_length
    if answer is None or (holds is not None and answer >= holds):
        raise ValueError(f"max_completion_length must be below what the model holds ({holds} tokens), got {answer}")
    return None if holds is None else holds - answer


def _tell(report: PairReport, args: RewardRLConfig) -> None:
    """Raises `ValueError` if there are not enough prompts for one step, which TRL would run without."""
    logger.info(f"training: {report.pairs} pairs as {report.rows} prompts, {args.num_generations} answers each")
    for name in ("unlabelled", "bad", "too_long", "not_in_doubt"):
        if count := getattr(report, name):
            logger.warning(f"training: left out, {name.replace('_', ' ')}: {count}")
    if report.rows < (step := args.generation_batch_size // args.num_generations):
        raise ValueError(
            f"a step takes {step} prompts, but only {report.rows} are left: give more pairs, lower least_doubt, or "
            "make a step smaller (gradient_accumulation_steps, per_device_train_batch_size)"
        )


def _card(
    data: RewardRLDataConfig,
    model_config: ModelConfig,
    args: RewardRLConfig,
    results: dict[str, Any],
    secret: str | None,
) -> ModelCard:
    pairs = results["pairs"]
    small = "a small one for a well-formed answer"
    if data.reasoning:
        small = "small ones for a well-formed answer and for principles that the verdict follows from"
    seen = min(pairs["rows"], results["steps"] * args.generation_batch_size // args.num_generations)
    return ModelCard(
        name=card_name(args),
        base=str(model_config.model_name_or_path),
        dataset=data.dataset,
        method=(
            f"{METHOD} This checkpoint is its second stage (HER-RM, RL): GRPO with a reward for the right verdict, "
            f"and {small}."
        ),
        license=data.license,
        adapter=model_config.use_peft,
        use=REWARD_USE + (AT_ONCE_USE if data.form == "compact" and not data.reasoning else ""),
        settings={
            **training_settings(model_config, args, results),
            "answers to a prompt": args.num_generations,
            "temperature": args.temperature,
            "longest answer, tokens": args.max_completion_length,
            "KL weight (beta)": args.beta,
            "form": f"{data.form}, {'thinking first' if data.reasoning else 'at once'}",
            "reward": f"right verdict 1, readable {data.form_reward}, unreadable -1"
            + (f", follows {data.follows_reward}" if data.reasoning else ""),
        },
        data={
            "split": data.train_split,
            "pairs": pairs["pairs"],
            "prompts (a pair in one order)": pairs["rows"],
            "prompts seen, at most": seen,
            **_left_out(pairs, data),
        },
        figures=training_figures(results),
        command=launch_command(secret),
        tags=("reward-model", "grpo"),
    )


def _left_out(pairs: Mapping[str, int], data: RewardRLDataConfig) -> dict[str, int]:
    bad = {"pairs left out (no label, no pair, too long)": pairs["unlabelled"] + pairs["bad"] + pairs["too_long"]}
    if data.least_doubt is None:
        return bad
    chance = (
        f"the first stage gives their label a probability below {data.least_doubt} or above {1 - data.least_doubt}"
    )
    return {**bad, f"pairs left out, as {chance}": pairs["not_in_doubt"]}
