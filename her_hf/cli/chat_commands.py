"""The loop of `her-hf chat`: a line is a turn, or a command if it begins with `/`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from rich.table import Table
from rich.text import Text

from her_hf.dual_layer import ENVIRONMENT
from her_hf.inference import ModelError
from her_hf.session import Event, Failed, Session, TurnFinished, WindowFull

from . import chat_replies, chat_setting
from .chat_screen import Screen
from .terminal import clean

HELP = (
    ("TEXT", "say it; (text) is an action, [text] a thought that only you know"),
    ("Enter", "let the character speak without saying anything first"),
    ("/regenerate", "generate the last reply again, or retry after a failure"),
    *chat_replies.HELP,
    ("/undo", "remove the last exchange"),
    ("/edit N TEXT", "replace the text of turn N of /history; without TEXT, edit the current text"),
    ("/narrate TEXT", "describe what happens around you, as the Environment"),
    ("/history", "show the conversation with turn numbers"),
    ("/prompt", "show the exact prompt of the next reply"),
    *chat_setting.HELP,
    ("/system, /role", "show or hide system thinking, the character's own thoughts"),
    ("/scene", "show the scene again"),
    ("/save [FILE]", "write the current conversation to FILE; without FILE, show where the log is"),
    ("/clear", "restart the conversation"),
    ("/quit", "exit (Ctrl-D); everything is in the log"),
)


class Conversation:
    """A session on a screen.

    Args:
        session (`Session`): The conversation.
        screen (`Screen`): Where it is shown.
        runner (`asyncio.Runner`): The event loop that all requests share.
        interactive (`bool`): Whether a person types; otherwise lines come from a pipe and are echoed.
    """

    def __init__(self, session: Session, screen: Screen, runner: asyncio.Runner, *, interactive: bool) -> None:
        self.session, self.screen = session, screen
        self.failed = False
        self._runner, self.interactive = runner, interactive
        self._noted = 0
        self._commands: dict[str, Callable[[str], object]] = {
            "help": self._help,
            "clear": self._clear,
            "history": lambda _: (
                screen.turns(session.turns) if session.turns else screen.note("there are no turns yet")
            ),
            "prompt": self._prompt,
            "regenerate": lambda _: self.stream(session.regenerate()),
            "swipe": lambda text: chat_replies.swipe(self, text),
            "continue": lambda text: chat_replies.continue_reply(self, text),
            "as": lambda text: chat_replies.speak_as(self, text),
            "play": lambda text: chat_replies.play(self, text),
            "impersonate": lambda text: chat_replies.impersonate(self, text),
            "persona": lambda text: chat_setting.persona(self, text),
            "note": lambda text: chat_setting.note(self, text),
            "view": lambda text: chat_setting.view(self, text),
            "card": lambda text: chat_setting.card(self, text),
            "branch": lambda text: chat_setting.branch(self, text),
            "save": self._save,
            "edit": self._edit,
            "undo": self._undo,
            "narrate": lambda text: self.say(text, ENVIRONMENT),
            "system": lambda _: self._toggle("show_system", "System thinking"),
            "role": lambda _: self._toggle("show_role", "Role thinking"),
            "scene": lambda _: screen.scene(session),
        }

    def run(self) -> None:
        """Reads lines until /quit or the end of input."""
        while True:
            try:
                line = self._read()
            except EOFError:
                self.screen.console.print()
                return
            except KeyboardInterrupt:
                self.screen.console.print()
                self.screen.note("/quit or Ctrl-D exits")
                continue
            if line.split()[:1] == ["/quit"]:
                return
            try:
                self._take(line)
            except (ValueError, IndexError, ModelError, OSError) as error:
                self.failed = True
                self.screen.error(str(error))
            except KeyboardInterrupt:
                self.screen.note(f"stopped, {chat_replies.why_nothing(self)}")

    def _take(self, line: str) -> None:
        if not line.strip():
            if self.session.awaits_reply:
                self.stream(self.session.reply())
            else:
                self.screen.note(f"{self.session.turns[-1].name} has spoken: say something, /regenerate, or /play")
        elif line.startswith("/") and not line.startswith("//"):
            word, _, rest = line[1:].partition(" ")
            command = self._commands.get(word)
            if command is None:
                raise ValueError(
                    f"There is no command /{word}; /help lists them. To say it, start the line with two slashes."
                )
            command(rest.strip())
        else:
            self.say(line[1:] if line.startswith("//") else line)

    def _read(self) -> str:
        name = clean(self.session.visitor)
        if not self.interactive:
            line = input(f"{name} > ")
            self.screen.plain(line)  # so that the transcript of a pipe shows both sides
            return line
        # Readline must know which part of the prompt has no width; without colours there is none.
        start, end = ("\x01\x1b[1;36m\x02", "\x01\x1b[0m\x02") if self.screen.console.color_system else ("", "")
        line = input(f"{start}{name} ›{end} ")
        while line.endswith("\\"):
            line = line[:-1] + "\n" + input("  … ")
        return line

    # -- turns

    def say(self, text: str, name: str | None = None) -> None:
        """Adds what the visitor says, or as Environment what happens, and lets the character reply."""
        self.session.say(text, name=name)
        self.stream(self.session.reply())

    def stream(self, events: AsyncGenerator[Event, None]) -> Event | None:
        """Shows replies while they are written, and how the last one ended; returns its last event."""

        async def show() -> Event | None:
            last: Event | None = None
            async with aclosing(events):
                async for last in events:
                    self.screen.show(last)
            return last

        try:
            last = self._runner.run(show())
        finally:
            self.screen.close_turn()
        self.failed = isinstance(last, Failed)
        if self.failed:
            self.screen.note(f"{chat_replies.why_nothing(self)}, /undo removes your turn")
        elif isinstance(last, TurnFinished) and not last.ended:
            self.screen.note("/continue goes on, /regenerate tries again; --max-tokens allows longer replies")
        self.show_notes()
        return last

    def show_notes(self) -> None:
        """Shows the model's notes, each once."""
        for note in self.session.model.notes[self._noted :]:
            self.screen.note(note)
        self._noted = len(self.session.model.notes)

    # -- commands

    def _help(self, _: str) -> None:
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for command, what in HELP:
            table.add_row(Text(command, "cyan"), Text(what))
        self.screen.console.print(table)

    def _clear(self, _: str) -> None:
        gone = self.session.clear()
        self.screen.restart()
        self.screen.note(
            f"removed {len(gone)} turns; the scene starts again" if gone else "there are no turns to remove"
        )
        self.screen.turns(self.session.turns)

    def _prompt(self, _: str) -> None:
        try:
            prompt = self._runner.run(self.session.prompt())
        except WindowFull as error:
            raise ValueError(f"No prompt can be built: {error}") from error
        self.screen.plain(prompt.text)
        self.screen.note(
            f"{prompt.tokens} tokens, exactly as the model receives it"
            if prompt.exact
            else f"about {prompt.tokens} tokens; this server does not show its template: these are the plain messages"
        )

    def _save(self, text: str) -> None:
        if text:
            self.screen.note(f"saved to {self.session.save(Path(text))}; continue it with --continue", whole=True)
        else:
            self.screen.note(
                f"every turn is already in {self.session.log_path}; /save FILE writes a clean copy", whole=True
            )

    def _edit(self, text: str) -> None:
        number, _, new = text.partition(" ")
        if not number.isdigit() or not 1 <= int(number) <= len(self.session.turns):
            count = len(self.session.turns)
            raise ValueError(
                f"/edit needs the number of a turn, 1 to {count}: /edit 1 new text"
                if count
                else "there are no turns to edit yet"
            )
        if not new.strip():
            old = replace(self.session.turns[int(number) - 1], name=None)
            line = self.edit_line(old.render(notation="coser", view="self"))
            if line is None:
                self.screen.console.print()
                self.screen.note(f"turn {number} was not changed")
                return
            new = line
        turn = self.session.edit(int(number) - 1, new)
        self.screen.turn(turn, f"{number:>3} ")

    def edit_line(self, old: str) -> str | None:
        """Puts a text on the input line for editing; `None` if Ctrl-C or Ctrl-D cancels."""
        if not self.interactive:
            raise ValueError("/edit needs the new text: /edit 1 new text")
        import readline

        readline.set_startup_hook(lambda: readline.insert_text(old.replace("\n", " ")))
        try:
            return input("  ")
        except (EOFError, KeyboardInterrupt):
            return None
        finally:
            readline.set_startup_hook(None)

    def _undo(self, _: str) -> None:
        gone = self.session.undo()
        names = ", ".join(str(turn.name) for turn in gone)
        count = "1 turn" if len(gone) == 1 else f"{len(gone)} turns"
        self.screen.note(f"removed {count} ({names})" if gone else "there is nothing to undo")

    def _toggle(self, which: str, what: str) -> None:
        shown = not getattr(self.screen, which)
        setattr(self.screen, which, shown)
        self.screen.note(f"{what} is now {'shown' if shown else 'hidden'}")
        if shown and not self.session.awaits_reply:
            self.screen.turn(self.session.turns[-1])


def enable_line_editing() -> None:
    """Enables arrow keys and history in `input()` if the platform has readline."""
    if sys.stdin.isatty():
        try:
            import readline  # noqa: F401
        except ImportError:  # Windows: the console itself edits lines
            return
