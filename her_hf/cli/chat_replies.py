"""Commands of `her-hf chat` about the alternatives of a reply."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .terminal import clean

if TYPE_CHECKING:
    from .chat_commands import Conversation

HELP = (
    ("/swipe [N]", "show the alternatives of the last reply; with N, put that one into the conversation"),
    ("/continue [N]", "continue a reply that was cut or broke off"),
)


def swipe(conversation: Conversation, text: str) -> None:
    """`/swipe`: lists the alternatives, or chooses one."""
    session, screen = conversation.session, conversation.screen
    known = session.alternatives()
    if text:
        screen.turn(session.choose(_number(text, len(known), "/swipe")))
        return
    if not known:
        screen.note("there is no reply yet")
    for number, one in enumerate(known):
        marks = ["in the conversation"] if number == session.chosen() else []
        marks += [] if one.finished else ["broke off, in no prompt"]
        marks += ["cut at the token limit"] if one.finished and not one.ended else []
        screen.note(f"reply {number + 1} of {len(known)}{': ' if marks else ''}{', '.join(marks)}")
        screen.turn(one.turn)


def continue_reply(conversation: Conversation, text: str) -> None:
    """`/continue`: continues a reply, by default the newest that can be."""
    count = len(conversation.session.alternatives())
    number = _number(text, count, "/continue") if text else None
    conversation.stream(conversation.session.continue_reply(number))


def why_nothing(conversation: Conversation) -> str:
    """What to do after a reply that is not in the conversation."""
    known = conversation.session.alternatives()
    if known and not known[-1].finished:
        return "not in the conversation: /continue goes on, /regenerate tries again, /swipe shows it"
    return "nothing was added; /regenerate tries again"


def _number(text: str, count: int, command: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= count:
        known = f"there are {count}" if count else "there are none yet"
        raise ValueError(f"{command} needs the number of a reply, {known}; got {clean(text[:40])!r}")
    return int(text) - 1
