"""A turn that arrives in chunks: the state machine behind `parse_turn` as well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .assembler import RunAssembler
from .label_buffer import LabelBuffer
from .labels import Label, foreign_lines, known_label
from .layers import Issue, Layer
from .open_layers import Frame, OpenLayers
from .scanner import Tag, TagScanner, has_unknown_tag, split_brackets
from .text import BRACKETS, CLOSE_ROUND, CLOSE_SQUARE, ROUND, SQUARE, ZERO_WIDTH_SPACE
from .turn import Turn

_OPENS = dict.fromkeys(ROUND, Layer.ROLE_ACTION) | dict.fromkeys(SQUARE, Layer.ROLE_THINKING)
_CLOSES = dict.fromkeys(CLOSE_ROUND, Layer.ROLE_ACTION) | dict.fromkeys(CLOSE_SQUARE, Layer.ROLE_THINKING)


@dataclass(frozen=True, slots=True)
class TurnEvent:
    """One append-only addition to a turn.

    Args:
        kind (`str`): `"name"` (the label; `text` is the name) or `"text"`.
        text (`str`): The added text.
        layer (`Layer`, *optional*): Layer of the text.
        segment (`int`, *optional*): Index of the segment that grows; `None` for the leading system thinking.
    """

    kind: str
    text: str
    layer: Layer | None = None
    segment: int | None = None


class TurnStream:
    """Parses one turn while it is being generated.

    Args:
        prefilled (`bool`, *optional*, defaults to `True`): Whether the prompt already ends in `<system_thinking>`.
        speaker (`str`, *optional*): Who should speak; another label is an issue.
        names (`Sequence[str]`, *optional*): The cast; if given, only these and Environment are labels; see
            [`parse_turn`] for the forms that count.
        notation (`str`, *optional*, defaults to `"her"`): `"coser"` also reads `[thought]` and `(action)`, also in
            full-width brackets: `【…】`, `［…］` and `（…）`.
        labels (`bool`, *optional*, defaults to `True`): `False` leaves a leading `Name:` in the text.

    Raises:
        `ValueError`: If the notation is unknown, or if text is fed after `close`.

    Example:

    ```python
    >>> stream = TurnStream(speaker="Ann")
    >>> for chunk in ("Ann stalls.</system_", "thinking>Ann: Tea?"):
    ...     for event in stream.feed(chunk):
    ...         print(event.layer, event.text)
    system_thinking Ann stalls.
    None Ann
    role_speech Tea?
    >>> stream.close().well_formed
    True
    ```
    """

    def __init__(
        self,
        *,
        prefilled: bool = True,
        speaker: str | None = None,
        names: Sequence[str] = (),
        notation: str = "her",
        labels: bool = True,
    ) -> None:
        if notation not in ("her", "coser"):
            raise ValueError(f"notation must be 'her' or 'coser', got {notation!r}")
        self._speaker, self._names, self._brackets = speaker, tuple(names), notation == "coser"
        self._scanner = TagScanner()
        self._events: list[TurnEvent] = []
        self._issues: dict[Issue, None] = {}
        self._open = OpenLayers()
        self._system = RunAssembler(lambda _, layer, text: self._emit(layer, text, None))
        self._segments = RunAssembler(lambda index, layer, text: self._emit(layer, text, index))
        self._system_started = self._system_ended = False
        self._name: str | None = None
        self._label = LabelBuffer(self._names, speaker) if labels else None  # `None` once the label is decided
        self._held_bracket = ""
        # The start of a turn in CoSER notation, while its brackets may be those of a label.
        self._seeks_bracketed_label = labels and self._brackets and bool(names or speaker)
        self._bracketed_label: list[str] = []
        self._written: list[str] = []  # text of CoSER notation outside tags, brackets included
        self._turn: Turn | None = None
        self.last_events: list[TurnEvent] = []
        if prefilled:
            self._open.push(Frame(Layer.SYSTEM_THINKING, prefilled=True))
            self._system_started = True

    def feed(self, chunk: str) -> list[TurnEvent]:
        """Takes the next chunk of text and returns the events it causes."""
        if self._turn is not None:
            raise ValueError("This stream is closed: create a new TurnStream for the next turn.")
        for piece in self._scanner.feed(chunk):
            self._take(piece)
        return self._drain()

    def close(self) -> Turn:
        """Ends the turn. Events that are decided only by its end are in [`TurnStream.last_events`]."""
        if self._turn is not None:
            return self._turn
        for piece in self._scanner.close():
            self._take(piece)
        self._release_label()
        self._release_bracket()
        if self._in_label:
            self._decide_label(final=True)
        if self._open.top:
            self._note(Issue.UNCLOSED)
            if self._open.top.empty and not self._open.top.bracket:
                self._note(Issue.EMPTY)
        self._turn = self._build()
        self.last_events = self._drain()
        return self._turn

    # -- events and issues

    def _emit(self, layer: Layer, text: str, segment: int | None) -> None:
        self._events.append(TurnEvent("text", text, layer, segment))

    def _drain(self) -> list[TurnEvent]:
        events, self._events = self._events, []
        return events

    def _note(self, issue: Issue) -> None:
        self._issues[issue] = None

    def _build(self) -> Turn:
        segments = self._segments.segments()
        system = self._system.segments()
        if not segments:
            self._note(Issue.EMPTY)
        if self._name and self._speaker and self._name != self._speaker:
            self._note(Issue.FOREIGN_SPEAKER)
        for segment in segments:
            if segment.layer is not Layer.SYSTEM_THINKING and has_unknown_tag(segment.text):
                self._note(Issue.UNKNOWN_TAG)
        # Another speaker's label may contain brackets, which CoSER notation reads as layers.
        speech = [segment.text for segment in segments if segment.layer is Layer.SPEECH]
        own = self._name or self._speaker
        if any(foreign_lines(text, self._names, own) for text in (*speech, "".join(self._written))):
            self._note(Issue.FOREIGN_SPEAKER)
        thinking = (system[0].text if system else "") if self._system_started else None
        return Turn(self._name, thinking, segments, tuple(self._issues))

    # -- tags and brackets

    def _take(self, piece: str | Tag) -> None:
        if isinstance(piece, Tag):
            self._release_label()
            self._release_bracket()
            self._close_tag(piece.layer) if piece.closing else self._open_tag(piece.layer)
            self._cross()
            self._write("<>")
        elif self._may_be_label(piece):
            self._take_label(piece)
        elif self._brackets:
            self._take_bracketed(piece)
        else:
            self._add(piece)

    def _open_tag(self, layer: Layer) -> None:
        top = self._open.top
        if top and top.prefilled and top.empty and layer is Layer.SYSTEM_THINKING:
            top.prefilled = False  # a second time it is a nested tag, with a closing tag of its own
            return
        if top:
            self._note(Issue.NESTED)
            top.empty = False
        self._open.push(Frame(layer))
        if layer is Layer.SYSTEM_THINKING and self._leading and not self._in_label:
            self._system_started = True

    def _close_tag(self, layer: Layer) -> None:
        if not self._open.has_tag(layer):
            self._note(Issue.STRAY_CLOSE)
            if self._open:
                self._open.pop()
            return
        closed = self._open.pop()
        while closed.layer is not layer or closed.bracket:
            self._note(Issue.UNCLOSED)
            closed = self._open.pop()
        if closed.empty:
            self._note(Issue.EMPTY)

    def _may_be_label(self, text: str) -> bool:
        """Whether this text in CoSER notation belongs to the label, or may start one."""
        if self._bracketed_label:
            return True
        starts = not self._open and self._leading and self._label is not None and not self._label.started
        return self._seeks_bracketed_label and starts and not text.isspace()

    def _take_label(self, text: str, final: bool = False) -> None:
        """Takes the start of a turn in CoSER notation, where `[Name]:` is a label and not a thought."""
        self._bracketed_label.append(text)
        if text.isspace() and "\n" not in text:
            return  # white space decides nothing, and checking all held text for each space would take quadratic time
        held = "".join(self._bracketed_label).lstrip()
        line, newline, _ = held.partition("\n")
        label = known_label(line, self._names, self._speaker, final or bool(newline), brackets=True)
        if label is None:
            self._bracketed_label = [held]
            return
        self._bracketed_label, self._seeks_bracketed_label = [], False
        if label.restyled:
            self._label = None
            self._set_label(label)
            self._write(held[: label.length])
            self._take_direction(label.direction)
            held = held[label.length :]
        if held:
            self._take_bracketed(held)

    def _take_direction(self, direction: str) -> None:
        """Takes the stage direction of a label in CoSER notation: a thought inside it stays a thought."""
        if direction:
            self._open_bracket(Layer.ROLE_ACTION)
            self._take_pieces(direction)
            self._take_pieces(CLOSE_ROUND[0])

    def _release_label(self) -> None:
        if self._bracketed_label:
            self._take_label("", final=True)

    def _release_bracket(self) -> None:
        held, self._held_bracket = self._held_bracket, ""
        if held:
            self._take_pieces(held)

    def _take_bracketed(self, text: str) -> None:
        """Takes text with CoSER brackets; one at its end is held back, since a zero-width space may escape it."""
        text = self._held_bracket + text
        self._held_bracket = text[-1] if text[-1] in BRACKETS else ""
        self._take_pieces(text[:-1] if self._held_bracket else text)

    def _take_pieces(self, text: str) -> None:
        plain: list[str] = []  # added at the end: adding each piece takes several times as long
        for piece in split_brackets(text):
            written = self._as_text(piece)
            self._write(piece if written is None else written)
            if written is not None:
                plain.append(written)
                continue
            if plain:
                self._add("".join(plain))
                plain = []
            self._open_bracket(_OPENS[piece]) if piece in _OPENS else self._close_bracket()
        if plain:
            self._add("".join(plain))

    def _write(self, text: str) -> None:
        """Records text of CoSER notation; inside a layer, no line starts."""
        if self._brackets and not self._open.tag_depth:
            self._written.append(text.replace("\n", " ") if self._open else text)

    def _as_text(self, piece: str) -> str | None:
        """The text that a piece stands for; `None` for a bracket that opens or closes a layer."""
        if piece[0] not in BRACKETS or self._open.tag_depth:
            return piece
        if len(piece) > 1:
            return piece.removesuffix(ZERO_WIDTH_SPACE)
        top = self._open.top
        layer = _OPENS.get(piece) or _CLOSES[piece]
        if top and top.layer is Layer.ROLE_THINKING and layer is Layer.ROLE_ACTION:
            return piece
        same = top is not None and top.bracket and top.layer is layer
        if piece in _OPENS:
            if not top or not same:
                return None
            top.depth += 1  # a nested bracket of the same kind is text of the layer
            return piece
        if not top or not same:
            return piece
        if not top.depth:
            return None
        top.depth -= 1
        return piece

    def _open_bracket(self, layer: Layer) -> None:
        if self._open:
            self._note(Issue.NESTED)
        self._open.push(Frame(layer, bracket=True))
        self._cross()

    def _close_bracket(self) -> None:
        if self._open.pop().empty:
            self._note(Issue.EMPTY)
        self._cross()

    # -- text

    @property
    def _leading(self) -> bool:
        """Whether the turn has no segment yet, except for a possible label."""
        return self._segments.empty

    @property
    def _in_label(self) -> bool:
        return self._label is not None and self._label.started

    def _cross(self) -> None:
        self._system.cross_tag(Layer.SYSTEM_THINKING)
        self._segments.cross_tag(self._open.layer)
        if self._label is not None:
            self._label.cross_tag()
        if not self._open.in_system_thinking and not self._system.empty:
            self._system_ended = True

    def _add(self, text: str) -> None:
        layer = self._open.layer
        if text.strip():
            if self._open.top:
                self._open.top.empty = False
            if self._in_label and layer is not Layer.SPEECH:
                self._decide_label(final=True)
            if layer is Layer.SYSTEM_THINKING and self._leading:
                self._add_leading_system(text)
                return
        elif layer is Layer.SYSTEM_THINKING and self._leading and not self._in_label:
            if not self._system_ended:
                self._system.add(layer, text)
            return
        if layer is Layer.SPEECH and self._label is not None and self._leading:
            if self._label.add(text):
                self._decide_label(final=False)
            return
        if text.strip():
            self._label = None
            if layer is Layer.SYSTEM_THINKING:
                self._note(Issue.MISPLACED_SYSTEM_THINKING)
        self._segments.add(layer, text)

    def _add_leading_system(self, text: str) -> None:
        if self._system_ended:
            self._note(Issue.REPEATED_SYSTEM_THINKING)
            return
        if self._name is not None:
            self._note(Issue.MISPLACED_SYSTEM_THINKING)
        self._system_started = True
        self._system.add(Layer.SYSTEM_THINKING, text)

    def _decide_label(self, final: bool) -> None:
        held = self._label
        label = held.decide(final=final) if held else None
        if held is None or label is None:
            return
        self._label = None
        self._set_label(label)
        if label.direction:
            self._segments.add(Layer.ROLE_ACTION, label.direction)
        self._segments.add(Layer.SPEECH, held.after(label))
        self._segments.break_lines(held.breaks)

    def _set_label(self, label: Label) -> None:
        if label.name is None:
            return
        self._name = label.name
        self._events.append(TurnEvent("name", label.name))
        if label.restyled:
            self._note(Issue.RESTYLED_LABEL)


def parse_with(stream: TurnStream, text: str, origin_id: tuple[int, ...] = ()) -> Turn:
    """Feeds a whole text to a fresh stream."""
    stream.feed(text)
    return replace(stream.close(), origin_id=origin_id)
