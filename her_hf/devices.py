"""What the device can compute: the one place that chooses the precision of training, sampling and scoring.

torch is imported only when a function is called, so that the core does not need it.
"""

from __future__ import annotations

import functools
import logging
import os
import platform
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

SWITCH = "HER_HF_BF16"
"""Environment variable: `0` treats every device as one without bfloat16 instructions."""


def best_device() -> str:
    """The kind of accelerator that torch can use here (`"cuda"`, `"mps"`, …), else `"cpu"`."""
    import torch

    return torch.accelerator.current_accelerator().type if torch.accelerator.is_available() else "cpu"


def has_bf16(device: str | None = None) -> bool:
    """Whether a device computes bfloat16 in hardware, rather than emulating it.

    A CPU without AVX512-BF16 or AMX emulates it: bf16 matrix products are then about 36 times slower than float32.

    Args:
        device (`str`, *optional*): A torch device (`"cpu"`, `"cuda:1"`); by default the one of [`best_device`].

    Returns:
        `bool`: `False` also if the environment variable `HER_HF_BF16` is `0`.
    """
    if os.environ.get(SWITCH) == "0":
        return False
    return _computes_bf16((device or best_device()).partition(":")[0])


@functools.cache
def _computes_bf16(kind: str) -> bool:
    import torch

    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if kind == "mps":
        return bool(torch.backends.mps.is_macos_or_newer(14, 0))
    if kind != "cpu":
        return True
    # oneDNN answers yes on every AVX-512 machine, although it would emulate there; on ARM it asks the CPU.
    if not torch.backends.mkldnn.is_available() or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    if platform.machine().lower() in ("x86_64", "amd64"):
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return True


def settle_bf16(asked: bool, device: str | None = None) -> bool:
    """Whether to use bf16 autocast: as requested, unless the device would emulate bfloat16, which is logged.

    Args:
        asked (`bool`): What the settings request.
        device (`str`, *optional*): Where it would run; by default the one of [`best_device`].
    """
    if asked and not has_bf16(device):
        logger.warning(_emulated("bf16"))
        return False
    return bool(asked)


def settle_dtype(asked: str | None, device: str | None = None) -> Any:
    """The dtype of weights: as requested, or float32 if the device would emulate bfloat16, which is logged.

    Args:
        asked (`str`, *optional*): Name of a torch dtype, `"auto"` for the checkpoint's own, or `None` for the default:
            the checkpoint's own on an accelerator, float32 on a CPU.
        device (`str`, *optional*): Where the weights are placed; by default the one of [`best_device`].

    Returns:
        `torch.dtype`, or `"auto"` if the device can compute in the checkpoint's own dtype.

    Raises:
        `ValueError`: If torch has no such dtype.
    """
    import torch

    device = device or best_device()
    if asked is None:
        asked = "float32" if device.partition(":")[0] == "cpu" else "auto"
    if asked == "auto":
        return "auto" if has_bf16(device) else torch.float32
    found = torch_dtype(asked)
    if found == torch.bfloat16 and not has_bf16(device):
        logger.warning(_emulated("bfloat16 weights"))
        return torch.float32
    return found


def torch_dtype(name: str | None) -> Any:
    """The torch dtype of this name; `None` and `"auto"` are returned unchanged.

    Raises:
        `ValueError`: If torch has no such dtype.
    """
    import torch

    if name in (None, "auto"):
        return name
    found = getattr(torch, str(name), None)
    if not isinstance(found, torch.dtype):
        raise ValueError(f"dtype must be the name of a torch dtype, such as float32 or bfloat16; got {name!r}")
    return found


def _emulated(what: str) -> str:
    return f"{what} requested, but this device would only emulate bfloat16: running in float32 instead"


def describe_device(device: str | None = None) -> str:
    """A description of the device for results and cards: model, bfloat16 instructions, threads."""
    import torch

    device = device or best_device()
    if device.startswith("cuda"):
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    if device != "cpu":
        return f"{device}, {platform.machine()}"
    instructions = "with" if has_bf16("cpu") else "without"
    return f"CPU: {cpu_name()}, {instructions} bfloat16 instructions, {torch.get_num_threads()} threads"


def cpu_name() -> str:
    """The model name of the CPU; its architecture if the system does not report one."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()


def cpu_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
