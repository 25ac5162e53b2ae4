"""The records of a session's log as data that was checked: each error names file, line and field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StrictBool, StrictInt, ValidationError

from her_hf.dual_layer import Turn
from her_hf.inference import Sampling
from her_hf.scenes import Scene

from .log import Record
from .typed import escape_lines, guarded

_MOST_BREAKS = 2


def _without_text(value: Any) -> Any:
    """What [`~her_hf.session.log.dump_turn`] adds for people is no part of a turn."""
    return {key: part for key, part in value.items() if key != "text"} if isinstance(value, dict) else value


def _laid_out(turn: Turn) -> Turn:
    if any(not 0 <= part.breaks <= _MOST_BREAKS for part in turn.segments):
        raise ValueError(f"breaks of a segment are from 0 to {_MOST_BREAKS}")
    return turn


def _sampling(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    known = [field.name for field in fields(Sampling)]
    if unknown := sorted(value.keys() - known):
        raise ValueError(f"must hold nothing but {', '.join(known)}, got {shown(unknown)}")
    stop = value.get("stop", ())
    return Sampling(**{**value, "stop": tuple(stop) if isinstance(stop, list) else stop})


def _cast(scene: Scene) -> Scene:
    """Refuses a name that reads as the line of another: `Bob: I did it. Ann`."""
    names = [member.name for member in scene.cast]
    for number, name in enumerate(names):
        if escape_lines(name, [other for other in names if other != name]) != name:
            raise ValueError(f"cast[{number}].name reads as a line of another one: {shown(name)}")
    return scene


LoggedTurn = Annotated[Turn, BeforeValidator(_without_text), AfterValidator(_laid_out)]
Index = Annotated[StrictInt, Field(ge=0)]


class Header(BaseModel):
    """The first record: who plays where, and how replies are drawn."""

    scene: Annotated[Scene, AfterValidator(_cast)]
    character: str
    visitor: str
    opening: list[LoggedTurn]
    sampling: Annotated[Sampling, BeforeValidator(_sampling)]
    thinking: StrictBool
    max_context_tokens: Annotated[StrictInt, Field(ge=1)] | None


class TurnChange(BaseModel):
    """A turn at its place; `reply` says that the model was asked for it."""

    index: Index
    turn: LoggedTurn
    reply: dict[str, Any] | None = None


class KeepChange(BaseModel):
    """All but so many turns were taken back."""

    turns: Index


class AskedChange(BaseModel):
    """The model was asked for a turn in vain."""

    index: Index


_CHANGES: Mapping[str, type[TurnChange | KeepChange | AskedChange] | None] = {
    "turn": TurnChange,
    "keep": KeepChange,
    "failed": AskedChange,
    "stopped": AskedChange,
    "trimmed": None,
    "continued": None,
}


def read_change(record: Record) -> TurnChange | KeepChange | AskedChange | None:
    """What a record changed; `None` for one that tells of something else.

    Raises:
        `ValueError`: If no session writes such a record.
    """
    kind = record.get("kind")
    if not isinstance(kind, str) or kind not in _CHANGES:
        raise ValueError(f"kind: must be one of {', '.join(_CHANGES)}, got {shown(kind)}")
    model = _CHANGES[kind]
    return model.model_validate(record) if model else None


def check_speaker(turn: Turn, names: Sequence[str], field: str) -> None:
    """Raises `ValueError` if nobody of `names` speaks."""
    if turn.name not in names:
        raise ValueError(f"{field}.name: must be one of {', '.join(names)[:200]}, got {shown(turn.name)}")


def check_turn(turn: Turn, character: str, names: Sequence[str]) -> None:
    """Raises `ValueError` if a session never put such a turn into its log: by a stranger, or with a forged line."""
    check_speaker(turn, names, "turn")
    if turn.name != character and guarded(turn, names) != turn:
        raise ValueError(
            f"turn.segments: in what {turn.name} says, a line begins as another's or as a part of the prompt: "
            f"{shown(turn.render(view='others'))}"
        )


@contextmanager
def naming(path: Path, line: int) -> Iterator[None]:
    """Lets errors name the file, the line and the field."""
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "record"
        said = first["msg"].removeprefix("Value error, ")
        told = first["type"] == "missing" or ", got " in said
        got = "" if told else f", got {shown(first['input'])}"
        raise ValueError(f"{path}, line {line}, {field}: {said}{got}. {_REMEDY}") from error
    except ValueError as error:
        raise ValueError(f"{path}, line {line}, {error}. {_REMEDY}") from error


_REMEDY = "No session writes this: correct or delete the line, or begin a new session."


def shown(value: Any) -> str:
    """A value for an error, cut short."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:120]}…"
