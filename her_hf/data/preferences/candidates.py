"""Samples several replies of a policy to each turn of scenes; each is stored as soon as it arrives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from her_hf.concurrency import WINDOW
from her_hf.dual_layer import ENVIRONMENT, View
from her_hf.durable import derive_seed, digest
from her_hf.inference import Caller, ModelError
from her_hf.inference.window import WindowFull
from her_hf.journal import Journal, Row, Rows
from her_hf.runs.progress import Progress
from her_hf.runs.units import Cause, Stage, run_units
from her_hf.scenes import Scene
from her_hf.settings import setting
from her_hf.simulation.styles import ActorSettings, actor_messages

CANDIDATES = 8
"""Replies to a turn, as in HER."""


@dataclass(frozen=True)
class Moment:
    """A turn of a scene for which new replies are sampled.

    Args:
        scene (`Scene`): The scene.
        index (`int`): Index of the turn; the turns before it are the context.
    """

    scene: Scene
    index: int

    @property
    def character(self) -> str:
        return str(self.scene.dialogue[self.index].name)

    @property
    def key(self) -> list[Any]:
        """Book, i_p, i_c and the index of the turn."""
        return [*self.scene.key, self.index]

    @property
    def has_context(self) -> bool:
        """Whether the character can see anything that was said or done before."""
        return any(
            (View.SELF if turn.name == self.character else View.OTHERS).shows(segment.layer)
            for turn in self.scene.dialogue[: self.index]
            for segment in turn.segments
        )


Unit = tuple[Moment, int]
"""A turn, and which of its candidates."""


@dataclass(frozen=True)
class PolicySettings(ActorSettings):
    """How the model that writes candidates is prompted and sampled.

    Args:
        temperature (`float`, *optional*, defaults to 1.0): Above 0, as replies must differ.
        top_p (`float`, *optional*, defaults to 1.0): Probability mass that is sampled from.
        candidates (`int`, *optional*, defaults to 8): Replies to a turn.

    Raises:
        `ValueError`: If there are fewer than two candidates.
    """

    temperature: float | None = setting(
        1.0, help="Sampling temperature of the policy; above 0, as replies must differ.", min=0
    )
    top_p: float = setting(1.0, help="Nucleus sampling: the probability mass to keep.", min=0, max=1)
    candidates: int = setting(CANDIDATES, help="Replies to a turn.", min=2)

    def __post_init__(self) -> None:
        if self.candidates < 2:
            raise ValueError(f"a pair needs two candidates: candidates must be at least 2, got {self.candidates}")
        if not self.temperature:
            raise ValueError(f"candidates must differ: temperature must be above 0, got {self.temperature}")

    def as_dict(self) -> dict[str, Any]:
        """What determines a candidate besides model and turn."""
        sampling = self.sampling()
        return {
            "style": self.style,
            "candidates": self.candidates,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": self.seed,
        }


@dataclass(frozen=True)
class Policy:
    """The model that writes candidates.

    Args:
        model ([`~her_hf.inference.Caller`]): The model.
        settings ([`PolicySettings`], *optional*): How it is prompted and sampled.
    """

    model: Caller
    settings: PolicySettings = PolicySettings()


def moments_of(scenes: Sequence[Scene], limit: int | None = None) -> tuple[list[Moment], dict[str, int]]:
    """Turns of characters to reply to: all that have a context, or a number of them spread over all.

    Args:
        scenes (`Sequence[Scene]`): Scenes with their dialogues, in any order.
        limit (`int`, *optional*): Maximum number of turns.

    Returns:
        `tuple[list[Moment], dict]`: The turns sorted by their scenes' keys, and how many turns of characters there
            are, have no context, exceed the limit, and are replied to.

    Raises:
        `ValueError`: If there is no such turn.
    """
    all_turns = [
        Moment(scene, index)
        for scene in sorted(scenes, key=lambda scene: scene.key)
        for index, turn in enumerate(scene.dialogue)
        if turn.name != ENVIRONMENT
    ]
    found = [moment for moment in all_turns if moment.has_context]
    if not found:
        raise ValueError(
            f"no turn to reply to: in none of {len(scenes)} scenes does a character speak who has seen something"
        )
    size = len(found) if limit is None else min(limit, len(found))
    counts = {
        "of_characters": len(all_turns),
        "without_context": len(all_turns) - len(found),
        "beyond_limit": len(found) - size,
        "replied_to": size,
    }
    return [found[place * len(found) // size] for place in range(size)], counts


class _Shape(BaseModel):
    key: list[Any]
    asked: str
    text: str | None
    failure: Cause | None


async def sample_candidates(
    policy: Policy, moments: Sequence[Moment], file: Path, *, made_by: str, window: int = WINDOW, show: bool = True
) -> Rows:
    """Samples the candidates that are still missing.

    Args:
        policy ([`Policy`]): The model and its sampling.
        moments (`Sequence[Moment]`): Turns to reply to.
        file (`Path`): JSONL file that stores each reply durably; failed calls are repeated at the next start.
        made_by (`str`): Digest of the run's settings, which each line carries.
        window (`int`, *optional*, defaults to 256): Maximum replies in progress at a time.
        show (`bool`, *optional*, defaults to `True`): Whether to show a progress bar.

    Returns:
        [`~her_hf.journal.Rows`]: `key` (that of the moment, and the number of the candidate), `asked`, `text` (`None`
            if there is none), `ended` (whether the model itself ended it), `failure`; in order of moments and numbers.
    """
    units = ((moment, number) for moment in moments for number in range(policy.settings.candidates))

    async def one(unit: Unit) -> Row:
        moment, number = unit
        messages = _messages(policy, moment)
        row = {"key": [*moment.key, number], "asked": digest(messages), "settings": made_by}
        return {**row, **await _reply(policy, moment, messages, number)}

    def is_valid(unit: Unit, row: Row) -> bool:
        """Whether this very question was answered; a call that failed is made again."""
        return not row["failure"] and bool(row["asked"] == digest(_messages(policy, unit[0])))

    stage = Stage(
        Journal(file, key=lambda row: tuple(row["key"]), shape=_Shape, same={"settings": made_by}),
        key=lambda unit: (*unit[0].key, unit[1]),
        make=one,
        is_valid=is_valid,
        progress=Progress("candidates", "reply", total=len(moments) * policy.settings.candidates, show=show),
    )
    return await run_units(units, stage, window=window)


def _messages(policy: Policy, moment: Moment) -> list[dict[str, Any]]:
    shown = moment.scene.model_copy(update={"dialogue": moment.scene.dialogue[: moment.index]})
    return actor_messages(shown, moment.character, policy.settings.how)


async def _reply(policy: Policy, moment: Moment, messages: list[dict[str, Any]], number: int) -> Row:
    sampling = policy.settings.sampling(derive_seed(policy.settings.seed, moment.key, number))
    thinking = policy.settings.how.thinking
    try:
        names = [member.name for member in moment.scene.cast]
        room = await policy.model.fit(messages, max_tokens=sampling.max_tokens, thinking=thinking, names=names)
        drawn = replace(sampling, max_tokens=room.max_tokens)
        reply = await policy.model.ask(room.messages, sampling=drawn, thinking=thinking)
    except (ModelError, WindowFull) as error:
        cause = error.kind if isinstance(error, ModelError) else "window"
        return {"text": None, "failure": {"cause": cause, "detail": str(error)}}
    return {"text": reply.text, "ended": reply.ended, "failure": None}
