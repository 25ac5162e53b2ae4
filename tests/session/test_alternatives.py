"""Alternatives of a reply: kept, chosen, cut, broken off, continued, and the same after every way of saving."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from her_hf.inference import ModelError, Reply, Sampling
from her_hf.session import Delta, Failed, Session, TurnFinished
from tests.session.test_conversation import asked, drain, session_of, talked
from tests.support.chat import FULL, ContinuingModel, ScriptedModel, small_scene

CUT = Reply("Ann: No, I ne", "length", False)
LOST = ("<system_thinking>\nHm.\n</system_thinking>\nAnn: Well, s", ModelError("gone", kind="dropped"))


def continuing(*script: Any, **how: Any) -> Session:
    return Session(small_scene(), "Ann", ContinuingModel(*script, window=how.pop("window", None)), **how)


def texts(session: Session) -> list[str]:
    return [one.turn.render(view="others") for one in session.alternatives()]


def stop(session: Session, after: int = 2) -> None:
    """Reads some pieces of a reply and leaves."""

    async def leave() -> None:
        async with aclosing(session.reply()) as events:
            seen = 0
            async for event in events:
                seen += isinstance(event, Delta)
                if seen == after:
                    return

    asyncio.run(leave())


Saving = Callable[[Session, Path], Session]
WAYS: list[Saving] = [
    lambda session, _: session,
    lambda session, path: Session.restore(session.dump(), session.model),
    lambda session, path: Session.load(session.save(path / "copy.jsonl"), session.model),
    lambda session, path: Session.load(path / "log.jsonl", session.model),
]


@pytest.fixture(params=WAYS, ids=["as it is", "dumped", "saved", "logged"])
def saved(request: pytest.FixtureRequest) -> Saving:
    way: Saving = request.param
    return way


def test_regenerated_replies_are_kept_and_can_be_chosen(saved: Saving, tmp_path: Path) -> None:
    session = session_of("Ann: One.", "Ann: Two.", "Ann: Three.", FULL, log=tmp_path / "log.jsonl")
    talked(session, "Well?")
    drain(session.regenerate())
    drain(session.regenerate())
    assert (session.chosen(), session.turns[1].render()) == (2, "Ann: Three.")
    assert session.choose(0).render() == "Ann: One."
    session = saved(session, tmp_path)
    assert texts(session) == ["Ann: One.", "Ann: Two.", "Ann: Three."]
    assert (session.chosen(), session.turns[1].render(), len(session.turns)) == (0, "Ann: One.", 2)
    session.choose(1)
    session.edit(1, "Two, then.")
    assert texts(session) == ["Ann: One.", "Ann: Two, then.", "Ann: Three."]
    session.say("Go on.")
    assert (texts(session), session.chosen()) == ([], None)
    assert len(session.alternatives(1)) == 3
    drain(session.reply())
    assert asked(session)[-1][0][-2]["content"] == "Ann: Two, then."
    for wrong in (-1, 1):
        with pytest.raises(IndexError, match="there are 1"):
            session.choose(wrong)


def test_an_opening_keeps_its_place_among_the_replies(saved: Saving, tmp_path: Path) -> None:
    session = session_of("Ann: Sit.", opening=small_scene().dialogue, log=tmp_path / "log.jsonl")
    drain(session.regenerate())
    session = saved(session, tmp_path)
    assert texts(session) == ["Ann: <role_action>curtsies</role_action> Sir.", "Ann: Sit."]
    assert session.choose(0) == small_scene().dialogue[1]
    assert session.chosen() == 0


def test_a_reply_that_broke_off_is_kept_outside_the_prompt(saved: Saving, tmp_path: Path) -> None:
    session = session_of(LOST, FULL, "Ann: Then.", log=tmp_path / "log.jsonl")
    session.say("Well?")
    assert isinstance(drain(session.reply())[-1], Failed)
    stop(session)
    session = saved(session, tmp_path)
    assert len(session.turns) == 1 and session.chosen() is None
    assert [(one.finished, one.ended) for one in session.alternatives()] == [(False, False)] * 2
    lost, stopped = session.alternatives()
    assert (lost.turn.system_thinking, lost.turn.render(view="others"), lost.text) == ("Hm.", "Ann: Well, s", LOST[0])
    assert FULL.startswith(stopped.text) and stopped.text
    with pytest.raises(ValueError, match="Reply 1 broke off and is in no prompt"):
        session.choose(0)
    assert "Well, s" not in str(session.messages())
    drain(session.reply())
    assert (session.chosen(), session.turns[1].render()) == (2, "Ann: Then.")


def test_what_broke_off_goes_with_what_the_visitor_says_instead() -> None:
    session = session_of(LOST)
    session.say("Well?")
    drain(session.reply())
    session.say("Never mind.")
    assert session.alternatives() == () and len(session.turns) == 2
    assert Session.restore(session.dump(), ScriptedModel()).turns == session.turns


def test_nothing_written_is_no_alternative() -> None:
    session = session_of(("", ModelError("gone", kind="dropped")))
    session.say("Well?")
    drain(session.reply())
    assert session.alternatives() == ()


@pytest.mark.parametrize("first", [CUT, ("Ann: No, I ne", ModelError("gone", kind="dropped"))])
def test_a_cut_reply_is_continued_in_its_place(first: Any, saved: Saving, tmp_path: Path) -> None:
    session = continuing(first, "ver met him.", log=tmp_path / "log.jsonl")
    talked(session, "Well?")
    session = saved(session, tmp_path)
    events = drain(session.continue_reply())
    assert "".join(event.text for event in events if isinstance(event, Delta)) == "No, I never met him."
    assert isinstance(events[-1], TurnFinished) and events[-1].ended
    session = saved(session, tmp_path / "again") if saved is WAYS[1] else session
    assert texts(session) == ["Ann: No, I never met him."]
    assert session.turns[1].render() == "Ann: No, I never met him."
    assert session.model.begun == ["Ann: No, I ne"]  # type: ignore[attr-defined]
    assert len(asked(session)[-1][0]) == 2
    with pytest.raises(ValueError, match="no reply that was cut or broke off"):
        drain(session.continue_reply())
    with pytest.raises(ValueError, match="Reply 1 was ended by the model"):
        drain(session.continue_reply(0))


def test_a_continuation_that_breaks_off_loses_nothing(saved: Saving, tmp_path: Path) -> None:
    session = continuing(CUT, ("ver m", ModelError("gone", kind="dropped")), "et.", log=tmp_path / "log.jsonl")
    talked(session, "Well?")
    assert isinstance(drain(session.continue_reply(0))[-1], Failed)
    session = saved(session, tmp_path)
    assert texts(session) == ["Ann: No, I ne", "Ann: No, I never m"]
    assert (session.chosen(), session.turns[1].render()) == (0, "Ann: No, I ne")
    drain(session.continue_reply(1))
    assert session.turns[1].render() == "Ann: No, I never met."
    assert (session.chosen(), len(session.alternatives())) == (1, 2)


def test_room_is_left_for_what_is_continued() -> None:
    session = continuing(CUT, "ver.", sampling=Sampling(max_tokens=8))
    talked(session, "Well?")
    whole = asyncio.run(session.prompt()).tokens
    session.max_context_tokens = whole + 8
    failed = drain(session.continue_reply())[-1]
    assert isinstance(failed, Failed) and failed.kind == "window"
    session.max_context_tokens = whole + 8 + 40
    assert isinstance(drain(session.continue_reply())[-1], TurnFinished)


def test_a_model_that_cannot_continue_says_so() -> None:
    session = session_of(CUT)
    talked(session, "Well?")
    with pytest.raises(ValueError, match="scripted cannot continue a reply"):
        drain(session.continue_reply())
