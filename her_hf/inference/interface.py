"""The types of a model call: messages, sampling, replies, errors, and the interface of a backend.

Nothing heavy is imported here: evaluation, judging and sessions load torch or aiohttp only through [`open_model`].
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
"""A JSON schema that the reply should follow."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Everything about sampling that could change a reply; hashable, so that a ledger can use it in its keys.

    Args:
        max_tokens (`int`, *optional*, defaults to 1024): Maximum length of a reply in tokens.
        temperature (`float`, *optional*, defaults to 0.7): 0 is greedy decoding.
        top_p (`float`, *optional*, defaults to 0.9): Probability mass that is sampled from.
        seed (`int`, *optional*): Fixes the sample, from 0 to 2**31 - 1; without a seed every call differs.
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
    """Token counts; `None` if the backend does not report them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """One finished reply.

    Args:
        text (`str`): The reply with its system thinking inline, opening tag included, even if the backend sent it
            separately or prefilled it: `parse_turn(reply.text)` reads it.
        finish_reason (`str`): `"stop"`, `"length"`, or the server's own reason.
        ended (`bool`): Whether the model itself ended its turn, with its end-of-turn token.
        usage (`Usage`): Token counts.
        content (`str`): The reply without the part that the backend sent separately as reasoning.
        reasoning (`str`, *optional*): The part that the backend sent separately as reasoning.
        model (`str`): Name of the model that answered.
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
    """A prompt as the model receives it.

    Args:
        text (`str`): The text.
        tokens (`int`): Its length in tokens.
        exact (`bool`): `False` if the backend does not expose its template: the text is then the plain messages, and
            the length an estimate.
    """

    text: str
    tokens: int
    exact: bool


class ModelError(RuntimeError):
    """A failed model call. The message contains what failed, the response, and the remedy.

    Args:
        message (`str`): Message for the user.
        kind (`str`): `"connection"`, `"timeout"`, `"status"`, `"protocol"`, `"dropped"`, `"local"`, `"unsupported"`
            (the server cannot do this, in any call) or `"unlisted"` (its answer lacks a probability).
        status (`int`, *optional*): HTTP status.
        retry_after (`float`, *optional*): Seconds that the server asks to wait.
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
    """A server rejects the API key. Not a [`ModelError`]: it concerns every call, so the run ends."""


class ChatModel(Protocol):
    """A chat model. Backends: [`ServerModel`], [`LocalModel`], [`InspectModel`]."""

    @property
    def name(self) -> str:
        """The model's name, for logs and ledger keys."""
        ...

    @property
    def notes(self) -> list[str]:
        """Notes for the user about this model (a template that was added, a field that the server refused)."""
        ...

    async def chat(
        self, messages: Messages, *, sampling: Sampling = ..., thinking: bool = True, schema: Schema | None = None
    ) -> Reply:
        """One whole reply.

        Args:
            messages (`Messages`): A conversation that ends where the reply begins.
            sampling (`Sampling`, *optional*): How to sample.
            thinking (`bool`, *optional*, defaults to `True`): Whether the turn is opened with system thinking.
            schema (`Schema`, *optional*): JSON schema of the reply. A backend that cannot enforce it adds a note to
                `notes` and ignores it: the caller must be able to read a free-form reply.

        Raises:
            `ModelError`: If the call fails.
        """
        ...

    def stream(
        self, messages: Messages, *, sampling: Sampling = ..., thinking: bool = True
    ) -> AsyncGenerator[str | Reply, None]:
        """The reply in pieces that add up to `Reply.text`, followed by the [`Reply`]; closing stops generation."""
        ...

    async def prompt(self, messages: Messages, *, thinking: bool = True) -> Prompt:
        """The prompt for these messages, and its length."""
        ...

    async def window(self) -> int | None:
        """Maximum tokens of prompt and reply together; `None` if the backend does not report it."""
        ...

    async def fingerprint(self) -> dict[str, Any]:
        """What distinguishes this model from others in a ledger: JSON values, including a digest of its template.

        Raises:
            `ModelError`: If the backend cannot be asked.
        """
        ...

    async def close(self) -> None:
        """Closes connections."""
        ...


@runtime_checkable
class Likely(Protocol):
    """A backend that computes the probability of answers: [`LocalModel`], [`ServerModel`]."""

    async def likelihoods(self, messages: Messages, continuations: Sequence[str]) -> list[float]:
        """Log-probability of each complete answer, without its end of turn.

        A server that has no probabilities of a whole prompt gives them from a common beginning of the answers on: each
        then lacks the same summand, so that differences, and the probabilities of the answers among each other, are
        the same.
        """
        ...


@runtime_checkable
class Continues(Protocol):
    """A backend that can write on after a given beginning of a reply: [`LocalModel`]."""

    def continued(
        self, messages: Messages, begun: str, *, sampling: Sampling = ..., thinking: bool = True
    ) -> AsyncGenerator[str | Reply, None]:
        """What follows `begun` in pieces, and then the [`Reply`], whose text includes `begun`."""
        ...
