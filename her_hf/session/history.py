"""The turns of a session with the alternatives of each reply; every change is on disk before it counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from her_hf.dual_layer import Turn

from .log import Log, Record, dump_turn
from .records import AskedChange, Change, ChooseChange, KeepChange


@dataclass(frozen=True, slots=True)
class Alternative:
    """One of several replies at the same place of the conversation.

    Args:
        turn (`Turn`): The turn, as far as it was written.
        text (`str`, *optional*): What the model wrote, including system thinking; empty if the turn was edited or does
            not come from the model.
        finished (`bool`, *optional*, defaults to `True`): `False` for a reply that broke off because it was stopped or
            the model failed. It is no part of the history, and so of no prompt, until it is continued.
        ended (`bool`, *optional*, defaults to `True`): Whether the model itself ended it.
    """

    turn: Turn
    text: str = ""
    finished: bool = True
    ended: bool = True


class History:
    """Turns, and for each reply its alternatives.

    Args:
        opening (`Sequence[Turn]`): The first turns, which no undo removes.
        header (`Callable`): Makes the first record of a log.
        log (`Log`, *optional*): Where changes are written.
    """

    def __init__(self, opening: Sequence[Turn], header: Callable[[], Record], log: Log | None = None) -> None:
        self.opening = tuple(opening)
        self.turns = list(opening)
        self.asked: Counter[int] = Counter()
        self.drafted: Counter[int] = Counter()
        self.log = log
        self._header = header
        self._alternatives: dict[int, list[Alternative]] = {}
        self._chosen: dict[int, int] = {}

    # -- what there is

    def alternatives(self, index: int) -> tuple[Alternative, ...]:
        """The replies at a place; a turn that the model did not write is its only alternative."""
        if index in self._alternatives:
            return tuple(self._alternatives[index])
        return (Alternative(self.turns[index]),) if index < len(self.turns) else ()

    def chosen(self, index: int) -> int | None:
        """Which alternative is in the history; `None` if none is."""
        return self._chosen.get(index, 0) if index < len(self.turns) else None

    def answered(self, index: int) -> bool:
        """Whether the model has written a turn at this place."""
        return index in self._alternatives and index < len(self.turns)

    # -- changes

    def put(self, index: int, turn: Turn) -> None:
        """Sets the turn at a place to what was typed; a reply keeps its other alternatives."""
        self._do({"kind": "turn", "index": index, "turn": dump_turn(turn)}, lambda: self._typed(index, turn))

    def answer(self, index: int, turn: Turn, reply: Record, continues: int | None = None) -> None:
        """Adds a finished reply and chooses it; with `continues`, in place of that alternative."""
        record = {"kind": "turn", "index": index, "turn": dump_turn(turn), "reply": reply}
        if continues is not None:
            record["continues"] = continues
        new = Alternative(turn, reply["text"], True, reply["ended"])
        self._do(record, lambda: self._answered(index, new, continues))

    def broken(self, index: int, turn: Turn, record: Record, continues: int | None = None) -> None:
        """Records an attempt that gave no turn; text that was written is kept as an unfinished alternative."""
        record = {
            **record,
            "index": index,
            "name": turn.name,
            **({} if continues is None else {"continues": continues}),
        }
        self.write(record)
        if record["reply"]:
            self._broke_off(index, Alternative(turn, record["reply"], False, False), continues)

    def choose(self, index: int, number: int) -> Turn:
        """Puts a finished alternative into the history."""
        self._do({"kind": "choose", "index": index, "alternative": number}, lambda: self._choose(index, number))
        return self.turns[index]

    def keep(self, count: int) -> list[Turn]:
        """Removes all turns after the first `count`."""
        gone = self.turns[count:]
        if gone:
            self._do({"kind": "keep", "turns": count}, lambda: self._keep(count))
        return gone

    def write(self, record: Record) -> None:
        """Appends a record to the log, if there is one."""
        if self.log:
            header = [] if self.log.started else [self._header()]
            self.log.write(*header, {**record, "time": now()})

    def go_on(self, path: Path, settings: Record) -> None:
        """Appends to the log from which this history was read."""
        self.log = Log(path, fresh=False)
        self.write({"kind": "continued", **settings})

    def _do(self, record: Record, change: Callable[[], None]) -> None:
        """Changes what is in memory after the record is on disk, so that a turn that was shown is never lost."""
        self.write(record)
        change()

    # -- records

    def records(self) -> Iterator[Record]:
        """The records that make this history, without what was undone."""
        for index in range(len(self.turns) + 1):
            if index not in self._alternatives:
                if index < len(self.turns):
                    yield {"kind": "turn", "index": index, "turn": dump_turn(self.turns[index])}
                continue
            for number, one in enumerate(self._alternatives[index]):
                yield _record_of(index, one, typed=number == 0 and index < len(self.opening))
            if index < len(self.turns) and self._chosen[index] < len(self._alternatives[index]) - 1:
                yield {"kind": "choose", "index": index, "alternative": self._chosen[index]}

    def check(self, change: Change) -> None:
        """Raises `ValueError` if a record names a place or an alternative that is not there."""
        count = len(self.turns)
        if isinstance(change, KeepChange):
            _check_at_most("turns", change.turns, count)
            return
        _check_at_most("index", change.index, count)
        known = self.alternatives(change.index)
        if isinstance(change, ChooseChange):
            _check_number("alternative", change.alternative, len(known))
            if not known[change.alternative].finished:
                raise ValueError(f"alternative: reply {change.alternative} broke off and cannot be chosen")
        elif change.continues is not None:
            _check_number("continues", change.continues, len(known))

    def replay(self, change: Change, broken_turn: Callable[[str | None, str], Turn]) -> None:
        """Applies a record that [`check`][History.check] accepts.

        Args:
            change: The record.
            broken_turn (`Callable`): Reads the text of a reply that broke off, given its speaker.
        """
        if isinstance(change, KeepChange):
            self._keep(change.turns)
        elif isinstance(change, ChooseChange):
            self._choose(change.index, change.alternative)
        elif isinstance(change, AskedChange):
            self.asked[change.index] += 1
            if change.reply:
                turn = broken_turn(change.name, change.reply)
                self._broke_off(change.index, Alternative(turn, change.reply, False, False), change.continues)
        elif change.reply is None:
            self._typed(change.index, change.turn)
        else:
            self.asked[change.index] += 1
            new = Alternative(change.turn, change.reply.text, True, change.reply.ended)
            self._answered(change.index, new, change.continues)

    # -- memory

    def _typed(self, index: int, turn: Turn) -> None:
        if index < len(self.turns) and index in self._alternatives:
            number = self._chosen[index]
            old = self._alternatives[index][number]
            self._alternatives[index][number] = replace(old, turn=turn, text="")
        else:  # a reply that broke off here is no longer asked for
            self._alternatives.pop(index, None)
        self.turns[index : index + 1] = [turn]

    def _answered(self, index: int, new: Alternative, continues: int | None) -> None:
        self._chosen[index] = self._add(index, new, continues)
        self.turns[index : index + 1] = [new.turn]

    def _broke_off(self, index: int, new: Alternative, continues: int | None) -> None:
        if continues is not None and self.alternatives(index)[continues].finished:
            continues = None  # what is in the history stays as it is
        self._add(index, new, continues)

    def _add(self, index: int, new: Alternative, continues: int | None) -> int:
        kept = self._alternatives.setdefault(index, list(self.alternatives(index)))
        if len(kept) == 1 and index < len(self.turns):
            self._chosen.setdefault(index, 0)
        if continues is not None:
            kept[continues] = new
            return continues
        kept.append(new)
        return len(kept) - 1

    def _choose(self, index: int, number: int) -> None:
        self._chosen[index] = number
        self.turns[index : index + 1] = [self.alternatives(index)[number].turn]

    def _keep(self, count: int) -> None:
        del self.turns[count:]
        for index in [index for index in self._alternatives if index >= count]:
            del self._alternatives[index]
            self._chosen.pop(index, None)


def now() -> str:
    """The time of a record."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _record_of(index: int, one: Alternative, *, typed: bool) -> Record:
    """The record of an alternative; the first one in the place of an opening turn is no reply."""
    if not one.finished:
        return {"kind": "stopped", "index": index, "name": one.turn.name, "reply": one.text}
    record: Record = {"kind": "turn", "index": index, "turn": dump_turn(one.turn)}
    return record if typed else {**record, "reply": {"text": one.text, "ended": one.ended}}


def _check_at_most(field: str, value: int, count: int) -> None:
    if value > count:
        raise ValueError(f"{field}: must be at most {count}, the number of turns before it, got {value}")


def _check_number(field: str, number: int, count: int) -> None:
    if number >= count:
        raise ValueError(f"{field}: must be below {count}, the number of replies there, got {number}")
