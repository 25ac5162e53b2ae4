"""A run's folder: whose it is, where it stopped, and what it measured."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

if TYPE_CHECKING:
    from .trainer import OnePassTrainer

RUN_FILE = "run.json"
METRICS_FILE = "metrics.jsonl"
RESULTS_FILE = "results.json"
_STATE = "trainer_state.json"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")

# What may differ between a run and its continuation: where things go and how they are shown, not what is learned.
_FREE = frozenset(
    word
    for line in (
        "output_dir logging_dir logging_steps logging_strategy logging_first_step report_to run_name",
        "disable_tqdm log_level log_level_replica log_on_each_node push_to_hub hub_token hub_model_id",
        "hub_strategy hub_private_repo hub_always_push hub_revision save_steps save_strategy save_total_limit",
        "eval_steps eval_strategy eval_on_start eval_delay per_device_eval_batch_size dataset_num_proc",
        "dataloader_num_workers dataloader_pin_memory resume_from_checkpoint project trackio_space_id",
        "trackio_bucket_id trackio_static_space_id local_rank ddp_timeout skip_memory_metrics do_train",
        "do_eval do_predict debug logging_nan_inf_filter save_only_model",
    )
    for word in line.split()
)


class OtherRunError(FileExistsError):
    """The output folder belongs to another run."""


def claim(folder: str | Path, settings: Mapping[str, Any]) -> None:
    """Makes `folder` this run's, or checks that it already is; nothing in it is touched.

    Args:
        folder (`str` or `Path`): Output folder.
        settings (`Mapping`): All that decides what is learned, JSON values.

    Raises:
        [`OtherRunError`]: If the folder holds another run (the message lists the settings that differ) or other files.
    """
    folder = Path(folder)
    file = folder / RUN_FILE
    wanted = json.loads(json.dumps(dict(settings), sort_keys=True, default=str))
    if file.exists():
        known = json.loads(file.read_text(encoding="utf-8"))
        differing = sorted(name for name in known.keys() | wanted.keys() if known.get(name) != wanted.get(name))
        if differing and not _begun(folder):
            write_json(file, wanted)  # nothing was trained there yet: a start that failed may be mended
        elif differing:
            shown = "; ".join(f"{name}: {known.get(name)!r} there, {wanted.get(name)!r} now" for name in differing[:6])
            raise OtherRunError(
                f"{folder} holds another run, which this one would overwrite ({shown}). Choose another output_dir, or "
                "delete the folder."
            )
        return
    if folder.exists() and any(folder.iterdir()):
        found = ", ".join(sorted(entry.name for entry in folder.iterdir())[:5])
        raise OtherRunError(
            f"{folder} holds files of something else ({found}) and no {RUN_FILE}. Choose another output_dir, or empty "
            "the folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(file, wanted)


def _begun(folder: Path) -> bool:
    """Whether anything was trained or measured in this folder."""
    kept = (folder / METRICS_FILE, folder / RESULTS_FILE, *folder.glob("checkpoint-*"))
    return any(path.exists() for path in kept)


def deciding(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The trainer settings that decide what is learned."""
    return {name: value for name, value in settings.items() if name not in _FREE}


def last_checkpoint(folder: str | Path) -> Path | None:
    """The newest checkpoint that was written to its end; one that a kill cut short is passed over.

    The trainer's state is the last file of a checkpoint, so one that can be read tells that the others are there.
    """
    found = [
        (int(match[1]), entry)
        for entry in Path(folder).glob("checkpoint-*")
        if (match := _CHECKPOINT.fullmatch(entry.name)) and _state(entry) is not None
    ]
    return max(found)[1] if found else None


def _state(checkpoint: Path) -> dict[str, Any] | None:
    try:
        state: dict[str, Any] = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return state


def restore(trainer: OnePassTrainer, checkpoint: Path, folder: str | Path) -> float:
    """Takes up the counters of a checkpoint, and drops the metrics that will be logged again.

    Returns:
        `float`: Seconds that the run had taken up to the checkpoint.
    """
    state = _state(checkpoint)
    if state is None:
        raise ValueError(
            f"{checkpoint} is not a whole checkpoint: {_STATE} is missing or cut short; delete the folder"
        )
    counts = state["stateful_callbacks"][RunLog.__name__]["attributes"]
    trainer.progress = counts
    metrics = Path(folder) / METRICS_FILE
    if metrics.exists() and trainer.accelerator.is_main_process:
        kept = [line for line in _whole_lines(metrics) if json.loads(line)["step"] <= state["global_step"]]
        _replace(metrics, "".join(line + "\n" for line in kept))
    return float(counts["seconds"])


def forget_metrics(folder: str | Path) -> None:
    """Drops the metrics of a start that a kill ended before its first checkpoint: those steps come again."""
    (Path(folder) / METRICS_FILE).unlink(missing_ok=True)


def mean_logged_loss(folder: str | Path) -> float | None:
    """Mean training loss of all logged steps, those before a kill included; `None` if none was logged."""
    file = Path(folder) / METRICS_FILE
    lines = map(json.loads, _whole_lines(file)) if file.exists() else ()
    losses = [line["loss"] for line in lines if "loss" in line]
    return sum(losses) / len(losses) if losses else None


def _whole_lines(file: Path) -> list[str]:
    """Lines of a JSONL file; a last line that a kill cut short has no newline and is no line."""
    return file.read_text(encoding="utf-8").split("\n")[:-1]


def read_json(file: str | Path) -> dict[str, Any]:
    """Reads what [`write_json`] wrote."""
    value: dict[str, Any] = json.loads(Path(file).read_text(encoding="utf-8"))
    return value


def write_json(file: str | Path, value: Any) -> None:
    """Writes JSON in one move, so that a kill leaves the old file or the new one."""
    _replace(Path(file), json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n")


def _replace(file: Path, text: str) -> None:
    draft = file.with_name(file.name + ".tmp")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, file)


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
        """Seconds of the run so far, those up to the checkpoint it went on from included."""
        return self.seconds_before + time.monotonic() - self._start

    def watch(self, trainer: OnePassTrainer) -> None:
        """Names the trainer whose counters go into each checkpoint."""
        self._trainer = trainer

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        counts = self._trainer.progress if self._trainer else {"num_tokens": 0, "num_replies": 0}
        return {"args": {}, "attributes": {**counts, "seconds": self.seconds}}

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Appends one line."""
        if not state.is_world_process_zero:
            return
        line = {"step": state.global_step, "seconds": round(self.seconds, 3), **(logs or {})}
        with (self._folder / METRICS_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
