"""Which code a run came from."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from her_hf.runs.origin import package_version, source_commit


def test_the_commit_is_that_of_this_code_or_none(tmp_path: Path) -> None:
    """Code inside somebody's repository, as in its .venv, is not of that commit; a change anywhere makes it dirty."""

    def git(*words: str) -> str:
        names = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        command = ["git", "-C", str(tmp_path), *names, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    for name in (".gitignore", "data.txt", "pkg/hub/cards.py", "venv/pkg/hub/cards.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("venv\n")
    git("add", ".")
    git("commit", "-q", "-m", "x")
    head = git("rev-parse", "HEAD")
    assert source_commit(tmp_path / "pkg" / "hub" / "cards.py") == head
    assert source_commit(tmp_path / "venv" / "pkg" / "hub" / "cards.py") is None
    (tmp_path / "data.txt").write_text("changed")
    assert source_commit(tmp_path / "pkg" / "hub" / "cards.py") == f"{head}-dirty"
    assert source_commit("/nowhere/cards.py") is None


def test_the_version_is_that_of_the_package_if_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: {"her_hf": "1.2.3"}[name])
    assert package_version() == "1.2.3"

    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    assert package_version() == "not installed"
