"""The output of `her-hf chat`: streaming turns, each layer with its own style and marks."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.panel import Panel
from rich.status import Status
from rich.text import Text

from her_hf.dual_layer import ENVIRONMENT, Layer, Turn
from her_hf.session import Drafted, Event, Failed, Session, Trimmed, TurnFinished, TurnStarted

from .terminal import clean

STYLES = {
    Layer.SYSTEM_THINKING: "dim italic",
    Layer.ROLE_THINKING: "italic magenta",
    Layer.ROLE_ACTION: "yellow",
    Layer.SPEECH: "bold",
}
MARKS = {Layer.ROLE_THINKING: ("[", "]"), Layer.ROLE_ACTION: ("(", ")"), Layer.SPEECH: ("", "")}
"""The marks of CoSER notation: they distinguish layers without colours and show how to type them."""

_BODY, _SYSTEM = "  ", "  ┊ "
_PIECES = re.compile(
    r"\n|[^\S\n]+|[\u2e80-\u9fff\uac00-\ud7af\uff00-\uffef]|[^\s\u2e80-\u9fff\uac00-\ud7af\uff00-\uffef]+"
)


class Flow:
    """Prints text that arrives in pieces, wrapped at words and indented. A word is printed when it is whole."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._indent = ""
        self._column = 0
        self._space = False
        self._word: list[tuple[str, str]] = []

    def feed(self, text: str, style: str, indent: str) -> None:
        """Adds text; a new indent starts a new paragraph."""
        if indent != self._indent:
            self.end()
            self._indent = indent
        line = Text()
        for piece in _PIECES.findall(clean(text)):
            if piece.isspace():
                self._place(line)
                self._space = True
                if piece == "\n" and self._column:
                    self._break(line)
            else:
                if cell_len(piece) == 2 * len(piece):  # wide characters wrap anywhere
                    self._place(line)
                if self._word and self._word[-1][1] == style:
                    piece = self._word.pop()[0] + piece
                self._word.append((piece, style))
        self._console.print(line, end="", soft_wrap=True, highlight=False)

    def end(self) -> None:
        """Prints the text held back and ends the line."""
        line = Text()
        self._place(line)
        if self._column:
            self._break(line)
        self._console.print(line, end="", soft_wrap=True, highlight=False)

    def _place(self, line: Text) -> None:
        size = sum(cell_len(text) for text, _ in self._word)
        if not size:
            return
        if self._column and self._column + self._space + size > self._console.width:
            self._break(line)
        if not self._column:
            line.append(self._indent, "dim")
            self._column = cell_len(self._indent)
        elif self._space:
            line.append(" ")
            self._column += 1
        for text, style in self._word:
            line.append(text, style)
        self._column += size
        self._space, self._word = False, []

    def _break(self, line: Text) -> None:
        line.append("\n")
        self._column, self._space = 0, False


