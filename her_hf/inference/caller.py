"""Many reliable calls to a model: limited concurrency, retries, several servers, and the ledger."""

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

from her_hf.settings import CONCURRENCY, MAX_RETRIES

from .affinity import choose, conversation_key, distinct_names
from .interface import AccessRefused, ChatModel, Likely, Messages, ModelError, Reply, Sampling, Schema
from .ledger import Ledger, call_key
from .window import Room, make_room
from .wire import estimate_tokens

T = TypeVar("T")

_log = logging.getLogger(__name__)

_REST = 5.0
"""Seconds for which a backend that has failed is used only if there is no other."""

_FIRST_RETRIES = 2

_FILTERED = re.compile(r"moderat|flagged|filter|polic|safety", re.IGNORECASE)


@dataclass(frozen=True)
class Retries:
    """How often and after how long a failed call is retried.

    Args:
        max_retries (`int`, *optional*, defaults to 6): Maximum number of attempts after the first.
        first (`float`, *optional*, defaults to 1.0): Seconds before the second attempt; doubled each time.
        longest (`float`, *optional*, defaults to 60.0): Maximum seconds between two attempts. A server's `Retry-After`
            is honoured up to this limit if it is longer than the usual wait: some servers always send 0.
    """

    max_retries: int = MAX_RETRIES
    first: float = 1.0
    longest: float = 60.0

    def wait(self, attempt: int, error: ModelError) -> float:
        """Seconds to wait after this failed attempt (0 is the first), reduced by up to half at random (jitter)."""
        usual = min(self.first * 2.0**attempt, self.longest) * random.uniform(0.5, 1.0)
        return max(usual, min(error.retry_after or 0.0, self.longest))


