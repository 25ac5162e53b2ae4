"""An SFT run from settings to a folder that carries the method: data, training, held-out loss, card."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import PartialState
from accelerate.logging import get_logger
from datasets import Dataset
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import cached_file
from trl import ModelConfig, get_peft_config, get_quantization_config

from her_hf.durable import claim, read_json, write_json
from her_hf.hub.base import EMBEDDED, torch_dtype, weights_fingerprint, write_base
from her_hf.hub.cards import ModelCard, hub_id, source_commit, write_card
from her_hf.hub.push import push_folder
from her_hf.processing import HERProcessor
from her_hf.processing.rows import RowReport
from her_hf.scenes import load_scenes

from .config import DataConfig, OnePassConfig
from .data import RowSettings, conversations, digest, make_rows
from .layers import LAYERS
from .runs import (
    RESULTS_FILE,
    RunLog,
    begun,
    deciding,
    forget_metrics,
    last_checkpoint,
    mean_logged_loss,
    restore,
)
from .tokenizers import her_tokenizer
from .trainer import OnePassTrainer

if TYPE_CHECKING:
    from her_hf.scenes import Scene

logger = get_logger(__name__)

EMBEDDED_FOLDER = "outputs/base"
"""Where the embedded base is written when a recipe names it, relative to the working directory."""


def run_sft(data: DataConfig, model_config: ModelConfig, args: OnePassConfig) -> dict[str, Any]:
    """Trains, or goes on where a killed run stopped, or reports what a finished run measured.

    Args:
        data ([`DataConfig`]): The data.
        model_config (`ModelConfig`): TRL's model settings: name, dtype, attention, LoRA.
        args ([`OnePassConfig`]): The trainer's settings.

    Returns:
        `dict`: The contents of `results.json`: row counts, training figures, held-out loss by layer.

    Raises:
        [`~her_hf.durable.OtherRunError`]: If `output_dir` holds another run.
        `ValueError`: If a setting, the data or the model cannot be trained on; the message says how to mend it.
    """
    base = resolve_base(str(model_config.model_name_or_path))
    tokenizer = her_tokenizer(base, model_config.model_revision)
    config = AutoConfig.from_pretrained(base, revision=model_config.model_revision)
    args.max_tokens = _window(args.max_tokens, config)
    settings = RowSettings(args.max_tokens, args.row_tokens, args.one_pass)
    show = PartialState().is_main_process and not args.disable_tqdm
    scenes = _scenes(data, data.train_split, data.max_scenes)
    talks = conversations(scenes, system_thinking=data.system_thinking)
    rows, report = make_rows(talks, tokenizer, settings, processes=args.dataset_num_proc, progress=show)
    held_out, held_out_report = _held_out(data, tokenizer, settings, args)
    _tell(report, "training", data)
    if held_out_report:
        _tell(held_out_report, "held out", data)

    folder = Path(args.output_dir)
    decided = {
        **vars(data),
        **vars(model_config),
        **deciding(args.to_dict()),
        "rows": digest(rows),
        "held_out_rows": digest(held_out) if held_out is not None else None,
        "base_weights": _version(base, model_config.model_revision),
    }
    with PartialState().main_process_first():
        claim(folder, decided, begun=begun)
    push, args.push_to_hub = args.push_to_hub, False  # once, at the end, with card and results; not by the trainer
    token, args.hub_token = args.hub_token, None  # the trainer would save it with its arguments, in clear
    if (folder / RESULTS_FILE).exists():
        logger.info(f"{folder} holds the finished run already; nothing is trained again.")
        if push:
            _push(folder, args, base, token)
        return read_json(folder / RESULTS_FILE)

    model = load_model(base, model_config)
    model.generation_config = HERProcessor(tokenizer).generation_config(model.generation_config)
    log = RunLog(folder)
    trainer = OnePassTrainer(
        model,
        args,
        train_dataset=rows,
        eval_dataset=held_out,
        processing_class=tokenizer,
        callbacks=[log],
        peft_config=get_peft_config(model_config),
    )
    log.watch(trainer)
    checkpoint = last_checkpoint(folder)
    if checkpoint:
        logger.info(f"going on from {checkpoint}")
        log.seconds_before = restore(trainer, checkpoint, folder)
    elif trainer.accelerator.is_main_process:
        forget_metrics(folder)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = log.seconds
    losses = trainer.evaluate() if held_out is not None else {}
    trainer.save_model()
    results = {
        "rows": report.as_dict(),
        "held_out_rows": held_out_report.as_dict() if held_out_report else None,
        "steps": trainer.state.global_step,
        "train_loss": mean_logged_loss(folder),
        "seconds": round(seconds, 1),
        "resumed_from": checkpoint.name if checkpoint else None,
        **trainer.progress,
        "held_out_loss": held_out_losses(losses),
        "device": device_name(),
        "commit": source_commit(),
    }
    if trainer.accelerator.is_main_process:
        # The adapter of a LoRA run has no generation config of its own; the processor completes or writes it.
        HERProcessor(tokenizer).save_pretrained(folder)
        card = _card(data, model_config, args, scenes, results, secret=token)
        write_card(folder, card)
        write_json(folder / RESULTS_FILE, results)
    trainer.accelerator.wait_for_everyone()
    if push:
        _push(folder, args, base, token)
    return results


def _push(folder: Path, args: OnePassConfig, base: str, token: str | None) -> None:
    if PartialState().is_main_process:
        name = args.hub_model_id or folder.name
        address = push_folder(folder, name, base=hub_id(base), private=args.hub_private_repo, token=token)
        logger.info(f"pushed to {address}")


def _window(asked: int | None, config: PreTrainedConfig) -> int | None:
    """The window in tokens: what is asked for, but no more than the positions that the model knows."""
    holds = getattr(config.get_text_config(), "max_position_embeddings", None)
    if not isinstance(holds, int) or (asked is not None and asked <= holds):
        return asked
    if asked is None:
        logger.info(f"max_tokens is not set: the window is what the model holds, {holds} tokens")
    else:
        logger.warning(
            f"max_tokens is {asked}, but the model holds {holds} tokens (max_position_embeddings): that is the window"
        )
    return holds


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


def load_model(base: str, config: ModelConfig) -> PreTrainedModel:
    """The base model in the dtype and with the attention that the recipe names (float32 and sdpa unless told)."""
    kwargs: dict[str, Any] = {
        "revision": config.model_revision,
        "dtype": torch_dtype(config.dtype),
        "attn_implementation": config.attn_implementation or "sdpa",
    }
    quantization = get_quantization_config(config)
    if quantization is not None:
        kwargs["quantization_config"] = quantization
    return AutoModelForCausalLM.from_pretrained(base, **kwargs)


def held_out_losses(metrics: dict[str, float]) -> dict[str, Any]:
    """The held-out loss, whole and by layer, with the number of tokens each is a mean over."""
    if "eval_loss" not in metrics:
        return {}
    layers = {
        layer: {"loss": metrics.get(f"eval_loss_{layer}"), "tokens": int(metrics[f"eval_tokens_{layer}"])}
        for layer in LAYERS
    }
    return {"all": metrics["eval_loss"], **layers}


def device_name() -> str:
    """What the run ran on."""
    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    return f"CPU, {torch.get_num_threads()} threads"


def _scenes(data: DataConfig, split: str, most: int | None) -> list[Scene]:
    scenes = load_scenes(data.dataset, split=split)
    if data.languages:
        scenes = [scene for scene in scenes if scene.language in data.languages]
    scenes = scenes[:most] if most is not None else scenes
    if not scenes:
        raise ValueError(f"{data.dataset}, split {split!r}, holds no scene in {data.languages or 'any language'}")
    return scenes


def _held_out(
    data: DataConfig, tokenizer: PreTrainedTokenizerBase, settings: RowSettings, args: OnePassConfig
) -> tuple[Dataset | None, RowReport | None]:
    if not data.eval_split:
        if str(args.eval_strategy.value) != "no":
            raise ValueError("eval_strategy is set, but eval_split is empty: name a split, or set eval_strategy: 'no'")
        return None, None
    scenes = _scenes(data, data.eval_split, data.max_eval_scenes)
    talks = conversations(scenes, system_thinking=data.system_thinking)
    return make_rows(talks, tokenizer, settings, progress=False)


def _tell(report: RowReport, what: str, data: DataConfig) -> None:
    ratio = f", {report.token_ratio:.2f} times fewer tokens than per-reply" if report.token_ratio else ""
    logger.info(f"{what}: {report.replies} replies in {report.rows} rows, {report.tokens} tokens{ratio}")
    losses = {
        "replies left out, longer than the window": report.left_out,
        "turns dropped whole to fit the window": report.dropped_turns,
        "empty replies, left out": report.empty,
        # The ablation has none on purpose.
        "replies without system thinking, which the prompt asks for": (
            report.without_thinking if data.system_thinking else 0
        ),
        "replies in a row of their own": report.own_rows,
        "replies moved to another window": report.other_window,
        "replies moved because a row was full": report.row_full,
    }
    for name, count in losses.items():
        if count:
            logger.warning(f"{what}: {name}: {count}")


def _card(
    data: DataConfig,
    model_config: ModelConfig,
    args: OnePassConfig,
    scenes: Sequence[Scene],
    results: dict[str, Any],
    *,
    secret: str | None,
) -> ModelCard:
    rows = results["rows"]
    figures: dict[str, Any] = {
        "training loss, mean of the logged steps": results["train_loss"],
        "seconds": results["seconds"],
        "device": results["device"],
    }
    for layer, found in results["held_out_loss"].items():
        loss, tokens = (found, None) if layer == "all" else (found["loss"], found["tokens"])
        if loss is not None:
            figures[f"held-out loss, {layer.replace('_', ' ')}"] = f"{loss:.4f}" + (
                f" ({tokens} tokens)" if tokens else ""
            )
    if model_config.use_peft:
        tuned = f"LoRA, rank {model_config.lora_r}, alpha {model_config.lora_alpha}"
    else:
        tuned = "all weights"
    way = "one pass a conversation (a shared trunk, a branch a reply)" if args.one_pass else "one sample a reply"
    thinking = "system thinking, " if data.system_thinking else ""
    return ModelCard(
        name=args.hub_model_id.split("/")[-1] if args.hub_model_id else Path(args.output_dir).name,
        base=str(model_config.model_name_or_path),
        dataset=data.dataset,
        method=(
            "Supervised fine-tuning for dual-layer role-play (HER-SFT): the last turn of each history is trained, "
            f"{thinking}"
            f"role thinking, actions and speech. Trained in {way}."
        ),
        languages=sorted({scene.language for scene in scenes}),
        license=data.license,
        adapter=model_config.use_peft,
        settings={
            "weights trained": tuned,
            "learning rate": f"{args.learning_rate}, {args.lr_scheduler_type.value}, warm-up {args.warmup_steps}",
            "replies a step": args.replies_per_step,
            "steps": results["steps"],
            "epochs": args.num_train_epochs if args.max_steps < 0 else "by steps",
            "loss": "mean over replies" if args.per_reply else "mean over trained tokens",
            "window": args.max_tokens or "none",
            "precision": f"{model_config.dtype or 'auto'} weights{', bf16 autocast' if args.bf16 else ''}",
            "seed": args.seed,
        },
        data={
            "scenes": len(scenes),
            "conversations": rows["conversations"],
            "replies": rows["replies"],
            "tokens trained": rows["trained_tokens"],
            "tokens of a pass": rows["tokens"],
            "replies left out (longer than the window)": rows["left_out"],
            "turns dropped whole to fit the window": rows["dropped_turns"],
            "empty replies left out": rows["empty"],
            "replies without system thinking": rows["without_thinking"],
        },
        figures=figures,
        command=shlex.join(["accelerate", "launch", *(_public(argument, secret) for argument in sys.argv)]),
    )


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
