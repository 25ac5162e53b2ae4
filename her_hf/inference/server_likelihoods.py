"""The probability of whole answers from an OpenAI-compatible server, in the one of two ways that it offers.

A server with `/tokenize` and `prompt_logprobs` (vLLM) reads prompt and answer as token ids, the same ids as in
process. Any other must continue a final assistant message and give the likeliest next tokens: an answer is then read
token by token, behind a beginning that all answers share. A number that a server does not give is never replaced.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Protocol

from .interface import Messages, ModelError
from .refusals import error_text, newly_refused
from .wire import error_of, first_choice, parse_object, thinking_switch, usage_of

TOP_TOKENS = 20
"""How many next tokens are requested; the most that OpenAI's API and vLLM's defaults allow."""

_LEAST = -9999.0
"""What vLLM and OpenAI send in place of a logarithm of zero, which JSON cannot hold."""

_NO_ROUTE = (404, 405, 501)
_REFUSED = (400, 422, 501)
_ABOUT_PREFILL = re.compile(
    r"prefil|assistant|last message|final message|continue_final|generation_prompt", re.IGNORECASE
)
_AS_TEXT = "Read the answers as text (--read text), or use a server with prompt log-probabilities (vLLM)."

Top = dict[str, float]
"""The likeliest next tokens with their log-probabilities."""


@dataclass(frozen=True)
class _Place:
    """What follows a prompt with the beginning of an answer, and its length in tokens."""

    top: Top
    prompt_tokens: int

    @property
    def likeliest(self) -> str:
        return max(self.top, key=lambda token: self.top[token])

    def continuing(self, text: str, at: int) -> str | None:
        """The longest listed token that continues a text: tokenizers prefer it to its pieces."""
        fitting = (token for token in self.top if text.startswith(token, at))
        return max(fitting, key=len, default=None)


@dataclass(frozen=True)
class Answered:
    """A response of a server: its status, its whole body, and the error that it is if the status is not 200."""

    status: int
    text: str
    error: ModelError | None


class Server(Protocol):
    """What reading needs of a server."""

    @property
    def url(self) -> str:
        """The base URL."""
        ...

    async def model_name(self) -> str:
        """The model's name in requests."""
        ...

    async def prompt_ids(self, messages: Messages, thinking: bool) -> list[int] | None:
        """The rendered prompt; `None` if the server has no `/tokenize`."""
        ...

    async def text_ids(self, text: str) -> list[int] | None:
        """A text without special tokens; `None` if the server has no `/tokenize`."""
        ...

    async def post(self, url: str, body: dict[str, Any]) -> Answered:
        """A request whose refusal is not raised."""
        ...


