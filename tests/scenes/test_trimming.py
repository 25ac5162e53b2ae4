"""Windows: oldest turns go whole, the start marker and the newest exchange stay."""

from __future__ import annotations

import asyncio
import copy
from itertools import pairwise
from typing import Any

import pytest

from her_hf.inference import Prompt
from her_hf.inference.window import fit
from her_hf.processing.window import WindowError, count_tokens, fit_window
from her_hf.scenes.messages import START
from her_hf.scenes.trimming import drop_oldest, droppable_turns
from tests.support.one_pass import conversation, reply, tiny_tokenizer, user


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer()


@pytest.mark.parametrize("turns", range(5))
def test_drop_oldest(turns: int) -> None:
    messages = conversation(3)[:-1]  # system, user, assistant, user, assistant, user, assistant
    before = copy.deepcopy(messages)
    kept = drop_oldest(messages, turns)
    assert messages == before
    assert kept[0] == messages[0] and kept[-1] == messages[-1]
    assert kept[1]["role"] == "user" and kept[1]["content"].startswith(START)
    assert sum(message["content"].count(START) for message in kept) == 1
    survivors = [m["content"].removeprefix(START).strip() for m in kept[1:] if m["content"] != START]
    assert survivors == [m["content"].removeprefix(START).strip() for m in messages[1 + turns :]]


def test_a_bare_marker_is_no_turn() -> None:
    messages = [
        {"role": "system", "content": "s"},
        user(START),
        reply("Ann", 1),
        user("Bo: Hm."),
        reply("Ann", 2),
    ]
    assert droppable_turns(messages) == 1
    assert [m["role"] for m in drop_oldest(messages, 1)] == ["system", "user", "assistant"]
    assert drop_oldest(messages, 1)[1]["content"] == f"{START}\n\nBo: Hm."


def test_without_marker_or_system_message() -> None:
    messages = [user("Bo: Hi."), reply("Ann", 1), user("Bo: Hm.")]
    assert drop_oldest(messages, 2) == [user("Bo: Hm.")]
    assert droppable_turns(messages) == 2 and droppable_turns([reply("Ann", 1)]) == 0


@pytest.mark.parametrize("prompt", [True, False])
def test_fit_window_drops_as_few_as_needed(tokenizer: Any, prompt: bool) -> None:
    messages = conversation(6) if prompt else conversation(6)[:-1]
    full = count_tokens(messages, tokenizer, add_generation_prompt=prompt)
    assert fit_window(messages, tokenizer, full, add_generation_prompt=prompt) == (messages, 0)
    for limit in range(full - 1, full - 400, -37):
        kept, dropped = fit_window(messages, tokenizer, limit, add_generation_prompt=prompt)
        assert dropped > 0 and kept == drop_oldest(messages, dropped)
        assert count_tokens(kept, tokenizer, add_generation_prompt=prompt) <= limit
        assert count_tokens(drop_oldest(messages, dropped - 1), tokenizer, add_generation_prompt=prompt) > limit


def test_what_must_stay_does_not_fit(tokenizer: Any) -> None:
    messages = conversation(2)
    with pytest.raises(WindowError, match="window holds 20"):
        fit_window(messages, tokenizer, 20, add_generation_prompt=True)


@pytest.mark.parametrize("names", [("Ann", "Bo", "Cy"), ()])
def test_sessions_and_evaluations_cut_where_training_cuts(tokenizer: Any, names: tuple[str, ...]) -> None:
    """Turns that share a message go one by one where the names are known, and what is left renders alike."""
    messages = conversation(6)
    for message in messages[3:-1:2]:
        message["content"] = "Bo: First.\n\nListen: no turn.\n\nCy: Second.\n\nEnvironment: Rain."

    class Counting:
        async def prompt(self, messages: Any, *, thinking: bool = True) -> Prompt:
            return Prompt("", count_tokens(messages, tokenizer, add_generation_prompt=True), exact=True)

    full = count_tokens(messages, tokenizer, add_generation_prompt=True)
    for limit in range(full - 1, full - 500, -29):
        kept, dropped = fit_window(messages, tokenizer, limit, names=names, add_generation_prompt=True)
        fitted = asyncio.run(fit(messages, Counting(), limit, thinking=True, names=names))  # type: ignore[arg-type]
        assert fitted.dropped == dropped > 0
        rendered = [
            tokenizer.apply_chat_template(found, tokenize=False, add_generation_prompt=True)
            for found in (kept, fitted.messages)
        ]
        assert rendered[0] == rendered[1]
        roles = [message["role"] for message in fitted.messages[1:]]
        assert all(one != other for one, other in pairwise(roles))
