"""What a session tells whoever shows it: the terminal, the Space, a test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from her_hf.dual_layer import Layer, Turn
from her_hf.inference import Usage


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """The model was asked for turn `index` of the history, which `name` will speak."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class Delta:
    """More text of the turn. Additions of one `segment` concatenate; `None` is the leading system thinking."""

    layer: Layer
    text: str
    segment: int | None = None


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """The turn is in the history.

    Args:
        index (`int`): Its place.
        turn (`Turn`): The turn, with its issues.
        ended (`bool`): Whether the model ended it itself; `False` if it was cut at the token limit.
        usage (`Usage`): Tokens.
        labelled (`bool`): Whether the model wrote the character's own label; the turn has the name either way.
    """

    index: int
    turn: Turn
    ended: bool
    usage: Usage
    labelled: bool

    @property
    def well_formed(self) -> bool:
        """Well-formed as the design says: the turn's text with its own label, and ended by the end-of-turn token."""
        return self.turn.well_formed and self.labelled and self.ended


@dataclass(frozen=True, slots=True)
class Trimmed:
    """The oldest messages do not fit into the window and were left out of this prompt; the history keeps them.

    Args:
        dropped (`int`): How many messages (a turn of the character, or a run of others' turns) the model does not see.
        tokens (`int`): Length of the prompt that is left.
        limit (`int`): Most tokens the prompt may have.
    """

    dropped: int
    tokens: int
    limit: int


@dataclass(frozen=True, slots=True)
class Failed:
    """There is no turn; the history is as it was.

    Args:
        kind (`str`): A [`ModelError`]'s kind, `"window"` (the prompt does not fit), or `"empty"` (nothing visible was
            written).
        message (`str`): What happened and what to do.
        text (`str`): What had been written.
    """

    kind: str
    message: str
    text: str = ""


Event: TypeAlias = TurnStarted | Delta | TurnFinished | Trimmed | Failed
