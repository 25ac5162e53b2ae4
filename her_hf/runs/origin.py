"""The version and commit of the code of a run."""

from __future__ import annotations

import importlib.metadata
import subprocess
from pathlib import Path


def package_version() -> str:
    """The installed version of her_hf; `"not installed"` if it is only on the path."""
    try:
        return importlib.metadata.version("her_hf")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def source_commit(file: str | Path = __file__) -> str | None:
    """The commit of the checkout that this code is in, with `-dirty` if the checkout has changes.

    Args:
        file (`str` or `Path`, *optional*): A file of the code; by default this one.

    Returns:
        `str`, *optional*: `None` outside a checkout, and in a checkout that does not track the code (an environment
            inside a user's repository).
    """
    file = Path(file).resolve()

    def git(*words: str) -> str:
        command = ["git", "-C", str(file.parent), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", file.name)
        commit, status = git("rev-parse", "HEAD"), git("status", "--porcelain")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}-dirty" if status else commit
