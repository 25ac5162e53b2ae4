"""Windows: oldest turns go whole, the start marker and the newest exchange stay."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from one_pass_helpers import conversation, reply, tiny_tokenizer, user

from her_hf.processing.window import WindowError, count_tokens, fit_window
from her_hf.scenes.messages import START
from her_hf.scenes.trimming import drop_oldest, droppable_turns


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
