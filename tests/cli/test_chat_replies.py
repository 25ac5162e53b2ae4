"""`her-hf chat`: the alternatives of a reply; persona, note, views, branches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from her_hf.cli import chat_setup
from her_hf.inference import ModelError, Reply
from her_hf.scenes import load_scenes
from tests.cli.test_chat import talk
from tests.support.chat import ContinuingModel


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(chat_setup, "her_mini", lambda: None)


def chatted(monkeypatch: pytest.MonkeyPatch, script: list[Any], lines: str) -> str:
    """The output of a chat with a scripted model, from the first typed line on."""
    monkeypatch.setattr(chat_setup, "open_model", lambda *_, **__: ContinuingModel(*script))
    done = talk("a-model", lines=lines)
    return done.output.partition("/help lists the commands")[2]


def test_swipes_are_listed_and_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    out = chatted(
        monkeypatch,
        ["Isobel Rae: One.", "Isobel Rae: Two.", "Isobel Rae: Three."],
        "/swipe\nWell?\n/regenerate\n/swipe\n/swipe 1\n/swipe 3\n/swipe x\nSo?\n/history\n",
    )
    assert "there is no reply yet" in out
    listed, rest = out.split("reply 1 of 2")[1].split("/swipe 1")
    assert "One." in listed.split("reply 2 of 2: in the conversation")[0]
    assert "/swipe needs the number of a reply, there are 2; got '3'" in rest and "got 'x'" in rest
    history = rest.split("/history")[1]
    assert "One." in history and "Two." not in history


def test_a_cut_reply_and_one_that_broke_off_are_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    out = chatted(
        monkeypatch,
        [
            Reply("Isobel Rae: I ne", "length", False),
            "ver.",
            ("Isobel Rae: No, s", ModelError("The server is gone.", kind="dropped")),
            "ir.",
        ],
        "Well?\n/continue\n/continue\nSo?\n/swipe\n/continue 1\n/continue 2\n/history\n",
    )
    assert "/continue goes on, /regenerate tries again" in out
    assert "I never." in out and "There is no reply that was cut or broke off." in out
    assert "not in the conversation: /continue goes on, /regenerate tries again, /swipe shows it, /undo" in out
    assert "reply 1 of 1: broke off, in no prompt" in out
    history = out.split("/history")[-1]
    assert "I never." in history and "No, sir." in history


def test_persona_note_views_and_branches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    reply = "<system_thinking>\nStall.\n</system_thinking>\nIsobel Rae: <role_thinking>Oh.</role_thinking> Tea?"
    file = tmp_path / "other.jsonl"
    out = chatted(
        monkeypatch,
        [reply, reply],
        "/persona\n/persona A tired man.\n/note\n/note Slowly.\n[Hm.] Well?\nSo?\n/view\n/view Edmund Vail\n"
        f"/view Nobody\n/branch 2\n/branch 9 {file}\n/branch 2 {file}\n/prompt\n/note -\n",
    )
    assert "persona: Inspector of the lighthouse board" in out and "persona: A tired man." in out
    assert "author's note: none" in out.split("/note Slowly.")[0] and "author's note: Slowly." in out
    author, visitor = out.split("/view")[1:3]
    assert "  2 Isobel Rae: ┊ Stall. [Oh.] Tea?" in author
    assert "  2 Isobel Rae: Tea?" in visitor and "1 Edmund Vail: [Hm.] Well?" in visitor
    assert "There is no viewer 'Nobody'" in out and out.count("/branch needs the number of a turn") == 2
    assert [line.split('"')[3] for line in file.read_text().splitlines()] == ["session", "note", "turn", "turn"]
    assert "A tired man." in out.split("/prompt")[1] and "author's note: none" in out.split("/note -")[1]


def test_others_speak_play_and_draft(monkeypatch: pytest.MonkeyPatch) -> None:
    out = chatted(
        monkeypatch,
        [
            "Environment: Rain.",
            "Isobel Rae: Sit.",
            "Environment: Wind.",
            "Edmund Vail: <role_action>sits</role_action> Thank you.",
        ],
        "/as Environment\n/as Nobody\n/as\n/play\n/play 0\n/impersonate\n/history\n",
    )
    assert "The model cannot speak as 'Nobody'" in out and "/as needs a name" in out
    assert "/play needs a number of turns from 1 to 50, got '0'" in out
    assert "your turn, if you type it: (sits) Thank you." in out
    history = out.split("/history")[1]
    assert ["Rain." in history, "Sit." in history, "Wind." in history, "Thank" in history] == [True] * 3 + [False]


def test_the_character_is_written_as_a_card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    out = chatted(monkeypatch, [], f"/card\n/card {tmp_path / 'isobel.png'}\n/card {tmp_path / 'isobel.txt'}\n")
    assert "/card needs a file" in out and "--card opens it" in out and "to a .json or .png file" in out
    (scene,) = load_scenes(tmp_path / "isobel.png")
    assert scene.cast[0].name == "Isobel Rae"
