"""A stand-in Hub on 127.0.0.1: real HTTP, planned faults, and a journal of all requests."""

from __future__ import annotations

import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.support.hub.answers import Answer, Call, answer_error, answer_json
from tests.support.hub.faults import Fault, Plan
from tests.support.hub.routes import route
from tests.support.hub.store import HubError, Repository, Store, User

WRITER, READER, STRANGER = "hf_writer", "hf_reader", "hf_stranger"
"""Tokens: of the user me, who owns the namespaces me and her-lab, to write and to read; of somebody else."""

USERS = {
    WRITER: User("me", organizations=("her-lab",)),
    READER: User("me", writes=False, organizations=("her-lab",)),
    STRANGER: User("ann"),
}


@dataclass(frozen=True)
class Request:
    """A line of the journal."""

    step: str
    method: str
    path: str
    user: str | None
    sent: int
    result: str
    agent: str


@dataclass
class StandIn:
    """A running stand-in.

    Args:
        url (`str`): Its address, for HF_ENDPOINT.
        store ([`Store`]): What it holds.
        plan ([`Plan`]): The faults to come.
        journal (`list[Request]`): The requests so far.
    """

    url: str
    store: Store
    plan: Plan = field(default_factory=Plan)
    journal: list[Request] = field(default_factory=list)

    def repository(self, repo_id: str, kind: str = "model") -> Repository:
        """A repository, whoever may see it."""
        return self.store.repositories[kind, repo_id]

    def has(self, repo_id: str, kind: str = "model") -> bool:
        return (kind, repo_id) in self.store.repositories

    def steps(self, *names: str) -> list[str]:
        """The steps asked for so far, in order, with what came of each: `commit 200`; those of `names`, or all."""
        return [f"{entry.step} {entry.result}" for entry in self.journal if not names or entry.step in names]

    def unknown(self) -> list[str]:
        """Requests that this Hub has no endpoint for."""
        return [f"{entry.method} {entry.path}" for entry in self.journal if entry.step == "unknown"]


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """Serves an empty Hub on a free port for the length of a `with` block."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.hub = StandIn(f"http://127.0.0.1:{server.server_address[1]}", Store(USERS))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a client may keep its connection longer than the test lasts
    hub: StandIn

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no error here; everything else is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on standard error: the journal has it."""

    def _serve(self) -> None:
        hub, address = self.server.hub, urlsplit(self.path)
        found = route(self.command, address.path)
        step = found[0].step if found else "unknown"
        fault = hub.plan.take(step, self.path)
        user = hub.store.users.get(self.headers.get("Authorization", "").removeprefix("Bearer "))
        try:
            body = self._body(half=bool(fault and fault.effect == "tear request"))
        except (ConnectionError, ValueError):  # the client has gone while it sent
            self.close_connection = True
            return
        torn = fault and fault.effect == "tear request"
        answer = None if torn else self._answer(found, body, user, fault)
        what = "torn" if answer is None else str(answer.status)
        cut = {"lose answer": ", answer lost", "tear answer": ", answer torn"}.get(fault.effect, "") if fault else ""
        agent, name = self.headers.get("User-Agent", ""), user.name if user else None
        hub.journal.append(Request(step, self.command, self.path, name, len(body), what + cut, agent))
        if answer is None or (fault and fault.effect == "lose answer"):
            self._hang_up(reset=bool(fault and fault.reset))
        elif fault and fault.effect == "tear answer":
            self._write(answer, part=len(answer.body) // 2)
            self._hang_up(reset=fault.reset)
        else:
            self._write(answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve

    def _answer(self, found: Any, body: bytes, user: User | None, fault: Fault | None) -> Answer:
        hub, address = self.server.hub, urlsplit(self.path)
        if fault and fault.effect == "wait":
            time.sleep(fault.seconds)
        if fault and fault.effect == "meanwhile" and fault.action:
            fault.action()
        if fault and fault.effect == "refuse":
            # Of an https address, the client takes every 401 about a repository for one that does not exist.
            code = "RepoNotFound" if fault.status == 401 and found and "id" in found[1] else ""
            refused = answer_error(HubError(fault.status, fault.message or f"refused with {fault.status}", code))
            if fault.status >= 500 and not fault.message:  # what stands before the Hub answers in HTML
                page = f"<html><body><h1>{fault.status}</h1></body></html>".encode()
                refused = Answer(fault.status, page, {"Content-Type": "text/html"})
            return Answer(refused.status, refused.body, {**refused.headers, **fault.headers})
        if found is None:
            return answer_json({"error": "Not found"}, 404)
        endpoint, groups = found
        if "Authorization" in self.headers and user is None:
            return answer_error(HubError(401, "Invalid credentials in Authorization header"))
        headers = {name.lower(): text for name, text in self.headers.items()}
        call = Call(hub.store, hub.url, groups, dict(parse_qsl(address.query)), headers, body, user)
        try:
            with hub.store.lock:
                return endpoint.answer(call)
        except HubError as error:
            return answer_error(error)

    def _body(self, *, half: bool) -> bytes:
        """What is sent with the request; with `half`, only its first half is read."""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
                if half:
                    return pieces[0]
            self.rfile.readline()
            return b"".join(pieces)
        size = int(self.headers.get("Content-Length") or 0)
        return self.rfile.read(size // 2 if half else size)

    def _write(self, answer: Answer, *, part: int | None = None) -> None:
        """Sends an answer; of a torn one its head and a part of its body, or nothing where it has no body."""
        if part is not None and (self.command == "HEAD" or not answer.body):
            return
        self.send_response(answer.status)
        for name, text in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body[:part])

    def _hang_up(self, *, reset: bool) -> None:
        """Ends the connection: closed after what was sent, or reset."""
        self.close_connection = True
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            with suppress(OSError):  # the client may have gone first
                self.connection.shutdown(socket.SHUT_RDWR)
