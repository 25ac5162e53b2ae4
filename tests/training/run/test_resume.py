"""A run goes on exactly or not at all: checkpoints without optimizer, schedule or random state are refused."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer
from trl import ModelConfig, TrlParser

from her_hf.training.one_pass.config import DataConfig, OnePassConfig
from her_hf.training.reward_model.rl import RewardRLConfig
from her_hf.training.run.checkpoints import check_exact, last_checkpoint
from her_hf.training.sft import run_sft
from tests.support.one_pass import FIXTURES, tiny_model


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base, scenes = tmp_path_factory.mktemp("base"), tmp_path_factory.mktemp("scenes")
    tokenizer = AutoTokenizer.from_pretrained(FIXTURES / "tokenizers" / "smollm2")
    tokenizer.save_pretrained(base)
    tiny_model("llama", len(tokenizer), dtype=torch.float32).save_pretrained(base)
    shutil.copy(FIXTURES / "scenes" / "mini.jsonl", scenes / "train.jsonl")
    return {"model_name_or_path": base, "dataset": scenes}


def train(inputs: dict[str, Path], out: Path, **changes: Any) -> dict[str, Any]:
    values = {
        **inputs, "output_dir": out, "max_steps": 4, "replies_per_step": 2, "use_cpu": True, "disable_tqdm": True,
        "eval_split": "", "eval_strategy": "no", "save_strategy": "steps", "save_steps": 2, "logging_steps": 1,
        "dataloader_pin_memory": False, **changes,
    }  # fmt: skip
    words = [word for name, value in values.items() for word in (f"--{name}", str(value))]
    return run_sft(*TrlParser((DataConfig, ModelConfig, OnePassConfig)).parse_args_and_config(words))


@pytest.fixture(scope="module")
def finished(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    train(inputs, out)
    return out


@pytest.fixture
def stopped(finished: Path, tmp_path: Path) -> Path:
    """A run that was stopped after its second step."""
    out = shutil.copytree(finished, tmp_path / "out")
    (out / "results.json").unlink()
    shutil.rmtree(out / "checkpoint-4")
    return out


@pytest.mark.parametrize("file", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_checkpoint_that_lacks_something_is_refused(inputs: dict[str, Path], stopped: Path, file: str) -> None:
    (stopped / "checkpoint-2" / file).unlink()
    metrics = (stopped / "metrics.jsonl").read_bytes()
    with pytest.raises(ValueError, match=rf"out/checkpoint-2 lacks {file}:.*Delete this folder"):
        train(inputs, stopped)
    assert (stopped / "metrics.jsonl").read_bytes() == metrics
    shutil.rmtree(stopped / "checkpoint-2")  # as the message says
    assert train(inputs, stopped)["resumed_from"] is None


def test_a_whole_one_is_gone_on_from(inputs: dict[str, Path], finished: Path, stopped: Path) -> None:
    assert train(inputs, stopped)["resumed_from"] == "checkpoint-2"
    found, wanted = (
        [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines() if '"loss"' in line]
        for folder in (stopped, finished)
    )
    assert found == pytest.approx(wanted, rel=1e-6) and len(found) == 4


def test_save_only_model_is_told_at_the_start_and_refused_later(
    inputs: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    with caplog.at_level(logging.WARNING):
        train(inputs, out, save_only_model=True)
    assert "this run cannot go on after a stop" in caplog.text
    (out / "results.json").unlink()
    # All steps are done: only what follows them is left, and needs no optimizer.
    assert train(inputs, out)["resumed_from"] == "checkpoint-4"
    (out / "results.json").unlink()
    shutil.rmtree(out / "checkpoint-4")
    with pytest.raises(ValueError, match=r"lacks optimizer\.pt, scheduler\.pt, rng_state\.pth.*save_only_model"):
        train(inputs, out)


def test_going_on_from_elsewhere_is_refused(inputs: dict[str, Path], finished: Path, stopped: Path) -> None:
    with pytest.raises(ValueError, match=r"resume_from_checkpoint is .*leave the setting out"):
        train(inputs, stopped, resume_from_checkpoint=finished / "checkpoint-4")
    assert train(inputs, stopped, resume_from_checkpoint=stopped / "checkpoint-2")["resumed_from"] == "checkpoint-2"


KINDS: list[tuple[dict[str, bool], list[str], str]] = [
    ({}, ["optimizer.pt", "scheduler.pt", "rng_state.pth"], "optimizer.pt"),
    ({"fsdp": True}, ["optimizer_0/x.distcp", "scheduler.pt", "rng_state.pth"], "optimizer.bin or optimizer_*"),
    ({"fsdp": True}, ["optimizer.bin", "scheduler.pt", "rng_state.pth"], "optimizer.bin or optimizer_*"),
    ({"deepspeed": True}, ["global_step2/zero_pp_rank_0.pt", "rng_state.pth"], "global_step*"),
    ({"scaled": True}, ["optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state.pth"], "optimizer.pt"),
]


@pytest.mark.parametrize(("kind", "files", "optimizer"), KINDS)
def test_each_launcher_keeps_its_optimizer_elsewhere(
    kind: dict[str, bool], files: list[str], optimizer: str, tmp_path: Path
) -> None:
    trainer: Any = SimpleNamespace(
        args=SimpleNamespace(world_size=1, process_index=0),
        is_deepspeed_enabled=kind.get("deepspeed", False),
        is_fsdp_enabled=kind.get("fsdp", False),
        accelerator=SimpleNamespace(scaler=object() if kind.get("scaled") else None),
    )
    folder = tmp_path / "checkpoint-2"
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    (folder / "trainer_state.json").write_text('{"global_step": 2, "max_steps": 4}')
    assert last_checkpoint(tmp_path) == folder
    check_exact(trainer, folder)
    trainer.args = SimpleNamespace(world_size=2, process_index=1)
    with pytest.raises(ValueError, match=r"lacks rng_state_1\.pth.*as many processes as wrote it, 1; now there are 2"):
        check_exact(trainer, folder)
    trainer.args = SimpleNamespace(world_size=1, process_index=0)
    part = folder / files[0]
    part.write_text("")
    with pytest.raises(ValueError) as error:
        check_exact(trainer, folder)
    assert f"lacks {optimizer} (there, but empty):" in str(error.value)
    part.unlink()
    if part.parent != folder:
        part.parent.rmdir()
    with pytest.raises(ValueError) as error:
        check_exact(trainer, folder)
    assert f"lacks {optimizer}:" in str(error.value)


@pytest.mark.parametrize(("wrote", "now"), [(4, 2), (2, 1), (2, 4)])
def test_other_processes_than_wrote_it_are_refused(wrote: int, now: int, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-2"
    folder.mkdir()
    for name in ("optimizer.pt", "scheduler.pt", *(f"rng_state_{rank}.pth" for rank in range(wrote))):
        (folder / name).write_text("x")
    (folder / "trainer_state.json").write_text('{"global_step": 2, "max_steps": 4}')
    refused = []
    for size in (now, wrote):
        for rank in range(size):
            trainer: Any = SimpleNamespace(
                args=SimpleNamespace(world_size=size, process_index=rank), is_deepspeed_enabled=False,
                is_fsdp_enabled=False, accelerator=SimpleNamespace(scaler=None),
            )  # fmt: skip
            try:
                check_exact(trainer, folder)
            except ValueError as error:
                assert f"as many processes as wrote it, {wrote}; now there are {now}. Delete" in str(error)
                refused.append(rank)
    assert refused == list(range(wrote if now > wrote else 0, now))


@pytest.mark.parametrize("state", [b"\xff", b"[]", b"{}", b"7", b'{"global_step": "2", "max_steps": 4}', b'{"glob'])
def test_a_state_that_is_none_makes_no_checkpoint(state: bytes, tmp_path: Path) -> None:
    for step, text in ((2, b'{"global_step": 2, "max_steps": 4}'), (3, state)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_bytes(text)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-2"


def test_a_checkpoint_of_another_trainer_is_named(inputs: dict[str, Path], stopped: Path) -> None:
    file = stopped / "checkpoint-2" / "trainer_state.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "stateful_callbacks": {}}))
    with pytest.raises(ValueError, match=r"checkpoint-2/trainer_state\.json lacks the counters of RunLog"):
        train(inputs, stopped)


def test_no_run_ignores_what_it_has_seen(tmp_path: Path) -> None:
    for kind in (OnePassConfig, RewardRLConfig):
        with pytest.raises(ValueError, match=r"ignore_data_skip.*train again what it has seen"):
            kind(output_dir=str(tmp_path), use_cpu=True, ignore_data_skip=True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_iterations": 2, "save_steps": 3}, "used for 2 steps.*multiple of 2; got steps and 3"),
        ({"num_iterations": 2, "save_strategy": "epoch"}, "multiple of 2; got epoch"),
        ({"steps_per_generation": 8, "save_steps": 6}, "multiple of 4"),
        ({"sync_ref_model": True}, "sync_ref_model"),
        ({"num_iterations": 2, "save_steps": 4}, None),
        ({"num_iterations": 2, "save_strategy": "no"}, None),
        ({"save_steps": 1}, None),
    ],
)
def test_reinforcement_saves_where_it_can_go_on(changes: dict[str, Any], words: str | None, tmp_path: Path) -> None:
    how: dict[str, Any] = {
        "output_dir": str(tmp_path), "use_cpu": True, "per_device_train_batch_size": 2, "num_generations": 2,
        "gradient_accumulation_steps": 2, "save_strategy": "steps", "beta": 0.1, **changes,
    }  # fmt: skip
    if words is None:
        RewardRLConfig(**how)
        return
    with pytest.raises(ValueError, match=words):
        RewardRLConfig(**how)
