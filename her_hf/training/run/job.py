"""A training run on rows, whatever they teach: claim the folder, train or go on, measure, save, card, push."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.logging import get_logger
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainingArguments,
)
from transformers.utils import cached_file
from trl import ModelConfig, get_peft_config, get_quantization_config

from her_hf.devices import describe_device, settle_dtype
from her_hf.durable import claim, read_json, write_json
from her_hf.hub.base import EMBEDDED, weights_fingerprint, write_base
from her_hf.hub.cards import ModelCard, hub_id, write_card
from her_hf.hub.push import push_folder
from her_hf.runs.origin import source_commit

from ..one_pass.config import OnePassConfig
from ..one_pass.data import digest
from ..one_pass.layers import LAYERS
from ..one_pass.trainer import OnePassTrainer
from .checkpoints import (
    RESULTS_FILE,
    RunLog,
    begun,
    check_exact,
    deciding,
    forget_metrics,
    last_checkpoint,
    mean_logged_loss,
    restore,
)

logger = get_logger(__name__)

EMBEDDED_FOLDER = "outputs/base"
"""Where the embedded base is written when a recipe names it, relative to the working directory."""


@dataclass
class Job:
    """What a run trains and leaves behind.

    Args:
        base (`str`): Folder or Hub id of the base, as [`resolve_base`] gives it.
        trainer (`Callable`): From the loaded model and callbacks to a trainer with a `progress` (its own counters).
        settings (`Mapping`): What decides the run beside model, trainer settings and base weights: the data and its
            digest.
        results (`Mapping`): What `results.json` says before the figures of training.
        card (`Callable`): From the results and the user's token to the [`~her_hf.hub.cards.ModelCard`].
        save (`Callable`): Completes the folder of the trained model.
        measure (`Callable`, *optional*): From the trained trainer to the figures that are measured at its end.
        message (`str`, *optional*, defaults to `"HER-SFT"`): Commit message on the Hub.
    """

    base: str
    trainer: Callable[[PreTrainedModel, list[TrainerCallback]], Any]
    settings: Mapping[str, Any]
    results: Mapping[str, Any]
    card: Callable[[dict[str, Any], str | None], ModelCard]
    save: Callable[[Path], None]
    measure: Callable[[Any], dict[str, Any]] = lambda trainer: {}
    message: str = "HER-SFT"


def run_job(job: Job, model_config: ModelConfig, args: TrainingArguments) -> dict[str, Any]:
    """Trains, or goes on where a killed run stopped, or reports what a finished run measured.

    Args:
        job ([`Job`]): What is trained.
        model_config (`ModelConfig`): TRL's model settings: dtype, attention, LoRA.
        args (`TrainingArguments`): The trainer's settings.

    Returns:
        `dict`: The contents of `results.json`.

    Raises:
        [`~her_hf.durable.OtherRunError`]: If `output_dir` holds another run.
        `ValueError`: If the model cannot be trained on such rows, or if the newest checkpoint lacks what it takes to
            go on exactly.
    """
    folder = Path(args.output_dir)
    decided = {
        **job.settings,
        **vars(model_config),
        **deciding(args.to_dict()),
        "base_weights": _version(job.base, model_config.model_revision),
    }
    with PartialState().main_process_first():
        claim(folder, decided, begun=begun)
    push, args.push_to_hub = args.push_to_hub, False  # once, at the end, with card and results; not by the trainer
    token, args.hub_token = args.hub_token, None  # the trainer would save it with its arguments, in clear
    if (folder / RESULTS_FILE).exists():
        logger.info(f"{folder} holds the finished run already; nothing is trained again.")
        if push:
            push_finished(folder, args, job.base, token, job.message)
        return read_json(folder / RESULTS_FILE)

    log = RunLog(folder)
    trainer = job.trainer(load_model(job.base, model_config, args.device.type), [log])
    log.watch(trainer)
    checkpoint = last_checkpoint(folder)
    _check_resume(args, checkpoint)
    if checkpoint:
        check_exact(trainer, checkpoint)
        logger.info(f"going on from {checkpoint}")
        log.seconds_before = restore(trainer, checkpoint, folder)
    elif trainer.accelerator.is_main_process:
        forget_metrics(folder)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = log.seconds
    measured = job.measure(trainer)
    trainer.save_model()
    results = {
        **job.results,
        "steps": trainer.state.global_step,
        "train_loss": mean_logged_loss(folder),
        "seconds": round(seconds, 1),
        "resumed_from": checkpoint.name if checkpoint else None,
        **trainer.progress,
        **measured,
        "precision": precision_of(trainer.model, bf16=trainer.accelerator.mixed_precision == "bf16"),
        "device": describe_device(args.device.type),
        "commit": source_commit(),
    }
    if trainer.accelerator.is_main_process:
        job.save(folder)
        write_card(folder, job.card(results, token))
        write_json(folder / RESULTS_FILE, results)
    trainer.accelerator.wait_for_everyone()
    if push:
        push_finished(folder, args, job.base, token, job.message)
    return results


def _check_resume(args: TrainingArguments, checkpoint: Path | None) -> None:
    """Tells of a run that cannot go on after a stop, and refuses to go on from elsewhere than it would."""
    asked = args.resume_from_checkpoint
    if (
        asked
        and str(asked).lower() != "true"
        and (checkpoint is None or Path(asked).resolve() != checkpoint.resolve())
    ):
        raise ValueError(
            f"resume_from_checkpoint is {asked!r}, but a run goes on by itself from the newest checkpoint in its "
            f"output_dir ({checkpoint or 'there is none'}): leave the setting out. To train on from other weights, "
            "name their folder as model_name_or_path."
        )
    if args.save_only_model and args.save_strategy != "no":
        logger.warning(
            "save_only_model is set: checkpoints hold no optimizer, so this run cannot go on after a stop and would "
            "have to begin anew"
        )


def one_pass(
    rows: Dataset,
    held_out: Dataset | None,
    tokenizer: PreTrainedTokenizerBase,
    model_config: ModelConfig,
    args: OnePassConfig,
    *,
    layers: Sequence[str] = LAYERS,
    prepare: Callable[[PreTrainedModel], None] = lambda model: None,
) -> dict[str, Any]:
    """The parts of a [`Job`] that trains rows in one pass: how its trainer is made, and its held-out loss.

    Args:
        rows (`Dataset`): Rows to train on.
        held_out (`Dataset`, *optional*): Held-out rows.
        tokenizer (`PreTrainedTokenizerBase`): What the rows were built with.
        model_config, args: See [`run_job`].
        layers (`Sequence[str]`, *optional*): Names of the parts by which the held-out loss is told apart.
        prepare (`Callable`, *optional*): Does what a loaded model needs before it is trained.

    Returns:
        `dict`: `trainer` and `measure` for [`Job`].
    """

    def trainer(model: PreTrainedModel, callbacks: list[TrainerCallback]) -> OnePassTrainer:
        prepare(model)
        return OnePassTrainer(
            model,
            args,
            train_dataset=rows,
            eval_dataset=held_out,
            processing_class=tokenizer,
            callbacks=callbacks,
            peft_config=get_peft_config(model_config),
            layers=layers,
        )

    def measure(trained: OnePassTrainer) -> dict[str, Any]:
        losses = trained.evaluate() if held_out is not None else {}
        return {"held_out_loss": held_out_losses(losses, layers)}

    return {"trainer": trainer, "measure": measure}


def row_digests(rows: Dataset, held_out: Dataset | None) -> dict[str, str | None]:
    """Digests of the rows, for the settings of a [`Job`]."""
    return {"rows": digest(rows), "held_out_rows": digest(held_out) if held_out is not None else None}


def push_finished(folder: Path, args: Any, base: str, token: str | None, message: str) -> None:
    """Pushes a finished folder, from one process."""
    if PartialState().is_main_process:
        name = args.hub_model_id or folder.name
        private = args.hub_private_repo
        address = push_folder(folder, name, base=hub_id(base), private=private, token=token, message=message)
        logger.info(f"pushed to {address}")


def window_of(asked: int | None, config: PreTrainedConfig) -> int | None:
    """The window in tokens: what is asked for, but no more than the positions that the model knows."""
    holds = positions_of(config)
    if holds is None or (asked is not None and asked <= holds):
        return asked
    if asked is None:
        logger.info(f"max_tokens is not set: the window is what the model holds, {holds} tokens")
    else:
        logger.warning(
            f"max_tokens is {asked}, but the model holds {holds} tokens (max_position_embeddings): that is the window"
        )
    return holds


def positions_of(config: PreTrainedConfig) -> int | None:
    """The positions that a model knows, prompt and answer together; `None` if its config does not say."""
    holds = getattr(config.get_text_config(), "max_position_embeddings", None)
    return holds if isinstance(holds, int) else None


def _version(base: str, revision: str | None) -> str:
    """Which weights lie behind the name of the base: a fingerprint of a folder, the commit of a Hub id."""
    if Path(base).is_dir():
        return weights_fingerprint(base)
    return Path(cached_file(base, "config.json", revision=revision)).parent.name  # …/snapshots/COMMIT/config.json


def resolve_base(name: str) -> str:
    """The base as transformers takes it; the embedded one is written as a folder first."""
    if not name or name == "None":
        raise ValueError("no base model is named: set model_name_or_path to a folder, a Hub id, or smollm2-135m")
    if name != EMBEDDED:
        return name
    with PartialState().main_process_first():
        return str(write_base(Path(EMBEDDED_FOLDER) / EMBEDDED))


def load_model(base: str, config: ModelConfig, device: str) -> PreTrainedModel:
    """The base model with the attention that the recipe names (sdpa unless told), and in its dtype, as far as the
    device computes in it."""
    kwargs: dict[str, Any] = {
        "revision": config.model_revision,
        "dtype": settle_dtype(config.dtype or "float32", device),
        "attn_implementation": config.attn_implementation or "sdpa",
    }
    quantization = get_quantization_config(config)
    if quantization is not None:
        kwargs["quantization_config"] = quantization
    return AutoModelForCausalLM.from_pretrained(base, **kwargs)


def held_out_losses(metrics: Mapping[str, float], layers: Sequence[str]) -> dict[str, Any]:
    """The held-out loss, whole and by layer, with the number of tokens each is a mean over."""
    if "eval_loss" not in metrics:
        return {}
    found = {
        layer: {"loss": metrics.get(f"eval_loss_{layer}"), "tokens": int(metrics[f"eval_tokens_{layer}"])}
        for layer in layers
    }
    return {"all": metrics["eval_loss"], **found}


def precision_of(model: torch.nn.Module, *, bf16: bool) -> str:
    """What a model computes in: the dtype of its weights, and autocast on top where it is on."""
    dtype = str(model.dtype).removeprefix("torch.")
    return f"{dtype} weights{', bf16 autocast' if bf16 else ''}"


# -- what cards of all recipes say


def training_figures(results: Mapping[str, Any]) -> dict[str, Any]:
    """Loss, time, device, and the held-out loss whole and by layer, for a card."""
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


def training_settings(model_config: ModelConfig, args: Any, results: Mapping[str, Any]) -> dict[str, Any]:
    """What was trained, how long and how fast, for a card."""
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


def card_name(args: Any) -> str:
    """Name of the model: that of its repository, else of its folder."""
    return str(args.hub_model_id.split("/")[-1] if args.hub_model_id else Path(args.output_dir).name)


def launch_command(secret: str | None) -> str:
    """The command line of this run as others can type it."""
    return shlex.join(["accelerate", "launch", *(_public(argument, secret) for argument in sys.argv)])


def _public(argument: str, secret: str | None) -> str:
    """An argument as others can type it: no token, and a path below the working directory without what is above it."""
    if secret:
        argument = argument.replace(secret, "<TOKEN>")
    name, equals, value = argument.partition("=")
    if equals and name.startswith("--"):
        return f"{name}={_public(value, None)}"
    path = Path(argument)
    if not path.is_absolute():
        return argument
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else f"<{path.name}>"
