"""Several characters by the model: the visitor picks who speaks, lets them play, or has a turn drafted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from her_hf.inference import ModelError, Sampling
from her_hf.scenes import START, Character
from her_hf.session import Drafted, Failed, Session, TurnFinished
from tests.session.test_conversation import asked, drain, talked
from tests.support.chat import FULL, ScriptedModel, small_scene

PLAN = "<system_thinking>\nLet him ask.\n</system_thinking>\n"


def group(*script: Any, **how: Any) -> Session:
    scene = small_scene()
    scene = scene.model_copy(update={"cast": [*scene.cast, Character(name="Cleo", profile="Listens.")]})
    return Session(scene, "Ann", ScriptedModel(*script), visitor="Mr. Bell", **how)


def test_the_visitor_picks_who_speaks(tmp_path: Path) -> None:
    session = group(
        "Ann: Sit.",
        f"{PLAN}Cleo: <role_thinking>No.</role_thinking> Tea?\nAnn: I confess.",
        "Environment: (thunder) Rain.",
        "Cleo: Other.",
        log=tmp_path / "log.jsonl",
    )
    talked(session, "[Hm.] Well?")
    drain(session.reply("Cleo"))
    messages, _, thinking = asked(session)[1]
    assert messages[0]["content"] != asked(session)[0][0][0]["content"] and "Listens." in messages[0]["content"]
    assert messages[1]["content"] == f"{START}\n\nMr. Bell: Well?\n\nAnn: Sit."
    assert (session.turns[2].name, session.turns[2].system_thinking, thinking) == ("Cleo", "Let him ask.", True)
    with pytest.raises(ValueError, match="Cleo has just spoken"):
        drain(session.reply("Cleo"))
    drain(session.reply("Environment"))
    assert asked(session)[2][2] is False
    assert session.turns[3].render() == "Environment: (thunder) Rain."
    assert "No." not in str(session.messages()) and "\nAnn: I confess" not in str(session.messages())
    for copy in (
        Session.restore(session.dump(), ScriptedModel()),
        Session.load(tmp_path / "log.jsonl", ScriptedModel("Environment: Sun.")),
    ):
        assert (copy.turns, copy.messages()) == (session.turns, session.messages())
    drain(copy.regenerate())
    assert copy.turns[3].render() == "Environment: Sun."
    assert [turn.name for turn in copy.undo()] == ["Environment"]
    for wrong in ("Mr. Bell", "Nobody"):
        with pytest.raises(ValueError, match=f"The model cannot speak as '{wrong}': choose one of"):
            drain(session.reply(wrong))


def test_they_play_by_name_and_by_silence() -> None:
    session = group("Cleo: Yes, Ann?", "Ann: Nothing.", "Cleo: Hm.", ("Ann: W", ModelError("gone", kind="dropped")))
    session.say("Cleo, listen.")
    events = drain(session.play(3))
    assert [turn.name for turn in session.turns] == ["Mr. Bell", "Cleo", "Ann", "Cleo"]
    assert sum(isinstance(event, TurnFinished) for event in events) == 3
    assert isinstance(drain(session.play(2))[-1], Failed)
    assert len(session.turns) == 4
    alone = Session(small_scene(), "Ann", ScriptedModel("Ann: One.", "Environment: Rain.", "Ann: Two."))
    drain(alone.play(3))
    assert [turn.name for turn in alone.turns] == ["Ann", "Environment", "Ann"]


def test_a_reply_of_another_is_generated_again_as_that_other() -> None:
    session = group("Cleo: One.", ("Cleo: T", ModelError("gone", kind="dropped")), "Cleo: Three.")
    drain(session.reply("Cleo"))
    drain(session.regenerate())
    drain(session.regenerate())
    assert [one.turn.render() for one in session.alternatives()] == ["Cleo: One.", "Cleo: T", "Cleo: Three."]
    session.edit(0, "[Hm.] Four.")
    assert session.turns[0].render(notation="coser") == "Cleo: [Hm.] Four."


def test_a_draft_is_text_to_type_and_changes_nothing() -> None:
    mine = f"{PLAN}Mr. Bell: <role_thinking>It is here.</role_thinking> <role_action>bows</role_action> Tea?"
    session = group(FULL, mine, mine, sampling=Sampling(seed=1))
    talked(session, "[Where?] Good day.")
    before = (session.turns, session.dump()["history"])
    drafted = drain(session.impersonate())[-1]
    assert drafted == Drafted("[It is here.] (bows) Tea?")
    drain(session.impersonate())
    assert (session.turns, session.dump()["history"]) == before
    messages = asked(session)[1][0]
    assert messages[0]["content"].count("Looks for a letter.") == 1 and "Not the drawer" not in str(messages)
    assert "Where?" in str(messages)
    assert asked(session)[1][1].seed != asked(session)[2][1].seed
    assert session.say(drafted.text).render() == mine.removeprefix(PLAN)


def test_a_draft_that_fails_says_why() -> None:
    session = group(("Mr. B", ModelError("gone", kind="dropped")), f"{PLAN}")
    assert isinstance(drain(session.impersonate())[-1], Failed)
    assert isinstance(drain(session.impersonate())[-1], Failed)