class LikelihoodReader:
    """Reads the probability of answers from one server, and remembers what it offers.

    Args:
        server ([`Server`]): The server.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._reads_prompts = True  # until it turns out that it does not
        self._refused: set[str] = set()
        self._lacks: ModelError | None = None  # why no call can succeed, once that is known

    async def read(self, messages: Messages, continuations: Sequence[str], *, thinking: bool = False) -> list[float]:
        """See [`Likely.likelihoods`].

        Raises:
            `ModelError`: If the request fails, of kind `"unsupported"` if the server offers neither way, and of kind
                `"unlisted"` if a wanted token is not among the likeliest.
        """
        if self._reads_prompts:
            found = await self._from_prompts(messages, continuations, thinking)
            if found is not None:
                return found
        if self._lacks is not None:
            raise self._lacks
        return await self._from_next_tokens(messages, continuations, thinking)

    # -- probabilities of a whole prompt

    async def _from_prompts(
        self, messages: Messages, continuations: Sequence[str], thinking: bool
    ) -> list[float] | None:
        """Exact sums; `None` if the server does not read prompts."""
        prompt = await self._server.prompt_ids(messages, thinking)
        answers = [await self._server.text_ids(text) for text in continuations] if prompt is not None else []
        wanted = [ids for ids in answers if ids is not None]
        if prompt is None or len(wanted) < len(continuations):
            return None
        url = f"{self._server.url}/completions"
        body = {
            "model": await self._server.model_name(),
            "prompt": [prompt + ids for ids in wanted],
            "max_tokens": 1,
            "prompt_logprobs": 0,  # of the prompt's own tokens only
            "temperature": 1.0,
            "stream": False,
        }
        answered = await self._server.post(url, body)
        if answered.error is not None:
            names_it = answered.status in _REFUSED and "prompt_logprobs" in answered.text
            if answered.status not in _NO_ROUTE and not names_it:
                raise answered.error
            self._reads_prompts = False
            return None
        choices = parse_object(answered.text, url).get("choices")
        listed = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
        if listed and all(choice.get("prompt_logprobs") is None for choice in listed):
            self._reads_prompts = False  # it ignores the field
            return None
        if len(listed) != len(wanted):
            raise ModelError(f"{url} answered {len(wanted)} prompts with {len(listed)} choices", kind="protocol")
        listed.sort(key=lambda choice: choice.get("index") or 0)
        return [
            _sum(choice["prompt_logprobs"], len(prompt), ids, url) for choice, ids in zip(listed, wanted, strict=True)
        ]

    # -- probabilities of the next token

    async def _from_next_tokens(self, messages: Messages, continuations: Sequence[str], thinking: bool) -> list[float]:
        """Sums from a common beginning on, token by token; a beginning that answers share is read once."""
        beginning = _beginning(continuations)
        known: dict[str, _Place] = {}

        async def after(text: str) -> _Place:
            if text not in known:
                known[text] = await self._next_tokens(messages, text, thinking)
            return known[text]

        first = await after(beginning)
        if not any(text.startswith(first.likeliest, len(beginning)) for text in continuations):
            raise self._unlisted(
                f"after the beginning {beginning!r} of an answer the likeliest token is {first.likeliest!r}: it does "
                "not continue a final assistant message, or its model does not know this form of answer"
            )
        sums = []
        for text in continuations:
            at, read, total = len(beginning), 0, 0.0
            while at < len(text):
                token = (await after(text[:at])).continuing(text, at)
                if token is None:
                    raise self._unlisted(
                        f"after {text[:at]!r}, no token that continues {text!r} is among the likeliest, so its "
                        "probability is not known"
                    )
                total += known[text[:at]].top[token]
                at, read = at + len(token), read + 1
                # Were the listed token a piece of the answer's own one, the two would be one token in the prompt.
                if (await after(text[:at])).prompt_tokens != first.prompt_tokens + read:
                    raise self._unlisted(
                        f"{text[:at]!r} has other tokens than those listed on the way to it, so the answer's own ones "
                        "are not known"
                    )
            sums.append(total)
        return sums

    async def _next_tokens(self, messages: Messages, beginning: str, thinking: bool) -> _Place:
        """The likeliest tokens after an assistant message that has begun."""
        url = f"{self._server.url}/chat/completions"
        while True:
            body = await self._next_token_body(messages, beginning, thinking)
            answered = await self._server.post(url, body)
            if answered.error is None:
                return self._listed(answered.text, url)
            field = newly_refused(answered.status, answered.text, body)
            if field is None:
                raise self._why_refused(answered, answered.error)
            self._refused.add(field)

    async def _next_token_body(self, messages: Messages, beginning: str, thinking: bool) -> dict[str, Any]:
        """The request, without the fields that the server refuses."""
        wanted = {
            "model": await self._server.model_name(),
            "messages": [*map(dict, messages), {"role": "assistant", "content": beginning}],
            "max_completion_tokens" if "max_tokens" in self._refused else "max_tokens": 1,
            "temperature": 1.0,  # some servers give the probabilities that they sample from
            "top_p": 1.0,
            "logprobs": True,
            "top_logprobs": TOP_TOKENS,
            "chat_template_kwargs": thinking_switch(thinking),
            "add_generation_prompt": False,
            "continue_final_message": True,
            "stream": False,
        }
        return {name: value for name, value in wanted.items() if name not in self._refused}

    def _listed(self, text: str, url: str) -> _Place:
        data = parse_object(text, url)
        if error_of(data):
            raise ModelError(f"{url} answered with an error: {error_text(text)}", kind="protocol")
        choice = first_choice(data)
        if choice and not choice.get("logprobs"):
            raise self._unsupported("sends no log-probabilities of tokens")
        usage = usage_of(data)
        if usage is None or not isinstance(usage.prompt_tokens, int):
            raise self._unsupported("does not report the length of prompts (usage.prompt_tokens)")
        return _Place(_tokens(choice, url), usage.prompt_tokens)

    def _why_refused(self, answered: Answered, error: ModelError) -> ModelError:
        """The error for a refused request: what the server lacks, if it says so."""
        if answered.status in _REFUSED:
            if "logprob" in answered.text:
                return self._unsupported(f"refuses log-probabilities of tokens ({error})")
            if _ABOUT_PREFILL.search(error_text(answered.text)):
                return self._unsupported(f"does not continue a final assistant message ({error})")
        return error

    def _unlisted(self, what: str) -> ModelError:
        return ModelError(f"{self._server.url}: {what}. {_AS_TEXT}", kind="unlisted")

    def _unsupported(self, what: str) -> ModelError:
        self._lacks = ModelError(
            f"{self._server.url} {what}, and has no prompt log-probabilities, so that the probability of an answer "
            f"cannot be read from it. {_AS_TEXT}",
            kind="unsupported",
        )
        return self._lacks


def _beginning(answers: Sequence[str]) -> str:
    """Where reading starts: behind the last whole word that all answers share.

    Not where they fork: a token may reach over the fork, and is then found among those behind this place.
    """
    shared = "".join(same[0] for same in takewhile(lambda same: len(set(same)) == 1, zip(*answers, strict=False)))
    found = re.match(r".*\w(?=\W)", shared, re.DOTALL)
    if found is None:
        raise ValueError(
            "without prompt log-probabilities, answers must begin with the same word and what follows it: got "
            f"{list(answers)}"
        )
    return found[0]


def _sum(listed: Any, start: int, ids: Sequence[int], url: str) -> float:
    """The log-probability of the tokens behind a prompt."""
    if not isinstance(listed, list) or len(listed) != start + len(ids):
        got = f"{len(listed)} entries" if isinstance(listed, list) else str(listed)[:100]
        raise ModelError(f"{url} answered a prompt of {start + len(ids)} tokens with {got}", kind="protocol")
    total = 0.0
    for entry, token in zip(listed[start:], ids, strict=True):
        found = entry.get(str(token)) if isinstance(entry, Mapping) else None
        total += _logprob(found.get("logprob") if isinstance(found, Mapping) else None, url)
    return total


def _tokens(choice: Mapping[str, Any], url: str) -> Top:
    """The first generated token and those that were as likely; empty texts and zero probabilities are left out."""
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    first = content[0] if isinstance(content, list) and content else None
    if not isinstance(first, Mapping):
        raise ModelError(f"{url} answered without a token: {str(choice)[:200]}", kind="protocol")
    listed = first.get("top_logprobs")
    found: Top = {}
    for entry in [first, *(listed if isinstance(listed, list) else [])]:
        token = entry.get("token") if isinstance(entry, Mapping) else None
        if not isinstance(token, str):
            raise ModelError(f"{url} listed a token without a text: {str(entry)[:200]}", kind="protocol")
        value = _logprob(entry.get("logprob"), url)
        if token and math.isfinite(value):
            found[token] = max(value, found.get(token, -math.inf))
    if not found:
        raise ModelError(f"{url} listed no token with a probability: {str(first)[:200]}", kind="protocol")
    return found


def _logprob(value: Any, url: str) -> float:
    """A log-probability; minus infinity for a probability of zero."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value <= 1e-3:
        raise ModelError(
            f"{url} sent {str(value)[:80]!r}, which is not the logarithm of a probability", kind="protocol"
        )
    return float(value) if value > _LEAST else -math.inf
