"""Models of inspect-ai behind the interface that simulation and judging use; imported by the task alone."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from her_hf.extras import missing_library

from .caller import Caller, Retries
from .inline import InlineText
from .interface import Messages, ModelError, Prompt, Reply, Sampling, Schema, Usage
from .wire import estimate_tokens, thinking_switch

try:
    from inspect_ai.model import (
        ChatMessage,
        ChatMessageAssistant,
        ChatMessageSystem,
        ChatMessageUser,
        ContentReasoning,
        GenerateConfig,
        Model,
        ModelOutput,
        ResponseSchema,
    )
    from inspect_ai.util import JSONSchema, LimitExceededError
except ImportError as error:
    raise missing_library("A model of inspect-ai", error, module="inspect_ai") from error

_MESSAGES = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}
_FINISH = {"max_tokens": "length", "model_length": "length"}
_TEMPLATED = ("vllm", "sglang", "openai-api")
"""Providers whose servers render a checkpoint's own chat template and accept arguments for it."""


def inspect_caller(model: Model, *, template: bool = False) -> Caller:
    """A caller for a model of inspect-ai, without retries or a limit of its own: inspect-ai has both.

    Args:
        model (`Model`): Inspect's model.
        template (`bool`, *optional*, defaults to `False`): See [`InspectModel`].

    Returns:
        [`Caller`]: The caller.
    """
    return Caller(InspectModel(model, template=template), retries=Retries(max_retries=0))


class InspectModel:
    """A model of inspect-ai as a [`~her_hf.inference.ChatModel`].

    Args:
        model (`Model`): Inspect's model.
        template (`bool`, *optional*, defaults to `False`): Whether it is a HER checkpoint, whose chat template has a
            switch for system thinking. The switch is sent only to providers that render templates.
    """

    def __init__(self, model: Model, *, template: bool = False) -> None:
        self._model = model
        self._template = template and self.name.partition("/")[0] in _TEMPLATED
        self.notes: list[str] = []

    @property
    def name(self) -> str:
        """Provider and model."""
        return str(self._model)

    async def chat(
        self,
        messages: Messages,
        *,
        sampling: Sampling | None = None,
        thinking: bool = True,
        schema: Schema | None = None,
    ) -> Reply:
        """One whole reply.

        Raises:
            `ModelError`: If the provider raised any error; inspect has retried by then.
            `LimitExceededError`: If a limit of inspect is reached; inspect then ends the sample.
        """
        try:
            output = await self._model.generate(
                [_message(message) for message in messages],
                config=self._config(sampling or Sampling(), thinking, schema),
            )
        except LimitExceededError:
            raise
        except Exception as error:  # a provider may raise an error of any type
            detail = " ".join(str(error).split())[-600:]
            raise ModelError(
                f"{self.name} gave no reply ({type(error).__name__}: {detail})", kind="protocol"
            ) from error
        if output.empty:
            raise ModelError(f"{self.name} answered without a choice: {output.error or 'no reason'}", kind="protocol")
        return _reply(output, thinking)

    async def stream(
        self,
        messages: Messages,
        *,
        sampling: Sampling | None = None,
        thinking: bool = True,
    ) -> AsyncGenerator[str | Reply, None]:
        """The reply in one piece."""
        reply = await self.chat(messages, sampling=sampling, thinking=thinking)
        yield reply.text
        yield reply

    async def prompt(self, messages: Messages, *, thinking: bool = True) -> Prompt:
        """The plain messages, and an estimate of their length."""
        text = "\n\n".join(str(message["content"]) for message in messages)
        return Prompt(text, estimate_tokens(messages), exact=False)

    async def window(self) -> int | None:
        """Unknown: `None`."""
        return None

    async def fingerprint(self) -> dict[str, Any]:
        """Provider and model."""
        return {"model": self.name}

    async def close(self) -> None:
        """Nothing to do: inspect closes its models."""

    def _config(self, sampling: Sampling, thinking: bool, schema: Schema | None) -> GenerateConfig:
        """Options of this call; a `top_p` of 1 is left out, since some providers refuse it next to a temperature."""
        return GenerateConfig(
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=None if sampling.top_p == 1 else sampling.top_p,
            seed=sampling.seed,
            stop_seqs=list(sampling.stop) or None,
            extra_body={"chat_template_kwargs": thinking_switch(thinking)} if self._template else None,
            response_schema=_response_schema(schema) if schema else None,
        )


def _response_schema(schema: Schema) -> ResponseSchema:
    return ResponseSchema(
        name=str(schema.get("title") or "reply"), json_schema=JSONSchema.model_validate(dict(schema)), strict=True
    )


def _message(message: Mapping[str, Any]) -> ChatMessage:
    return _MESSAGES[message["role"]](content=message["content"])


def _reply(output: ModelOutput, thinking: bool) -> Reply:
    """Inspect's output with system thinking inline, whether it came separately as reasoning or in the text."""
    message, finish = output.message, _FINISH.get(output.stop_reason, output.stop_reason)
    reasoning = _reasoning(message.content)
    inline = InlineText(thinking=thinking)
    text = inline.reasoning(reasoning) + inline.content(message.text) + inline.close(finish)
    usage = Usage(output.usage.input_tokens, output.usage.output_tokens) if output.usage else Usage()
    return Reply(
        text, finish, finish == "stop", usage, content=message.text, reasoning=reasoning or None, model=output.model
    )


def _reasoning(content: str | Sequence[Any]) -> str:
    """Reasoning that the provider sent separately; if it is encrypted, its summary."""
    parts = [] if isinstance(content, str) else [part for part in content if isinstance(part, ContentReasoning)]
    return "\n\n".join(filter(None, ((part.summary or "") if part.redacted else part.reasoning for part in parts)))
