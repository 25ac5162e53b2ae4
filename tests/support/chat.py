"""For the tests of inference, session and chat: an OpenAI-compatible stand-in, a scripted model, a small scene."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncGenerator, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from typing import Any, TypeVar

from her_hf.dual_layer import parse_turn
from her_hf.inference import Messages, ModelError, Prompt, Reply, Sampling, Usage
from her_hf.scenes import Character, Scene
from tests.support.loopback import listening

T = TypeVar("T")

THINKING = "Ann stalls him: the letter must stay hidden."
BODY = "Ann: <role_thinking>Not the drawer.</role_thinking> <role_action>pours tea</role_action> Sugar, Mr. Bell?"
FULL = f"<system_thinking>\n{THINKING}\n</system_thinking>\n{BODY}"


def small_scene() -> Scene:
    """Two people, and the world."""
    return Scene(
        book="The Drawer",
        topic="tea",
        scenario="A parlour. A letter lies in the drawer.",
        cast=[
            Character(name="Ann", profile="Hides a letter.", motivation="He must not look there."),
            Character(name="Mr. Bell", profile="Looks for a letter."),
        ],
        dialogue=[
            parse_turn("Mr. Bell: <role_thinking>It is here.</role_thinking> Good day, Ann."),
            parse_turn("Ann: <role_action>curtsies</role_action> Sir."),
        ],
    )


@dataclass
class StandIn:
    """What the server does; tests set it, and read `requests`.

    Args:
        way (`str`): `"split"` (reasoning apart), `"prefilled"` (content begins inside the block) or `"plain"`.
        errors (`list`): `(status, body)` pairs answered first, one a chat request.
        tokenize_errors (`list`): The same for `/tokenize`.
        answers (`dict`): Contents of the replies to some last messages, sent as they are.
        drop_after (`int`, *optional*): Break the connection after so many chunks.
    """

    way: str = "split"
    reasoning_field: str = "reasoning"
    thinking: str = THINKING
    body: str = BODY
    finish: str = "stop"
    stop_reason: Any = None
    models: list[dict[str, Any]] = field(default_factory=lambda: [{"id": "her-tiny", "max_model_len": 4096}])
    errors: list[tuple[int, str]] = field(default_factory=list)
    tokenize_errors: list[tuple[int, str]] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    refuses: tuple[str, ...] = ()
    tokenizes: bool = False
    streams: bool = True
    drop_after: int | None = None
    error_after: int | None = None
    pause: float = 0.0
    silent: float = 0.0
    requests: list[tuple[str, dict[str, Any], dict[str, str]]] = field(default_factory=list)
    closed_early: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    @property
    def chats(self) -> list[dict[str, Any]]:
        """Bodies of the chat requests."""
        return [body for path, body, _ in self.requests if path.endswith("/chat/completions")]

    def asked(self, path: str) -> int:
        """The number of requests of this path."""
        return sum(path == asked for asked, *_ in self.requests)

    def parts(self, body: dict[str, Any]) -> tuple[str, str]:
        """Reasoning and content as this way of serving sends them."""
        if (said := self.answers.get(body["messages"][-1]["content"])) is not None:
            return "", said
        if not body.get("chat_template_kwargs", {}).get("enable_thinking", True):
            return "", self.body
        if self.way == "split":
            return self.thinking, self.body
        whole = f"{self.thinking}\n</system_thinking>\n{self.body}"
        return "", whole if self.way == "prefilled" else f"<system_thinking>\n{whole}"


class _Handler(BaseHTTPRequestHandler):
    disable_nagle_algorithm = True  # headers and body leave in two writes; the second would wait 40 ms
    script: StandIn

    def log_message(self, *_: Any) -> None:
        """Silent."""

    def do_GET(self) -> None:
        self.script.requests.append((self.path, {}, _lowered(self.headers)))
        self._json(200, {"object": "list", "data": self.script.models})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.script.requests.append((self.path, body, _lowered(self.headers)))
        if self.path == "/v1/chat/completions":
            self._chat(body)
        elif self.path == "/tokenize" and self.script.tokenize_errors:
            status, text = self.script.tokenize_errors.pop(0)
            self._send(status, text.encode(), {"Retry-After": "0.01"})
        elif self.script.tokenizes and self.path == "/tokenize":
            text = "".join(f"<{message['role']}>{message['content']}" for message in body["messages"])
            text += "<assistant>" + ("" if self.script.way == "plain" else "<system_thinking>\n")
            self._json(200, {"tokens": [ord(character) for character in text]})
        elif self.script.tokenizes and self.path == "/detokenize":
            self._json(200, {"prompt": "".join(map(chr, body["tokens"]))})
        else:
            self._json(404, {"detail": "Not Found"})

    def _chat(self, body: dict[str, Any]) -> None:
        script = self.script
        time.sleep(script.silent)
        if script.errors:
            status, text = script.errors.pop(0)
            self._send(status, text.encode(), {"Retry-After": "2"})
            return
        for name in script.refuses:
            if name in body:
                self._json(400, {"error": {"message": f"Unrecognized request argument supplied: {name}"}})
                return
        reasoning, content = script.parts(body)
        usage = {"prompt_tokens": 10, "completion_tokens": 20}
        ending = {"finish_reason": script.finish, "stop_reason": script.stop_reason}
        if not (body.get("stream") and script.streams):
            message = {"role": "assistant", "content": content, script.reasoning_field: reasoning or None}
            self._json(200, {"choices": [{"message": message, **ending}], "usage": usage})
            return
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        deltas += [{script.reasoning_field: reasoning[at : at + 7]} for at in range(0, len(reasoning), 7)]
        deltas += [{"content": content[at : at + 7]} for at in range(0, len(content), 7)]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            self.wfile.write(b": hello\n\n")
            for number, delta in enumerate(deltas):
                if number == script.drop_after:
                    return
                if number == script.error_after:
                    self._event({"error": {"message": "the engine died"}})
                    return
                self._event({"choices": [{"index": 0, "delta": delta}]})
                time.sleep(script.pause)
            self._event({"choices": [{"index": 0, "delta": {}, **ending}]})
            self._event({"choices": [], "usage": usage})
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            script.closed_early.set()

    def _event(self, data: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + _json_bytes(data) + b"\n\n")
        self.wfile.flush()

    def _json(self, status: int, data: dict[str, Any]) -> None:
        self._send(status, _json_bytes(data), {})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _lowered(headers: Any) -> dict[str, str]:
    """Headers by their names in lower case: in which case they are sent is the client's choice."""
    return {name.lower(): value for name, value in headers.items()}


