"""A session as records: its log, a copy of it, and data that may come back from a stranger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from her_hf.dual_layer import Turn
from her_hf.inference import ChatModel

from .answers import read_broken
from .limits import Limits, json_size
from .log import VERSION, Log, Record, read_log, write_whole
from .records import Header, TextChange, TurnChange, check_speaker, check_turn, naming, read_change, shown
from .state import State
from .typed import reread

S = TypeVar("S", bound=State)


def save_session(session: State, path: str | Path) -> Path:
    """See [`Session.save`]."""
    path = Path(path).expanduser()
    if path.exists() and path.stat().st_size:
        raise FileExistsError(f"{path} exists already: name another file.")
    write_whole(path, [session.header(), *_records(session)])
    return path


def load_session(
    cls: type[S],
    path: str | Path,
    model: ChatModel,
    thinking: bool | None,
    max_context_tokens: int | None,
    limits: Limits | None,
) -> S:
    """The session of a log, which is not yet appended to; see [`Session.load`]."""
    path = Path(path).expanduser()
    header, *records = read_log(path)
    with naming(f"{path}, line 1"):
        logged = Header.model_validate(header)
        session = _session(cls, logged, model, limits, thinking, max_context_tokens)
    for number, record in enumerate(records, 2):
        with naming(f"{path}, line {number}"):
            _replay(session, record, lambda turn: turn)
    return session


def dumped(session: State) -> Record:
    """See [`Session.dump`]."""
    return {**session.header(), "history": _records(session)}


def restored(
    cls: type[S], data: Mapping[str, Any], model: ChatModel, limits: Limits | None, log: str | Path | None
) -> S:
    """See [`Session.restore`]."""
    limits = limits or Limits()
    if not isinstance(data, Mapping) or data.get("kind") != "session" or data.get("version") != VERSION:
        raise ValueError(f"Session data must be what Session.dump of version {VERSION} returned, got {shown(data)}")
    limits.check_size(json_size(data, "session data"), "session data")
    records = data.get("history")
    if not isinstance(records, list):
        raise ValueError(f"session data, history: must be a list of records, got {shown(records)}")
    with naming("session data"):
        header = Header.model_validate(data)
        names = [member.name for member in header.scene.cast]
        header.opening = [reread(turn, names) for turn in header.opening]
        session = _session(cls, header, model, limits)
    for number, record in enumerate(records):
        with naming(f"session data, history[{number}]"):
            if not isinstance(record, dict):
                raise ValueError(f"record: must be a dict, got {shown(record)}")
            _replay(session, record, lambda turn: _as_typed(turn, session))
    if log is not None:
        session.history.log = Log(Path(log).expanduser(), fresh=True)
        for record in _records(session):
            session.history.write(record)
    return session


def branched(session: S, count: int, log: str | Path | None) -> S:
    """See [`Session.branch`]."""
    data = dumped(session)
    data["opening"] = data["opening"][:count]
    data["history"] = [record for record in data["history"] if record.get("index", 0) < count]
    return restored(type(session), data, session.model, session.limits, log)


def _records(session: State) -> list[Record]:
    """The records of a session after its first; the persona is in the scene."""
    note = [{"kind": "note", "text": session.note}] if session.note else []
    return [*note, *session.history.records()]


def _session(
    cls: type[S],
    header: Header,
    model: ChatModel,
    limits: Limits | None,
    thinking: bool | None = None,
    max_context_tokens: int | None = None,
) -> S:
    return cls(
        header.scene,
        header.character,
        model,
        visitor=header.visitor,
        opening=header.opening,
        sampling=header.sampling,
        thinking=header.thinking if thinking is None else thinking,
        max_context_tokens=max_context_tokens or header.max_context_tokens,
        limits=limits,
    )


def _replay(session: State, record: Record, reading: Callable[[Turn], Turn]) -> None:
    """Applies one record; `reading` turns what it says into the turn that is taken."""
    change = read_change(record)
    if change is None:
        return
    history = session.history
    if isinstance(change, TextChange):
        (session.set_persona if change.kind == "persona" else session.set_note)(change.text)
        return
    history.check(change)
    if isinstance(change, TurnChange):
        check_speaker(change.turn, session.names, "turn")
        session.limits.check_turns([change.turn], "turn")
        change.turn = reading(change.turn)
        check_turn(change.turn, session.character, session.names)
    history.replay(change, lambda name, text: _broken(session, name, text))
    session.limits.check_turns_count(len(history.turns))
    if index := getattr(change, "index", None):
        session.limits.check_alternatives(len(history.alternatives(index)), "index")


def _broken(session: State, name: str | None, text: str) -> Turn:
    session.limits.check_text(text, "reply")
    turn = read_broken(text, name or session.character, session.names)
    check_speaker(turn, session.names, "reply")
    return turn


def _as_typed(turn: Turn, session: State) -> Turn:
    read = reread(turn, session.names, typed=turn.name == session.visitor)
    if read.name == session.visitor and not read.segments:
        raise ValueError(f"turn: has no text, got {shown(turn.render())}")
    return read
