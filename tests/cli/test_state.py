"""Files that commands write unless the user names one."""

from __future__ import annotations

from pathlib import Path

import pytest

from her_hf.cli.state import new_log


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def test_names_of_logs_do_not_collide(state: Path) -> None:
    first, second = new_log("chats", "Mr. Bell", ".jsonl"), new_log("chats", "Mr. Bell", ".jsonl")
    assert first.parent == state / "her_hf" / "chats" and first.parent.is_dir()
    assert first != second and first.suffix == ".jsonl"
    assert "mr-bell" in second.name


@pytest.mark.parametrize("about", ["", "///", "愛" * 200])
def test_every_name_makes_a_file_name(about: str, state: Path) -> None:
    file = new_log("servers", about, ".log")
    file.write_text("")
    assert file.parent == state / "her_hf" / "servers" and file.name.endswith(".log")


def test_a_relative_state_folder_does_not_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert new_log("servers", "m", ".log").parent == tmp_path / ".local" / "state" / "her_hf" / "servers"
