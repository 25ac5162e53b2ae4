"""OpenAI-compatible servers: vLLM, `transformers serve`, hosted services. Without the openai package."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from her_hf.durable import digest

from .http import Answer, Connection
from .inline import InlineText, opens_thinking
from .interface import Message, Messages, ModelError, Prompt, Reply, Sampling, Schema, Usage
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


PROBE: list[Message] = [
    {"role": "system", "content": "S"},
    {"role": "user", "content": "===Conversation Start===\n\nAnn: Tea?"},
    {"role": "assistant", "content": "Bob: <role_thinking>Now.</role_thinking> Please."},
    {"role": "user", "content": "Ann: <role_thinking>No.</role_thinking> Here."},
]
"""A conversation whose rendering tells one chat template from another."""

_ABOUT_THE_MESSAGES = (400, 413, 422)
"""Statuses that may be about one conversation; any other refusal of `/tokenize` means that it is not there."""


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
        self._key = next((os.environ[name] for name in API_KEYS if os.environ.get(name)), "")
        self._refused: set[str] = set()
        self._opens: dict[bool, bool | None] = {}  # whether its prompts end in an open block, with thinking on or off
        self._probing = asyncio.Lock()  # asked once, not by everybody who waits
        self._counts: bool | None = None  # whether it has /tokenize
        self._http = Connection(self.url, self._key, timeout)

    @property
    def name(self) -> str:
        return f"{self._model} at {self.url}" if self._model else self.url

    async def chat(
        self,
        messages: Messages,
        *,
        sampling: Sampling | None = None,
        thinking: bool = True,
        schema: Schema | None = None,
    ) -> Reply:
        """See [`ChatModel.chat`]."""
        inline = await self._inline() if thinking else InlineText(thinking=False)
        async with self._ask(messages, sampling or Sampling(), thinking, stream=False, schema=schema) as answer:
            data = parse_object(await answer.text(), self.url)
        return self._whole_reply(data, inline)

    async def stream(
        self, messages: Messages, *, sampling: Sampling | None = None, thinking: bool = True
    ) -> AsyncGenerator[str | Reply, None]:
        """See [`ChatModel.stream`]. The server stops when the generator is closed, because its connection is."""
        inline = await self._inline(thinking)
        shown: list[str] = []
        content: list[str] = []
        reasoning: list[str] = []
        usage, finish = Usage(), ""
        choice: dict[str, Any] = {}
        async with self._ask(messages, sampling or Sampling(), thinking, stream=True) as answer:
            if "json" in answer.kind:  # a server that cannot stream
                inline = inline if thinking else InlineText(thinking=False)
                whole = self._whole_reply(parse_object(await answer.text(), self.url), inline)
                yield whole.text
                yield whole
                return
            async for line in answer.lines():
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
        text = "".join(shown)
        yield Reply(
            text=text,
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
            length = (await self._card()).get("max_model_len")
            self._window = length if isinstance(length, int) and length > 0 else None
            self._window_asked = True
        return self._window

    async def fingerprint(self) -> dict[str, Any]:
        """See [`ChatModel.fingerprint`]. The address is left out: a server that comes up elsewhere is the same.

        The weights that vLLM serves under a name of the user's choice are its `root`.
        """
        probes = [await self._exact_prompt(PROBE, thinking) for thinking in (True, False)]
        rendered = [probe.text for probe in probes if probe]
        name, root = await self._model_name(), (await self._card()).get("root")
        found = {"model": name, "template": digest(rendered) if rendered else None}
        return {**found, "root": root} if isinstance(root, str) and root not in ("", name) else found

    async def close(self) -> None:
        """See [`ChatModel.close`]."""
        await self._http.close()

    # -- requests

    @asynccontextmanager
    async def _ask(
        self, messages: Messages, sampling: Sampling, thinking: bool, *, stream: bool, schema: Schema | None = None
    ) -> AsyncIterator[Answer]:
        """Asks for a reply, leaving out optional fields that the server complains of."""
        model = await self._model_name()
        url = f"{self.url}/chat/completions"
        while True:
            body = chat_body(
                messages,
                model=model,
                sampling=sampling,
                thinking=thinking,
                stream=stream,
                refused=self._refused,
                schema=schema,
            )
            async with self._http.request("POST", url, body) as answer:
                if answer.status == 200:
                    yield answer
                    return
                text = await answer.text()
            field = newly_refused(answer.status, text, body)
            if field is None:
                raise self._status_error(answer, text, url)
            if field not in self._refused:
                self._refused.add(field)
                self.notes.append(f"{self.url} does not take the field {field}: requests go without it.")

    def _status_error(self, answer: Answer, text: str, url: str) -> ModelError:
        if self._key:
            text = text.replace(self._key, "***")
        return explain_status(answer.status, text, url, answer.retry_after)

    def _whole_reply(self, data: dict[str, Any], inline: InlineText) -> Reply:
        """A reply that came in one piece."""
        choice = first_choice(data)
        message = choice.get("message")
        if not isinstance(message, dict):
            raise ModelError(f"{self.url} answered without a choice: {str(data)[:200]}", kind="protocol")
        reasoning, content = pieces(message)
        finish = str(choice.get("finish_reason") or "stop")
        text = inline.reasoning(reasoning) + inline.content(content) + inline.close(finish)
        return Reply(
            text, finish, ended(finish, choice), usage_of(data) or Usage(), content, reasoning or None, self.name
        )

    # -- what the server tells of itself

    async def _inline(self, thinking: bool = True) -> InlineText:
        """What puts one reply together. Only the prompt tells how it begins, not what other replies were like."""
        opens = await self._opens_thinking(thinking)
        if thinking:
            return InlineText("prefilled" if opens else None)
        return InlineText("plain" if opens is False else None, thinking=False)

    async def _opens_thinking(self, thinking: bool) -> bool | None:
        """Whether the prompt ends inside a system block, asked once; `None` if the server does not show prompts."""
        if thinking not in self._opens:
            async with self._probing:
                if thinking not in self._opens:
                    probe = await self._exact_prompt(PROBE[-1:], thinking)
                    self._opens[thinking] = opens_thinking(probe.text) if probe else None
        return self._opens[thinking]

    async def _cards(self) -> list[Message]:
        url = f"{self.url}/models"
        async with self._http.request("GET", url) as answer:
            text = await answer.text()
        if answer.status != 200:
            raise self._status_error(answer, text, url)
        cards = parse_object(text, url).get("data")
        return [card for card in cards if isinstance(card, dict)] if isinstance(cards, list) else []

    async def _card(self) -> Message:
        """What `/v1/models` says of the model; `{}` from a server without it, whose model was named by the user."""
        name = await self._model_name()
        try:
            cards = await self._cards()
        except ModelError as error:
            if error.status is None or _passing(error):
                raise
            cards = []
        return next((card for card in cards if card.get("id") == name), {})

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
        if counted is not None and self._counts is None:
            self._counts = isinstance(tokens, list)
        if not isinstance(tokens, list):
            return None
        said = await self._extra(f"{root}/detokenize", {"model": model, "tokens": tokens})
        text = said.get("prompt") if said else None
        return Prompt(text, len(tokens), exact=True) if isinstance(text, str) else None

    async def _extra(self, url: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """Asks for something not every server has; a failure that may pass is an error, not a server without it."""
        async with self._http.request("POST", url, body) as answer:
            text = await answer.text()
        if answer.status == 200 and text.lstrip().startswith("{"):
            return parse_object(text, url)
        error = self._status_error(answer, text, url)
        if _passing(error):
            raise error
        if self._counts is None and answer.status not in _ABOUT_THE_MESSAGES:
            self._counts = False
        return None


def _passing(error: ModelError) -> bool:
    """Whether the server may answer otherwise later; not where it says that it lacks what was asked for."""
    return error.retryable and error.status != 501
