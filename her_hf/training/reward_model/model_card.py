"""The model card of a reward model, in either stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import TrainingArguments
from trl import ModelConfig

from her_hf.hub.card_layout import DIRECT_ANSWERS_USE, REWARD_USE, ModelCard

from ..run.model_card import training_card
from .config import RewardDataConfig, RewardRLDataConfig

_METHOD = (
    "A generative pairwise reward model for role-play: it reads a scene and two replies, names the principles that "
    "distinguish them, and gives a verdict (cand_1, cand_2 or tie)."
)


def reward_card(
    data: RewardDataConfig | RewardRLDataConfig,
    model_config: ModelConfig,
    args: TrainingArguments,
    results: Mapping[str, Any],
    token: str | None,
    *,
    stage: str,
    direct: bool,
    settings: Mapping[str, Any],
    counts: Mapping[str, Any],
    tags: tuple[str, ...] = (),
) -> ModelCard:
    """The card of a reward model.

    Args:
        data ([`~her_hf.training.reward_model.config.RewardDataConfig`] or
            [`~her_hf.training.reward_model.config.RewardRLDataConfig`]): Settings of the data.
        model_config, args, results, token, settings: See [`~her_hf.training.run.model_card.training_card`].
        stage (`str`): Which stage this is and how it trains.
        direct (`bool`): Whether it was trained on answers without thinking.
        counts (`Mapping`): Further counts of the data.
        tags (`tuple[str, ...]`, *optional*): Further tags of the Hub.
    """
    pairs = results["pairs"]
    excluded = pairs["unlabelled"] + pairs["invalid"] + pairs["too_long"]
    return training_card(
        data,
        model_config,
        args,
        results,
        token,
        method=f"{_METHOD} This checkpoint is its {stage}",
        use=REWARD_USE + (DIRECT_ANSWERS_USE if data.form == "compact" and direct else ""),
        settings=settings,
        data={
            "split": data.train_split,
            "pairs": pairs["pairs"],
            **counts,
            "pairs left out (no label, not a pair, too long)": excluded,
        },
        tags=("reward-model", *tags),
    )
