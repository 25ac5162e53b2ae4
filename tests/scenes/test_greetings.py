"""Chats that open with a greeting, and thinking that no template shows: told in the log, the results and the card."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.chat_data import asked, said, small_base, train, write


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_base(tmp_path_factory.mktemp("base"))


def test_what_of_a_chat_is_not_trained_is_reported(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    greeting = said("Bel: <role_action>waves</role_action> You are early.")
    stray = said("Bel: Well <think>she lies</think> then.")
    data = write(tmp_path / "chats.jsonl", {"messages": [asked(), said()]}, {"messages": [greeting, asked(), stray]})
    rows = train(base, data, tmp_path / "out", eval_split="")["rows"]
    assert (rows["replies"], rows["unprompted"], rows["stray_thinking"]) == (2, 1, 1)
    assert "replies that open a conversation without a prompt, kept as history: 1" in caplog.text
    assert "replies with system thinking elsewhere than once at their start, which is not trained: 1" in caplog.text
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| replies without a prompt, kept as history | 1 |" in card
    assert "| replies with stray system thinking, which is not trained | 1 |" in card