def _json_bytes(data: dict[str, Any]) -> bytes:
    """JSON as vLLM sends it, with all characters as they are; only lone surrogates are escaped."""
    return json.dumps(data, ensure_ascii=False).encode("utf-8", "backslashreplace")


@contextmanager
def serving(**script: Any) -> Iterator[StandIn]:
    """Runs the stand-in on a free port of loopback."""
    stand_in = StandIn(**script)
    handler = type("Handler", (_Handler,), {"script": stand_in})
    with listening(handler) as stand_in.url:
        yield stand_in


class ScriptedModel:
    """A [`ChatModel`] with scripted replies: a text, a [`Reply`], or a [`ModelError`] after some text.

    One token a character; `asked` keeps messages, sampling and thinking of every call.
    """

    def __init__(self, *script: str | Reply | tuple[str, ModelError], window: int | None = None) -> None:
        self.script = list(script)
        self.asked: list[tuple[list[dict[str, Any]], Sampling, bool]] = []
        self.notes: list[str] = []
        self.closed = 0
        self._window = window

    @property
    def name(self) -> str:
        return "scripted"

    async def stream(
        self, messages: Messages, *, sampling: Sampling | None = None, thinking: bool = True
    ) -> AsyncGenerator[str | Reply, None]:
        self.asked.append((list(messages), sampling or Sampling(), thinking))
        said = self.script.pop(0)
        text = said[0] if isinstance(said, tuple) else said if isinstance(said, str) else said.text
        try:
            for at in range(0, len(text), 5):
                yield text[at : at + 5]
            if isinstance(said, tuple):
                raise said[1]
            yield said if isinstance(said, Reply) else Reply(text, "stop", True, Usage(5, len(text)), text)
        finally:
            self.closed += 1

    async def chat(self, messages: Messages, *, sampling: Sampling | None = None, thinking: bool = True) -> Reply:
        pieces = [piece async for piece in self.stream(messages, sampling=sampling, thinking=thinking)]
        assert isinstance(pieces[-1], Reply)
        return pieces[-1]

    async def prompt(self, messages: Messages, *, thinking: bool = True) -> Prompt:
        text = "\n".join(f"{message['role']}|{message['content']}" for message in messages)
        return Prompt(text, len(text), exact=True)

    async def window(self) -> int | None:
        return self._window

    async def close(self) -> None:
        """Nothing to close."""


class ContinuingModel(ScriptedModel):
    """A scripted model that can write on after a beginning; `begun` keeps the beginnings."""

    def __init__(self, *script: str | Reply | tuple[str, ModelError], window: int | None = None) -> None:
        super().__init__(*script, window=window)
        self.begun: list[str] = []

    async def continued(
        self, messages: Messages, begun: str, *, sampling: Sampling | None = None, thinking: bool = True
    ) -> AsyncGenerator[str | Reply, None]:
        self.begun.append(begun)
        async for piece in self.stream(messages, sampling=sampling, thinking=thinking):
            yield replace(piece, text=begun + piece.text) if isinstance(piece, Reply) else piece


def total(pieces: Sequence[str | Reply]) -> str:
    """The concatenated texts of a stream."""
    return "".join(piece for piece in pieces if isinstance(piece, str))


MESSAGES = [{"role": "system", "content": "You are Ann."}, {"role": "user", "content": "===Conversation Start==="}]


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs a test's coroutine."""
    return asyncio.run(work)


async def streamed(model: Any, **how: Any) -> list[str | Reply]:
    """All pieces of a streamed reply; the model is closed."""
    try:
        return [piece async for piece in model.stream(MESSAGES, **how)]
    finally:
        await model.close()


async def whole(model: Any, **how: Any) -> Reply:
    """A reply in one piece; the model is closed."""
    try:
        reply: Reply = await model.chat(MESSAGES, **how)
        return reply
    finally:
        await model.close()
