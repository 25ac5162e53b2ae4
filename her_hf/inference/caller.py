"""Asking a model many times and reliably: a limit on concurrency, retries, several servers, and the ledger."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from .interface import AccessRefused, ChatModel, Likely, Message, Messages, ModelError, Reply, Sampling, Schema
from .ledger import Ledger, call_key
from .window import fit
from .wire import estimate_tokens

T = TypeVar("T")

_log = logging.getLogger(__name__)

_REST = 5.0
"""Seconds for which a backend that failed is asked only if there is no other."""

_FIRST_RETRIES = 2

_FILTERED = re.compile(r"moderat|flagged|filter|polic|safety", re.IGNORECASE)


@dataclass(frozen=True)
class Retries:
    """How often and after how long a failed call is made again.

    Args:
        most (`int`, *optional*, defaults to 6): Attempts after the first.
        first (`float`, *optional*, defaults to 1.0): Seconds before the second attempt; doubled each time.
        longest (`float`, *optional*, defaults to 60.0): Most seconds between two attempts. What the server asks for
            (`Retry-After`) counts, up to this, where it is longer than the usual wait: some servers always ask for 0.
    """

    most: int = 6
    first: float = 1.0
    longest: float = 60.0

    def wait(self, attempt: int, error: ModelError) -> float:
        """Seconds to wait after this failed attempt (0 is the first); up to half of it by chance, against crowds."""
        usual = min(self.first * 2.0**attempt, self.longest) * random.uniform(0.5, 1.0)
        return max(usual, min(error.retry_after or 0.0, self.longest))


@dataclass
class Spent:
    """What a caller has used so far.

    Args:
        asked (`int`): Calls that went to a model and were answered.
        kept (`int`): Calls answered from the ledger.
        retried (`int`): Attempts made again.
        failed (`int`): Calls without an answer in the end.
        prompt_tokens, completion_tokens (`int`): Of the answers that say it, those from the ledger left out.
        uncounted (`int`): Answers that do not say how many tokens they used.
    """

    asked: int = 0
    kept: int = 0
    retried: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0

    def add(self, reply: Reply) -> None:
        """Counts an answer that a model gave."""
        self.asked += 1
        usage = reply.usage
        if usage.prompt_tokens is None or usage.completion_tokens is None:
            self.uncounted += 1
            return
        self.prompt_tokens += usage.prompt_tokens
        self.completion_tokens += usage.completion_tokens

    def as_dict(self) -> dict[str, int]:
        """The counts, for JSON."""
        return asdict(self)


@dataclass
class _Place:
    """One backend and how many calls it is answering."""

    model: ChatModel
    busy: int = 0
    rests_until: float = 0.0  # it has just failed: the others go first until then


class Caller:
    """A model as evaluation, judging and synthesis ask it.

    Several backends of one model (servers behind different URLs) share the calls: the next goes to the one that has
    fewest in hand and has not just failed. Each call is looked up in the ledger first, and kept in it when answered;
    calls that are equal and wait at the same time are made once.

    Args:
        models (`ChatModel` or `Sequence[ChatModel]`): Backends of the same model.
        ledger ([`Ledger`], *optional*): Where answers are kept; without one nothing is.
        concurrency (`int`, *optional*, defaults to 16): Most calls at once, over all backends.
        retries ([`Retries`], *optional*): What is done about failures that may pass.

    Raises:
        `ValueError`: If there is no model or `concurrency` is below 1.

    Example (not run: it needs a server):

    ```python
    >>> judge = Caller(open_model("http://127.0.0.1:8000/v1"), ledger=Ledger("ledger.sqlite"), concurrency=64)
    >>> reply = await judge.ask(messages, sampling=Sampling(temperature=0, seed=1), thinking=False)
    ```
    """

    def __init__(
        self,
        models: ChatModel | Sequence[ChatModel],
        *,
        ledger: Ledger | None = None,
        concurrency: int = 16,
        retries: Retries | None = None,
    ) -> None:
        found = list(models) if isinstance(models, Sequence) else [models]
        if not found:
            raise ValueError("a caller needs at least one model, got none")
        if concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, got {concurrency}")
        self._places = [_Place(model) for model in found]
        self._ledger = ledger
        self._retries = retries or Retries()
        self._limit = asyncio.Semaphore(concurrency)
        self._asking: dict[str, asyncio.Future[Reply]] = {}
        self._fingerprint: dict[str, Any] | None = None
        self._window_asked: tuple[int | None] | None = None
        self._told: set[str] = set()
        self._about = asyncio.Lock()  # what is known of the model is asked once, not by everybody who waits
        self.spent = Spent()

    @property
    def name(self) -> str:
        """Who answers, for reports."""
        return self._places[0].model.name

    @property
    def notes(self) -> list[str]:
        """What the backends noted, each once."""
        return list(dict.fromkeys(note for place in self._places for note in place.model.notes))

    async def fingerprint(self) -> dict[str, Any]:
        """What the ledger knows this model by; asked once.

        Raises:
            `ValueError`: If the backends are not the same model.
            `ModelError`: If none can be asked.
        """
        async with self._about:
            if self._fingerprint is None:
                found = [await self._patiently(place.model.fingerprint) for place in self._places]
                other = next((print_ for print_ in found if print_ != found[0]), None)
                if other is not None:
                    raise ValueError(
                        f"{self._places[0].model.name} and its fellow servers are not the same model: {found[0]} "
                        f"against {other}. Name URLs of one model, with one chat template."
                    )
                self._fingerprint = found[0]
            return self._fingerprint

    async def ask(
        self,
        messages: Messages,
        *,
        sampling: Sampling,
        thinking: bool = True,
        schema: Schema | None = None,
    ) -> Reply:
        """One reply: from the ledger, or from a model.

        Args:
            messages (`Messages`): A conversation that ends where the reply begins.
            sampling (`Sampling`): How to draw. Give a seed: equal calls are one call.
            thinking (`bool`, *optional*, defaults to `True`): Whether the turn is opened with system thinking.
            schema (`Schema`, *optional*): JSON schema of the reply.

        Raises:
            `ModelError`: If there is no answer after all retries.
            [`AccessRefused`]: If the server lets nobody in with this key: no other call would be answered either.
        """
        key = call_key(await self.fingerprint(), messages, sampling=sampling, thinking=thinking, schema=schema)
        if key in self._asking:
            return await asyncio.shield(self._asking[key])
        future = self._asking[key] = asyncio.get_running_loop().create_future()
        try:
            reply = await self._answer(key, lambda: self._from_a_place(messages, sampling, thinking, schema))
        except BaseException as error:
            future.set_exception(error if isinstance(error, Exception) else ModelError("cancelled", kind="dropped"))
            future.exception()  # seen, if nobody else waits
            raise
        else:
            future.set_result(reply)
            return reply
        finally:
            del self._asking[key]

    async def likelihoods(self, messages: Messages, continuations: Sequence[str]) -> list[float]:
        """Log-probability of each of several whole answers, from the ledger or from a model in process.

        Args:
            messages (`Messages`): A conversation that ends where the answer begins.
            continuations (`Sequence[str]`): The answers.

        Raises:
            `ValueError`: If the backend does not tell probabilities, as servers do not.
            `ModelError`: If the model fails.
        """
        model = self._places[0].model
        if not isinstance(model, Likely):
            raise ValueError(
                f"{model.name} does not tell how likely an answer is: read its text, or name a model in this process "
                "(a folder or Hub id)."
            )
        reading = Sampling(max_tokens=1, temperature=0.0)
        asked = {"likelihoods_of": list(continuations)}
        key = call_key(await self.fingerprint(), messages, sampling=reading, thinking=False, schema=asked)

        async def read() -> Reply:
            found = await model.likelihoods(messages, continuations)
            return Reply(text=json.dumps(found), finish_reason="likelihoods", ended=True, model=model.name)

        reply = await self._once(key, read)
        return [float(value) for value in json.loads(reply.text)]

    async def fit(
        self, messages: Messages, *, max_tokens: int, thinking: bool = True, names: Sequence[str] = ()
    ) -> tuple[list[Message], int]:
        """Leaves out as few of the oldest turns as make room for a reply of `max_tokens` in the model's window.

        Args:
            messages (`Messages`): The conversation.
            max_tokens (`int`): Room for the reply.
            thinking (`bool`, *optional*, defaults to `True`): Whether the turn is opened with system thinking.
            names (`Sequence[str]`, *optional*): Who speaks; turns that share a message are then dropped one by one.

        Returns:
            `tuple[list[dict], int]`: The messages, and how many of the oldest were left out.

        Raises:
            `WindowFull`: If not even the newest exchange fits.
            `ModelError`: If the model cannot be asked how long the prompt is.
        """
        model = self._places[0].model
        window = await self._window()
        limit = None if window is None else window - max_tokens
        if limit is None or estimate_tokens(messages) <= limit:  # the estimate is rather too high
            return [dict(message) for message in messages], 0
        fitted = await self._patiently(
            lambda: fit(messages, model, limit, thinking=thinking, names=names), self._retries.most
        )
        return fitted.messages, fitted.dropped

    async def _window(self) -> int | None:
        """The model's window; asked once, however many wait for it."""
        async with self._about:
            if self._window_asked is None:
                self._window_asked = (await self._patiently(self._places[0].model.window),)
            return self._window_asked[0]

    async def close(self) -> None:
        """Lets go of all connections."""
        for place in self._places:
            await place.model.close()

    async def _answer(self, key: str, ask: Callable[[], Awaitable[Reply]]) -> Reply:
        """Asks until there is an answer, or until trying again is no use; between attempts others may ask the same."""
        attempt = 0
        while True:
            try:
                return await self._once(key, ask)
            except ModelError as error:
                if self._keeps_out(error):
                    self.spent.failed += 1
                    raise AccessRefused(f"{error} Nothing more is asked of it; what was answered is kept.") from error
                # What is no answer at all (a proxy's error page) may pass too: the address was right at first.
                passing = error.retryable or error.kind == "protocol"
                if not passing or attempt >= self._retries.most:
                    self.spent.failed += 1
                    raise
                self.spent.retried += 1
                await asyncio.sleep(self._retries.wait(attempt, error))
                attempt += 1

    def _keeps_out(self, error: ModelError) -> bool:
        """Whether this refusal is of the key, not of one prompt, as some services answer 403 to what they filter."""
        return error.status == 401 or (
            error.status == 403 and not self.spent.asked and not _FILTERED.search(str(error))
        )

    def _tell(self) -> None:
        """Tells, once each, what the models noted, such as a field that goes unsent."""
        for note in self.notes:
            if note not in self._told:
                self._told.add(note)
                _log.warning("%s", note)

    async def _once(self, key: str, ask: Callable[[], Awaitable[Reply]]) -> Reply:
        """The reply to a call, from the ledger if there is one; asked for once, within the limit."""

        async def counted() -> Reply:
            reply = await ask()
            self.spent.add(reply)
            self._tell()
            return reply

        if self._ledger is None:
            async with self._limit:
                return await counted()
        reply, asked = await self._ledger.once(key, counted, limit=self._limit)
        self.spent.kept += not asked
        return reply

    async def _from_a_place(
        self, messages: Messages, sampling: Sampling, thinking: bool, schema: Schema | None
    ) -> Reply:
        now = time.monotonic()
        place = min(self._places, key=lambda place: (place.rests_until > now, place.busy))
        place.busy += 1
        try:
            reply = await place.model.chat(messages, sampling=sampling, thinking=thinking, schema=schema)
        except ModelError:
            place.rests_until = time.monotonic() + _REST
            raise
        finally:
            place.busy -= 1
        return reply

    async def _patiently(self, ask: Callable[[], Awaitable[T]], most: int = _FIRST_RETRIES) -> T:
        """Makes a call about the model or a prompt; the first with few retries, to tell of a wrong address soon."""
        attempt = 0
        while True:
            try:
                return await ask()
            except ModelError as error:
                if not error.retryable or attempt >= min(self._retries.most, most):
                    raise
                await asyncio.sleep(self._retries.wait(attempt, error))
                attempt += 1
