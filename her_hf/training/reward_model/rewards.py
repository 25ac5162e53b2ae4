"""Reward functions for reinforcement learning, in TRL's form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from her_hf.judging.pairwise.verdicts import MIN_COMPARED, Verdict, parse_verdict
from her_hf.scoring.missing import Missing


@dataclass
class VerdictReward:
    """How good an answer of a reward model is: its verdict equals the label, plus small terms for its form.

    One function with one sum. An answer that cannot be read is the policy's own fault and gets the lowest reward; this
    is not a judge's failure, for which a reward function returns `None`.

    Args:
        form (`float`, *optional*, defaults to 0.1): For an answer that is read without repair.
        follows (`float`, *optional*, defaults to 0.1): For at least three principles that the verdict follows from.
        right (`float`, *optional*, defaults to 1.0): For the right verdict; a wrong one gets 0.
        unreadable (`float`, *optional*, defaults to -1.0): For an answer without a verdict.

    Raises:
        `ValueError`: If the small terms together weigh half a verdict or more, or an unreadable answer would not be
            the worst.

    Example:

    ```python
    >>> VerdictReward()(["no idea", '{"verdict": "cand_1"}'], label=["cand_1", "cand_1"])
    [-1.0, 1.1]
    ```

    Source: HER trains its reward model with "the verdict equals the label"; the weights and small terms are our own.
    """

    form: float = 0.1
    follows: float = 0.1
    right: float = 1.0
    unreadable: float = -1.0

    __name__ = "verdict_reward"

    def __post_init__(self) -> None:
        if min(self.form, self.follows) < 0 or self.form + self.follows >= self.right / 2:
            raise ValueError(
                f"form and follows are small terms: from 0 up, together below half of right, got {self.form}, "
                f"{self.follows} and {self.right}"
            )
        if self.unreadable >= 0:
            raise ValueError(f"an unreadable answer gets the lowest reward, below 0, got {self.unreadable}")

    def __call__(
        self,
        completions: Sequence[Any],
        label: Sequence[str],
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float]:
        """Rewards of a batch.

        Args:
            completions (`Sequence`): Texts, or lists with one assistant message.
            label (`Sequence[str]`): The right verdict of each.
            log_metric (`Callable`, *optional*): TRL's: takes a name and a number.
            columns: What else TRL passes; not used.
        """
        found = [parse_verdict(_text(completion)) for completion in completions]
        if log_metric is not None and found:
            read = [one for one in found if isinstance(one, Verdict)]
            right = sum(one.verdict == wanted for one, wanted in _both(found, label))
            log_metric("verdict/right", right / len(found))
            log_metric("verdict/unreadable", 1 - len(read) / len(found))
            log_metric("verdict/tie", sum(one.verdict == "tie" for one in read) / len(found))
            log_metric("verdict/first", sum(one.verdict == "cand_1" for one in read) / len(found))
        return [self.of(one, wanted) for one, wanted in zip(found, label, strict=True)]

    def of(self, found: Verdict | Missing, label: str) -> float:
        """Reward of one answer that was read."""
        if isinstance(found, Missing):
            return self.unreadable
        reward = self.right if found.verdict == label else 0.0
        if not found.repaired:
            reward += self.form
        if len(found.principles) >= MIN_COMPARED and found.follows:
            reward += self.follows
        return reward


def _both(found: Sequence[Verdict | Missing], label: Sequence[str]) -> list[tuple[Verdict, str]]:
    return [(one, wanted) for one, wanted in zip(found, label, strict=True) if isinstance(one, Verdict)]


def _text(completion: Any) -> str:
    """The text of a completion. With a response template TRL moves thinking out of `content`; the answer stays."""
    if isinstance(completion, str):
        return completion
    return "".join(str(message.get("content") or "") for message in completion)
