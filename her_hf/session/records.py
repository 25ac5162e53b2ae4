"""The validated records of a session's log: each error names file, line and field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StrictBool, StrictInt, ValidationError

from her_hf.dual_layer import Turn
from her_hf.inference import Sampling
from her_hf.scenes import Scene

from .log import Record
from .typed import escape_lines, guarded

_MAX_BREAKS = 2


def _without_text(value: Any) -> Any:
    """Removes the text that [`~her_hf.session.log.dump_turn`] adds for readers."""
    return {key: part for key, part in value.items() if key != "text"} if isinstance(value, dict) else value


def _laid_out(turn: Turn) -> Turn:
    if any(not 0 <= part.breaks <= _MAX_BREAKS for part in turn.segments):
        raise ValueError(f"breaks of a segment must be from 0 to {_MAX_BREAKS}")
    return turn


def _sampling(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    known = [field.name for field in fields(Sampling)]
    if unknown := sorted(value.keys() - known):
        raise ValueError(f"may only have the fields {', '.join(known)}, got {shown(unknown)}")
    stop = value.get("stop", ())
    return Sampling(**{**value, "stop": tuple(stop) if isinstance(stop, list) else stop})


def _cast(scene: Scene) -> Scene:
    """Refuses a name that would be read as the line of another character: `Bob: I did it. Ann`."""
    names = [member.name for member in scene.cast]
    for number, name in enumerate(names):
        if escape_lines(name, [other for other in names if other != name]) != name:
            raise ValueError(f"cast[{number}].name would be read as a line of another character: {shown(name)}")
    return scene


LoggedTurn = Annotated[Turn, BeforeValidator(_without_text), AfterValidator(_laid_out)]
Index = Annotated[StrictInt, Field(ge=0)]
Text = Annotated[str, Field(strict=True)]


class Header(BaseModel):
    """The first record: scene, roles and sampling."""

    scene: Annotated[Scene, AfterValidator(_cast)]
    character: str
    visitor: str
    opening: list[LoggedTurn]
    sampling: Annotated[Sampling, BeforeValidator(_sampling)]
    thinking: StrictBool
    max_context_tokens: Annotated[StrictInt, Field(ge=1)] | None


class LoggedReply(BaseModel):
    """What is read of a reply; the log has more about it."""

    text: Text = ""
    ended: StrictBool = True


class TurnChange(BaseModel):
    """A turn at its index; it has a `reply` if the model wrote it, and `continues` if it replaces a cut one."""

    index: Index
    turn: LoggedTurn
    reply: LoggedReply | None = None
    continues: Index | None = None


class KeepChange(BaseModel):
    """All turns after the first `turns` were removed."""

    turns: Index


class AskedChange(BaseModel):
    """A failed or stopped attempt of `name` to write a turn, and what was written."""

    index: Index
    name: str | None = None
    reply: Text = ""
    continues: Index | None = None


class ChooseChange(BaseModel):
    """Another alternative was put into the history."""

    index: Index
    alternative: Index


class TextChange(BaseModel):
    """Another persona or author's note."""

    kind: Literal["persona", "note"]
    text: Text


Change: TypeAlias = TurnChange | KeepChange | AskedChange | ChooseChange


_CHANGES: Mapping[str, type[Change | TextChange] | None] = {
    "turn": TurnChange,
    "keep": KeepChange,
    "choose": ChooseChange,
    "failed": AskedChange,
    "stopped": AskedChange,
    "persona": TextChange,
    "note": TextChange,
    "trimmed": None,
    "continued": None,
}


def read_change(record: Record) -> Change | TextChange | None:
    """The change that a record describes; `None` for a record that changes nothing.

    Raises:
        `ValueError`: If the record is not one that a session writes.
    """
    kind = record.get("kind")
    if not isinstance(kind, str) or kind not in _CHANGES:
        raise ValueError(f"kind: must be one of {', '.join(_CHANGES)}, got {shown(kind)}")
    model = _CHANGES[kind]
    return model.model_validate(record) if model else None


def check_speaker(turn: Turn, names: Sequence[str], field: str) -> None:
    """Raises `ValueError` if the speaker is not among `names`."""
    if turn.name not in names:
        raise ValueError(f"{field}.name: must be one of {', '.join(names)[:200]}, got {shown(turn.name)}")


def check_turn(turn: Turn, character: str, names: Sequence[str]) -> None:
    """Raises `ValueError` for a turn that no session writes: one of an unknown speaker or with a forged line."""
    check_speaker(turn, names, "turn")
    if turn.name != character and guarded(turn, names) != turn:
        raise ValueError(
            f"turn.segments: a line of {turn.name}'s turn would be read as another speaker's or as a part of the "
            f"prompt: {shown(turn.render(view='others'))}"
        )


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Adds where a record is, and the field, to errors."""
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "record"
        problem = first["msg"].removeprefix("Value error, ")
        complete = first["type"] == "missing" or ", got " in problem
        got = "" if complete else f", got {shown(first['input'])}"
        raise ValueError(f"{where}, {field}: {problem}{got}. {_REMEDY}") from error
    except ValueError as error:
        raise ValueError(f"{where}, {error}. {_REMEDY}") from error


_REMEDY = "No session writes such a record: correct or delete the line, or start a new session."


def shown(value: Any) -> str:
    """A value for an error, shortened."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:120]}…"
