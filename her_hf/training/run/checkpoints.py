"""A run's folder: which run it belongs to, its checkpoints, and what it logged."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import ExportableState

from her_hf.durable import replace_text, whole_lines

if TYPE_CHECKING:
    from ..one_pass.trainer import OnePassTrainer

METRICS_FILE = "metrics.jsonl"
RESULTS_FILE = "results.json"
_STATE = "trainer_state.json"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_RANK = re.compile(r"rng_state_(\d+)\.pth")

# These may differ between a run and its continuation: they say where things go and how they are shown.
_NOT_LEARNING = frozenset(
    word
    for line in (
        "output_dir logging_dir logging_steps logging_strategy logging_first_step report_to run_name",
        "disable_tqdm log_level log_level_replica log_on_each_node push_to_hub hub_token hub_model_id",
        "hub_strategy hub_private_repo hub_always_push hub_revision save_steps save_strategy save_total_limit",
        "eval_steps eval_strategy eval_on_start eval_delay per_device_eval_batch_size dataset_num_proc",
        "dataloader_pin_memory resume_from_checkpoint project trackio_space_id",
        "trackio_bucket_id trackio_static_space_id local_rank ddp_timeout skip_memory_metrics do_train",
        "do_eval do_predict debug logging_nan_inf_filter save_only_model",
    )
    for word in line.split()
)


def has_started(folder: Path) -> bool:
    """Whether anything was trained or measured in this folder."""
    kept = (folder / METRICS_FILE, folder / RESULTS_FILE, *folder.glob("checkpoint-*"))
    return any(path.exists() for path in kept)


def learning_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The trainer settings that determine what is learned."""
    return {name: value for name, value in settings.items() if name not in _NOT_LEARNING}


def last_checkpoint(folder: str | Path) -> Path | None:
    """The newest complete checkpoint; one that a kill cut short is skipped.

    The trainer writes its state as the last file of a checkpoint, so that if it can be read, the others are there.
    """
    found = [
        (int(match[1]), entry)
        for entry in Path(folder).glob("checkpoint-*")
        if (match := _CHECKPOINT.fullmatch(entry.name)) and _state(entry) is not None
    ]
    return max(found)[1] if found else None


def _state(checkpoint: Path) -> dict[str, Any] | None:
    """The trainer's state; `None` if the file is missing, cut short or something else."""
    try:
        state = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # bytes that are not text, text that is not JSON
        return None
    if not isinstance(state, dict) or any(type(state.get(name)) is not int for name in ("global_step", "max_steps")):
        return None
    return state


def check_resumable(trainer: Trainer, checkpoint: Path) -> None:
    """Refuses a checkpoint from which the trainer would resume with a fresh optimizer, schedule or random state.

    The trainer silently ignores what is missing, and a run with fewer processes than before ignores the random states
    of the others. DeepSpeed and FSDP keep the optimizer in folders of their own. After the last step none of this is
    needed.

    Raises:
        `ValueError`: If something is missing or empty, or more processes wrote it; the message names what, and what
            to do.
    """
    state = _state(checkpoint)
    if state is not None and state["global_step"] >= state["max_steps"]:
        return
    args = trainer.args
    wanted: list[tuple[str, ...]] = []
    if trainer.is_deepspeed_enabled:
        wanted.append(("global_step*",))  # with the schedule, unless that raises an error when it is read
    else:
        wanted.append(("optimizer.bin", "optimizer_*") if trainer.is_fsdp_enabled else ("optimizer.pt",))
        wanted.append(("scheduler.pt",))
        if trainer.accelerator.scaler is not None:
            wanted.append(("scaler.pt",))
    wanted.append((f"rng_state_{args.process_index}.pth" if args.world_size > 1 else "rng_state.pth",))
    lacking = [
        " or ".join(names) + (" (there, but empty)" if any(map(any, map(checkpoint.glob, names))) else "")
        for names in wanted
        if not any(_holds_data(path) for name in names for path in checkpoint.glob(name))
    ]
    ranks = [int(match[1]) + 1 for file in checkpoint.iterdir() if (match := _RANK.fullmatch(file.name))]
    before = max(ranks, default=1 if (checkpoint / "rng_state.pth").exists() else 0)
    if not lacking and before <= args.world_size:
        return
    problem = f"lacks {', '.join(lacking)}" if lacking else f"was written by {before} processes"
    why = ""
    if len(lacking) == len(wanted):
        why = " A run with save_only_model: true leaves such checkpoints: set it to false where runs may be stopped."
    elif lacking in ([], [wanted[-1][0]]) and before not in (0, args.world_size):
        why = f" Start the run with as many processes as wrote it, {before}; now there are {args.world_size}."
    raise ValueError(
        f"{checkpoint} {problem}: a run resumed from it would differ from one that was never stopped.{why} Delete "
        "this folder to resume from the checkpoint before it, or all checkpoint-* folders to start over."
    )


