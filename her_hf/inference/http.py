"""HTTP for model servers: the openai client over aiohttp, one time limit per call, errors with a remedy.

The client's own retries are off (a [`Caller`] retries), and its response types are bypassed: servers add fields of
their own, and a streamed reply costs five times as much with the types.
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
_UNLIMITED = 0  # callers limit concurrency themselves; `None` would be aiohttp's limit of 100
_WHOLE = ("json", "html", "text/plain")
"""Content types of a body that is not a stream, even if one was requested."""

_FAILURES = (openai.APIConnectionError, httpx2.HTTPError, aiohttp.ClientError, OSError)


@cache
def _certificates() -> ssl.SSLContext:
    """Reading them takes most of the time of opening a client, so it is done once."""
    return httpx2.create_ssl_context()


class Events(openai.AsyncStream[object]):
    """A stream of JSON events that records whether its end mark was received.

    Events without data, which servers send to keep a connection open, are skipped.
    """

    complete = False

    async def _iter_events(self) -> AsyncIterator[Any]:
        async for event in super()._iter_events():
            self.complete = self.complete or event.data.startswith("[DONE]")
            if event.data.strip():
                yield _without_empty_error(event) if '"error"' in event.data else event


def _without_empty_error(event: Any) -> Any:
    """The event without an empty `error`, which the client would raise."""
    try:
        data = json.loads(event.data)
    except (ValueError, RecursionError):
        return event
    if not isinstance(data, dict) or not data.get("error") or error_of(data):
        return event
    del data["error"]
    return type(event)(event=event.event, data=json.dumps(data), id=event.id, retry=event.retry)


class _Limit:
    """The remaining waiting time of one call."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    async def wait(self, coming: Awaitable[T]) -> T:
        """Waits within the limit; time that the reader of a stream spends between two pieces does not count."""
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            async with asyncio.timeout(max(self._left, 0.0)):
                return await coming
        finally:
            self._left -= clock() - started


class Answer:
    """A response whose body is still to be read.

    Args:
        response (`httpx2.Response`): The response.
        events (`Events`, *optional*): Its body as a stream; `None` if the server refused.
        limit (`_Limit`): The remaining time.
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
        """The JSON object of a whole answer, or the objects of a stream, regardless of what was requested.

        After the last object, `complete` is true for a whole answer and for a stream with its end mark. An error that
        the server sends in the middle of a stream is an object with `error`.

        Raises:
            `ModelError`: If the body is neither.
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
                f"{self._server} sent an event that is not a JSON object ({str(error)[:200]}). See the server's log.",
                kind="protocol",
            ) from error
        except openai.APIConnectionError:
            raise
        except openai.APIError as error:
            yield {"error": error.body or error.message}
        self.complete = self._events.complete

    async def close(self) -> None:
        """Closes the connection if the body was not read to its end, so that the server stops writing."""
        if self._events is not None:
            await self._events.close()


class Connection:
    """Requests to one server; failures become a [`ModelError`] with a remedy.

    Args:
        server (`str`): The server's base URL.
        key (`str`): Bearer token; empty for none.
        timeout (`float`): Total seconds that one call may take, including reading its answer.
    """

    def __init__(self, server: str, key: str, timeout: float) -> None:
        self._server, self._key, self._timeout = server, key, timeout
        self._client: openai.AsyncOpenAI | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @asynccontextmanager
    async def request(self, url: str, body: dict[str, Any] | None = None) -> AsyncIterator[Answer]:
        """One request, a POST if it has a body; failures, also while reading the answer, become a [`ModelError`]."""
        answer: Answer | None = None
        try:
            answer = await self._send(url, body)
            yield answer
        except _FAILURES as error:
            raise self._explained(error, answering=answer is not None) from error
        finally:
            if answer is not None:
                await answer.close()

    async def _send(self, url: str, body: dict[str, Any] | None) -> Answer:
        """Sends a request; the body of the answer, a stream or not, is still to be read."""
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

    def _explained(self, error: BaseException, *, answering: bool) -> ModelError:
        """What failed, from the cause of the error: the client reports a broken connection as a timeout."""
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
            what = "did not finish its answer within" if answering else "did not respond for"
            return ModelError(
                f"{self._server} {what} {self._timeout:g} seconds. The server may be busy or still loading: try "
                "again, or allow more time (--timeout).",
                kind="timeout",
            )
        last = causes[-1]
        why = _why(last) if isinstance(last, OSError) else f"{type(last).__name__}: {str(last)[:200]}"
        return ModelError(f"The connection to {self._server} broke ({why}). Try again.", kind="dropped")

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
        """Closes the client; a later request opens a new one."""
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
    """Why a connection failed. The system's own messages differ by platform and contain addresses and ports."""
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
