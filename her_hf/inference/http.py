"""HTTP for servers of models: the openai client over aiohttp, one time limit a call, errors that say what to do.

The client's own retries are off (a [`Caller`] retries), and its response types are passed by: servers add fields of
their own, and a streamed reply costs five times as much with them.
"""

from __future__ import annotations

import asyncio
import errno
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, TypeVar

import aiohttp
import httpx2
import openai

from .interface import ModelError
from .wire import error_of, parse_object

T = TypeVar("T")

_CONNECT_SECONDS = 10.0
_UNLIMITED = 0  # callers have limits of their own; `None` would be aiohttp's hundred
_WHOLE = ("json", "html", "text/plain")
"""Kinds of a body that is no stream, whatever was asked for."""

_FAILURES = (openai.APIConnectionError, httpx2.HTTPError, aiohttp.ClientError, OSError)


@cache
def _certificates() -> ssl.SSLContext:
    """Reading them is nearly all that opening a client costs, so it is done once."""
    return httpx2.create_ssl_context()


class Events(openai.AsyncStream[object]):
    """A stream of JSON events that knows whether its end mark came.

    Events without data, with which servers keep a connection open, are passed over.
    """

    complete = False

    async def _iter_events(self) -> AsyncIterator[Any]:
        async for event in super()._iter_events():
            self.complete = self.complete or event.data.startswith("[DONE]")
            if event.data.strip():
                yield _without_empty_error(event) if '"error"' in event.data else event


def _without_empty_error(event: Any) -> Any:
    """An event without an `error` that says nothing, which the client would raise."""
    try:
        data = json.loads(event.data)
    except (ValueError, RecursionError):
        return event
    if not isinstance(data, dict) or not data.get("error") or error_of(data):
        return event
    del data["error"]
    return type(event)(event=event.event, data=json.dumps(data), id=event.id, retry=event.retry)