def _holds_data(path: Path) -> bool:
    """Whether a file, or some file of a folder, is not empty: a full disk leaves names without contents."""
    files = path.rglob("*") if path.is_dir() else [path]
    return any(file.is_file() and file.stat().st_size for file in files)


def restore(trainer: OnePassTrainer, checkpoint: Path, folder: str | Path) -> float:
    """Restores the counters of a checkpoint, and drops the metrics that will be logged again.

    Returns:
        `float`: Seconds that the run had taken up to the checkpoint.
    """
    state = _state(checkpoint)
    if state is None:
        raise ValueError(
            f"{checkpoint} is not a complete checkpoint: {_STATE} is missing or cut short; delete the folder"
        )
    try:
        counts = state["stateful_callbacks"][RunLog.__name__]["attributes"]
        seconds = float(counts["seconds"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{checkpoint / _STATE} lacks the counters of {RunLog.__name__}: another trainer wrote it; delete "
            "the folder"
        ) from error
    trainer.progress = counts
    metrics = Path(folder) / METRICS_FILE
    if metrics.exists() and trainer.accelerator.is_main_process:
        kept = [line for line in whole_lines(metrics) if json.loads(line)["step"] <= state["global_step"]]
        replace_text(metrics, "".join(line + "\n" for line in kept))
    return seconds


def discard_metrics(folder: str | Path) -> None:
    """Drops the metrics of a run that was killed before its first checkpoint: those steps are trained again."""
    (Path(folder) / METRICS_FILE).unlink(missing_ok=True)


def mean_logged_loss(folder: str | Path) -> float | None:
    """Mean training loss of all logged steps, including those before a kill; `None` if no step was logged."""
    file = Path(folder) / METRICS_FILE
    lines = map(json.loads, whole_lines(file)) if file.exists() else ()
    losses = [line["loss"] for line in lines if "loss" in line]
    return sum(losses) / len(losses) if losses else None


class RunLog(TrainerCallback, ExportableState):  # type: ignore[misc]
    """Writes `metrics.jsonl` as the run goes, and puts the trainer's counters into each checkpoint.

    Args:
        folder (`str` or `Path`): Output folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._trainer: OnePassTrainer | None = None
        self._start = time.monotonic()
        self.seconds_before = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of the run so far, including those before the checkpoint that it resumed from."""
        return self.seconds_before + time.monotonic() - self._start

    def watch(self, trainer: OnePassTrainer) -> None:
        """Sets the trainer whose counters go into each checkpoint."""
        self._trainer = trainer

    def state(self) -> dict[str, Any]:
        """What a checkpoint stores."""
        counts = self._trainer.progress if self._trainer else {"num_tokens": 0, "num_replies": 0}
        return {"args": {}, "attributes": {**counts, "seconds": self.seconds}}

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Appends one line."""
        if not state.is_world_process_zero:
            return
        line = {"step": state.global_step, "seconds": round(self.seconds, 3), **(logs or {})}
        with (self._folder / METRICS_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
