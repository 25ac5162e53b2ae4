"""OpenAI-compatible servers: vLLM, `transformers serve`, hosted services."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from her_hf.durable import digest
from her_hf.settings import TIMEOUT

from .http import Answer, Connection
from .inline import InlineText, opens_thinking
from .interface import Message, Messages, ModelError, Prompt, Reply, Sampling, Schema, Usage
from .refusals import error_text, explain_status, newly_refused, refuses_the_way
from .server_likelihoods import Answered, LikelihoodReader
from .wire import (
    api_root,
    chat_body,
    ended,
    error_of,
    estimate_tokens,
    finish_of,
    first_choice,
    model_cards,
    parse_object,
    pieces,
    thinking_switch,
    usage_of,
    weights_name,
)

API_KEYS = ("HER_HF_API_KEY", "OPENAI_API_KEY")
"""Environment variables for the API key; the first that is set is used."""

PROBE: list[Message] = [
    {"role": "system", "content": "S"},
    {"role": "user", "content": "===Conversation Start===\n\nAnn: Tea?"},
    {"role": "assistant", "content": "Bob: <role_thinking>Now.</role_thinking> Please."},
    {"role": "user", "content": "Ann: <role_thinking>No.</role_thinking> Here."},
]
"""A conversation whose rendering distinguishes chat templates."""

_NAME_ONE = " Name one (--model-name), and check the URL: it usually ends in /v1."

_ABOUT_THE_MESSAGES = (400, 413, 422)
"""Statuses that may concern one conversation; any other refusal of `/tokenize` means that the server lacks it."""


class ServerModel:
    """A model behind an OpenAI-compatible URL.

    Args:
        url (`str`): Base URL; `/v1` is added if it has no path.
        model (`str`, *optional*): Name of the model; by default the only one of `/v1/models`.
        window (`int`, *optional*): Maximum tokens of prompt and reply together; by default as the server reports.
        timeout (`float`, *optional*, defaults to 300): Total seconds that one call may take, streamed or not.

    Raises:
        `ValueError`: If the URL is not valid.

    The API key is read from the environment (`HER_HF_API_KEY`, else `OPENAI_API_KEY`) and never shown.
    """

    def __init__(
        self, url: str, *, model: str | None = None, window: int | None = None, timeout: float = TIMEOUT
    ) -> None:
        self.url = api_root(url)
        host = re.escape(urlsplit(self.url).hostname or "")
        self._own_address = re.compile(rf"(?<![\w.-])\[?{host}\]?(?::\d+)?(?![\w-])", re.IGNORECASE)
        self.notes: list[str] = []
        self._model = model
        self._window, self._window_asked = window, window is not None
        self._key = next((os.environ[name] for name in API_KEYS if os.environ.get(name)), "")
        self._refused: set[str] = set()
        self._streams: bool | None = None  # whether it only streams (`True`) or never does, once known
        self._opens: dict[bool, bool | None] = {}  # whether its prompts end in an open block, with thinking on or off
        self._probing = asyncio.Lock()  # requested once, not by every waiting task
        self._counts: bool | None = None  # whether it has /tokenize
        self._texts: dict[str, list[int]] = {}  # answers whose probability was read, as token ids
        self._http = Connection(self.url, self._key, timeout)
        self._likelihoods = LikelihoodReader(self)

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
        inline = await self._inline() if thinking else InlineText(thinking=False, schema=schema is not None)
        asked = self._asked(messages, sampling or Sampling(), inline, stream=False, schema=schema)
        async with aclosing(asked) as coming:
            *_, reply = [piece async for piece in coming]
        assert isinstance(reply, Reply)
        return reply

    async def stream(
        self, messages: Messages, *, sampling: Sampling | None = None, thinking: bool = True
    ) -> AsyncGenerator[str | Reply, None]:
        """See [`ChatModel.stream`]. The server stops when the generator is closed, because its connection is."""
        inline = await self._inline(thinking)
        async with aclosing(self._asked(messages, sampling or Sampling(), inline, stream=True)) as coming:
            async for piece in coming:
                yield piece

    async def likelihoods(
        self, messages: Messages, continuations: Sequence[str], *, thinking: bool = False
    ) -> list[float]:
        """See [`Likely.likelihoods`]. Exact where the server has `/tokenize` and `prompt_logprobs`, as vLLM does.

        Args:
            messages (`Messages`): A conversation that ends where the answer begins.
            continuations (`Sequence[str]`): The answers, none of them empty.
            thinking (`bool`, *optional*, defaults to `False`): Whether the turn is opened with system thinking.

        Raises:
            `ModelError`: If a request fails, or the server does not give the probability of a wanted token.
        """
        return await self._likelihoods.read(messages, continuations, thinking=thinking)

    async def prompt(self, messages: Messages, *, thinking: bool = True) -> Prompt:
        """See [`ChatModel.prompt`]. Exact where the server has `/tokenize` and `/detokenize`, as vLLM does."""
        exact = await self._exact_prompt(messages, thinking)
        if exact is not None:
            return exact
        text = "\n\n".join(f"[{message['role']}]\n{message.get('content') or ''}" for message in messages)
        return Prompt(text, estimate_tokens(messages), exact=False)

    async def window(self) -> int | None:
        """See [`ChatModel.window`]. vLLM reports it in `/v1/models`."""
        if not self._window_asked:
            length = (await self._card()).get("max_model_len")
            self._window = length if isinstance(length, int) and length > 0 else None
            self._window_asked = True
        return self._window

    async def fingerprint(self) -> dict[str, Any]:
        """See [`ChatModel.fingerprint`]. The URL is not part of it: the same server may move to another address.

        `root` names the weights that vLLM serves under a name chosen by the user.
        """
        probes = [await self._exact_prompt(PROBE, thinking) for thinking in (True, False)]
        rendered = [probe.text for probe in probes if probe]
        name, root = await self.model_name(), (await self._card()).get("root")
        found = {"model": name, "template": digest(rendered) if rendered else None}
        return {**found, "root": weights_name(root)} if isinstance(root, str) and root not in ("", name) else found

    async def close(self) -> None:
        """See [`ChatModel.close`]."""
        await self._http.close()

    # -- requests

    async def _asked(
        self,
        messages: Messages,
        sampling: Sampling,
        inline: InlineText,
        *,
        stream: bool,
        schema: Schema | None = None,
    ) -> AsyncGenerator[str | Reply, None]:
        """Requests a reply; yields its text in one piece or many, and finally the reply."""
        shown: list[str] = []
        content: list[str] = []
        reasoning: list[str] = []
        usage = Usage()
        event: dict[str, Any] = {}
        last: dict[str, Any] = {}
        answered = False
        async with self._ask(messages, sampling, inline.thinking, stream=stream, schema=schema) as answer:
            async for event in answer.objects():
                if error_of(event):
                    raise ModelError(
                        f"{self.url} ended the reply early: {self._hidden(error_text(json.dumps(event)))}",
                        kind="protocol",
                    )
                usage = usage_of(event) or usage
                part = first_choice(event)
                piece = part["delta"] if "delta" in part else part.get("message")
                answered = answered or isinstance(piece, dict)
                thought, spoken = pieces(piece or {})
                reasoning.append(thought)
                content.append(spoken)
                if text := inline.reasoning(thought) + inline.content(spoken):
                    shown.append(text)
                    yield text
                last = part if finish_of(part) else last
        finish = finish_of(last)
        if not finish and not answer.complete:
            raise ModelError(
                f"{self.url} closed the connection in the middle of a reply. Try again; if it happens every time, "
                "see the server's log.",
                kind="dropped",
            )
        if not answered:
            raise ModelError(f"{self.url} answered without a choice: {str(event)[:200]}", kind="protocol")
        finish = finish or "stop"
        if rest := inline.close(finish):
            shown.append(rest)
            yield rest
        if inline.aside_was_all:
            self._note("sends answers as reasoning, although thinking is off: they are used as answers")
        text = "".join(shown)
        yield Reply(
            text=text,
            finish_reason=finish,
            ended=ended(last, stops=bool(sampling.stop)),
            usage=usage,
            content=text if inline.aside_was_all else "".join(content),
            reasoning="".join(reasoning) or None,
            model=self.name,
        )

    @asynccontextmanager
    async def _ask(
        self, messages: Messages, sampling: Sampling, thinking: bool, *, stream: bool, schema: Schema | None = None
    ) -> AsyncIterator[Answer]:
        """Requests a reply, without the fields that the server refuses, and streamed if it only streams."""
        model = await self.model_name()
        url = f"{self.url}/chat/completions"
        while True:
            body = chat_body(
                messages,
                model=model,
                sampling=sampling,
                thinking=thinking,
                stream=stream if self._streams is None else self._streams,
                refused=self._refused,
                schema=schema,
            )
            async with self._http.request(url, body) as answer:
                if answer.status == 200:
                    yield answer
                    return
                text = await answer.text()
            if not self._learned(answer.status, text, body):
                raise self._status_error(answer, text, url)

    def _learned(self, status: int, text: str, body: dict[str, Any]) -> bool:
        """Records what the server refuses; returns whether another request may succeed."""
        field = newly_refused(status, text, body)
        if field is not None:
            self._refused.add(field)
            instead = "use max_completion_tokens instead" if field == "max_tokens" else "omit it"
            self._note(f"does not accept the field {field}: requests {instead}")
            return True
        asked = bool(body["stream"])
        if not refuses_the_way(status, text, stream=asked) or self._streams is asked:
            return False
        self._streams = not asked
        self._note("does not stream: replies arrive as a whole" if asked else "only streams: replies are joined here")
        return True

    def _note(self, text: str) -> None:
        """Adds a note for the user about this server, unless it exists."""
        note = f"{self._model} {text}."
        if note not in self.notes:
            self.notes.append(note)

    def _hidden(self, text: str) -> str:
        """A server's message without the key and its own address, which our message already names."""
        text = self._own_address.sub("[address]", text)
        return text.replace(self._key, "***") if self._key else text

    def _status_error(self, answer: Answer, text: str, url: str) -> ModelError:
        return explain_status(answer.status, self._hidden(text), url, answer.retry_after)

    # -- facts about the server

    async def _inline(self, thinking: bool = True) -> InlineText:
        """The assembler of one reply. How a reply begins is known from the prompt only, not from other replies."""
        opens = await self._opens_thinking(thinking)
        if thinking:
            return InlineText("prefilled" if opens else None)
        return InlineText("plain" if opens is False else None, thinking=False)

    async def _opens_thinking(self, thinking: bool) -> bool | None:
        """Whether the prompt ends inside a system block, requested once; `None` if the server cannot show prompts."""
        if thinking not in self._opens:
            async with self._probing:
                if thinking not in self._opens:
                    probe = await self._exact_prompt(PROBE[-1:], thinking)
                    self._opens[thinking] = opens_thinking(probe.text) if probe else None
        return self._opens[thinking]

    async def _cards(self) -> list[Message]:
        url = f"{self.url}/models"
        async with self._http.request(url) as answer:
            text = await answer.text()
        if answer.status != 200:
            raise self._status_error(answer, text, url)
        cards = model_cards(text)
        if cards is None:
            raise ModelError(
                f"{url} answered {text[:200]!r}, which is not a list of models.{_NAME_ONE}", kind="protocol"
            )
        return cards

    async def _card(self) -> Message:
        """The model's entry in `/v1/models`; `{}` if the server has no such list and the user named the model."""
        name = await self.model_name()
        try:
            cards = await self._cards()
        except ModelError as error:
            if _passing(error):
                raise
            cards = []
        return next((card for card in cards if card["id"] == name), {})

    async def model_name(self) -> str:
        """The model's name in requests; by default the only one that the server offers."""
        if self._model is None:
            names = [card["id"] for card in await self._cards()]
            if len(names) != 1:
                offer = ", ".join(names[:20]) + (" …" if len(names) > 20 else "") if names else "none"
                raise ModelError(
                    f"{self.url} does not offer exactly one model (it lists: {offer}).{_NAME_ONE}", kind="protocol"
                )
            self._model = names[0]
        return self._model

    async def _exact_prompt(self, messages: Messages, thinking: bool) -> Prompt | None:
        """The prompt from vLLM's `/tokenize` and `/detokenize`, which are next to `/v1`; `None` without them."""
        tokens = await self.prompt_ids(messages, thinking)
        if tokens is None:
            return None
        body = {"model": await self.model_name(), "tokens": tokens}
        decoded = await self._extra(f"{self.url.removesuffix('/v1')}/detokenize", body)
        text = decoded.get("prompt") if decoded else None
        return Prompt(text, len(tokens), exact=True) if isinstance(text, str) else None

    async def prompt_ids(self, messages: Messages, thinking: bool) -> list[int] | None:
        """The rendered prompt from `/tokenize`; `None` if the server lacks it or refuses the conversation."""
        return await self._tokenized(messages=list(messages), chat_template_kwargs=thinking_switch(thinking))

    async def text_ids(self, text: str) -> list[int] | None:
        """A text from `/tokenize`, without special tokens; requested once."""
        if text not in self._texts:
            found = await self._tokenized(prompt=text, add_special_tokens=False)
            if found is None:
                return None
            self._texts[text] = found
        return self._texts[text]

    async def _tokenized(self, **what: Any) -> list[int] | None:
        if self._counts is False or not self.url.endswith("/v1"):
            return None
        url = f"{self.url.removesuffix('/v1')}/tokenize"
        counted = await self._extra(url, {"model": await self.model_name(), **what})
        tokens = counted.get("tokens") if counted else None
        usable = isinstance(tokens, list) and bool(tokens)  # llama.cpp's route of this name answers messages with []
        if counted is not None and self._counts is None:
            self._counts = usable
        return tokens if usable else None

    async def post(self, url: str, body: dict[str, Any]) -> Answered:
        """A request whose refusal is returned."""
        async with self._http.request(url, body) as answer:
            text = await answer.text()
        error = None if answer.status == 200 else self._status_error(answer, text, url)
        return Answered(answer.status, text, error)

    async def _extra(self, url: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """Requests a route that not every server has; a transient failure is an error, not a missing route."""
        answered = await self.post(url, body)
        if answered.error is None and answered.text.lstrip().startswith("{"):
            return parse_object(answered.text, url)
        if answered.error is not None and _passing(answered.error):
            raise answered.error
        if self._counts is None and answered.status not in _ABOUT_THE_MESSAGES:
            self._counts = False
        return None


def _passing(error: ModelError) -> bool:
    """Whether the failure is transient; 501 says that the server lacks the route."""
    return error.retryable and error.status != 501