class _Limit:
    """The seconds of waiting that are left to one call."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    async def wait(self, coming: Awaitable[T]) -> T:
        """Waits for something; what whoever reads a stream does in between does not count."""
        clock = asyncio.get_running_loop().time
        begun = clock()
        try:
            async with asyncio.timeout(max(self._left, 0.0)):
                return await coming
        finally:
            self._left -= clock() - begun


class Answer:
    """A response whose body is still to be read.

    Args:
        response (`httpx2.Response`): The response.
        events (`Events`, *optional*): Its body as a stream; none if the server refused.
        limit (`_Limit`): The time that is left.
        server (`str`): The server's base URL, for messages.
    """

    def __init__(self, response: httpx2.Response, events: Events | None, limit: _Limit, server: str) -> None:
        self._response, self._events, self._limit, self._server = response, events, limit, server
        self.status = response.status_code
        self.kind = response.headers.get("content-type", "")
        self.retry_after = response.headers.get("retry-after")
        self.complete = False

    async def text(self) -> str:
        """The whole body."""
        body = await self._limit.wait(self._response.aread())
        return body.decode("utf-8", errors="replace")

    async def objects(self) -> AsyncGenerator[dict[str, Any], None]:
        """The one JSON object of a whole answer, or those of a stream, whichever was asked for.

        After the last, `complete` says whether that was all: a whole answer, or a stream with its end mark. An error
        that the server sends in the middle of a stream is an object with `error`.

        Raises:
            `ModelError`: If what comes is neither.
        """
        if any(kind in self.kind for kind in _WHOLE):
            text = await self.text()
            if not text.lstrip().startswith(("data:", "event:", ":")):
                self.complete = True
                yield parse_object(text, self._server)
                return
        assert self._events is not None
        try:
            while (event := await self._limit.wait(anext(self._events, None))) is not None:
                if not isinstance(event, dict):
                    raise ValueError(f"got {event!r:.200}")
                yield event
        except ValueError as error:
            raise ModelError(
                f"{self._server} sent an event that is no JSON object ({str(error)[:200]}). Look at the server's log.",
                kind="protocol",
            ) from error
        except openai.APIConnectionError:
            raise
        except openai.APIError as error:
            yield {"error": error.body or error.message}
        self.complete = self._events.complete

    async def close(self) -> None:
        """Closes the connection if the body was not read to its end: a server stops writing then."""
        if self._events is not None:
            await self._events.close()


class Connection:
    """Requests to one server; failures become a [`ModelError`] with a remedy.

    Args:
        server (`str`): The server's base URL.
        key (`str`): Bearer token; none if empty.
        timeout (`float`): Seconds that one call may take in all, its answer read to the end.
    """

    def __init__(self, server: str, key: str, timeout: float) -> None:
        self._server, self._key, self._timeout = server, key, timeout
        self._client: openai.AsyncOpenAI | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @asynccontextmanager
    async def request(self, url: str, body: dict[str, Any] | None = None) -> AsyncIterator[Answer]:
        """One request, a POST if it has a body; what fails, also while the answer is read, is a [`ModelError`]."""
        answer: Answer | None = None
        try:
            answer = await self._send(url, body)
            yield answer
        except _FAILURES as error:
            raise self._explained(error, begun=answer is not None) from error
        finally:
            if answer is not None:
                await answer.close()

    async def _send(self, url: str, body: dict[str, Any] | None) -> Answer:
        """Sends a request; the body of the answer is left to be read, be it a stream or not."""
        client, limit = self._opened(), _Limit(self._timeout)
        how: dict[str, Any] = {"cast_to": object, "stream": True, "stream_cls": Events}
        if not self._key:
            how["options"] = {"headers": {"Authorization": openai.Omit()}}
        if body is not None:
            how["content"] = json.dumps(body).encode()
        try:
            events: Events = await limit.wait((client.get if body is None else client.post)(url, **how))
        except openai.APIStatusError as error:
            return Answer(error.response, None, limit, self._server)
        return Answer(events.response, events, limit, self._server)

    def _explained(self, error: BaseException, *, begun: bool) -> ModelError:
        """What failed. The client calls a connection that broke a timeout, so its cause is looked at."""
        causes = [error]
        while (cause := causes[-1].__cause__) is not None:
            causes.append(cause)
        for cause in causes:
            if isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
                return ModelError(
                    f"No server answers at {self._server} ({_why(cause)}). Start one, for example "
                    "`vllm serve CHECKPOINT --reasoning-parser hf`, or check host and port.",
                    kind="connection",
                )
        if any(isinstance(cause, TimeoutError) for cause in causes):
            what = "did not finish its answer within" if begun else "was silent for"
            return ModelError(
                f"{self._server} {what} {self._timeout:g} seconds. The server may be busy or still loading: try "
                "again, or allow more time (--timeout).",
                kind="timeout",
            )
        last = causes[-1]
        said = _why(last) if isinstance(last, OSError) else f"{type(last).__name__}: {str(last)[:200]}"
        return ModelError(f"The connection to {self._server} broke ({said}). Try again.", kind="dropped")

    def _opened(self) -> openai.AsyncOpenAI:
        """The client of the running event loop."""
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._client = openai.AsyncOpenAI(
                api_key=self._key or "none",
                base_url=self._server,
                max_retries=0,
                timeout=httpx2.Timeout(None, connect=_CONNECT_SECONDS),
                http_client=openai.DefaultAioHttpClient(
                    verify=_certificates(), limits=httpx2.Limits(max_connections=_UNLIMITED)
                ),
            )
            self._loop = loop
        return self._client

    async def close(self) -> None:
        """Lets go of the client; a later request opens another."""
        if self._client is not None:
            await self._client.close()
            self._client = None


_WHYS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection closed",
    errno.ETIMEDOUT: "no answer in time",
    errno.EHOSTUNREACH: "no route to the host",
    errno.ENETUNREACH: "network unreachable",
}


def _why(error: Exception) -> str:
    """Why a connection failed, in words of our own: the system's differ by platform and name addresses and ports."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return f"no connection within {_CONNECT_SECONDS:g} seconds"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "host name not found"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not accepted"
    if isinstance(error, aiohttp.ClientSSLError):
        return "no TLS connection; the URL may need http:// in place of https://"
    number = error.errno if isinstance(error, OSError) else None
    return _WHYS.get(number, "no connection") if number is not None else "no connection"
