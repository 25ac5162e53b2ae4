"""HER-SFT from settings to a folder that carries the method: scenes, rows, training, card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelerate import PartialState
from accelerate.logging import get_logger
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import ModelConfig

from her_hf.hub.cards import ModelCard
from her_hf.processing import HERProcessor
from her_hf.processing.rows import RowReport
from her_hf.scenes import load_scenes

from .config import DataConfig, OnePassConfig
from .data import RowSettings, conversations, make_rows
from .job import (
    Job,
    card_name,
    launch_command,
    one_pass,
    resolve_base,
    row_digests,
    run_job,
    training_figures,
    training_settings,
    window_of,
)
from .tokenizers import base_config, her_tokenizer

if TYPE_CHECKING:
    from her_hf.scenes import Scene

logger = get_logger(__name__)


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
    config = base_config(base, model_config.model_revision, tokenizer)
    args.max_tokens = window_of(args.max_tokens, config)
    settings = RowSettings(args.max_tokens, args.row_tokens, args.one_pass)
    show = PartialState().is_main_process and not args.disable_tqdm
    scenes = _scenes(data, data.train_split, data.max_scenes)
    talks = conversations(scenes, system_thinking=data.system_thinking)
    rows, report = make_rows(talks, tokenizer, settings, processes=args.dataset_num_proc, progress=show)
    held_out, held_out_report = _held_out(data, tokenizer, settings, args)
    _tell(report, "training", data)
    if held_out_report:
        _tell(held_out_report, "held out", data)

    def prepare(model: PreTrainedModel) -> None:
        model.generation_config = HERProcessor(tokenizer).generation_config(model.generation_config)

    def save(folder: Path) -> None:
        # The adapter of a LoRA run has no generation config of its own; the processor completes or writes it.
        HERProcessor(tokenizer).save_pretrained(folder)

    job = Job(
        base,
        **one_pass(rows, held_out, tokenizer, model_config, args, prepare=prepare),
        settings={**vars(data), **row_digests(rows, held_out)},
        results={
            "rows": report.as_dict(),
            "held_out_rows": held_out_report.as_dict() if held_out_report else None,
        },
        card=lambda results, secret: _card(data, model_config, args, scenes, results, secret=secret),
        save=save,
    )
    return run_job(job, model_config, args)


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
    way = "one pass a conversation (a shared trunk, a branch a reply)" if args.one_pass else "one sample a reply"
    thinking = "system thinking, " if data.system_thinking else ""
    return ModelCard(
        name=card_name(args),
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
            **training_settings(model_config, args, results["steps"]),
            "replies a step": args.replies_per_step,
            "loss": "mean over replies" if args.per_reply else "mean over trained tokens",
            "window": args.max_tokens or "none",
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
        figures=training_figures(results),
        command=launch_command(secret),
    )
