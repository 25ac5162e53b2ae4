"""What commands of `her-hf chat` in modules of their own need of the conversation."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from her_hf.session import Event, Session

from .chat_screen import Screen


class Chat(Protocol):
    """A session on a screen; see [`Conversation`]."""

    session: Session
    screen: Screen
    interactive: bool

    def stream(self, events: AsyncGenerator[Event, None]) -> Event | None:
        """Shows replies while they are written; returns the last event."""

    def say(self, text: str, name: str | None = None) -> None:
        """Adds what the visitor says, and lets the character reply."""

    def edit_line(self, old: str) -> str | None:
        """Lets the visitor edit a text; `None` if that is cancelled."""
