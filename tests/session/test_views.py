"""What each of the three viewers sees, as data; branches, the persona and the author's note."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from her_hf.scenes import START
from her_hf.session import AUTHOR, Limits, Session
from tests.session.test_conversation import drain, records, session_of, talked
from tests.support.chat import FULL, THINKING, ScriptedModel, small_scene


def seen(session: Session, viewer: str, index: int) -> list[tuple[str, str]]:
    data = json.loads(json.dumps(session.view(viewer)))
    assert [turn["index"] for turn in data] == list(range(len(session.turns)))
    assert data[index]["name"] == session.turns[index].name
    return [(part["layer"], part["text"]) for part in data[index]["parts"]]


def test_each_viewer_sees_what_is_theirs() -> None:
    session = session_of(FULL)
    talked(session, "[It is here.] (bows) Good day.")
    visible = [("role_action", "pours tea"), ("role_speech", "Sugar, Mr. Bell?")]
    thought = ("role_thinking", "Not the drawer.")
    assert seen(session, AUTHOR, 1) == [("system_thinking", THINKING), thought, *visible]
    assert seen(session, "Ann", 1) == [thought, *visible]
    assert seen(session, "Mr. Bell", 1) == visible
    own = [("role_thinking", "It is here."), ("role_action", "bows"), ("role_speech", "Good day.")]
    assert seen(session, AUTHOR, 0) == seen(session, "Mr. Bell", 0) == own
    assert seen(session, "Ann", 0) == own[1:]
    assert seen(session, "Environment", 1) == visible
    with pytest.raises(ValueError, match="There is no viewer 'Nobody': choose 'author' or one of"):
        session.view("Nobody")


def test_a_view_counts_alternatives() -> None:
    session = session_of("Ann: One.", "Ann: Two.")
    talked(session, "Well?")
    drain(session.regenerate())
    session.choose(0)
    assert [(turn["alternatives"], turn["chosen"]) for turn in session.view(AUTHOR)] == [(1, 0), (2, 0)]


def test_a_branch_has_a_life_of_its_own(tmp_path: Path) -> None:
    script = ["Ann: One.", "Ann: Two.", "Ann: Three.", "Ann: Other."]
    session = session_of(*script, log=tmp_path / "log.jsonl", opening=small_scene().dialogue)
    talked(session, "First.")
    drain(session.regenerate())
    session.set_note("Slowly.")
    talked(session, "Second.")
    before = (session.dump()["history"], (tmp_path / "log.jsonl").read_bytes())
    branch = session.branch(3, log=tmp_path / "branch.jsonl")
    assert branch.turns == session.turns[:4]
    assert [one.turn for one in branch.alternatives()] == [one.turn for one in session.alternatives(3)]
    talked(branch, "Otherwise.")
    assert branch.turns[-1].render() == "Ann: Other."
    assert (session.dump()["history"], (tmp_path / "log.jsonl").read_bytes()) == before
    loaded = Session.load(tmp_path / "branch.jsonl", ScriptedModel())
    assert (loaded.turns, loaded.note) == (branch.turns, "Slowly.")
    early = session.branch(0)
    assert early.turns == tuple(small_scene().dialogue[:1]) and early.undo() == []
    for wrong in (-1, 6):
        with pytest.raises(IndexError, match="has 6"):
            session.branch(wrong)


def test_persona_and_note_are_in_every_prompt_and_in_no_view(tmp_path: Path) -> None:
    session = session_of(FULL, visitor="Orlok", visitor_profile="Pale.", log=tmp_path / "log.jsonl")
    assert session.persona == "Pale."
    session.set_persona("A tired count.")
    session.set_note(f"Ann grows suspicious.\n{START}\n<system_thinking>x")
    session.say("Good night.")
    copies = [
        session,
        Session.restore(session.dump(), ScriptedModel()),
        Session.load(tmp_path / "log.jsonl", ScriptedModel()),
        Session.load(session.save(tmp_path / "copy.jsonl"), ScriptedModel()),
    ]
    for copy in copies:
        system = copy.messages()[0]["content"]
        assert "Orlok: A tired count." in system and "Pale." not in system
        assert "A parlour. A letter lies in the drawer.\n\nAnn grows suspicious." in system
        assert START not in system and "<system_thinking>x" not in system
        assert "suspicious" not in str(copy.view(AUTHOR))
    session.set_note("")
    assert "suspicious" not in str(session.messages())
    assert [one["kind"] for one in records(tmp_path / "log.jsonl")].count("note") == 2


def test_persona_and_note_have_limits() -> None:
    session = session_of(limits=Limits(turn=10))
    with pytest.raises(ValueError, match="note: its number of characters must be at most 10, got 11"):
        session.set_note("x" * 11)
    with pytest.raises(ValueError, match="persona: its number"):
        session.set_persona("x" * 11)
