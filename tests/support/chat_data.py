"""Chat data for tests: its messages and files, and a training of a small base on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from her_hf.training.run.arguments import RecipeParser
from her_hf.training.run.launch import settings_of
from her_hf.training.sft import run_sft
from tests.support.one_pass import FIXTURES, tiny_model


def write(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def asked(text: Any = "Is it late?", **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": text, **more}


def said(text: Any = "Bel: The tide says so.", **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def small_base(folder: Path) -> Path:
    tokenizer = AutoTokenizer.from_pretrained(FIXTURES / "tokenizers" / "smollm2")
    tokenizer.save_pretrained(folder)
    tiny_model("llama", len(tokenizer), dtype=torch.float32).save_pretrained(folder)
    return folder


def train(base: Path, data: Path, out: Path, **changes: Any) -> dict[str, Any]:
    values = {
        "model_name_or_path": base, "dataset": data, "output_dir": out, "max_steps": 2, "replies_per_step": 2,
        "use_cpu": True, "disable_tqdm": True, "logging_steps": 1, "save_strategy": "no", "report_to": "none",
        "eval_strategy": "no", "dataloader_pin_memory": False, **changes,
    }  # fmt: skip
    words = [word for name, value in values.items() for word in (f"--{name}", str(value))]
    return run_sft(*RecipeParser(settings_of(run_sft)).parse_args_and_config(words))
