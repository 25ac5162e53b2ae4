"""A stand-in that gives probabilities of tokens, of a whole prompt and of the next token, from one made-up model."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from her_hf.durable import digest
from tests.support.loopback import listening

ANSWERS = ('{"verdict": "cand_1"}', '{"verdict": "cand_2"}', '{"verdict": "tie"}')
"""The answers that a pairwise judge chooses from."""

PIECES = ('{"', "ver", "dict", '":', ' "', "cand", "_", "tie", '"}', '>{"', "<assistant>")
CHARACTERS = [chr(code) for code in range(32, 127)] + ["\n", "…"]
OPENING = "<assistant>"


@dataclass
class TokenServer:
    """What the server does; tests set it, and read `requests`.

    Args:
        pieces (`Sequence[str]`): Tokens of several characters; every single character is a token as well. The longest
            that fits comes first, so that `>{"` joins the end of a prompt with the beginning of an answer.
        tokenizes (`bool`): Whether it has `/tokenize` as vLLM has it; `None` for llama.cpp's of the same name.
        reads (`str`): `"prompts"`, or what happens to `prompt_logprobs`: `"ignored"`, `"refused"`, `"no route"`.
        says (`str`): `"logprobs"`, or what happens to those of a chat: `"ignored"`, `"refused"`.
        counts (`bool`): Whether it reports the lengths of prompts.
        continues (`bool`): Whether it continues a final assistant message; else it opens another turn.
        top (`int`): Most tokens that it lists.
        refuses (`Sequence[str]`): Fields of a chat that it does not know.
        errors (`list`): `(status, body)` pairs answered first, whatever is asked for.
        impossible (`str`): A token whose probability is zero everywhere.
        broken (`Any`, *optional*): Stands in place of the log-probabilities of every prompt.
    """

    pieces: Sequence[str] = PIECES
    tokenizes: bool | None = True
    reads: str = "prompts"
    says: str = "logprobs"
    counts: bool = True
    continues: bool = True
    top: int = 1000
    refuses: Sequence[str] = ()
    errors: list[tuple[int, str]] = field(default_factory=list)
    impossible: str = ""
    broken: Any = None
    pause: float = 0.0
    silent: float = 0.0
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    busy: int = 0
    most_busy: int = 0
    url: str = ""

    @property
    def vocabulary(self) -> list[str]:
        """Texts of the tokens, by id."""
        return [*CHARACTERS, *self.pieces]

    def asked(self, path: str) -> list[dict[str, Any]]:
        """Bodies of the requests of a path."""
        return [body for asked, body in self.requests if asked == path]

    def ids(self, text: str) -> list[int]:
        """The tokens of a text."""
        found, at = [], 0
        while at < len(text):
            token = max((token for token in self.vocabulary if text.startswith(token, at)), key=len)
            found.append(self.vocabulary.index(token))
            at += len(token)
        return found

    def logprobs(self, before: str) -> dict[str, float]:
        """The model: log-probabilities of all tokens behind a text. It is fond of the answers, and has its moods."""
        begun = before.rpartition(OPENING)[2]
        fond = {token for answer in ANSWERS for token in self.vocabulary if answer.startswith(begun + token)}
        scores = {token: int(digest([before, token])[:4], 16) / 16**4 for token in self.vocabulary}
        weights = {token: score + (6.0 + len(token) if token in fond else 0.0) for token, score in scores.items()}
        total = math.log(sum(math.exp(weight) for weight in weights.values()))
        return {token: -math.inf if token == self.impossible else weight - total for token, weight in weights.items()}

    def likelihood(self, prompt: str, answer: str) -> float:
        """What reading should find: the sum over the answer's own tokens, behind the prompt's."""
        total, text = 0.0, prompt
        for token in (self.vocabulary[at] for at in self.ids(answer)):
            total += self.logprobs(text)[token]
            text += token
        return total

    @staticmethod
    def rendered(messages: Sequence[dict[str, Any]]) -> str:
        """The prompt up to the answer."""
        return "".join(f"<{message['role']}>{message['content']}" for message in messages)

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and body of the response."""
        if path == "/tokenize" and self.tokenizes is not False:
            if self.tokenizes is None:
                return 200, {"tokens": self.ids(body.get("content", ""))}
            text = body["prompt"] if "prompt" in body else self.rendered(body["messages"]) + OPENING
            return 200, {"tokens": self.ids(text)}
        if path == "/detokenize" and self.tokenizes:
            return 200, {"prompt": "".join(self.vocabulary[at] for at in body["tokens"])}
        if path == "/v1/completions" and self.reads != "no route":
            if self.reads == "refused":
                return 400, {"error": {"message": "prompt_logprobs is not supported by this engine"}}
            choices = [{"index": at, "text": "x", **self._read(ids)} for at, ids in enumerate(body["prompt"])]
            return 200, {"choices": choices[::-1]}
        if path == "/v1/chat/completions":
            return self._chat(body)
        return 404, {"detail": "Not Found"}

    def _read(self, ids: Sequence[int]) -> dict[str, Any]:
        if self.reads == "ignored":
            return {}
        listed: list[Any] = [None]
        for at in range(1, len(ids)):
            before, token = "".join(self.vocabulary[one] for one in ids[:at]), self.vocabulary[ids[at]]
            value = max(self.logprobs(before)[token], -9999.0) if at > len(ids) - 20 else -1.0
            listed.append({str(ids[at]): {"logprob": value, "rank": 1, "decoded_token": token}})
        return {"prompt_logprobs": listed if self.broken is None else self.broken}

    def _chat(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        for name in self.refuses:
            if name in body:
                return 400, {"error": {"message": f"Unrecognized request argument supplied: {name}"}}
        if self.says == "refused":
            return 400, {"error": {"message": "logprobs are not supported by this model"}}
        *messages, last = body["messages"]
        text = self.rendered(messages) + OPENING + (last["content"] if self.continues else "")
        values = self.logprobs(text)
        best = sorted(values, key=lambda token: -values[token])[: min(self.top, body["top_logprobs"])]
        listed = [{"token": token, "logprob": max(values[token], -9999.0)} for token in best]
        content = [{**listed[0], "top_logprobs": listed}]
        message = {"role": "assistant", "content": best[0]}
        logprobs = {"content": content} if self.says == "logprobs" else None
        choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": "length"}
        usage = {"prompt_tokens": len(self.ids(text)), "completion_tokens": 1}
        return 200, {"choices": [choice], **({"usage": usage} if self.counts else {})}


class _Handler(BaseHTTPRequestHandler):
    script: TokenServer
    lock: threading.Lock

    def log_message(self, *_: Any) -> None:
        """Silent."""

    def do_GET(self) -> None:
        self._send(200, json.dumps({"data": [{"id": "rm"}]}))

    def do_POST(self) -> None:
        script = self.script
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.lock:
            script.requests.append((self.path, body))
            script.busy += 1
            script.most_busy = max(script.most_busy, script.busy)
        time.sleep(script.silent if self.path == "/v1/completions" else script.pause)
        try:
            if script.errors:
                self._send(*script.errors.pop(0))
                return
            status, answer = script.answer(self.path, body)
            self._send(status, json.dumps(answer))
        finally:
            with self.lock:
                script.busy -= 1

    def _send(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Retry-After", "0.01")
        self.end_headers()
        try:
            self.wfile.write(text.encode())
        except OSError:
            """The client has gone."""


@contextmanager
def serving_tokens(**script: Any) -> Iterator[TokenServer]:
    """Runs the stand-in on a free port of loopback."""
    stand_in = TokenServer(**script)
    handler = type("Handler", (_Handler,), {"script": stand_in, "lock": threading.Lock()})
    with listening(handler) as stand_in.url:
        yield stand_in
