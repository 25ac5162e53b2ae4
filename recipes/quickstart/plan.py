"""How much a quickstart does: what this machine can do in the given minutes, decided once, before training."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

MINUTES, MINUTES_WITHOUT_BF16 = 15.0, 20.0
"""The default budget; a CPU without bfloat16 instructions gets more time."""

DECODER_LAYERS = (20, 15)
"""How many of the last decoder layers are trained, if the base has as many. All would take more memory and time."""

SCENES = 12
"""Fewer layers are trained before there are fewer training scenes than this. Measured in bfloat16 with 32
replies each: 20 layers on 16 scenes 91% well-formed, on 11 scenes 75%; 10 layers on 16 scenes 25%."""

STEPS, MOST_PER_STEP = 33, 4
"""Optimizer steps that learning the form takes, and most replies of a step; with fewer replies, steps are smaller."""

PROMPTS, DRAWS = (16, 8, 4, 2), 2
"""Prompts, as many as `_SAMPLING` of the budget allows; each gets one reply of the base and `DRAWS` of HER-SFT."""

MAX_NEW_TOKENS = 256
"""Most tokens of a sampled reply; the longest reply of her-mini in English has 240."""

_SAMPLING, _LOSS = 0.4, 0.1
"""Shares of the budget that sampling and held-out loss may take."""

_STARTING, _MARGIN = 30.0, 0.9
"""Seconds that starting programs and writing the report take, and the share of the budget that is planned for."""


@dataclass(frozen=True)
class Speeds:
    """What was measured on this machine, in the precision in which it runs.

    Args:
        forward (`float`): Seconds a token of a training row, forward.
        backward (`float`): Seconds a token and trained decoder layer, backward.
        read (`float`): Seconds a token of a prompt that is sampled from.
        write (`float`): Seconds a sampled token of one reply, in a batch.
    """

    forward: float
    backward: float
    read: float
    write: float


@dataclass(frozen=True)
class Work:
    """What could be done, in tokens.

    Args:
        train (`Sequence[int]`): Tokens of the rows of each training scene, in the order in which scenes are used.
        replies (`Sequence[int]`): Replies of each of them.
        prompts (`Sequence[int]`): Tokens of each prompt that could be sampled from.
        loss (`Sequence[int]`): Tokens of the rows of each held-out scene.
        layers (`int`, *optional*): Decoder layers that the base has.
    """

    train: Sequence[int]
    replies: Sequence[int]
    prompts: Sequence[int]
    loss: Sequence[int]
    layers: int = DECODER_LAYERS[0]


@dataclass(frozen=True)
class Plan:
    """What is done, and how long it should take."""

    minutes: float
    bf16: bool
    device: str
    train_scenes: int
    train_last_layers: int
    replies_per_step: int
    prompts: int
    draws: int
    max_new_tokens: int
    loss_scenes: int
    seconds: dict[str, float]
    speeds: Speeds
    limited_by: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Plan:
        """What [`Plan.as_dict`] gave."""
        return cls(**{**values, "speeds": Speeds(**values["speeds"])})

    def tokens_per_second(self) -> dict[str, float]:
        """The speeds in tokens per second."""
        speeds = self.speeds
        return {
            "training": 1 / (speeds.forward + speeds.backward * self.train_last_layers),
            "reading": 1 / speeds.read,
            "writing": 1 / speeds.write,
        }

    def describe(self) -> list[str]:
        """What is done and why, in lines for people."""
        speed = {name: f"{value:.0f}" for name, value in self.tokens_per_second().items()}
        lines = [
            f"{self.device}; running in {'bfloat16' if self.bf16 else 'float32'}.",
            f"Measured: training {speed['training']} tokens/s, reading prompts {speed['reading']}, sampling "
            f"{speed['writing']}.",
            f"Training: {self.train_scenes} scenes, the last {self.train_last_layers} decoder layers "
            f"({_duration(self.seconds['train'])}).",
            f"Sampling: {self.prompts} replies of the base and {self.prompts * self.draws} of HER-SFT, up to "
            f"{self.max_new_tokens} tokens each ({_duration(self.seconds['replies'])}).",
            f"Held-out loss: {self.loss_scenes} scenes ({_duration(self.seconds['loss'])}).",
        ]
        if self.limited_by:
            lines.append(f"{self.minutes:g} minutes are not enough for everything: {'; '.join(self.limited_by)}.")
        return lines


def finish_time(seconds_left: float) -> str:
    """The time of day after this many seconds."""
    return time.strftime("%H:%M", time.localtime(time.time() + max(0.0, seconds_left)))


def make_plan(
    work: Work, speeds: Speeds, *, minutes: float, spent: float = 0.0, bf16: bool = False, device: str = ""
) -> Plan:
    """Sizes training, sampling and held-out loss to the rest of the budget.

    Args:
        work ([`Work`]): What could be done.
        speeds ([`Speeds`]): What this machine needs for it.
        minutes (`float`): The budget, from the start of the quickstart to its report.
        spent (`float`, *optional*): Seconds of it that are spent.
        bf16, device: Precision and device; stored with the plan.

    Returns:
        [`Plan`]: Within the budget, unless even the minimum does not fit: one scene and two prompts.

    Example:

    ```python
    >>> make_plan(work, speeds, minutes=15).train_scenes
    30
    ```
    """
    left = max(0.0, (minutes * 60 - spent - _STARTING) * _MARGIN)

    def sampling(prompts: int) -> float:
        read = 2 * sum(work.prompts[:prompts]) * speeds.read
        return read + prompts * (1 + DRAWS) * MAX_NEW_TOKENS * speeds.write

    def training(scenes: int, layers: int) -> float:
        return sum(work.train[:scenes]) * (speeds.forward + speeds.backward * layers)

    def loss(scenes: int) -> float:
        return 2 * sum(work.loss[:scenes]) * speeds.forward

    prompts = next((count for count in PROMPTS if sampling(count) <= _SAMPLING * left), PROMPTS[-1])
    held_out = _most(len(work.loss), lambda count: loss(count) <= _LOSS * left)
    left -= sampling(prompts) + loss(held_out)
    enough = min(SCENES, len(work.train))
    ladder = [min(count, work.layers) for count in DECODER_LAYERS]
    layers = next((count for count in ladder if training(enough, count) <= left), ladder[-1])
    scenes = _most(len(work.train), lambda count: training(count, layers) <= left)

    limited = []
    if layers < ladder[0]:
        limited.append(f"{layers} decoder layers are trained instead of {ladder[0]}")
    if scenes < enough:
        limited.append(f"{scenes} scenes instead of {enough}")
    if prompts < PROMPTS[0]:
        limited.append(f"replies to {prompts} prompts instead of {PROMPTS[0]}")
    return Plan(
        minutes=minutes,
        bf16=bf16,
        device=device,
        train_scenes=scenes,
        train_last_layers=layers,
        replies_per_step=max(1, min(MOST_PER_STEP, sum(work.replies[:scenes]) // STEPS)),
        prompts=min(prompts, len(work.prompts)),
        draws=DRAWS,
        max_new_tokens=MAX_NEW_TOKENS,
        loss_scenes=held_out,
        seconds={"train": training(scenes, layers), "replies": sampling(prompts), "loss": loss(held_out)},
        speeds=speeds,
        limited_by=limited,
    )


def _most(available: int, fits: Callable[[int], bool]) -> int:
    """The largest count that fits, at least 1."""
    return next((count for count in range(available, 1, -1) if fits(count)), 1)


def _duration(seconds: float) -> str:
    return f"about {seconds / 60:.0f} min" if seconds >= 90 else f"about {seconds:.0f} s"