@dataclass
class Spent:
    """What a caller has used so far.

    Args:
        asked (`int`): Calls that were sent to a model and answered.
        kept (`int`): Calls answered from the ledger.
        retried (`int`): Attempts that were retries.
        failed (`int`): Calls that failed after all retries.
        prompt_tokens, completion_tokens (`int`): Totals over answers with token counts, without those of the ledger.
        uncounted (`int`): Answers without token counts.
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
    rests_until: float = 0.0  # it has failed: the others are preferred until then


class Caller:
    """A model as used by evaluation, judging and synthesis.

    Several backends of one model (servers behind different URLs) share the calls. Those of one scene and character go
    to one server, which then reads only what is new of the prompt, unless it has just failed or has much more to do
    than the others (see [`~her_hf.inference.affinity`]); answers do not depend on it. Each call is looked up in the
    ledger first, and stored in it when answered; equal calls that are pending at the same time are made once.

    Args:
        models (`ChatModel` or `Sequence[ChatModel]`): Backends of the same model.
        ledger ([`Ledger`], *optional*): Stores answers; without it none are stored.
        concurrency (`int`, *optional*, defaults to 16): Maximum number of calls in flight, over all backends.
        retries ([`Retries`], *optional*): How transient failures are retried.
        affinity (`bool`, *optional*, defaults to `True`): Whether calls of one scene and character go to one server;
            otherwise the next call goes to the least busy one that has not just failed.

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
        concurrency: int = CONCURRENCY,
        retries: Retries | None = None,
        affinity: bool = True,
    ) -> None:
        found = list(models) if isinstance(models, Sequence) else [models]
        if not found:
            raise ValueError("a caller needs at least one model, got none")
        if concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, got {concurrency}")
        self._places = [_Place(model) for model in found]
        self._place_names = distinct_names([model.name for model in found])  # now: a server's own name is asked later
        self._last_places: dict[str, int] | None = {} if affinity else None  # by conversation
        self._ledger = ledger
        self._retries = retries or Retries()
        self._limit = asyncio.Semaphore(concurrency)
        self._asking: dict[str, asyncio.Future[Reply]] = {}
        self._fingerprint: dict[str, Any] | None = None
        self._window_asked: tuple[int | None] | None = None
        self._told: set[str] = set()
        self._about = asyncio.Lock()  # facts about the model are requested once, not by every waiting task
        self.spent = Spent()

    @property
    def name(self) -> str:
        """The model's name, for reports."""
        return self._places[0].model.name

    @property
    def notes(self) -> list[str]:
        """The notes of all backends, without repetition."""
        return list(dict.fromkeys(note for place in self._places for note in place.model.notes))

    async def fingerprint(self) -> dict[str, Any]:
        """What identifies this model in the ledger; requested once.

        Raises:
            `ValueError`: If the backends are not the same model.
            `ModelError`: If a backend cannot be asked.
        """
        async with self._about:
            if self._fingerprint is None:
                found = [await self._patiently(place.model.fingerprint) for place in self._places]
                other = next((print_ for print_ in found if print_ != found[0]), None)
                if other is not None:
                    raise ValueError(
                        f"the servers of {self._places[0].model.name} do not serve the same model: {found[0]} and "
                        f"{other}. Name URLs of one model with one chat template."
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
            sampling (`Sampling`): How to sample. Give a seed: equal calls are one call.
            thinking (`bool`, *optional*, defaults to `True`): Whether the turn is opened with system thinking.
            schema (`Schema`, *optional*): JSON schema of the reply.

        Raises:
            `ModelError`: If there is no answer after all retries.
            [`AccessRefused`]: If the server rejects the API key: every other call would fail too.
        """
        key = call_key(await self.fingerprint(), messages, sampling=sampling, thinking=thinking, schema=schema)
        if key in self._asking:
            return await asyncio.shield(self._asking[key])
        future = self._asking[key] = asyncio.get_running_loop().create_future()

        async def chat(place: ChatModel) -> Reply:
            return await place.chat(messages, sampling=sampling, thinking=thinking, schema=schema)

        try:
            reply = await self._answer(key, lambda: self._from_a_place(messages, chat))
        except BaseException as error:
            future.set_exception(error if isinstance(error, Exception) else ModelError("cancelled", kind="dropped"))
            future.exception()  # marked as retrieved, in case no other task waits for it
            raise
        else:
            future.set_result(reply)
            return reply
        finally:
            del self._asking[key]

    async def likelihoods(self, messages: Messages, continuations: Sequence[str]) -> list[float]:
        """Log-probability of each of several complete answers, from the ledger or from a model.

        Args:
            messages (`Messages`): A conversation that ends where the answer begins.
            continuations (`Sequence[str]`): The answers.

        Raises:
            `ValueError`: If the backend cannot compute probabilities.
            `ModelError`: If there is no answer after all retries, or a server cannot give these probabilities.
            [`AccessRefused`]: See [`ask`].
        """
        model = self._places[0].model
        if not isinstance(model, Likely):
            raise ValueError(
                f"{model.name} cannot compute the probability of an answer: read the answer as text (--read text), or "
                "name a server's URL, a folder or a Hub id."
            )
        reading = Sampling(max_tokens=1, temperature=0.0)
        asked = {"likelihoods_of": list(continuations)}
        key = call_key(await self.fingerprint(), messages, sampling=reading, thinking=False, schema=asked)

        async def read(place: ChatModel) -> Reply:
            assert isinstance(place, Likely)  # all backends are of one kind
            found = await place.likelihoods(messages, continuations)
            return Reply(text=json.dumps(found), finish_reason="likelihoods", ended=True, model=place.name)

        reply = await self._answer(key, lambda: self._from_a_place(messages, read))
        return [float(value) for value in json.loads(reply.text)]

    async def fit(
        self, messages: Messages, *, max_tokens: int, thinking: bool = True, names: Sequence[str] = ()
    ) -> Room:
        """Drops as few of the oldest turns as necessary to leave room for a reply of `max_tokens` in the window.

        Where not even the newest exchange leaves that room, the reply gets what is left, if that is at least a quarter
        of the window; this is logged once.

        Args:
            messages (`Messages`): The conversation.
            max_tokens (`int`): Maximum length of the reply.
            thinking (`bool`, *optional*, defaults to `True`): Whether the turn is opened with system thinking.
            names (`Sequence[str]`, *optional*): The speakers; turns that share a message are then dropped
                individually.

        Returns:
            [`~her_hf.inference.window.Room`]: The messages, how many of the oldest turns were dropped, and the maximum
                length of the reply.

        Raises:
            `WindowFull`: If the newest exchange leaves less than `max_tokens` and less than a quarter of the window.
            `ModelError`: If the length of the prompt cannot be requested.
        """
        model = self._places[0].model
        window = await self._window()
        # The estimate errs on the high side.
        if window is None or estimate_tokens(messages) <= window - max_tokens:
            return Room([dict(message) for message in messages], 0, max_tokens)
        room = await self._patiently(
            lambda: make_room(messages, model, window, max_tokens, thinking=thinking, names=names),
            self._retries.max_retries,
        )
        if room.max_tokens < max_tokens:
            self._tell_once(
                f"{self.name} has a window of {window} tokens: where a prompt leaves less than the {max_tokens} of "
                "max_tokens, the reply gets what is left"
            )
        return room

    async def _window(self) -> int | None:
        """The model's window; requested once, even by concurrent tasks."""
        async with self._about:
            if self._window_asked is None:
                self._window_asked = (await self._patiently(self._places[0].model.window),)
            return self._window_asked[0]

    async def close(self) -> None:
        """Closes all connections."""
        for place in self._places:
            await place.model.close()

    async def _answer(self, key: str, ask: Callable[[], Awaitable[Reply]]) -> Reply:
        """Asks until there is an answer or no retry can help; between attempts other tasks may make the same call."""
        attempt = 0
        while True:
            try:
                return await self._once(key, ask)
            except ModelError as error:
                if self._keeps_out(error):
                    self.spent.failed += 1
                    raise AccessRefused(f"{error} No further calls are made; answers so far are stored.") from error
                # A response that is not an answer (a proxy's error page) may be transient too: the URL worked before.
                passing = error.retryable or error.kind == "protocol"
                if not passing or attempt >= self._retries.max_retries:
                    self.spent.failed += 1
                    raise
                self.spent.retried += 1
                await asyncio.sleep(self._retries.wait(attempt, error))
                attempt += 1

    def _keeps_out(self, error: ModelError) -> bool:
        """Whether the key was refused, not one prompt: some services answer 403 to prompts that they filter."""
        return error.status == 401 or (
            error.status == 403 and not self.spent.asked and not _FILTERED.search(str(error))
        )

    def _tell(self) -> None:
        """Logs the models' notes, each once, such as a field that is no longer sent."""
        for note in self.notes:
            self._tell_once(note)

    def _tell_once(self, note: str) -> None:
        if note not in self._told:
            self._told.add(note)
            _log.warning("%s", note)

    async def _once(self, key: str, ask: Callable[[], Awaitable[Reply]]) -> Reply:
        """The reply to a call, from the ledger if possible, else from one call within the limit."""

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

    async def _from_a_place(self, messages: Messages, call: Callable[[ChatModel], Awaitable[Reply]]) -> Reply:
        place = self._place_for(messages)
        place.busy += 1
        try:
            reply = await call(place.model)
        except ModelError:
            place.rests_until = time.monotonic() + _REST
            raise
        finally:
            place.busy -= 1
        return reply

    def _place_for(self, messages: Messages) -> _Place:
        """The backend of a call."""
        now = time.monotonic()
        resting = [place.rests_until > now for place in self._places]
        busy = [place.busy for place in self._places]
        if self._last_places is None or len(busy) == 1:
            return self._places[min(range(len(busy)), key=lambda at: (resting[at], busy[at]))]
        key = conversation_key(messages)
        at = choose(key, self._place_names, busy, resting, self._last_places.get(key))
        self._last_places[key] = at
        return self._places[at]

    async def _patiently(self, ask: Callable[[], Awaitable[T]], limit: int = _FIRST_RETRIES) -> T:
        """Makes a call about the model or a prompt; with few retries by default, to report a wrong URL early."""
        attempt = 0
        while True:
            try:
                return await ask()
            except ModelError as error:
                if not error.retryable or attempt >= min(self._retries.max_retries, limit):
                    raise
                await asyncio.sleep(self._retries.wait(attempt, error))
                attempt += 1