class Screen:
    """Shows a session's turns and events.

    Args:
        console (`Console`): Where to.
        show_system (`bool`): Whether system thinking is shown.
        show_role (`bool`): Whether role thinking is shown.
    """

    def __init__(self, console: Console, *, show_system: bool, show_role: bool) -> None:
        self.console = console
        self.show_system, self.show_role = show_system, show_role
        self._flow = Flow(console)
        self._open: tuple[Layer, int | None] | None = None
        self._status: Status | None = None
        self._dropped = self._reported = 0  # messages the model does not see: in this reply, and in the one before

    # -- turns that stream

    def show(self, event: Event) -> None:
        """Shows one event."""
        if isinstance(event, TurnStarted):
            self._reported, self._dropped = self._dropped, 0
            self._name(event.name)
            self._wait("thinks …")
        elif isinstance(event, Trimmed):
            self._trimmed(event)
        elif isinstance(event, TurnFinished):
            self.close_turn()
            self._finished(event)
        elif isinstance(event, Drafted):
            self.close_turn()
        elif isinstance(event, Failed):
            self.close_turn()
            self.error(event.message)
        else:
            self._piece(event.layer, event.text, event.segment)

    def restart(self) -> None:
        """Resets the notes about trimmed messages, for a new conversation."""
        self._dropped = 0

    def close_turn(self) -> None:
        """Ends the current line, however the turn ended."""
        self._wait(None)
        self._mark(closing=True)
        self._open = None
        self._flow.end()

    def turn(self, turn: Turn, label: str = "") -> None:
        """Shows a whole turn."""
        self._name(turn.name or "", label)
        if turn.system_thinking:
            self._piece(Layer.SYSTEM_THINKING, turn.system_thinking, None)
        for index, segment in enumerate(turn.segments):
            self._piece(segment.layer, segment.text, index)
        self.close_turn()

    def _name(self, name: str, label: str = "") -> None:
        style = "bold green" if name == ENVIRONMENT else "bold cyan"
        self.console.print(Text.assemble((label, "dim"), (clean(name), style)), highlight=False)

    def _piece(self, layer: Layer, text: str, segment: int | None) -> None:
        hidden = (layer is Layer.SYSTEM_THINKING and not self.show_system) or (
            layer is Layer.ROLE_THINKING and not self.show_role
        )
        if hidden:
            return
        self._wait(None)
        if self._open != (layer, segment):
            self._mark(closing=True)
            fresh = self._open is None or self._open[0] is Layer.SYSTEM_THINKING
            self._open = (layer, segment)
            self._mark(closing=False, lead="" if fresh else " ")
        self._flow.feed(text, STYLES[layer], _indent(layer))

    def _mark(self, *, closing: bool, lead: str = "") -> None:
        if self._open is not None and self._open[0] in MARKS:
            layer = self._open[0]
            self._flow.feed(lead + MARKS[layer][closing], STYLES[layer], _indent(layer))

    def _wait(self, what: str | None) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None
        if what and self.console.is_terminal:
            self._status = self.console.status(f"[dim]{what}[/dim]")
            self._status.start()

    def _trimmed(self, event: Trimmed) -> None:
        self._dropped = event.dropped
        if event.dropped != self._reported:
            self._wait(None)
            many = event.dropped > 1
            oldest = (
                f"The oldest {event.dropped} messages no longer fit" if many else "The oldest message no longer fits"
            )
            self.note(
                f"{oldest} into the model's window ({event.tokens} of {event.limit} prompt tokens used): "
                "the model does not see them, but /history does."
            )
            self._wait("thinks …")

    def _finished(self, event: TurnFinished) -> None:
        notes = []
        if not event.ended:
            notes.append(f"truncated after {event.usage.completion_tokens or 'the maximum number of'} tokens")
        issues = sorted(issue.value for issue in event.turn.issues)
        if not event.labelled:
            issues.append(f"no label {event.turn.name!r}")
        if issues:
            notes.append("not well-formed: " + ", ".join(issues))
        if notes:
            self.note("; ".join(notes))

    # -- everything else

    def scene(self, session: Session) -> None:
        """Shows the scene and both roles."""
        scene = session.scene
        about = clean(" · ".join(part for part in (scene.chapter, scene.topic) if part))
        body = Text.assemble(
            (f"{about}\n\n" if about else "", "italic"),
            clean(scene.scenario.strip()),
            ("\n\nYou are ", "dim"),
            (clean(session.visitor), "bold cyan"),
            ("; the model plays ", "dim"),
            (clean(session.character), "bold cyan"),
            (".", "dim"),
        )
        self.console.print(Panel(body, title=Text(clean(scene.book), "bold"), border_style="dim", padding=(1, 2)))

    def turns(self, turns: Sequence[Turn]) -> None:
        """Shows the history with the turn numbers for /edit."""
        for number, turn in enumerate(turns, 1):
            self.turn(turn, f"{number:>3} ")

    def note(self, text: str, *, whole: bool = False) -> None:
        """Shows a note; `whole` does not wrap it, so that a long path can be copied."""
        self.console.print(Text(f"· {clean(text)}", "dim"), highlight=False, soft_wrap=whole)

    def error(self, text: str) -> None:
        self.console.print(Text(f"! {clean(text)}", "red"), highlight=False)

    def plain(self, text: str) -> None:
        """Shows text without formatting."""
        self.console.print(Text(clean(text)), highlight=False, soft_wrap=True)


def _indent(layer: Layer) -> str:
    return _SYSTEM if layer is Layer.SYSTEM_THINKING else _BODY
