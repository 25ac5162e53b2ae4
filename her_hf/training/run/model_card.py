"""What the cards of all recipes say."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from transformers import TrainingArguments
from trl import ModelConfig

from her_hf.hub.card_layout import ModelCard


class CardData(Protocol):
    """The settings of a recipe's data that its card names."""

    dataset: str
    license: str | None


def training_card(
    source: CardData,
    model_config: ModelConfig,
    args: TrainingArguments,
    results: Mapping[str, Any],
    token: str | None,
    *,
    settings: Mapping[str, Any],
    **parts: Any,
) -> ModelCard:
    """The card of a trained model: what every recipe says, with the parts of this one.

    Args:
        source ([`CardData`]): Settings of the data.
        model_config (`ModelConfig`): TRL's model settings.
        args (`TrainingArguments`): The trainer's settings.
        results (`Mapping`): Contents of `results.json`.
        token (`str`, *optional*): The user's token, which must not appear in the command.
        settings (`Mapping`): Further settings of this recipe.
        **parts: Further parts of [`~her_hf.hub.card_layout.ModelCard`], such as `method` and `data`.

    Returns:
        [`~her_hf.hub.card_layout.ModelCard`]: The card.
    """
    return ModelCard(
        name=str(args.hub_model_id.split("/")[-1] if args.hub_model_id else Path(args.output_dir).name),
        base=str(model_config.model_name_or_path),
        dataset=source.dataset,
        license=source.license,
        adapter=model_config.use_peft,
        settings={**_settings(model_config, args, results), **settings},
        figures=_figures(results),
        command=launch_command(token),
        **parts,
    )


def _figures(results: Mapping[str, Any]) -> dict[str, Any]:
    """Loss, time, device, and the held-out loss, overall and by layer."""
    figures: dict[str, Any] = {
        "training loss, mean of the logged steps": results["train_loss"],
        "seconds": results["seconds"],
        "device": results["device"],
    }
    for layer, found in results.get("held_out_loss", {}).items():
        loss, tokens = (found, None) if layer == "all" else (found["loss"], found["tokens"])
        if loss is not None:
            figures[f"held-out loss, {layer.replace('_', ' ')}"] = f"{loss:.4f}" + (
                f" ({tokens} tokens)" if tokens else ""
            )
    return figures


def _settings(model_config: ModelConfig, args: TrainingArguments, results: Mapping[str, Any]) -> dict[str, Any]:
    """Which weights were trained, how long and how fast."""
    if model_config.use_peft:
        tuned = f"LoRA, rank {model_config.lora_r}, alpha {model_config.lora_alpha}"
    elif getattr(args, "train_last_layers", None):
        tuned = f"the last {args.train_last_layers} decoder layers"
    else:
        tuned = "all but the embeddings" if getattr(args, "freeze_embeddings", False) else "all weights"
    return {
        "weights trained": tuned,
        "learning rate": f"{args.learning_rate}, {args.lr_scheduler_type.value}, warm-up {args.warmup_steps}",
        "steps": results["steps"],
        "epochs": args.num_train_epochs if args.max_steps < 0 else "by steps",
        "precision": results["precision"],
        "seed": args.seed,
    }


def launch_command(token: str | None) -> str:
    """The command line of this run as others can type it: without the token and the paths of this machine."""
    return shlex.join(["accelerate", "launch", *(_public(argument, token) for argument in sys.argv)])


def _public(argument: str, token: str | None) -> str:
    """An argument as others can type it: a path below the working directory becomes relative to it."""
    if token:
        argument = argument.replace(token, "<TOKEN>")
    name, equals, value = argument.partition("=")
    if equals and name.startswith("--"):
        return f"{name}={_public(value, None)}"
    path = Path(argument)
    if not path.is_absolute():
        return argument
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else f"<{path.name}>"
