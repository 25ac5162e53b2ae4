"""A tiny base, the settings of short runs, and runs that are killed: shared by the tests of training."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer
from trl import TrlParser

from her_hf.training.run.launch import settings_of
from tests.support.one_pass import tiny_model
from tests.support.paths import FIXTURES, ROOT


def write_tiny_base(folder: Path, tokenizer: str = "smollm2", kind: str = "llama") -> Path:
    """A base without HER: a random model of two layers, and a fixture's tokenizer with its base's own template."""
    own = AutoTokenizer.from_pretrained(FIXTURES / "tokenizers" / tokenizer)
    own.save_pretrained(folder)
    tiny_model(kind, len(own), dtype=torch.float32).save_pretrained(folder)
    return folder


def options(values: dict[str, Any]) -> list[str]:
    """Settings as words of a command line."""
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


def parsed(run: Callable[..., Any], values: dict[str, Any]) -> Any:
    """The settings of a run, as its recipe parses them."""
    return TrlParser(settings_of(run)).parse_args_and_config(options(values))


def sft_values(base: Path, scenes: Path, out: Path, **changes: Any) -> dict[str, Any]:
    """Settings of a short `run_sft`."""
    return {
        "model_name_or_path": str(base), "dataset": str(scenes), "output_dir": str(out), "max_steps": 6,
        "replies_per_step": 2, "learning_rate": 1e-2, "use_cpu": True, "disable_tqdm": True, "logging_steps": 1,
        "eval_strategy": "no", "save_strategy": "steps", "save_steps": 2, "dataloader_pin_memory": False, "seed": 5,
        "license": "apache-2.0", "lr_scheduler_type": "constant", **changes,
    }  # fmt: skip


def rm_sft_values(base: Path, pairs_file: Path, out: Path, **changes: Any) -> dict[str, Any]:
    """Settings of a short `run_rm_sft`."""
    return {
        "model_name_or_path": base, "dataset": pairs_file, "eval_split": "", "eval_dataset": pairs_file,
        "form": "compact", "output_dir": out, "replies_per_step": 4, "max_steps": 6, "learning_rate": 1e-2,
        "per_reply": True, "use_cpu": True, "disable_tqdm": True, "logging_steps": 1, "eval_strategy": "no",
        "save_strategy": "steps", "save_steps": 2, "dataloader_pin_memory": False, "seed": 5,
        "license": "apache-2.0", **changes,
    }  # fmt: skip


def rm_rl_values(base: Path, pairs_file: Path, out: Path, **changes: Any) -> dict[str, Any]:
    """Settings of a short `run_rm_rl`."""
    return {
        "model_name_or_path": base, "dataset": pairs_file, "form": "compact", "output_dir": out, "max_steps": 2,
        "num_generations": 2, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1,
        "max_completion_length": 8, "learning_rate": 1e-3, "use_cpu": True, "disable_tqdm": True,
        "logging_steps": 1, "save_strategy": "steps", "save_steps": 1, "seed": 5, "bf16": False,
        "gradient_checkpointing": False, **changes,
    }  # fmt: skip


def losses(folder: Path) -> list[tuple[int, float]]:
    """The logged training loss of each step."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines if "loss" in line]


_KILLED_RUN = """
import importlib, json, os, signal, sys
from tests.support.training import parsed
from her_hf.training.run import checkpoints, job

module, name, values, step = sys.argv[1:]

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

class Killer(checkpoints.RunLog):
    def on_step_end(self, args, state, control, **kwargs):
        if str(state.global_step) == step:
            kill()

Killer.__name__ = checkpoints.RunLog.__name__
job.RunLog = Killer
if step == "card":
    job.write_card = kill
run = getattr(importlib.import_module(module), name)
run(*parsed(run, json.loads(values)))
"""


def run_to_the_kill(run: Callable[..., Any], values: dict[str, Any], step: int | str) -> None:
    """Runs in a process of its own that is killed at the end of a step, or before it writes the `"card"`."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    given = json.dumps({name: str(value) for name, value in values.items()})
    command = [sys.executable, "-c", _KILLED_RUN, run.__module__, run.__name__, given, str(step)]
    process = subprocess.run(command, env=env, capture_output=True, text=True)
    assert process.returncode == -signal.SIGKILL, process.stderr[-2000:]
    assert not (Path(values["output_dir"]) / "results.json").exists()


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
