"""One place decides precision; both kinds of device are covered, whichever the tests run on."""

from __future__ import annotations

import logging

import pytest

pytest.importorskip("torch", reason="precision needs torch: pip install her_hf[train]")

import torch

from her_hf import devices


@pytest.fixture(params=[True, False], ids=["bfloat16 instructions", "none"])
def native(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A CPU with bfloat16 instructions, and one without."""
    monkeypatch.delenv(devices.SWITCH, raising=False)
    monkeypatch.setattr(devices, "_computes_bf16", lambda kind: request.param)
    return bool(request.param)


def test_bf16_is_used_where_it_is_computed_and_answered_by_float32_where_it_is_emulated(
    native: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert devices.settle_bf16(True, "cpu") is native
        assert devices.settle_dtype("bfloat16", "cpu") == (torch.bfloat16 if native else torch.float32)
        assert devices.settle_dtype("auto", "cpu") == ("auto" if native else torch.float32)
    lines = [] if native else ["bf16 requested", "bfloat16 weights requested"]
    assert [record.getMessage().split(",")[0] for record in caplog.records] == lines


def test_what_needs_no_bfloat16_is_as_asked(native: bool, caplog: pytest.LogCaptureFixture) -> None:
    assert devices.settle_bf16(False, "cpu") is False
    assert devices.settle_dtype(None, "cpu") == torch.float32 == devices.settle_dtype("float32", "cpu")
    assert devices.settle_dtype("float16", "cpu") == torch.float16
    assert not caplog.records
    assert f"{'with' if native else 'without'} bfloat16 instructions" in devices.describe_device("cpu")


def test_the_environment_switches_bfloat16_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_computes_bf16", lambda kind: True)
    monkeypatch.delenv(devices.SWITCH, raising=False)
    assert devices.has_bf16("cpu")
    monkeypatch.setenv(devices.SWITCH, "0")
    assert not devices.has_bf16("cpu") and not devices.has_bf16("cuda:1")


@pytest.mark.parametrize(
    ("onednn", "avx512", "amx", "machine", "wanted"),
    [
        (True, True, False, "x86_64", True),
        (True, False, True, "AMD64", True),
        (True, False, False, "x86_64", False),  # AVX-512 without BF16: oneDNN says yes, and emulates
        (False, True, True, "x86_64", False),  # switched off for oneDNN
        (True, False, False, "aarch64", True),
        (False, False, False, "aarch64", False),
    ],
)
def test_what_a_cpu_is_asked(
    monkeypatch: pytest.MonkeyPatch, onednn: bool, avx512: bool, amx: bool, machine: str, wanted: bool
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(devices.platform, "machine", lambda: machine)
    assert devices._computes_bf16.__wrapped__("cpu") is wanted


def test_a_dtype_that_torch_does_not_know_is_named() -> None:
    with pytest.raises(ValueError, match="such as float32 or bfloat16; got 'bf61'"):
        devices.settle_dtype("bf61", "cpu")


def test_a_training_without_bfloat16_instructions_runs_in_float32(
    native: bool, caplog: pytest.LogCaptureFixture, tmp_path: object
) -> None:
    from her_hf.training.one_pass.config import OnePassConfig

    with caplog.at_level(logging.WARNING):
        args = OnePassConfig(output_dir=str(tmp_path), bf16=True, use_cpu=True, report_to="none")
    assert args.bf16 is native and args.use_cpu
    assert ("float32 instead" in caplog.text) is not native


def test_what_accelerate_was_asked_for_is_settled_alike(
    native: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    from her_hf.training.one_pass.config import OnePassConfig
    from her_hf.training.reward_model.config import RewardRLConfig

    for kind in (OnePassConfig, RewardRLConfig):
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")  # accelerate launch --mixed_precision bf16
        args = kind(output_dir=str(tmp_path), bf16=False, use_cpu=True, report_to="none")
        AcceleratorState._reset_state(reset_partial_state=True)
        assert args.bf16 is native
        assert (args.mixed_precision, Accelerator(cpu=True).mixed_precision) == (
            ("bf16",) * 2 if native else ("no",) * 2
        )
    AcceleratorState._reset_state(reset_partial_state=True)


def test_a_model_in_process_is_loaded_in_what_the_cpu_computes(native: bool, tmp_path: object) -> None:
    from her_hf.inference.local import LocalModel
    from tests.support.one_pass import tiny_model
    from tests.support.tokenizers import attached

    tokenizer = attached("smollm2")
    tiny_model("llama", len(tokenizer), dtype=torch.float32).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = LocalModel.load(str(tmp_path), device="cpu", dtype="bfloat16")
    assert model._model.dtype == (torch.bfloat16 if native else torch.float32)
