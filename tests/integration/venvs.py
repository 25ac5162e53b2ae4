"""Virtual environments that the integration tests make for themselves, and keep between runs."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The project's root."""

INTEGRATION = Path(__file__).resolve().parent

_STAMP = "stamp.txt"
_PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")


def ensure_venv(folder: Path, arguments: Sequence[str], pins: Path, *, timeout: float = 1800) -> Path:
    """Makes a virtual environment, unless one with the same content is already there.

    Args:
        folder (`Path`): Where it lies.
        arguments (`Sequence[str]`): What follows `pip install`.
        pins (`Path`): The file that pins versions; a change of its text renews the environment.
        timeout (`float`, *optional*, defaults to 1800): Seconds the installation may take.

    Returns:
        `Path`: Its Python.

    Raises:
        `FileNotFoundError`: If `pins` is missing.
        `RuntimeError`: If the installation fails; the message holds the end of pip's output.
    """
    if not pins.is_file():
        raise FileNotFoundError(f"{pins} pins the versions of {folder.name} and is missing: restore it.")
    python = folder / "bin" / "python"
    digest = hashlib.sha256("\n".join([sys.version, *arguments, pins.read_text()]).encode()).hexdigest()
    stamp = folder / _STAMP
    if python.exists() and stamp.is_file() and stamp.read_text() == digest:
        return python
    stamp.unlink(missing_ok=True)  # a killed installation must not look finished
    if not python.exists():
        _call([sys.executable, "-m", "venv", "--clear", str(folder)], timeout)
    _call([str(python), *_PIP, *arguments], timeout)
    stamp.write_text(digest)
    return python


def ensure_node_modules(folder: Path, pins: Path) -> Path:
    """Installs npm packages, unless the same ones are already there.

    Args:
        folder (`Path`): Where they lie.
        pins (`Path`): A folder with `package.json` and `package-lock.json`.

    Returns:
        `Path`: Its `node_modules`.

    Raises:
        `RuntimeError`: If the installation fails; the message holds the end of npm's output.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock, installed = pins / "package-lock.json", folder / "package-lock.json"
    if not (folder / "node_modules").is_dir() or installed.read_bytes() != lock.read_bytes():
        for file in (pins / "package.json", lock):
            shutil.copyfile(file, folder / file.name)
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=170)
        if done.returncode:
            shutil.rmtree(folder / "node_modules", ignore_errors=True)  # half an installation must not look finished
            raise RuntimeError(f"npm ci ended with {done.returncode}:\n{done.stderr[-4000:]}")
    return folder / "node_modules"


def plain_python() -> Path:
    """The Python of an environment without her_hf: transformers, torch for the CPU, jinja2 and datasets."""
    pins = ROOT / "constraints.txt"
    return ensure_venv(ROOT / ".venv-plain", ["-c", str(pins), "torch", "transformers", "jinja2", "datasets"], pins)


def clean_environment(**extra: str) -> dict[str, str]:
    """The environment of a child process that must not see this project, nor the network of the Hub."""
    hidden = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    inherited = {key: value for key, value in os.environ.items() if key not in hidden}
    return inherited | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONNOUSERSITE": "1"} | extra


def _call(command: Sequence[str], timeout: float) -> None:
    shown = {"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(command, cwd=ROOT, env=clean_environment(), timeout=timeout, **shown)
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-4000:]}\nIf pip finds no torch for the "
            "CPU, name the index of its CPU builds in PIP_EXTRA_INDEX_URL"
        )
