"""A training run, whatever it teaches: claim the folder, train or resume, measure, save, write the card, push."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.logging import get_logger
from datasets import Dataset
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments
from trl import ModelConfig, get_peft_config

from her_hf.devices import describe_device
from her_hf.durable import claim, read_json, write_json
from her_hf.hub.card_layout import ModelCard, hub_id, write_card
from her_hf.hub.client import HubError
from her_hf.hub.push import check_push_beforehand, push
from her_hf.runs.origin import source_commit

from ..one_pass.config import OnePassConfig
from ..one_pass.dataset import rows_digest
from ..one_pass.layers import LAYERS
from ..one_pass.trainer import OnePassTrainer
from .base import Base, load_model
from .checkpoints import (
    RESULTS_FILE,
    RunLog,
    check_resumable,
    discard_metrics,
    has_started,
    last_checkpoint,
    learning_settings,
    mean_logged_loss,
    restore,
)

logger = get_logger(__name__)


@dataclass
class Job:
    """What a run trains and leaves behind.

    Args:
        base ([`~her_hf.training.run.base.Base`]): What it starts from.
        trainer (`Callable`): From the loaded model and callbacks to a trainer with a `progress` (its own counters).
        settings (`Mapping`): What identifies the run beside model, trainer settings and base weights: the settings of
            the data, and its digest.
        results (`Mapping`): Entries of `results.json` that come before the figures of training.
        card (`Callable`): From the results and the user's token to the [`~her_hf.hub.card_layout.ModelCard`].
        save (`Callable`): Completes the folder of the trained model.
        measure (`Callable`): From the trained trainer to the figures that are measured at its end.
        message (`str`): Commit message on the Hub.
    """

    base: Base
    trainer: Callable[[PreTrainedModel, list[TrainerCallback]], Any]
    settings: Mapping[str, Any]
    results: Mapping[str, Any]
    card: Callable[[dict[str, Any], str | None], ModelCard]
    save: Callable[[Path], None]
    measure: Callable[[Any], dict[str, Any]]
    message: str


def run_job(job: Job, model_config: ModelConfig, args: TrainingArguments) -> dict[str, Any]:
    """Trains, or resumes a killed run, or returns what a finished run measured.

    Args:
        job ([`Job`]): What is trained.
        model_config (`ModelConfig`): TRL's model settings: dtype, attention, LoRA.
        args (`TrainingArguments`): The trainer's settings.

    Returns:
        `dict`: The contents of `results.json`.

    Raises:
        [`~her_hf.durable.OtherRunError`]: If `output_dir` holds another run.
        `ValueError`: If the model cannot be trained on such rows, if the newest checkpoint lacks what an exact
            continuation needs, or if it is to be pushed and could not be.
    """
    folder = Path(args.output_dir)
    if args.push_to_hub:
        check_push_beforehand(_repository(folder, args), job.settings.get("license"), args.hub_token)
    identity = {
        **job.settings,
        **vars(model_config),
        **learning_settings(args.to_dict()),
        "base_weights": job.base.weights,
    }
    with PartialState().main_process_first():
        claim(folder, identity, has_results=has_started)
    wants_push, args.push_to_hub = (
        args.push_to_hub,
        False,
    )  # once, at the end, with card and results; not by the trainer
    token, args.hub_token = args.hub_token, None  # the trainer would save it with its arguments, in clear
    if (folder / RESULTS_FILE).exists():
        logger.info(f"{folder} holds the finished run already; nothing is trained again.")
        if wants_push:
            _push(folder, args, job, token)
        return read_json(folder / RESULTS_FILE)

    log = RunLog(folder)
    trainer = job.trainer(load_model(job.base.name, model_config, args.device.type), [log])
    log.watch(trainer)
    checkpoint = last_checkpoint(folder)
    _check_resume(args, checkpoint)
    if checkpoint:
        check_resumable(trainer, checkpoint)
        logger.info(f"resuming from {checkpoint}")
        log.seconds_before = restore(trainer, checkpoint, folder)
    elif trainer.accelerator.is_main_process:
        discard_metrics(folder)
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
    if wants_push:
        _push(folder, args, job, token)
    return results


def _check_resume(args: TrainingArguments, checkpoint: Path | None) -> None:
    """Warns of a run that cannot be resumed, and refuses to resume from elsewhere than its own newest checkpoint."""
    asked = args.resume_from_checkpoint
    if (
        asked
        and str(asked).lower() != "true"
        and (checkpoint is None or Path(asked).resolve() != checkpoint.resolve())
    ):
        raise ValueError(
            f"resume_from_checkpoint is {asked!r}, but a run resumes by itself from the newest checkpoint in its "
            f"output_dir ({checkpoint or 'there is none'}): leave the setting out. To train on from other weights, "
            "name their folder as model_name_or_path."
        )
    if args.save_only_model and args.save_strategy != "no":
        logger.warning(
            "save_only_model is set: checkpoints hold no optimizer, so this run cannot be resumed after a stop and "
            "would have to start over"
        )


def one_pass_job(
    base: Base,
    rows: Dataset,
    held_out: Dataset | None,
    model_config: ModelConfig,
    args: OnePassConfig,
    *,
    settings: Mapping[str, Any],
    layers: Sequence[str] = LAYERS,
    prepare: Callable[[PreTrainedModel], None] = lambda model: None,
    **parts: Any,
) -> Job:
    """A [`Job`] that trains rows in one pass: its trainer, its held-out loss, and the digests of its rows.

    Args:
        base ([`~her_hf.training.run.base.Base`]): What it starts from; the rows were built with its tokenizer.
        rows (`Dataset`): Rows to train on.
        held_out (`Dataset`, *optional*): Held-out rows.
        model_config, args: See [`run_job`].
        settings (`Mapping`): Settings of the data.
        layers (`Sequence[str]`, *optional*): Names of the parts by which the held-out loss is reported.
        prepare (`Callable`, *optional*): Prepares a loaded model for training.
        **parts: The other parts of the [`Job`].
    """

    def trainer(model: PreTrainedModel, callbacks: list[TrainerCallback]) -> OnePassTrainer:
        prepare(model)
        return OnePassTrainer(
            model,
            args,
            train_dataset=rows,
            eval_dataset=held_out,
            processing_class=base.tokenizer,
            callbacks=callbacks,
            peft_config=get_peft_config(model_config),
            layers=layers,
        )

    def measure(trained: OnePassTrainer) -> dict[str, Any]:
        losses = trained.evaluate() if held_out is not None else {}
        return {"held_out_loss": held_out_losses(losses, layers)}

    digests = {"rows": rows_digest(rows), "held_out_rows": rows_digest(held_out) if held_out is not None else None}
    return Job(base, trainer, settings={**settings, **digests}, measure=measure, **parts)


def _push(folder: Path, args: TrainingArguments, job: Job, token: str | None) -> None:
    """Pushes a finished folder, from one process.

    Raises:
        [`~her_hf.hub.client.HubError`]: If it could not be pushed.
    """
    if PartialState().is_main_process:
        try:
            pushed = push(
                "model",
                folder,
                _repository(folder, args),
                public=args.hub_private_repo is False,
                token=token,
                message=job.message,
                base=hub_id(job.base.name),
            )
        except (OSError, ValueError) as error:
            raise HubError(
                f"{error} The run is finished and whole in {folder}; the same command pushes it, and trains nothing."
            ) from error
        logger.info("; ".join([f"pushed to {pushed.address}", *pushed.notes]))


def _repository(folder: Path, args: TrainingArguments) -> str:
    return str(args.hub_model_id or folder.name)


def held_out_losses(metrics: Mapping[str, float], layers: Sequence[str]) -> dict[str, Any]:
    """The held-out loss, overall and by layer, with the number of tokens that each is a mean over."""
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
