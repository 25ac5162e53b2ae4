"""The second stage of a reward model: reinforcement learning on whether its verdicts are right.

Source: HER (arXiv 2601.21459), section on the reward model: a verifiable reward, the predicted verdict equals the
label. Its reward function, group size and learning rate are not published; ours are in the recipe.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate.logging import get_logger
from datasets import Dataset
from transformers import PreTrainedModel, TrainerCallback
from trl import GRPOConfig, GRPOTrainer, ModelConfig, get_peft_config

from her_hf.durable import digest
from her_hf.hub.cards import REWARD_USE, ModelCard
from her_hf.judging.pair_prompts import compact_messages, pair_messages
from her_hf.judging.pairs import Pair
from her_hf.judging.pairwise import FORMS
from her_hf.judging.reward_model import write_reward_settings

from .config import settle_device
from .job import Job, card_name, launch_command, resolve_base, run_job, training_figures, training_settings
from .rewards import VerdictReward
from .rm_data import PairReport, labelled_pairs
from .rm_sft import METHOD, plain_tokenizer

logger = get_logger(__name__)


@dataclass
class RewardRLDataConfig:
    """What a reward model is reinforced on, and by which reward.

    Args:
        dataset (`str`): A preference set (folder or Hub id), or a JSONL file of labelled pairs.
        train_split (`str`, *optional*, defaults to `"train"`): Split to train on; of a file, leave it.
        form (`str`, *optional*, defaults to `"published"`): `"published"` or `"compact"`.
        reasoning (`bool`, *optional*, defaults to `True`): Whether answers think first; at once they name no
            principles.
        both_orders (`bool`, *optional*, defaults to `True`): A copy of each prompt with sides exchanged.
        max_pairs (`int`, *optional*): Use only the first pairs.
        form_reward (`float`, *optional*, defaults to 0.1): See [`~her_hf.training.rewards.VerdictReward`].
        follows_reward (`float`, *optional*, defaults to 0.1): See there.
        license (`str`, *optional*): License of the model, for its card.

    Raises:
        `ValueError`: If the form is unknown.
    """

    dataset: str = field(metadata={"help": "Preference set (folder, Hub id) or JSONL file of labelled pairs."})
    train_split: str = field(default="train", metadata={"help": "Split to train on."})
    form: str = field(default="published", metadata={"help": "published, or compact for small models."})
    reasoning: bool = field(default=True, metadata={"help": "Answers think first."})
    both_orders: bool = field(default=True, metadata={"help": "A copy of each prompt with sides exchanged."})
    max_pairs: int | None = field(default=None, metadata={"help": "Use only this many pairs, the first."})
    form_reward: float = field(default=0.1, metadata={"help": "For an answer that is read without repair."})
    follows_reward: float = field(
        default=0.1, metadata={"help": "For at least three principles that the verdict follows from."}
    )
    license: str | None = field(default=None, metadata={"help": "License of the trained model, for its card."})

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(f"form must be one of {list(FORMS)}, got {self.form!r}")


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


class VerdictTrainer(GRPOTrainer):  # type: ignore[misc]
    """TRL's GRPO with the counters of our runs, and without TRL's card."""

    @property
    def progress(self) -> dict[str, int]:
        """Tokens seen so far; kept with a checkpoint."""
        return {"num_tokens": int(self.state.num_input_tokens_seen)}

    @progress.setter
    def progress(self, counts: dict[str, int]) -> None:
        """The trainer's own state, which a checkpoint restores, holds the count."""

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
    reward = VerdictReward(form=data.form_reward, follows=data.follows_reward)
    report = PairReport()
    pairs = labelled_pairs(data.dataset, data.train_split, data.max_pairs, report)
    prompts = prompt_rows(pairs, data, seed=args.seed)
    report.pairs, report.rows = len(pairs), len(prompts)
    logger.info(f"training: {report.pairs} pairs as {report.rows} prompts, {args.num_generations} answers each")
    for name in ("unlabelled", "bad"):
        if count := getattr(report, name):
            logger.warning(f"training: left out, {name}: {count}")

    def trainer(model: PreTrainedModel, callbacks: list[TrainerCallback]) -> VerdictTrainer:
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
        settings={**vars(data), "prompts": digest(prompts.to_list())},
        results={"pairs": report.as_dict()},
        card=lambda results, secret: _card(data, model_config, args, results, secret),
        save=save,
        message="HER-RM, RL",
    )
    return run_job(job, model_config, args)


def prompt_rows(pairs: Sequence[Pair], data: RewardRLDataConfig, *, seed: int) -> Dataset:
    """Prompts with their labels, columns `prompt` and `label`: pairs shuffled, orders of each side by side."""
    rows = []
    for pair in random.Random(seed).sample(pairs, len(pairs)):
        for one in (pair, pair.swapped()) if data.both_orders else (pair,):
            ask = compact_messages if data.form == "compact" else pair_messages
            rows.append({"prompt": ask(one, reasoning=data.reasoning), "label": one.label})
    return Dataset.from_list(rows)


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
        use=REWARD_USE,
        settings={
            **training_settings(model_config, args, results["steps"]),
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
        },
        figures=training_figures(results),
        command=launch_command(secret),
        tags=("reward-model", "grpo"),
    )
