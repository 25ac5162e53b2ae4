"""The words every model call is made of: messages, sampling, replies, errors, and what a backend must offer.

Nothing here is heavy: evaluation, judging and sessions import this and learn of torch or aiohttp only through
[`open_model`].
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable

from her_hf.durable import SEED_LIMIT

Message: TypeAlias = dict[str, Any]
"""One chat message: `role` and `content`, as `Scene.messages_for` writes them."""

Messages: TypeAlias = Sequence[Message]

Schema: TypeAlias = Mapping[str, Any]
"""A JSON schema that the reply is asked to follow."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Everything about how a reply is drawn that could change it; hashable, so that a ledger can key by it.

    Args:
        max_tokens (`int`, *optional*, defaults to 1024): Most tokens of a reply.
        temperature (`float`, *optional*, defaults to 0.7): 0 takes the likeliest token each time.
        top_p (`float`, *optional*, defaults to 0.9): Probability mass that is sampled from.
        seed (`int`, *optional*): Fixes the draw, from 0 to 2**31 - 1; without one every call differs.
        stop (`tuple[str, ...]`, *optional*): Texts that end a reply; they are not part of it.

    Raises:
        `ValueError`: If a value is out of range or of another type.

    Source of the defaults: the demo of HER (1024 tokens, temperature 0.7, top_p 0.9).
    """

    max_tokens: int = 1024
    temperature: float = 0.7
    top_p: float = 0.9
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (_whole(self.max_tokens) and 1 <= self.max_tokens < SEED_LIMIT):
            raise ValueError(f"max_tokens must be a whole number of at least 1, got {_shown(self.max_tokens)}")
        if not (_number(self.temperature) and 0 <= self.temperature <= 10):
            raise ValueError(f"temperature must be between 0 and 10, got {_shown(self.temperature)}")
        if not (_number(self.top_p) and 0 < self.top_p <= 1):
            raise ValueError(f"top_p must be above 0 and at most 1, got {_shown(self.top_p)}")
        if self.seed is not None and not (_whole(self.seed) and 0 <= self.seed < SEED_LIMIT):
            raise ValueError(f"seed must be a whole number from 0 to {SEED_LIMIT - 1}, got {_shown(self.seed)}")
        if not isinstance(self.stop, tuple) or not all(isinstance(text, str) and text for text in self.stop):
            raise ValueError(f"stop must be a tuple of texts that are not empty, got {_shown(self.stop)}")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: object) -> bool:
    return _whole(value) or isinstance(value, float)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that were counted; `None` where the backend does not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """One finished reply.

    Args:
        text (`str`): The reply with its system thinking inline, opening tag included, whatever the backend sent apart
            or prefilled: `parse_turn(reply.text)` reads it.
        finish_reason (`str`): `"stop"`, `"length"`, or what the server said.
        ended (`bool`): Whether the model itself ended its turn, with its end-of-turn token.
        usage (`Usage`): Tokens counted.
        content (`str`): The reply without what the backend sent apart as reasoning.
        reasoning (`str`, *optional*): What the backend sent apart as reasoning.
        model (`str`): Who answered.
    """

    text: str
    finish_reason: str
    ended: bool
    usage: Usage = field(default_factory=Usage)
    content: str = ""
    reasoning: str | None = None
    model: str = ""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as the model gets it.

    Args:
        text (`str`): The text.
        tokens (`int`): Its length.
        exact (`bool`): `False` if the backend does not show its template: then the text is the plain messages and the
            length an estimate.
    """

    text: str
    tokens: int
    exact: bool


class ModelError(RuntimeError):
    """A model call that failed. The message says what, what was got, and the remedy.

    Args:
        message (`str`): For people.
        kind (`str`): `"connection"`, `"timeout"`, `"status"`, `"protocol"`, `"dropped"` or `"local"`.
        status (`int`, *optional*): HTTP status.
        retry_after (`float`, *optional*): Seconds the server asked to wait.
    """

    def __init__(
        self, message: str, *, kind: str, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.kind, self.status, self.retry_after = kind, status, retry_after

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later."""
        if self.status is not None:
            return self.status in (408, 409, 425, 429) or self.status >= 500
        return self.kind in ("connection", "timeout", "dropped")


class AccessRefused(PermissionError):
    """A server that lets nobody in with this key. No [`ModelError`]: it is not about one call, so the work ends."""


class ChatModel(Protocol):
    """A model that can be talked to. Backends: [`ServerModel`], [`LocalModel`]."""

    @property
    def name(self) -> str:
        """Who answers, for logs and ledger keys."""
        ...

    @property
    def notes(self) -> list[str]:
        """What the user should know about this model (a template that was added, a field the server refused)."""
        ...

    async def chat(
        self, messages: Messages, *, sampling: Sampling = ..., thinking: bool = True, schema: Schema | None = None
    ) -> Reply:
        """One whole reply.

        Args:
            messages (`Messages`): A conversation that ends where the reply begins.
            sampling (`Sampling`, *optional*): How to draw.
            thinking (`bool`, *optional*, defaults to `True`): Whether the turn is opened with system thinking.
            schema (`Schema`, *optional*): JSON schema of the reply. A backend that cannot hold the model to it says so
                in `notes` and answers freely: the caller reads the text as it would without.

        Raises:
            `ModelError`: If there is no reply.
        """
        ...

    def stream(
        self, messages: Messages, *, sampling: Sampling = ..., thinking: bool = True
    ) -> AsyncGenerator[str | Reply, None]:
        """The same reply in pieces: texts that add up to `Reply.text`, and last the [`Reply`]. Closing it stops it."""
        ...

    async def prompt(self, messages: Messages, *, thinking: bool = True) -> Prompt:
        """The prompt these messages become, and its length."""
        ...

    async def window(self) -> int | None:
        """Most tokens of prompt and reply together; `None` if the backend does not say."""
        ...

    async def fingerprint(self) -> dict[str, Any]:
        """What tells this model from another in a ledger: JSON values, the digest of its template among them.

        Raises:
            `ModelError`: If the backend cannot be asked.
        """
        ...

    async def close(self) -> None:
        """Lets go of connections."""
        ...


@runtime_checkable
class Likely(Protocol):
    """A backend that tells how likely answers are: [`LocalModel`]."""

    async def likelihoods(self, messages: Messages, continuations: Sequence[str]) -> list[float]:
        """Log-probability of each answer as a whole."""
        ...
