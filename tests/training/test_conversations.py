"""Rows of many conversations."""

from __future__ import annotations

from typing import Any

import pytest

from her_hf.training import conversations as conversations_module
from her_hf.training.conversations import Conversation, RowSettings, make_rows
from her_hf.training.one_pass.dataset import rows_digest
from tests.support.one_pass import conversation, conversations, tiny_tokenizer


@pytest.fixture(scope="module", params=["smollm2", "qwen3", "llama3"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return tiny_tokenizer(request.param)


def test_rows_do_not_depend_on_how_many_wait_together(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tiny_tokenizer()
    items = [Conversation(str(at), messages) for at, messages in enumerate(conversations())]
    whole, report = make_rows(items, tokenizer, RowSettings(), progress=False)
    for size in (1, 2):
        monkeypatch.setattr(conversations_module, "_CHUNK", size)
        parted, again = make_rows(items, tokenizer, RowSettings(), progress=False)
        assert parted.to_list() == whole.to_list() and again == report and rows_digest(parted) == rows_digest(whole)
        assert parted.features == whole.features


def test_only_what_helps_is_advised_when_nothing_is_left(tokenizer: Any) -> None:
    empty = [*conversation(0), {"role": "assistant", "content": "", "reasoning_content": "A plan and no move."}]
    with pytest.raises(ValueError, match=r"1 empty replies; use another split or other data\.$"):
        make_rows([Conversation("a", empty)], tokenizer, RowSettings(), progress=False)
    with pytest.raises(
        ValueError, match=r"1 replies longer than the window of 16 tokens; set a larger max_context\.$"
    ):
        make_rows([Conversation("a", conversation(1))], tokenizer, RowSettings(16), progress=False)
