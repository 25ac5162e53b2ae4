"""HTTP for servers of models: one session, errors that say what to do. Over aiohttp, whose calls cost least.

An evaluation keeps dozens of requests on their way at once and makes thousands; with httpx the client's own work was
several times what the server needed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.request import getproxies

import aiohttp

from .interface import ModelError

_CONNECT_SECONDS = 10.0
_LONGEST_LINE = 2**24
"""Bytes of one line of a streamed answer, some hundred times what a server sends."""


class Answer:
    """A response whose body is still to be read.

    Args:
        response (`aiohttp.ClientResponse`): The response.
    """

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.kind = response.headers.get("content-type", "")
        self.retry_after = response.headers.get("retry-after")

    async def text(self) -> str:
        """The whole body."""
        return (await self._response.read()).decode("utf-8", errors="replace")

    async def lines(self) -> AsyncGenerator[str, None]:
        """Lines of a streamed body, parted by line feeds alone: U+2028 and its like may stand in JSON as they are."""
        async for line in self._response.content:
            yield line.decode("utf-8", errors="replace").removesuffix("\n").removesuffix("\r")


class Connection:
    """Requests to one server; failures become a [`ModelError`] with a remedy.

    Args:
        server (`str`): The server's base URL, for messages.
        key (`str`): Bearer token; none if empty.
        timeout (`float`): Seconds without any sign of life.
    """

    def __init__(self, server: str, key: str, timeout: float) -> None:
        self._server, self._key, self._timeout = server, key, timeout
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @asynccontextmanager
    async def request(self, method: str, url: str, body: dict[str, Any] | None = None) -> AsyncIterator[Answer]:
        """One request; what goes wrong, now or while the answer is read, becomes a [`ModelError`]."""
        data = None if body is None else json.dumps(body).encode()
        try:
            async with self._opened().request(method, url, data=data) as response:
                yield Answer(response)
        except aiohttp.ClientConnectorError as error:
            raise ModelError(
                f"No server answers at {self._server} ({error.os_error.strerror or 'connection refused'}). Start one, "
                "for example `vllm serve CHECKPOINT --reasoning-parser hf`, or check host and port.",
                kind="connection",
            ) from error
        except TimeoutError as error:
            raise ModelError(
                f"{self._server} was silent for {self._timeout:g} seconds ({type(error).__name__}). The server may be "
                "busy or still loading: try again, or allow more time.",
                kind="timeout",
            ) from error
        except (aiohttp.ClientError, ConnectionError) as error:
            raise ModelError(
                f"The connection to {self._server} broke ({type(error).__name__}: {error}). Try again.", kind="dropped"
            ) from error

    def _opened(self) -> aiohttp.ClientSession:
        """The session of the running event loop."""
        loop = asyncio.get_running_loop()
        if self._session is None or self._session.closed or self._loop is not loop:
            headers = {"Content-Type": "application/json"}
            if self._key:
                headers["Authorization"] = f"Bearer {self._key}"
            connect = min(_CONNECT_SECONDS, self._timeout)
            self._session = aiohttp.ClientSession(
                headers=headers,
                connector=aiohttp.TCPConnector(limit=0),  # callers have limits of their own
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect, sock_read=self._timeout),
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=_LONGEST_LINE,
                trust_env=bool(getproxies()),  # it costs every request a look into files, so only where there are any
            )
            self._loop = loop
        return self._session

    async def close(self) -> None:
        """Lets go of the session; a later request opens another."""
        if self._session is not None:
            await self._session.close()
            self._session = None
