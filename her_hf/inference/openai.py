"""OpenAI-compatible servers: vLLM, `transformers serve`, hosted services. Over httpx, without the openai package."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from .inline import InlineText, opens_thinking
from .interface import Message, Messages, ModelError, Prompt, Reply, Sampling, Usage
from .wire import (
    api_root,
    chat_body,
    ended,
    estimate_tokens,
    explain_status,
    first_choice,
    newly_refused,
    parse_event,
    parse_object,
    pieces,
    thinking_switch,
    usage_of,
)

API_KEYS = ("HER_HF_API_KEY", "OPENAI_API_KEY")
"""Environment variables a key is taken from, the first that is set."""


class ServerModel:
    """A model behind an OpenAI-compatible URL.

    Args:
        url (`str`): Base URL; `/v1` is added where no path is given.
        model (`str`, *optional*): Which model to ask for; without it the only one of `/v1/models`.
        window (`int`, *optional*): Most tokens of prompt and reply together, if the server does not say or is not to
            decide.
        timeout (`float`, *optional*, defaults to 300): Seconds without any sign of life.

    Raises:
        `ValueError`: If the URL is none.

    A key is taken from the environment (`HER_HF_API_KEY`, else `OPENAI_API_KEY`) and shows up nowhere.
    """

    def __init__(
        self, url: str, *, model: str | None = None, window: int | None = None, timeout: float = 300.0
    ) -> None:
        self.url = api_root(url)
        self.notes: list[str] = []
        self._model = model
        self._window, self._window_asked = window, window is not None
        self._timeout = timeout
        self._key = next((os.environ[name] for name in API_KEYS if os.environ.get(name)), "")
        self._refused: set[str] = set()
        self._way: str | None = None  # how this server hands over system thinking, see inline.py
        self._counts: bool | None = None  # whether it has /tokenize
        self._client: httpx.AsyncClient | None = None

    @property
    def name(self) -> str:
        return f"{self._model} at {self.url}" if self._model else self.url

    async def chat(self, messages: Messages, *, sampling: Sampling | None = None, thinking: bool = True) -> Reply:
        """See [`ChatModel.chat`]."""
        async with self._ask(messages, sampling or Sampling(), thinking, stream=False) as response:
            data = parse_object(await _text(response), self.url)
        return self._whole_reply(data, InlineText(self._way, thinking=thinking))

    async def stream(
        self, messages: Messages, *, sampling: Sampling | None = None, thinking: bool = True
    ) -> AsyncGenerator[str | Reply, None]:
        """See [`ChatModel.stream`]. The server stops when the generator is closed, because its connection is."""
        if thinking and self._way is None:
            probe = await self._exact_prompt(messages[-1:], thinking)
            self._way = "prefilled" if probe and opens_thinking(probe.text) else None
        inline = InlineText(self._way, thinking=thinking)
        shown: list[str] = []
        content: list[str] = []
        reasoning: list[str] = []
        usage, finish = Usage(), ""
        choice: dict[str, Any] = {}
        async with self._ask(messages, sampling or Sampling(), thinking, stream=True) as response:
            if "json" in response.headers.get("content-type", ""):  # a server that cannot stream
                whole = self._whole_reply(parse_object(await _text(response), self.url), inline)
                yield whole.text
                yield whole
                return
            async for line in _lines(response):
                event = parse_event(line, self.url)
                if event is None:
                    continue
                usage = usage_of(event) or usage
                if not (part := first_choice(event)):
                    continue
                thought, said = pieces(part.get("delta") or {})
                reasoning.append(thought)
                content.append(said)
                if text := inline.reasoning(thought) + inline.content(said):
                    shown.append(text)
                    yield text
                if part.get("finish_reason"):
                    choice, finish = part, str(part["finish_reason"])
        if not finish:
            raise ModelError(
                f"{self.url} closed the connection in the middle of a reply. Try again; if it happens "
                "every time, look at "
                "the server's log.",
                kind="dropped",
            )
        if rest := inline.close(finish):
            shown.append(rest)
            yield rest
        if thinking:
            self._way = inline.way
        yield Reply(
            text="".join(shown),
            finish_reason=finish,
            ended=ended(finish, choice),
            usage=usage,
            content="".join(content),
            reasoning="".join(reasoning) or None,
            model=self.name,
        )

    async def prompt(self, messages: Messages, *, thinking: bool = True) -> Prompt:
        """See [`ChatModel.prompt`]. Exact where the server has `/tokenize` and `/detokenize`, as vLLM does."""
        exact = await self._exact_prompt(messages, thinking)
        if exact is not None:
            return exact
        text = "\n\n".join(f"[{message['role']}]\n{message.get('content') or ''}" for message in messages)
        return Prompt(text, estimate_tokens(messages), exact=False)

    async def window(self) -> int | None:
        """See [`ChatModel.window`]. vLLM says it in `/v1/models`."""
        if not self._window_asked:
            name = await self._model_name()
            try:
                cards = await self._cards()
            except ModelError as error:
                if error.status is None:
                    raise
                cards = []  # a server without /v1/models, whose model was named by the user
            length = next((card.get("max_model_len") for card in cards if card.get("id") == name), None)
            self._window = length if isinstance(length, int) and length > 0 else None
            self._window_asked = True
        return self._window

    async def close(self) -> None:
        """See [`ChatModel.close`]."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    # -- requests

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
            timeout = httpx.Timeout(self._timeout, connect=min(10.0, self._timeout))
            self._client = httpx.AsyncClient(headers=headers, timeout=timeout)
        return self._client

    @asynccontextmanager
    async def _request(
        self, method: str, url: str, body: dict[str, Any] | None = None
    ) -> AsyncIterator[httpx.Response]:
        """One request; what httpx raises, now or while the answer is read, becomes a [`ModelError`]."""
        try:
            async with self._http().stream(method, url, json=body) as response:
                yield response
        except httpx.ConnectError as error:
            raise ModelError(
                f"No server answers at {self.url} ({error or 'connection refused'}). Start one, for "
                "example `vllm serve "
                "CHECKPOINT --reasoning-parser hf`, or check host and port.",
                kind="connection",
            ) from error
        except httpx.TimeoutException as error:
            raise ModelError(
                f"{self.url} was silent for {self._timeout:g} seconds ({type(error).__name__}). The server "
                "may be busy or "
                "still loading: try again, or allow more time.",
                kind="timeout",
            ) from error
        except httpx.TransportError as error:
            raise ModelError(
                f"The connection to {self.url} broke ({type(error).__name__}: {error}). Try again.", kind="dropped"
            ) from error

    @asynccontextmanager
    async def _ask(
        self, messages: Messages, sampling: Sampling, thinking: bool, *, stream: bool
    ) -> AsyncIterator[httpx.Response]:
        """Asks for a reply, leaving out optional fields that the server complains of."""
        model = await self._model_name()
        url = f"{self.url}/chat/completions"
        while True:
            body = chat_body(
                messages, model=model, sampling=sampling, thinking=thinking, stream=stream, refused=self._refused
            )
            async with self._request("POST", url, body) as response:
                if response.status_code == 200:
                    yield response
                    return
                text = await _text(response)
            field = newly_refused(response.status_code, text, body)
            if field is None:
                raise self._status_error(response, text, url)
            self._refused.add(field)
            self.notes.append(f"{self.url} does not take the field {field}: requests go without it.")

    def _status_error(self, response: httpx.Response, text: str, url: str) -> ModelError:
        if self._key:
            text = text.replace(self._key, "***")
        return explain_status(response.status_code, text, url, response.headers.get("retry-after"))

    def _whole_reply(self, data: dict[str, Any], inline: InlineText) -> Reply:
        """A reply that came in one piece."""
        choice = first_choice(data)
        message = choice.get("message")
        if not isinstance(message, dict):
            raise ModelError(f"{self.url} answered without a choice: {str(data)[:200]}", kind="protocol")
        reasoning, content = pieces(message)
        finish = str(choice.get("finish_reason") or "stop")
        text = inline.reasoning(reasoning) + inline.content(content) + inline.close(finish)
        if inline.thinking:
            self._way = inline.way
        return Reply(
            text, finish, ended(finish, choice), usage_of(data) or Usage(), content, reasoning or None, self.name
        )

    # -- what the server tells of itself

    async def _cards(self) -> list[Message]:
        url = f"{self.url}/models"
        async with self._request("GET", url) as response:
            text = await _text(response)
        if response.status_code != 200:
            raise self._status_error(response, text, url)
        cards = parse_object(text, url).get("data")
        return [card for card in cards if isinstance(card, dict)] if isinstance(cards, list) else []

    async def _model_name(self) -> str:
        if self._model is None:
            names = [str(card["id"]) for card in await self._cards() if card.get("id")]
            if len(names) != 1:
                offer = ", ".join(names[:20]) + (" …" if len(names) > 20 else "") if names else "none"
                raise ModelError(
                    f"{self.url} does not offer exactly one model (it lists: {offer}). Name one (--model-name).",
                    kind="protocol",
                )
            self._model = names[0]
        return self._model

    async def _exact_prompt(self, messages: Messages, thinking: bool) -> Prompt | None:
        """The prompt by vLLM's `/tokenize` and `/detokenize`, which stand beside `/v1`; `None` without them."""
        if self._counts is False or not self.url.endswith("/v1"):
            return None
        model, root = await self._model_name(), self.url.removesuffix("/v1")
        ask = {"model": model, "messages": list(messages), "chat_template_kwargs": thinking_switch(thinking)}
        counted = await self._extra(f"{root}/tokenize", ask)
        tokens = counted.get("tokens") if counted else None
        if self._counts is None:
            self._counts = isinstance(tokens, list)
        if not isinstance(tokens, list):
            return None
        said = await self._extra(f"{root}/detokenize", {"model": model, "tokens": tokens})
        text = said.get("prompt") if said else None
        return Prompt(text, len(tokens), exact=True) if isinstance(text, str) else None

    async def _extra(self, url: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """Asks for something not every server has."""
        async with self._request("POST", url, body) as response:
            text = await _text(response)
        return parse_object(text, url) if response.status_code == 200 and text.lstrip().startswith("{") else None


async def _lines(response: httpx.Response) -> AsyncGenerator[str, None]:
    """Lines of a streamed answer. `aiter_lines` splits at U+2028 and its like too, which JSON may hold as they are."""
    rest = ""
    async for text in response.aiter_text():
        *lines, rest = (rest + text).split("\n")
        for line in lines:
            yield line.removesuffix("\r")
    yield rest.removesuffix("\r")


async def _text(response: httpx.Response) -> str:
    return (await response.aread()).decode("utf-8", errors="replace")
