"""The size of a session: what is typed, loaded or restored stays within bounds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from her_hf.dual_layer import Turn
from her_hf.inference import Sampling
from her_hf.scenes import Scene


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a session may be. A public demo passes smaller ones.

    Args:
        turns (`int`, *optional*, defaults to 5000): Turns of the history.
        alternatives (`int`, *optional*, defaults to 100): Replies that are kept at one place.
        turn (`int`, *optional*, defaults to 1,000,000): Characters of one turn.
        cast (`int`, *optional*, defaults to 500): Members of the cast.
        scene (`int`, *optional*, defaults to 20,000,000): Characters of the scene as JSON.
        size (`int`, *optional*, defaults to 100,000,000): Characters of the data of a whole session as JSON.
        max_tokens (`int`, *optional*, defaults to 131,072): Tokens of a reply.
        stop (`int`, *optional*, defaults to 16): Texts that end a reply, each of at most 200 characters.
    """

    turns: int = 5_000
    alternatives: int = 100
    turn: int = 1_000_000
    cast: int = 500
    scene: int = 20_000_000
    size: int = 100_000_000
    max_tokens: int = 131_072
    stop: int = 16

    def check_sampling(self, sampling: Sampling) -> None:
        """Raises `ValueError` if replies may be longer than allowed."""
        _check("sampling: max_tokens", sampling.max_tokens, self.max_tokens)
        _check("sampling: the number of stop texts", len(sampling.stop), self.stop)
        _check("sampling: the length of a stop text", max(map(len, sampling.stop), default=0), 200)

    def check_scene(self, scene: Scene) -> None:
        """Raises `ValueError` for a cast or a scene that is too large."""
        _check("scene: the number of members of the cast", len(scene.cast), self.cast)
        _check("scene: its number of characters", json_size(scene.model_dump(mode="json"), "scene"), self.scene)

    def check_turns(self, turns: Sequence[Turn], field: str) -> None:
        """Raises `ValueError` for too many turns, or one that is too long."""
        self.check_turns_count(len(turns), field)
        for number, turn in enumerate(turns):
            self.check_text(turn.render(), f"{field}[{number}]")

    def check_turns_count(self, count: int, field: str = "index") -> None:
        """Raises `ValueError` for too many turns."""
        _check(f"{field}: the number of turns", count, self.turns)

    def check_size(self, size: int, field: str) -> None:
        """Raises `ValueError` if the data of a session is too large."""
        _check(f"{field}: its number of characters", size, self.size)

    def check_text(self, text: str, field: str) -> None:
        """Raises `ValueError` for a text that is too long for a turn."""
        _check(f"{field}: its number of characters", len(text), self.turn)

    def check_alternatives(self, count: int, field: str) -> None:
        """Raises `ValueError` for too many replies at one place."""
        _check(f"{field}: the number of replies", count, self.alternatives)


def json_size(value: Any, field: str) -> int:
    """Characters of a value as JSON.

    Raises:
        `ValueError`: If it cannot be written as JSON.
    """
    try:
        return len(json.dumps(value, ensure_ascii=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{field}: cannot be written as JSON ({str(error)[:200]})") from error


def _check(what: str, value: int, most: int) -> None:
    if value > most:
        raise ValueError(f"{what} must be at most {most:,}, got {value:,}")
