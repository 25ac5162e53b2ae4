"""The one loop in which a judge is asked until its answer can be read.

The first attempt is the request as it stands. Each later one differs from it in three things: the prompt says which
attempt it is and why the answer before was refused, the seed is another one, and so is the temperature. What the judge
was asked to judge stays the same, and it alone counts as quoted ([`~her_hf.judging.structured.read_answer`]).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from her_hf.dual_layer import ZERO_WIDTH_SPACE
from her_hf.durable import derive_seed
from her_hf.inference import Caller, Message, ModelError, Sampling, Schema
from her_hf.scoring.missing import CAUSES, Missing
from her_hf.settings import setting
from her_hf.template_files import load_template, template_source

from .structured import JsonReply, answer_text, read_answer, shown_text, was_stopped

T = TypeVar("T")

_AGAIN = "ask_again.jinja"


@dataclass(frozen=True, kw_only=True)
class AskSettings:
    """What all judges' settings share.

    Args:
        attempts (`int`, *optional*, defaults to 3): How often a judge is asked at most for an answer that can be read.
        temperature (`float`, *optional*, defaults to 0): Of the first attempt.
        retry_temperature (`float`, *optional*, defaults to 1.0): Of later attempts, which would repeat the first one
            otherwise.
        seed (`int`, *optional*, defaults to 42): The seed of each call is derived from it, from what is judged, and
            from the number of the attempt.

    Raises:
        `ValueError`: If there is not at least one attempt.
    """

    attempts: int = setting(3, help="Maximum attempts to get a readable answer.", min=1)
    temperature: float = setting(0.0, help="Sampling temperature of the first attempt.", min=0)
    retry_temperature: float = setting(
        1.0, help="Sampling temperature of retries; above 0, so that they can differ.", min=0
    )
    seed: int = setting(
        42, help="Seed of all sampling and drawing; every call derives its own from it.", option="seed"
    )

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts must be at least 1, got {self.attempts}")


@dataclass(frozen=True, slots=True)
class Asked(Generic[T]):
    """The outcome of a request.

    Args:
        found (`T` or `Missing`): What was read, or why the last answer was refused.
        attempts (`int`): How often the judge was asked.
    """

    found: T | Missing
    attempts: int


async def ask(
    judge: Caller,
    messages: Sequence[Message],
    read: Callable[[JsonReply], T | Missing],
    *,
    settings: AskSettings,
    max_tokens: int,
    key: Sequence[Any],
    schema: Schema | None = None,
) -> Asked[T]:
    """Asks a judge until its answer can be read.

    Args:
        judge ([`~her_hf.inference.Caller`]): The judge. It retries failed calls; those are not attempts.
        messages (`Sequence[dict]`): The request, sent unchanged as the first attempt.
        read (`Callable`): Reads the JSON object of an answer; `Missing` refuses it.
        settings ([`AskSettings`]): Number of attempts, temperatures, seed.
        max_tokens (`int`): Most tokens of an answer. An answer that is stopped there is read only if it is an object
            without prose.
        key (`Sequence`): JSON values that identify what is judged.
        schema (`dict`, *optional*): JSON schema of the answer, for servers that enforce one.

    Returns:
        [`Asked`]: With the refusal of the last attempt if none can be read; with the cause `"request"` as soon as a
            call fails for good.
    """
    shown, request = shown_text(messages), list(messages)
    attempt = 0
    while True:
        sampling = Sampling(
            max_tokens=max_tokens,
            temperature=settings.retry_temperature if attempt else settings.temperature,
            top_p=1.0,
            seed=derive_seed(settings.seed, *key, attempt),
        )
        attempt += 1
        try:
            reply = await judge.ask(request, sampling=sampling, thinking=False, schema=schema)
        except ModelError as error:
            return Asked(Missing("request", str(error)), attempt)
        found = read_answer(
            answer_text(reply), read, thinking=reply.reasoning or "", cut=was_stopped(reply), shown=shown
        )
        if not isinstance(found, Missing) or attempt == settings.attempts:
            return Asked(found, attempt)
        request = request_again(messages, found, attempt + 1, settings.attempts, max_tokens)


def request_again(
    messages: Sequence[Message], refused: Missing, attempt: int, attempts: int, max_tokens: int
) -> list[Message]:
    """A request with the reason for which the last answer to it was refused, at the end of its last message.

    There it works with every chat template; many allow no second user message in a row.

    Args:
        messages (`Sequence[dict]`): The request.
        refused (`Missing`): The refusal.
        attempt, attempts (`int`): The number of the new attempt, from 1, and of all.
        max_tokens (`int`): Most tokens of an answer, stated if the last one was cut.
    """
    note = load_template(__package__, _AGAIN).render(
        attempt=attempt,
        attempts=attempts,
        reason=CAUSES[refused.cause],
        detail=refused.detail.replace("<", f"<{ZERO_WIDTH_SPACE}"),
        max_tokens=max_tokens if refused.cause == "cut" else None,
    )
    *before, last = messages
    return [*before, {**last, "content": f"{last['content']}\n\n{note.strip()}"}]


def again_source() -> str:
    """Text of the note that later attempts carry, for digests of settings."""
    return template_source(__package__, _AGAIN)
