"""Model cards: only what is known."""

from __future__ import annotations

import subprocess
from pathlib import Path

from her_hf.hub.cards import ModelCard, hub_id, render_card, source_commit


def test_card_claims_only_what_is_known() -> None:
    card = render_card(ModelCard(name="m", base="/some/where", dataset="owner/data:config", method="SFT."))
    front = card.split("---")[1]
    assert "datasets:\n- owner/data" in front and "base_model" not in front and "license" not in front
    assert "/some/where" not in card and "not stated" in card
    assert [hub_id(name) for name in ("a/b", "./a/b", "a", "a/b/c")] == ["a/b", None, None, None]


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
