"""Commands of `her-hf chat` about the alternatives of a reply."""

from __future__ import annotations

from her_hf.session import Drafted

from .chat_interface import Chat
from .terminal import clean

MAX_PLAYED = 50
"""Most turns of one `/play`."""

HELP = (
    ("/swipe [N]", "show the alternatives of the last reply; with N, put that one into the conversation"),
    ("/continue [N]", "continue a reply that was cut or broke off"),
    ("/as NAME", "let the model speak as NAME: another member of the cast, or Environment"),
    ("/play [N]", "let the characters play among themselves for N turns, by default 2"),
    ("/impersonate", "let the model draft your turn, to be edited before it is said"),
)


def swipe(conversation: Chat, text: str) -> None:
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


def continue_reply(conversation: Chat, text: str) -> None:
    """`/continue`: continues a reply, by default the newest that can be."""
    count = len(conversation.session.alternatives())
    number = _number(text, count, "/continue") if text else None
    conversation.stream(conversation.session.continue_reply(number))


def speak_as(conversation: Chat, text: str) -> None:
    """`/as`: a reply of the named member of the cast."""
    if not text:
        raise ValueError("/as needs a name: /as Environment")
    conversation.stream(conversation.session.reply(text))


def play(conversation: Chat, text: str) -> None:
    """`/play`: some turns among the characters."""
    if text and not (text.isdecimal() and 1 <= int(text) <= MAX_PLAYED):
        raise ValueError(f"/play needs a number of turns from 1 to {MAX_PLAYED}, got {clean(text[:40])!r}")
    conversation.stream(conversation.session.play(int(text or 2)))


def impersonate(conversation: Chat, _: str) -> None:
    """`/impersonate`: a draft of the visitor's turn, which is said as the visitor leaves it."""
    last = conversation.stream(conversation.session.impersonate())
    if not isinstance(last, Drafted):
        return
    if not conversation.interactive:
        conversation.screen.note(f"your turn, if you type it: {last.text}")
        return
    line = conversation.edit_line(last.text)
    if line and line.strip():
        conversation.say(line)
    else:
        conversation.screen.note("nothing was said")


def why_nothing(conversation: Chat) -> str:
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
