"""For the tests of minimax: a model that answers by rule, a judge that finds planted errors, all as a server."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from her_hf.inference import Caller, Ledger, Messages, ModelError, Prompt, Reply, Retries, Sampling, Schema, Usage
from her_hf.inference.wire import estimate_tokens
from her_hf.scenes.seeds import Seed

Rule = Callable[[Messages, Sampling], str]

ANN = Seed(
    id="mill",
    language="en",
    ai_name="Ann",
    ai_setting="Ann keeps a mill. Nobody may whistle in it.",
    user_name="Mr. B (the 2nd)",
    user_setting="A guest.",
    ai_prologue="(wipes her hands) Come in.",
    initial_user_input="Thank you. [looks round]",
)
LIN = Seed(
    id="mill",
    language="zh",
    ai_name="林晚",
    ai_setting="林晚守着一座磨坊，磨坊里不许吹口哨。",
    user_name="周客",
    user_setting="",
    ai_prologue="（擦手）请进。",
    initial_user_input="多谢。",
)


class RuleModel:
    """A [`ChatModel`] whose replies follow from messages and sampling; tokens are estimated."""

    def __init__(self, rule: Rule, *, name: str = "rule", window: int | None = None) -> None:
        self.rule, self.name, self._window = rule, name, window
        self.notes: list[str] = []
        self.asked: list[tuple[list[dict[str, Any]], Sampling, bool, Schema | None]] = []
        self.finish_reason = "stop"
        self.closed = 0

    async def chat(
        self,
        messages: Messages,
        *,
        sampling: Sampling | None = None,
        thinking: bool = True,
        schema: Schema | None = None,
    ) -> Reply:
        assert sampling is not None
        self.asked.append((list(messages), sampling, thinking, schema))
        text = self.rule(messages, sampling)
        return Reply(text, self.finish_reason, True, Usage(5, len(text)), text, model=self.name)

    def stream(self, *_: Any, **__: Any) -> AsyncGenerator[str | Reply, None]:
        raise NotImplementedError

    async def prompt(self, messages: Messages, *, thinking: bool = True) -> Prompt:
        return Prompt("", estimate_tokens(messages), exact=False)

    async def window(self) -> int | None:
        return self._window

    async def fingerprint(self) -> dict[str, Any]:
        return {"model": self.name, "template": None}

    async def close(self) -> None:
        self.closed += 1


def caller(rule: Rule, *, ledger: Ledger | None = None, name: str = "rule", window: int | None = None) -> Caller:
    """A caller of a [`RuleModel`] that does not wait between attempts."""
    model = RuleModel(rule, name=name, window=window)
    return Caller(model, ledger=ledger, concurrency=8, retries=Retries(max_retries=1, first=0.0))


def model_of(one: Caller) -> RuleModel:
    """The model behind a caller of [`caller`]."""
    model = one._places[0].model
    assert isinstance(model, RuleModel)
    return model


def says(*texts: str) -> Rule:
    """These texts in turn, then the last one repeatedly."""
    left = list(texts)
    return lambda *_: left.pop(0) if len(left) > 1 else left[0]


def refuses(*_: Any) -> str:
    """Fails with an error that is not retryable."""
    raise ModelError("the server is on fire", kind="status", status=400)


def her_npc(messages: Messages, sampling: Sampling) -> str:
    """A HER reply whose words tell the length of the history and the draw."""
    whistle = " I whistle." if len(messages) % 3 == 0 else ""
    return (
        f"<system_thinking>\nPlan {sampling.seed}.\n</system_thinking>\n{_name(messages)}: <role_thinking>Secret "
        f"{len(messages)}.</role_thinking> <role_action>nods</role_action> "
        f"Turn {len(messages)}/{sampling.seed}.{whistle}"
    )


def plain_user(messages: Messages, sampling: Sampling) -> str:
    """A user's reply of the same kind."""
    return f"Question {len(messages)}/{sampling.seed}?"


def planted(messages: Messages, _: Sampling | None = None) -> str:
    """A judgement: each whistle of the character is an error, and every fourth names words that nobody said."""
    found = []
    asked = re.split("to check|要检查", messages[-1]["content"])[-1]
    for round_, text in re.findall(r"^\[(\d+)\] (?:Ann: |林晚：)(.*)$", asked, re.M):
        if "whistle" in text:
            quote = "I whistle." if int(round_) % 4 else "I sing."
            found.append(error(turn=int(round_), quote=quote))
    return json.dumps({"errors": found})


def error(**changes: Any) -> dict[str, Any]:
    """An error as a judge reports it."""
    return {
        "column": "knowledge_score",
        "turn": 2,
        "quote": "I whistle.",
        "severity": "major",
        "reason": "Nobody may.",
    } | changes


def _name(messages: Messages) -> str:
    system = messages[0]["content"]
    return "林晚" if "林晚" in system else "Ann"


def everything(messages: Messages, sampling: Sampling | None) -> str:
    """All roles behind one address, distinguished by their prompts."""
    system = messages[0]["content"]
    if "You check long role-plays" in system or "你负责检查" in system:
        return planted(messages)
    draw = sampling or Sampling(seed=0)
    playing_user = "a person who plays" in system or "真人玩家" in system
    return plain_user(messages, draw) if playing_user else her_npc(messages, draw)


@contextmanager
def serving_rule(rule: Callable[[Messages, Sampling], str] = everything) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The rule as an OpenAI-compatible server on loopback: its URL, and the request bodies."""
    bodies: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Silent."""

        def do_GET(self) -> None:
            self._send(200, {"data": [{"id": "rule"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if not self.path.endswith("/chat/completions"):
                self._send(404, {"detail": "Not Found"})
                return
            bodies.append(body)
            text = rule(body["messages"], Sampling(seed=body["seed"]))
            message = {"role": "assistant", "content": text}
            usage = {"prompt_tokens": 3, "completion_tokens": 4}
            self._send(200, {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})

        def _send(self, status: int, data: dict[str, Any]) -> None:
            body = json.dumps(data).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", bodies
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
