"""transformers in process: the checkpoint's own template and tokenizer, streamed or in batches."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers.generation.streamers import BaseStreamer

from her_hf.durable import digest

from .cache import read_once, roomy_cache
from .detokenize import Detokenizer
from .gather import Gathered
from .inline import OPENING, opens_thinking
from .interface import Messages, ModelError, Prompt, Reply, Sampling, Schema, Usage
from .loading import first_line, load_parts, template_of, weights_digest
from .seeded import SeededSampler, Stopper, Taps

BATCH_SIZE = 16
"""Number of prompts in a batch; on two CPU cores larger batches of a small model gain little."""

_NO_SCHEMA = (
    "A JSON schema is not enforced for a model in process: its text is read as it is. Serve it with vLLM for "
    "structured output."
)


class LocalModel:
    """A causal language model in this process.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): With a HER chat template.
        model (`PreTrainedModel`): Its model, in evaluation mode.
        name (`str`): For logs.
        window (`int`, *optional*): Maximum tokens of prompt and reply together; by default that of the model.
    """

    def __init__(self, tokenizer: Any, model: Any, *, name: str, window: int | None = None) -> None:
        self.notes: list[str] = []
        self._tokenizer, self._model, self._name = tokenizer, model, name
        self._own_window = window
        # One thread is the queue of all calls, in their order; a call that waits in it can be withdrawn immediately.
        self._line = ThreadPoolExecutor(1, "generate")
        self._reading = threading.Lock()  # a fast tokenizer is not made for several threads
        self._gathered = Gathered(self.chat_many)
        self._config = copy.deepcopy(model.generation_config)
        ends = self._config.eos_token_id if self._config.eos_token_id is not None else tokenizer.eos_token_id
        ends = [ends] if isinstance(ends, int) else list(ends or [])
        if tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in ends:
            ends.append(tokenizer.eos_token_id)
        if not ends:
            raise ValueError(f"{name} has no end-of-turn token: set eos_token in its tokenizer_config.json.")
        self._ends = frozenset(ends)
        # A model may stop at other tokens too, but it was trained to end a turn with this one only.
        self._turn_end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else ends[0]
        self._pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]

    @classmethod
    def load(
        cls,
        source: str,
        *,
        window: int | None = None,
        device: str | None = None,
        dtype: str | None = None,
        attach: bool = True,
    ) -> LocalModel:
        """Loads a folder or Hub id; the HER template is attached in memory if the tokenizer lacks it, with a note.

        Args:
            source (`str`): A folder or Hub id.
            window, device, dtype: See [`open_model`].
            attach (`bool`, *optional*, defaults to `True`): Whether to attach the HER template. Reward models and
                judges use their own template.

        Raises:
            `FileNotFoundError`: If there is no such folder or Hub id, or it cannot be downloaded.
            `ValueError`: If it is not a complete model folder, if the HER template cannot be attached to the tokenizer
                or it has tokens without embeddings, or if torch does not know the dtype or cannot use the device.
        """
        model, tokenizer, notes = load_parts(source, device=device, dtype=dtype, attach=attach)
        local = cls(tokenizer, model.eval(), name=source, window=window)
        local.notes += notes
        return local

    @property
    def name(self) -> str:
        return self._name

    async def window(self) -> int | None:
        """See [`ChatModel.window`]."""
        if self._own_window is not None:
            return self._own_window
        length = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        return length if isinstance(length, int) else None

    async def prompt(self, messages: Messages, *, thinking: bool = True) -> Prompt:
        """See [`ChatModel.prompt`]."""
        ids = await asyncio.to_thread(self._encode, messages, thinking)
        return Prompt(await asyncio.to_thread(self._render, messages, thinking), len(ids), exact=True)

    async def fingerprint(self) -> dict[str, Any]:
        """See [`ChatModel.fingerprint`]. It includes the names of the weights and a sample of their values."""
        return await asyncio.to_thread(
            lambda: {
                "model": Path(self._name).name,
                "template": digest(template_of(self._tokenizer)),
                "weights": weights_digest(self._model),
                "dtype": str(self._model.dtype),
                "vocabulary": digest(sorted(self._tokenizer.get_vocab().items())),
                "generation": digest(self._config.to_dict()),
            }
        )

    async def close(self) -> None:
        """Nothing to close: the weights are freed with the object."""

    # -- replies

    async def stream(
        self, messages: Messages, *, sampling: Sampling | None = None, thinking: bool = True
    ) -> AsyncGenerator[str | Reply, None]:
        """See [`ChatModel.stream`]. The model runs in a thread that ends one token after the generator is closed."""
        prompt = await asyncio.to_thread(self._encode, messages, thinking)
        opening = await asyncio.to_thread(self._opening, messages, thinking)
        if opening:
            yield opening
        async with aclosing(self._streamed(prompt, opening, sampling or Sampling())) as pieces:
            async for piece in pieces:
                yield piece

    async def continued(
        self, messages: Messages, begun: str, *, sampling: Sampling | None = None, thinking: bool = True
    ) -> AsyncGenerator[str | Reply, None]:
        """See [`Continues`]. The model reads `begun` after the prompt, as if it had just written it."""
        opening = await asyncio.to_thread(self._opening, messages, thinking)
        written = begun.lstrip().removeprefix(opening.strip()).lstrip() if opening else begun
        prompt = await asyncio.to_thread(self._encode, messages, thinking)
        prompt = prompt + await asyncio.to_thread(self._encode_text, written)
        async with aclosing(self._streamed(prompt, begun, sampling or Sampling())) as pieces:
            async for piece in pieces:
                yield piece

    async def _streamed(
        self, prompt: list[int], opening: str, sampling: Sampling
    ) -> AsyncGenerator[str | Reply, None]:
        """What the model writes after a prompt whose end, `opening`, is part of the reply."""
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[list[int] | None]()
        cancelled = threading.Event()

        def take(ids: list[int] | None) -> None:
            if not cancelled.is_set():
                loop.call_soon_threadsafe(queue.put_nowait, ids)

        def work() -> list[list[int]]:
            try:
                return self._generate([prompt], sampling, [sampling.seed], cancelled, Taps(take))
            finally:
                take(None)

        queued = self._line.submit(work)
        worker = asyncio.wrap_future(queued)
        detokenizer = Detokenizer(self._decode, sampling.stop)
        try:
            while (ids := await queue.get()) is not None:
                if piece := detokenizer.feed([token for token in ids if token not in self._ends]):
                    yield piece
            generated = (await worker)[0]
            if rest := detokenizer.feed([], final=True):
                yield rest
            yield self._reply(opening, detokenizer, generated, len(prompt))
        finally:
            cancelled.set()
            if not queued.cancel():  # it has begun, and ends with its next token
                await asyncio.wait([worker])
                if not worker.cancelled():
                    worker.exception()  # marked as retrieved, in case it was not awaited

    async def chat(
        self,
        messages: Messages,
        *,
        sampling: Sampling | None = None,
        thinking: bool = True,
        schema: Schema | None = None,
    ) -> Reply:
        """See [`ChatModel.chat`]. Concurrent calls are generated in batches, see [`Gathered`]."""
        if schema is not None and _NO_SCHEMA not in self.notes:
            self.notes.append(_NO_SCHEMA)
        return await self._gathered.ask(messages, sampling or Sampling(), thinking)

    async def chat_many(
        self,
        conversations: Sequence[Messages],
        *,
        sampling: Sampling | None = None,
        seeds: Sequence[int | None] | None = None,
        thinking: bool = True,
        batch_size: int = BATCH_SIZE,
        each_token: Callable[[], None] = lambda: None,
    ) -> list[Reply]:
        """Replies to several conversations, generated in batches. Equal conversations in a batch are read once.

        Args:
            conversations (`Sequence[Messages]`): Each ends where its reply begins.
            sampling (`Sampling`, *optional*): For all of them; its seed is used only without `seeds`.
            seeds (`Sequence[int | None]`, *optional*): One per conversation. A reply depends on its own seed, not on
                its batch (up to the rounding of batched arithmetic).
            thinking (`bool`, *optional*, defaults to `True`): Whether turns are opened with system thinking.
            batch_size (`int`, *optional*, defaults to 16): Number of conversations in a batch.
            each_token (`Callable`, *optional*): Called after each token of a batch, for progress.

        Returns:
            `list[Reply]`: In the order of the conversations.

        Raises:
            `ValueError`: If the number of seeds differs from that of conversations.
            `ModelError`: If generation fails.
        """
        sampling = sampling or Sampling()
        seeds = [sampling.seed] * len(conversations) if seeds is None else list(seeds)
        if len(seeds) != len(conversations):
            raise ValueError(f"chat_many needs one seed per conversation: {len(conversations)}, got {len(seeds)}")
        prompts = await asyncio.to_thread(lambda: [self._encode(messages, thinking) for messages in conversations])
        # Prompts of similar length share a batch, which needs less padding.
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        replies: dict[int, Reply] = {}
        cancelled = threading.Event()
        try:
            for start in range(0, len(order), batch_size):
                batch = order[start : start + batch_size]
                work = partial(
                    self._generate,
                    [prompts[at] for at in batch],
                    sampling,
                    [seeds[at] for at in batch],
                    cancelled,
                    each_token=each_token,
                )
                generated = await asyncio.get_running_loop().run_in_executor(self._line, work)
                for at, ids in zip(batch, generated, strict=True):
                    detokenizer = Detokenizer(self._decode, sampling.stop)
                    detokenizer.feed([token for token in ids if token not in self._ends], final=True)
                    opening = self._opening(conversations[at], thinking)
                    replies[at] = self._reply(opening, detokenizer, ids, len(prompts[at]))
        finally:
            cancelled.set()
        return [replies[index] for index in range(len(prompts))]

    async def likelihoods(
        self, messages: Messages, continuations: Sequence[str], *, thinking: bool = False
    ) -> list[float]:
        """The probability of each of several complete answers.

        Args:
            messages (`Messages`): A conversation that ends where the answer begins.
            continuations (`Sequence[str]`): The answers, none of them empty.
            thinking (`bool`, *optional*, defaults to `False`): Whether the turn is opened with system thinking.

        Returns:
            `list[float]`: Log-probability (natural logarithm) of each complete answer, without its end of turn.

        Raises:
            `ModelError`: If the model fails.
        """
        prompt = self._encode(messages, thinking)
        answers = [self._encode_text(text) for text in continuations]
        return await asyncio.get_running_loop().run_in_executor(self._line, self._likelihoods, prompt, answers)

    @torch.inference_mode()
    def _likelihoods(self, prompt: list[int], answers: list[list[int]]) -> list[float]:
        """The prompt is read once for all answers."""
        device = self._model.device
        try:
            read = self._model(torch.tensor([prompt], device=device), use_cache=True, logits_to_keep=1)
            first = read.logits[0, -1].float().log_softmax(-1)
            longest = max(map(len, answers))
            padded = torch.tensor([ids + [self._pad] * (longest - len(ids)) for ids in answers], device=device)
            read.cache.batch_repeat_interleave(len(answers))
            rest = self._model(padded, cache=read.cache).logits.float().log_softmax(-1)
        except (RuntimeError, IndexError) as error:
            raise ModelError(f"{self._name} failed while reading: {first_line(error)}", kind="local") from error
        return [
            float(first[ids[0]]) + sum(float(rest[row, at, ids[at + 1]]) for at in range(len(ids) - 1))
            for row, ids in enumerate(answers)
        ]

    def _reply(self, opening: str, written: Detokenizer, ids: list[int], prompt_tokens: int) -> Reply:
        stopped = written.stopped or (bool(ids) and ids[-1] in self._ends)
        return Reply(
            text=opening + written.text,
            finish_reason="stop" if stopped else "length",
            ended=stopped and not written.stopped and ids[-1] == self._turn_end,
            usage=Usage(prompt_tokens, len(ids)),
            content=written.text,
            model=self._name,
        )

    # -- tokens

    def _render(self, messages: Messages, thinking: bool) -> str:
        return str(self._template(messages, thinking, tokenize=False))

    def _encode(self, messages: Messages, thinking: bool) -> list[int]:
        return list(self._template(messages, thinking, tokenize=True, return_dict=True)["input_ids"])

    def _encode_text(self, text: str) -> list[int]:
        with self._reading:
            return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _template(self, messages: Messages, thinking: bool, **how: Any) -> Any:
        with self._reading:
            return self._tokenizer.apply_chat_template(
                list(messages), add_generation_prompt=True, enable_thinking=thinking, **how
            )

    def _opening(self, messages: Messages, thinking: bool) -> str:
        """The opening tag if the prompt ends in it: the text of the reply includes it."""
        return OPENING if thinking and opens_thinking(self._render(messages, thinking)) else ""

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _generate(
        self,
        prompts: list[list[int]],
        sampling: Sampling,
        seeds: list[int | None],
        cancelled: threading.Event,
        streamer: BaseStreamer | None = None,
        each_token: Callable[[], None] = lambda: None,
    ) -> list[list[int]]:
        """Generated ids of each prompt, including its end-of-turn token. Runs in a thread, one call at a time."""
        width, device = max(map(len, prompts)), self._model.device
        ids = torch.tensor([[self._pad] * (width - len(row)) + row for row in prompts], device=device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts], device=device)
        distinct = [prompts.index(row) for row in prompts]
        config = copy.deepcopy(self._config)
        # The sampler samples; the samplers of `generate` are switched off by neutral values: None would be filled in
        # from the checkpoint, with a warning.
        config.update(
            do_sample=False,
            temperature=1.0,
            top_p=1.0,
            top_k=50,
            max_length=None,
            max_new_tokens=sampling.max_tokens,
        )
        config.update(eos_token_id=sorted(self._ends), pad_token_id=self._pad)
        samplers = [SeededSampler(seeds, sampling.temperature, sampling.top_p)] if sampling.temperature else []

        def found(row: list[int]) -> bool:
            longest = max(map(len, sampling.stop))
            return any(text in self._decode(row[-longest - 8 :]) for text in sampling.stop)

        def no_longer_wanted() -> bool:
            each_token()
            return cancelled.is_set()

        stopper = Stopper(no_longer_wanted, found if sampling.stop else None, width)
        if cancelled.is_set():
            return [[] for _ in prompts]
        try:
            cache = roomy_cache(self._model)
            if cache is not None and len(set(distinct)) < len(prompts) and width > 1:
                with torch.inference_mode():
                    read_once(self._model, cache, ids, mask, distinct)
            out = self._model.generate(
                input_ids=ids,
                attention_mask=mask,
                cache=cache,
                generation_config=config,
                logits_processor=samplers,
                stopping_criteria=[stopper],
                streamer=streamer,
            )
        except (RuntimeError, IndexError) as error:  # out of memory, or positions beyond the model's window
            raise ModelError(f"{self._name} failed while generating: {first_line(error)}", kind="local") from error
        return [self._until_end(row) for row in out[:, width:].tolist()]

    def _until_end(self, ids: list[int]) -> list[int]:
        end = next((index for index, token in enumerate(ids) if token in self._ends), len(ids))
        return ids[: end + 1]
