"""Which code a run came from."""

from __future__ import annotations

import importlib.metadata
import subprocess
from pathlib import Path


def package_version() -> str:
    """The version of her_hf that is installed; `"not installed"` where it only lies on the path."""
    try:
        return importlib.metadata.version("her_hf")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def source_commit(file: str | Path = __file__) -> str | None:
    """Commit of the checkout that this code runs from, with `-dirty` if anything in it was changed.

    Args:
        file (`str` or `Path`, *optional*): A file of the code; this one if not given.

    Returns:
        `str`, *optional*: `None` outside a checkout, and where the code only lies in a checkout of something else (an
            environment inside a user's repository).
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
