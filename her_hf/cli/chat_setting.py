"""Commands of `her-hf chat` about what surrounds the turns: persona, author's note, views, branches."""

from __future__ import annotations

from pathlib import Path

from her_hf.dual_layer import Layer
from her_hf.scenes import write_card
from her_hf.session import AUTHOR

from .chat_interface import Chat
from .terminal import clean

HELP = (
    ("/persona [TEXT]", "show what the character is told of you, or replace it"),
    ("/note [TEXT]", "show the author's note, which stands in every prompt, or replace it; /note - removes it"),
    ("/view [NAME]", "show the conversation as NAME sees it, or as the author does"),
    ("/branch N FILE", "copy the conversation up to turn N to FILE, to be continued with --continue"),
    ("/card FILE", "write the character as a Tavern card, to a .json or .png file"),
)


def persona(conversation: Chat, text: str) -> None:
    """`/persona`: shows or replaces the description of the visitor's role."""
    if text:
        conversation.session.set_persona(text)
    conversation.screen.note(f"persona: {conversation.session.persona or 'none'}")


def note(conversation: Chat, text: str) -> None:
    """`/note`: shows, replaces or removes the author's note."""
    if text:
        conversation.session.set_note("" if text == "-" else text)
    conversation.screen.note(f"author's note: {conversation.session.note or 'none'}")


def view(conversation: Chat, text: str) -> None:
    """`/view`: shows the conversation as somebody sees it, whatever is hidden on the screen."""
    marks = {Layer.SYSTEM_THINKING: "┊ {}", Layer.ROLE_THINKING: "[{}]", Layer.ROLE_ACTION: "({})"}
    for turn in conversation.session.view(text or AUTHOR):
        parts = [marks.get(Layer(part["layer"]), "{}").format(part["text"]) for part in turn["parts"]]
        conversation.screen.plain(f"{turn['index'] + 1:>3} {turn['name']}: {' '.join(parts)}")


def branch(conversation: Chat, text: str) -> None:
    """`/branch`: writes the conversation up to a turn to a log of its own."""
    number, _, file = text.partition(" ")
    if not number.isdecimal() or not 1 <= int(number) <= len(conversation.session.turns) or not file.strip():
        raise ValueError(
            f"/branch needs the number of a turn, 1 to {len(conversation.session.turns)}, and a file: "
            f"/branch 2 other.jsonl; got {clean(text[:80])!r}"
        )
    copy = conversation.session.branch(int(number) - 1, log=Path(file.strip()))
    conversation.screen.note(f"turns 1 to {number} are in {copy.log_path}; continue it with --continue", whole=True)


def card(conversation: Chat, text: str) -> None:
    """`/card`: writes the character that the model plays as a card."""
    if not text:
        raise ValueError("/card needs a file: /card her.png")
    session = conversation.session
    path = write_card(session.scene, session.character, text, visitor=session.visitor)
    conversation.screen.note(f"{session.character} is in {path}; --card opens it", whole=True)
