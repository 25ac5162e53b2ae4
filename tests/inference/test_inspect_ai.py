"""A model of inspect-ai as a chat model: what it is sent, and what its output becomes."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from typing import Any

import pytest

from her_hf.dual_layer import parse_turn
from her_hf.inference import ModelError, Sampling
from her_hf.judging.critics.coser import flaw_schema

needs_inspect = pytest.mark.skipif(
    find_spec("inspect_ai") is None, reason="needs inspect-ai: pip install 'her_hf[inspect]'"
)


def replied(
    content: Any, stop: Any = "stop", *, thinking: bool = True, template: bool = False, **how: Any
) -> tuple[Any, Any]:
    """What an [`InspectModel`] makes of an output, and the config it was asked with."""
    from inspect_ai.model import ChatCompletionChoice, ChatMessageAssistant, ModelOutput, ModelUsage, get_model

    from her_hf.inference.inspect_ai import InspectModel

    asked: list[Any] = []

    def answer(messages: Any, tools: Any, choose: Any, config: Any) -> ModelOutput:
        asked.append(config)
        usage = ModelUsage(input_tokens=5, output_tokens=2, total_tokens=7)
        if content is None:
            return ModelOutput(model="mock", usage=usage)
        choice = ChatCompletionChoice(message=ChatMessageAssistant(content=content), stop_reason=stop)
        return ModelOutput(model="mock", choices=[choice], usage=usage)

    inspected = InspectModel(get_model("mockllm/model", custom_outputs=answer), template=template)
    return asyncio.run(inspected.chat([{"role": "user", "content": "Hi."}], thinking=thinking, **how)), asked[0]


@needs_inspect
def test_system_thinking_is_inline_however_it_came() -> None:
    from inspect_ai.model import ContentReasoning, ContentText

    said = "Ann: Tea?"
    whole = f"<system_thinking>\nStall.\n</system_thinking>\n{said}"
    apart = [ContentReasoning(reasoning="Stall."), ContentText(text=said)]
    sealed = [ContentReasoning(reasoning="x7f", redacted=True, summary="Stall."), ContentText(text=said)]
    for content in (apart, sealed, whole, whole.removeprefix("<system_thinking>\n")):
        reply, _ = replied(content)
        assert (
            parse_turn(reply.text).system_thinking == "Stall." and parse_turn(reply.text).render(view="self") == said
        )
    reply, _ = replied(apart, thinking=False)
    assert (reply.text, reply.content, reply.reasoning) == (said, said, "Stall.")
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.model) == (5, 2, "mock")


@needs_inspect
@pytest.mark.parametrize(
    ("stop", "finish", "ended"),
    [("stop", "stop", True), ("max_tokens", "length", False), ("model_length", "length", False),
     ("content_filter", "content_filter", False)],
)  # fmt: skip
def test_how_a_reply_ended(stop: str, finish: str, ended: bool) -> None:
    reply, _ = replied("Ann: Tea?", stop, thinking=False)
    assert (reply.finish_reason, reply.ended) == (finish, ended)


@needs_inspect
def test_an_output_without_a_choice_is_no_reply() -> None:
    with pytest.raises(ModelError, match=r"mockllm/model answered without a choice"):
        replied(None)


@needs_inspect
def test_what_a_call_asks_for() -> None:
    schema = flaw_schema("SC")
    _, config = replied("{}", sampling=Sampling(9, 0.5, 0.8, seed=3, stop=("End",)), schema=schema)
    assert (config.max_tokens, config.temperature, config.top_p, config.seed, config.stop_seqs) == (
        9,
        0.5,
        0.8,
        3,
        ["End"],
    )
    assert config.response_schema.name == "SC"
    assert config.response_schema.json_schema.model_dump(exclude_none=True) == {
        key: value for key, value in schema.items() if key != "title"
    }
    _, config = replied("{}", sampling=Sampling(top_p=1.0))
    assert config.top_p is None and config.stop_seqs is None and config.response_schema is None


@needs_inspect
@pytest.mark.parametrize(("provider", "told"), [("vllm", True), ("openai-api", True), ("mockllm", False)])
def test_only_servers_that_render_templates_get_the_thinking_switch(
    monkeypatch: pytest.MonkeyPatch, provider: str, told: bool
) -> None:
    from her_hf.inference.inspect_ai import InspectModel

    monkeypatch.setattr(InspectModel, "name", f"{provider}/her-32b")
    _, config = replied("Ann: Tea?", thinking=False, template=True)
    switch = {"enable_thinking": False, "enable_system_thinking": False}
    assert config.extra_body == ({"chat_template_kwargs": switch} if told else None)
    assert replied("Ann: Tea?", thinking=False)[1].extra_body is None
