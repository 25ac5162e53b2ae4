"""The events of a session, for the terminal, the Space or a test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from her_hf.dual_layer import Layer, Turn
from her_hf.inference import Usage


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """Generation of turn `index` of the history has started; `name` speaks."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class Delta:
    """More text of the turn. Texts of one `segment` concatenate; `None` is the leading system thinking."""

    layer: Layer
    text: str
    segment: int | None = None


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """The turn is in the history.

    Args:
        index (`int`): Its place.
        turn (`Turn`): The turn, with its issues.
        ended (`bool`): Whether the model itself ended it; `False` if it was truncated at the token limit.
        usage (`Usage`): Token counts.
        labelled (`bool`): Whether the model wrote the character's label; the turn has the name in either case.
    """

    index: int
    turn: Turn
    ended: bool
    usage: Usage
    labelled: bool

    @property
    def well_formed(self) -> bool:
        """Whether the turn is well-formed, has its own label, and was ended by the end-of-turn token."""
        return self.turn.well_formed and self.labelled and self.ended


@dataclass(frozen=True, slots=True)
class Trimmed:
    """The oldest messages do not fit into the window and were dropped from this prompt; the history keeps them.

    Args:
        dropped (`int`): Number of messages (a turn of the character, or a run of others' turns) that were dropped.
        tokens (`int`): Length of the remaining prompt.
        limit (`int`): Maximum length of a prompt.
    """

    dropped: int
    tokens: int
    limit: int


@dataclass(frozen=True, slots=True)
class Failed:
    """No turn was added; the history is unchanged.

    Args:
        kind (`str`): A [`ModelError`]'s kind, `"window"` (the prompt does not fit), or `"empty"` (nothing visible was
            written).
        message (`str`): What failed, and the remedy.
        text (`str`): What the model had written until then.
    """

    kind: str
    message: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Drafted:
    """A turn for the visitor, as text to be edited and typed; the history is unchanged."""

    text: str


Event: TypeAlias = TurnStarted | Delta | TurnFinished | Trimmed | Failed | Drafted
