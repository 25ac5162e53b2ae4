"""Settings of the reward model: the data of either stage, and the trainer of the second."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from trl import GRPOConfig

from her_hf.judging.pairwise.judge import FORMS

from ..run.settings import REPEATS_DATA, settle_device

Form = Literal["published", "compact"]
"""The names of [`~her_hf.judging.pairwise.judge.FORMS`], so that the command line refuses others."""


@dataclass
class RewardDataConfig:
    """Settings of the data that a reward model is fine-tuned on.

    Args:
        dataset (`str`): A preference set (folder or Hub id), or a JSONL file of labelled pairs.
        train_split (`str`, *optional*, defaults to `"train"`): Split to train on; not used for a file.
        eval_split (`str`, *optional*, defaults to `"validation"`): Held-out split; empty for none.
        eval_dataset (`str`, *optional*): Where the held-out pairs are, if not in `dataset`.
        form (`str`, *optional*, defaults to `"published"`): `"published"` or `"compact"`.
        both_orders (`bool`, *optional*, defaults to `True`): Train each pair in both orders.
        direct_answers (`bool`, *optional*, defaults to `True`): Also train the answer without thinking, after a prompt
            that asks for it.
        thinking_share (`float`, *optional*, defaults to 1.0): Share of the pairs whose answer with thinking is
            trained; below 1 only with `direct_answers`.
        decision_share (`float`, *optional*): Share of an answer's loss on the tokens that decide (which reply is
            meant, wherever one is named). All tokens have the same weight if not given. Needs `per_reply`.
        max_pairs (`int`, *optional*): Use only the first pairs.
        max_eval_pairs (`int`, *optional*): Use only the first held-out pairs.
        license (`str`, *optional*): License of the model, for its card.

    Raises:
        `ValueError`: If the form is unknown, or a share is out of range.
    """

    dataset: str = field(metadata={"help": "Preference set (folder, Hub id) or JSONL file of labelled pairs."})
    train_split: str = field(default="train", metadata={"help": "Split to train on."})
    eval_split: str = field(default="validation", metadata={"help": "Held-out split; an empty string for none."})
    eval_dataset: str | None = field(default=None, metadata={"help": "Held-out pairs, if they are not in dataset."})
    form: Form = field(
        default="published", metadata={"help": "published: long prompt and HER's JSON. compact: for small models."}
    )
    both_orders: bool = field(default=True, metadata={"help": "Each pair in both orders."})
    direct_answers: bool = field(default=True, metadata={"help": "Train the answer without thinking as well."})
    thinking_share: float = field(
        default=1.0, metadata={"help": "Share of the pairs whose answer with thinking is trained (0 to 1)."}
    )
    decision_share: float | None = field(
        default=None,
        metadata={"help": "Share of an answer's loss on the tokens that decide; if not given, all tokens alike."},
    )
    max_pairs: int | None = field(default=None, metadata={"help": "Use only this many training pairs, the first."})
    max_eval_pairs: int | None = field(default=None, metadata={"help": "Use only this many held-out pairs."})
    license: str | None = field(default=None, metadata={"help": "License of the trained model, for its card."})

    def __post_init__(self) -> None:
        _check_form(self.form)
        if not 0 <= self.thinking_share <= 1:
            raise ValueError(f"thinking_share must be from 0 to 1, got {self.thinking_share}")
        if self.thinking_share < 1 and not self.direct_answers:
            raise ValueError(
                f"thinking_share is {self.thinking_share}: the other pairs would have no answer. Set "
                "direct_answers: true."
            )
        if self.decision_share is not None and not 0 < self.decision_share < 1:
            raise ValueError(f"decision_share must lie between 0 and 1, got {self.decision_share}")


@dataclass
class RewardRLDataConfig:
    """Settings of the data that a reward model is reinforced on, and of the reward.

    Args:
        dataset (`str`): A preference set (folder or Hub id), or a JSONL file of labelled pairs.
        train_split (`str`, *optional*, defaults to `"train"`): Split to train on; not used for a file.
        form (`str`, *optional*, defaults to `"published"`): `"published"` or `"compact"`.
        reasoning (`bool`, *optional*, defaults to `True`): Whether answers think first; direct answers name no
            principles.
        both_orders (`bool`, *optional*, defaults to `True`): Each prompt also with the candidates exchanged.
        max_pairs (`int`, *optional*): Use only the first pairs.
        min_uncertainty (`float`, *optional*): Leave out pairs whose label has, under the initial model and in every
            order, a probability below this or above 1 minus this; all are trained if not given. See
            [`~her_hf.training.reward_model.uncertainty.uncertain_pairs`]. For direct compact answers, and models that
            are whole in each process (neither FSDP nor ZeRO-3).
        form_reward (`float`, *optional*, defaults to 0.1): See
            [`~her_hf.training.reward_model.rewards.VerdictReward`].
        follows_reward (`float`, *optional*, defaults to 0.1): See there.
        license (`str`, *optional*): License of the model, for its card.

    Raises:
        `ValueError`: If the form is unknown, or `min_uncertainty` does not lie between 0 and 0.5 or is set for answers
            that think.
    """

    dataset: str = field(metadata={"help": "Preference set (folder, Hub id) or JSONL file of labelled pairs."})
    train_split: str = field(default="train", metadata={"help": "Split to train on."})
    form: Form = field(default="published", metadata={"help": "published, or compact for small models."})
    reasoning: bool = field(default=True, metadata={"help": "Answers think first."})
    both_orders: bool = field(default=True, metadata={"help": "Each prompt also with the candidates exchanged."})
    max_pairs: int | None = field(default=None, metadata={"help": "Use only this many pairs, the first."})
    min_uncertainty: float | None = field(
        default=None,
        metadata={
            "help": "Leave out pairs whose label has, in every order, a probability below this or above 1 minus this."
        },
    )
    form_reward: float = field(default=0.1, metadata={"help": "For an answer that can be read without repair."})
    follows_reward: float = field(
        default=0.1, metadata={"help": "For at least three principles that the verdict follows from."}
    )
    license: str | None = field(default=None, metadata={"help": "License of the trained model, for its card."})

    def __post_init__(self) -> None:
        _check_form(self.form)
        if self.min_uncertainty is None:
            return
        if not 0 < self.min_uncertainty < 0.5:
            raise ValueError(f"min_uncertainty must lie between 0 and 0.5, got {self.min_uncertainty}")
        if self.form != "compact" or self.reasoning:
            raise ValueError("min_uncertainty needs direct compact answers: set form: compact and reasoning: false")


def _check_form(form: str) -> None:
    if form not in FORMS:
        raise ValueError(f"form must be one of {list(FORMS)}, got {form!r}")


@dataclass
class RewardRLConfig(GRPOConfig):  # type: ignore[misc]
    """TRL's GRPO settings, with those of a run that can be resumed exactly, on a CPU too.

    Args:
        shuffle_dataset (`bool`, *optional*, defaults to `False`): Do not set. Pairs are shuffled already, and the
            orders of each are neighbours, so that a step of two prompts has both: either alone would teach a position.

    Raises:
        `ValueError`: If a setting is given with which a killed run could not be resumed exactly.
    """

    shuffle_dataset: bool | None = field(
        default=False, metadata={"help": "Do not set: pairs are shuffled already, both orders side by side."}
    )

    def __post_init__(self) -> None:
        settle_device(self)
        super().__post_init__()
        if self.sync_ref_model:
            raise ValueError(
                "sync_ref_model changes the reference model, which no checkpoint holds: a killed run could not be "
                "resumed exactly. Remove it."
            )
        if self.ignore_data_skip:
            raise ValueError(f"ignore_data_skip is set, but {REPEATS_DATA}. Remove it.")
        self._check_saves()

    def _check_saves(self) -> None:
        """A checkpoint stores no answers, so none may fall between two uses of the same ones."""
        uses = self.steps_per_generation * self.num_iterations
        steps = math.lcm(uses, self.gradient_accumulation_steps) // self.gradient_accumulation_steps
        if self.save_strategy == "no" or steps == 1:
            return
        if self.save_strategy != "steps" or self.save_steps < 1 or self.save_steps % steps:
            raise ValueError(
                f"answers are used for {steps} steps (steps_per_generation, num_iterations), and a checkpoint between "
                f"them could not be resumed exactly: set save_strategy: steps and save_steps to a multiple of "
                f"{steps}; got {self.save_strategy.value} and {self.save_steps}"
            )
