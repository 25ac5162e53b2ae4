"""Where the program of an engine is, and what is installed beside it. Engines may be in another environment."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_VERSIONS = """
import json, sys
from importlib.metadata import PackageNotFoundError, version
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""

_PYTHON = re.compile(rb"(/[^\"'\s]*/python[\d.]*)")


def python_at(place: Path) -> Path:
    """The Python that a user named, directly or by its virtual environment.

    Raises:
        `FileNotFoundError`: If there is none.
    """
    path = place.expanduser().absolute()  # not resolved: the link in a virtual environment is what makes it one
    found = path / "bin" / "python" if path.is_dir() else path
    if not os.access(found, os.X_OK) or found.is_dir():
        raise FileNotFoundError(
            f"--python {place}: there is no Python at {found}. Name the Python of the environment that has the "
            "engine, or its folder, such as .venv-vllm."
        )
    return found


def find_program(name: str, python: Path | None) -> Path | None:
    """A console script: beside the named Python, else beside the one that runs this, else on PATH."""
    beside = (python or Path(sys.executable)).parent / name
    if os.access(beside, os.X_OK) and beside.is_file():
        return beside
    found = None if python else shutil.which(name)
    return Path(found) if found else None


def python_of(program: Path) -> Path | None:
    """The Python that runs a console script, as its first lines name it; `None` if they name none."""
    with program.open("rb") as stream:
        head = b"\n".join(stream.read(1024).splitlines()[:2])
    found = _PYTHON.search(head) if head.startswith(b"#!") else None
    path = Path(os.fsdecode(found[1])) if found else None
    return path if path and os.access(path, os.X_OK) else None


def versions(python: Path | None, names: Sequence[str]) -> dict[str, str]:
    """Versions of those of some distributions that an environment has; none if its Python is not known.

    Raises:
        `ChildProcessError`: If the Python cannot be asked.
    """
    if python is None:
        return {}
    command = [str(python), "-c", _VERSIONS, *names]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=python.parent, check=True)
        return {str(name): str(version) for name, version in json.loads(done.stdout).items()}
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", None) or error).strip()[-300:]
        raise ChildProcessError(f"{python} could not be asked which packages it has: {said}") from error
