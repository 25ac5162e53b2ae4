"""One turn from a model's reply: parsed, cut where it continues as another speaker, retried if nothing is visible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from her_hf.dual_layer import ENVIRONMENT, Layer, Segment, Turn, View, foreign_start, parse_turn
from her_hf.inference import Caller, Messages, Reply, Sampling
from her_hf.scenes.turns import environment_turn

AGAIN_TEMPERATURE = 1.0
"""Temperature of a retry, which would repeat the reply at temperature 0 (as in CoSER)."""


@dataclass
class Played:
    """A turn that was played.

    Args:
        turn (`Turn`): The turn: what others see, what the character thinks, its system thinking.
        origin (`str`): `"model"` or `"original"`.
        raw (`str`): The unchanged reply.
        ended (`bool`): Whether the model itself ended its turn.
        attempts (`int`): Number of calls.
        cut (`bool`): Whether text that the model wrote as another speaker was removed from `turn` (it is in `raw`).
        dropped (`int`): Number of oldest turns that were dropped to fit the prompt into the model's window.
        tokens (`int`, *optional*): Length of the reply, if known.
    """

    turn: Turn
    origin: str = "model"
    raw: str = ""
    ended: bool = True
    attempts: int = 1
    cut: bool = False
    dropped: int = 0
    tokens: int | None = None
    issues: list[str] = field(default_factory=list)

    @classmethod
    def of_original(cls, turn: Turn) -> Played:
        """A turn of the original conversation."""
        return cls(turn, origin="original", issues=[str(issue) for issue in turn.issues])

    @property
    def name(self) -> str:
        """Who speaks."""
        return self.turn.name or ""

    @property
    def visible(self) -> bool:
        """Whether others see any part of the turn."""
        return any(View.OTHERS.shows(segment.layer) for segment in self.turn.segments)

    def as_dict(self) -> dict[str, Any]:
        """The turn for JSON: `text` is in SELF view and HER notation, without the name."""
        bare = replace(self.turn, name=None)
        row: dict[str, Any] = {"name": self.name, "text": bare.render(view=View.SELF), "origin": self.origin}
        if self.turn.system_thinking is not None:
            row["system_thinking"] = self.turn.system_thinking
        if self.origin == "model":
            row |= {
                "raw": self.raw,
                "ended": self.ended,
                "attempts": self.attempts,
                "cut": self.cut,
                "dropped": self.dropped,
                "tokens": self.tokens,
            }
        return {**row, "issues": self.issues}


async def take_turn(
    caller: Caller,
    messages: Messages,
    speaker: str,
    names: Sequence[str],
    *,
    notation: str,
    thinking: bool,
    sampling: Sampling,
    attempts: int,
    seed: Callable[[int], int],
) -> Played:
    """Requests one turn; if nothing of it is visible, it is requested again with the next seed.

    Args:
        caller ([`~her_hf.inference.Caller`]): The model.
        messages (`Messages`): The conversation; its oldest turns are dropped if the window is too small.
        speaker (`str`): Who speaks.
        names (`Sequence[str]`): The cast.
        notation (`str`): Notation of the reply.
        thinking (`bool`): Whether the turn opens with system thinking.
        sampling (`Sampling`): How to sample, without a seed.
        attempts (`int`): Maximum number of calls.
        seed (`Callable[[int], int]`): The seed of each attempt, counted from 0.

    Returns:
        [`Played`]: The first turn with visible text, else the last one, which is empty.

    Raises:
        `ModelError`, `WindowFull`: If a call fails.
    """
    room = await caller.fit(messages, max_tokens=sampling.max_tokens, thinking=thinking, names=names)
    for attempt in range(attempts):
        temperature = sampling.temperature if attempt == 0 else max(sampling.temperature, AGAIN_TEMPERATURE)
        drawn = replace(sampling, max_tokens=room.max_tokens, seed=seed(attempt), temperature=temperature)
        reply = await caller.ask(room.messages, sampling=drawn, thinking=thinking)
        played = replace(
            read_reply(reply, speaker, names, notation=notation), attempts=attempt + 1, dropped=room.dropped
        )
        if played.visible:
            break
    return played


def read_reply(reply: Reply, speaker: str, names: Sequence[str], *, notation: str) -> Played:
    """Reads a reply as `speaker`'s turn.

    Text that continues as another speaker is removed. A reply that starts with another speaker's name gives an empty
    turn.
    """
    if speaker == ENVIRONMENT:
        turn = environment_turn(reply.text)
    else:
        turn = parse_turn(reply.text, notation=notation, speaker=speaker, names=names)
    issues = [str(issue) for issue in turn.issues]
    foreign = turn.name not in (None, speaker)
    segments = () if foreign else _own_part(turn.segments, names, speaker)
    own = replace(turn, name=speaker, segments=segments)
    return Played(
        own,
        raw=reply.text,
        ended=reply.ended,
        cut=segments != turn.segments,
        tokens=reply.usage.completion_tokens,
        issues=issues,
    )


def _own_part(segments: Sequence[Segment], names: Sequence[str], speaker: str) -> tuple[Segment, ...]:
    """The segments up to the first line that starts with another speaker's name."""
    kept: list[Segment] = []
    for segment in segments:
        at = foreign_start(segment.text, names, speaker) if segment.layer is Layer.SPEECH else None
        if at is None:
            kept.append(segment)
            continue
        if rest := segment.text[:at].strip():
            kept.append(replace(segment, text=rest))
        break
    return tuple(kept)
