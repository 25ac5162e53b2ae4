"""A run resumes exactly or not at all: checkpoints without optimizer, schedule or random state are refused."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from her_hf.training.one_pass.config import OnePassConfig
from her_hf.training.reward_model.config import RewardRLConfig
from her_hf.training.run.checkpoints import check_resumable, last_checkpoint
from her_hf.training.sft import run_sft
from tests.support.training import parsed


@pytest.fixture(scope="module")
def inputs(base: Path, scenes: Path) -> dict[str, Path]:
    return {"model_name_or_path": base, "dataset": scenes}


def train(inputs: dict[str, Path], out: Path, **changes: Any) -> dict[str, Any]:
    values = {
        **inputs, "output_dir": out, "max_steps": 4, "replies_per_step": 2, "use_cpu": True, "disable_tqdm": True,
        "eval_split": "", "eval_strategy": "no", "save_strategy": "steps", "save_steps": 2, "logging_steps": 1,
        "dataloader_pin_memory": False, **changes,
    }  # fmt: skip
    return run_sft(*parsed(run_sft, values))


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


def test_a_complete_one_is_resumed(inputs: dict[str, Path], finished: Path, stopped: Path) -> None:
    assert train(inputs, stopped)["resumed_from"] == "checkpoint-2"
    found, wanted = (
        [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines() if '"loss"' in line]
        for folder in (stopped, finished)
    )
    assert found == pytest.approx(wanted, rel=1e-6) and len(found) == 4


def test_save_only_model_warns_at_the_start_and_is_refused_later(
    inputs: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    with caplog.at_level(logging.WARNING):
        train(inputs, out, save_only_model=True)
    assert "this run cannot be resumed after a stop" in caplog.text
    (out / "results.json").unlink()
    # All steps are done: only what follows them is left, and needs no optimizer.
    assert train(inputs, out)["resumed_from"] == "checkpoint-4"
    (out / "results.json").unlink()
    shutil.rmtree(out / "checkpoint-4")
    with pytest.raises(ValueError, match=r"lacks optimizer\.pt, scheduler\.pt, rng_state\.pth.*save_only_model"):
        train(inputs, out)


def test_resuming_from_elsewhere_is_refused(inputs: dict[str, Path], finished: Path, stopped: Path) -> None:
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
    check_resumable(trainer, folder)
    trainer.args = SimpleNamespace(world_size=2, process_index=1)
    with pytest.raises(ValueError, match=r"lacks rng_state_1\.pth.*as many processes as wrote it, 1; now there are 2"):
        check_resumable(trainer, folder)
    trainer.args = SimpleNamespace(world_size=1, process_index=0)
    part = folder / files[0]
    part.write_text("")
    with pytest.raises(ValueError) as error:
        check_resumable(trainer, folder)
    assert f"lacks {optimizer} (there, but empty):" in str(error.value)
    part.unlink()
    if part.parent != folder:
        part.parent.rmdir()
    with pytest.raises(ValueError) as error:
        check_resumable(trainer, folder)
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
                check_resumable(trainer, folder)
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
        with pytest.raises(ValueError, match=r"ignore_data_skip.*train the data again"):
            kind(output_dir=str(tmp_path), use_cpu=True, ignore_data_skip=True)
