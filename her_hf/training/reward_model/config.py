"""Settings of the reward model's data, in either stage."""

from __future__ import annotations

from dataclasses import dataclass, field

from her_hf.judging.pairwise.judge import FORMS


@dataclass
class RewardDataConfig:
    """What a reward model is trained on.

    Args:
        dataset (`str`): A preference set (folder or Hub id), or a JSONL file of labelled pairs.
        train_split (`str`, *optional*, defaults to `"train"`): Split to train on; of a file, leave it.
        eval_split (`str`, *optional*, defaults to `"validation"`): Split held out; empty for none.
        eval_dataset (`str`, *optional*): Where held-out pairs are, if not in `dataset`.
        form (`str`, *optional*, defaults to `"published"`): `"published"` or `"compact"`.
        both_orders (`bool`, *optional*, defaults to `True`): Train each pair in both orders.
        at_once (`bool`, *optional*, defaults to `True`): Train also the answer without thinking, behind a prompt that
            asks for it.
        thinking_share (`float`, *optional*, defaults to 1.0): Share of the pairs whose answer with thinking is
            trained; below 1 only beside `at_once`.
        decision_share (`float`, *optional*): Share of an answer's loss that lies on the tokens that decide (which
            reply is meant, wherever one is named). Every token counts alike if not given. With `per_reply`.
        max_pairs (`int`, *optional*): Use only the first pairs.
        max_eval_pairs (`int`, *optional*): Use only the first held-out pairs.
        license (`str`, *optional*): License of the model, for its card.

    Raises:
        `ValueError`: If the form is unknown, or a share is none.
    """

    dataset: str = field(metadata={"help": "Preference set (folder, Hub id) or JSONL file of labelled pairs."})
    train_split: str = field(default="train", metadata={"help": "Split to train on."})
    eval_split: str = field(default="validation", metadata={"help": "Split held out; an empty string for none."})
    eval_dataset: str | None = field(default=None, metadata={"help": "Held-out pairs, if they are not in dataset."})
    form: str = field(
        default="published", metadata={"help": "published: long prompt and HER's JSON. compact: for small models."}
    )
    both_orders: bool = field(default=True, metadata={"help": "Each pair in both orders."})
    at_once: bool = field(default=True, metadata={"help": "Train the answer without thinking as well."})
    thinking_share: float = field(
        default=1.0, metadata={"help": "Share of the pairs whose answer with thinking is trained (0 to 1)."}
    )
    decision_share: float | None = field(
        default=None,
        metadata={"help": "Share of an answer's loss on the tokens that decide; not given: all tokens alike."},
    )
    max_pairs: int | None = field(default=None, metadata={"help": "Use only this many training pairs, the first."})
    max_eval_pairs: int | None = field(default=None, metadata={"help": "Use only this many held-out pairs."})
    license: str | None = field(default=None, metadata={"help": "License of the trained model, for its card."})

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(f"form must be one of {list(FORMS)}, got {self.form!r}")
        if not 0 <= self.thinking_share <= 1:
            raise ValueError(f"thinking_share must be from 0 to 1, got {self.thinking_share}")
        if self.thinking_share < 1 and not self.at_once:
            raise ValueError(
                f"thinking_share is {self.thinking_share}: the other pairs would have no answer. Set at_once: true."
            )
        if self.decision_share is not None and not 0 < self.decision_share < 1:
            raise ValueError(f"decision_share must lie between 0 and 1, got {self.decision_share}")


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
        least_doubt (`float`, *optional*): Leave out pairs of which the model that is started from gives the label, in
            every order, a probability below this or above 1 minus this; all are trained if not given. See
            [`~her_hf.training.reward_model.doubt.doubtful_pairs`]. For compact answers at once, and whole models
            (neither FSDP nor ZeRO-3).
        form_reward (`float`, *optional*, defaults to 0.1): See
            [`~her_hf.training.reward_model.rewards.VerdictReward`].
        follows_reward (`float`, *optional*, defaults to 0.1): See there.
        license (`str`, *optional*): License of the model, for its card.

    Raises:
        `ValueError`: If the form is unknown, `least_doubt` does not lie between 0 and 0.5, or is asked of answers that
            think.
    """

    dataset: str = field(metadata={"help": "Preference set (folder, Hub id) or JSONL file of labelled pairs."})
    train_split: str = field(default="train", metadata={"help": "Split to train on."})
    form: str = field(default="published", metadata={"help": "published, or compact for small models."})
    reasoning: bool = field(default=True, metadata={"help": "Answers think first."})
    both_orders: bool = field(default=True, metadata={"help": "A copy of each prompt with sides exchanged."})
    max_pairs: int | None = field(default=None, metadata={"help": "Use only this many pairs, the first."})
    least_doubt: float | None = field(
        default=None,
        metadata={"help": "Leave out pairs whose label is, in every order, less likely than this or nearly certain."},
    )
    form_reward: float = field(default=0.1, metadata={"help": "For an answer that is read without repair."})
    follows_reward: float = field(
        default=0.1, metadata={"help": "For at least three principles that the verdict follows from."}
    )
    license: str | None = field(default=None, metadata={"help": "License of the trained model, for its card."})

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(f"form must be one of {list(FORMS)}, got {self.form!r}")
        if self.least_doubt is None:
            return
        if not 0 < self.least_doubt < 0.5:
            raise ValueError(f"least_doubt must lie between 0 and 0.5, got {self.least_doubt}")
        if self.form != "compact" or self.reasoning:
            raise ValueError("least_doubt is read of compact answers at once: set form: compact and reasoning: false")
