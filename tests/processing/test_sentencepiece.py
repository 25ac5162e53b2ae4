"""Tokenizers whose decoding adds or drops spaces: a prompt given as ids never becomes part of the reply."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch

from her_hf.dual_layer import parse_turn
from her_hf.processing import HERProcessor
from her_hf.processing.rows import build
from her_hf.training.one_pass.layers import LAYERS, label_layers
from tests.support.sentencepiece import KINDS, TEMPLATES, sentencepiece_tokenizer
from tests.support.tokenizers import assistant, user

REST = "Ann: <role_thinking>He knows.</role_thinking> <role_action>pours</role_action> Tea?"
REPLY = f"Ann stalls.\n</system_thinking>\n{REST}"
CHAT = [user("Bob: the coins?")]
ALL = list(product(KINDS, TEMPLATES))


def prompt_of(her: HERProcessor, **how: Any) -> tuple[str, list[int]]:
    text = her.apply_chat_template(CHAT, add_generation_prompt=True, tokenize=False, **how)
    return text, her.tokenizer.encode(text, add_special_tokens=False)


@pytest.mark.parametrize("frame", [frame for frame in TEMPLATES if frame != "mistral-v3"])
def test_the_fixtures_decode_another_header(frame: str) -> None:
    """Not so Mistral's v3, which writes a space behind each control token itself."""
    for kind in KINDS:
        her = HERProcessor.attach(sentencepiece_tokenizer(kind, frame))
        text, ids = prompt_of(her)
        assert (her.tokenizer.decode(ids) == text) == (kind == "plain"), kind


@pytest.mark.parametrize(("kind", "frame"), ALL)
def test_a_prompt_of_ids_is_not_the_reply(kind: str, frame: str) -> None:
    her = HERProcessor.attach(sentencepiece_tokenizer(kind, frame))
    text, ids = prompt_of(her)
    reply = REPLY + her.frame.turn_end
    reply_ids = her.tokenizer.encode(reply, add_special_tokens=False)
    for prefix in (text, her.tokenizer.decode(ids), ids, torch.tensor(ids), torch.tensor([ids])):
        for given in (reply, reply_ids, torch.tensor(reply_ids)):
            turn = her.parse_turn(given, prefix=prefix, speaker="Ann")
            assert turn == parse_turn(f"<system_thinking>\n{REPLY}") and turn.well_formed
            assert her.is_ended(given)
    stream = her.stream(prefix=ids)
    assert not [event for event in stream.feed("Ann") if "Bob" in event.text]
    plain = her.tokenizer.parse_response(reply_ids, prefix=ids)
    assert plain == {"role": "assistant", "thinking": "Ann stalls.", "content": REST}
    off, off_ids = prompt_of(her, enable_thinking=False)
    for prefix in (off, off_ids):
        assert her.parse_turn(REST, prefix=prefix) == parse_turn(REST)


@pytest.mark.parametrize(("kind", "frame"), ALL)
def test_a_reply_that_the_prompt_began_keeps_its_spaces(kind: str, frame: str) -> None:
    her = HERProcessor.attach(sentencepiece_tokenizer(kind, frame))
    text, _ = prompt_of(her, enable_thinking=False)
    begun = her.tokenizer.encode(text + "Bob: walks", add_special_tokens=False)
    whole = her.tokenizer.encode(text + "Bob: walks home", add_special_tokens=False)
    assert whole[: len(begun)] == begun
    for prefix in (begun, text + "Bob: walks"):
        assert her.parse_turn(whole[len(begun) :], prefix=prefix) == parse_turn("Bob: walks home")


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_without_an_open_turn_is_refused(kind: str) -> None:
    """What was rendered without add_generation_prompt would be read as the beginning of the reply."""
    her = HERProcessor.attach(sentencepiece_tokenizer(kind))
    for chat in (CHAT, [*CHAT, assistant(REST), *CHAT], [*CHAT, assistant(REST)]):
        ids = her.apply_chat_template(chat)["input_ids"]
        for prefix in (ids, her.apply_chat_template(chat, tokenize=False)):
            with pytest.raises(ValueError, match=r"does not end in an open turn.*add_generation_prompt"):
                her.parse_turn(REPLY, prefix=prefix)


def test_behind_a_reply_without_header_another_one_is_open() -> None:
    """In Mistral's frame nothing tells a closed prompt from an open one; what was said before is not read again."""
    her = HERProcessor.attach(sentencepiece_tokenizer("plain", "mistral-v3"))
    for chat in ([*CHAT, assistant("Ann: No.")], CHAT):
        assert her.parse_turn(REST, prefix=her.apply_chat_template(chat, tokenize=False)) == parse_turn(REST)
    with pytest.raises(ValueError, match="does not end in an open turn"):
        her.parse_turn(REST, prefix="<s>[INST] Bob: the coins?")


@pytest.mark.parametrize(("kind", "frame"), ALL)
def test_rows_and_layers(kind: str, frame: str) -> None:
    tokenizer = HERProcessor.attach(sentencepiece_tokenizer(kind, frame)).tokenizer
    chat = [*CHAT, assistant(REST, reasoning_content="Ann stalls."), *CHAT, assistant(REST, reasoning_content="So.")]
    rows = build(chat, tokenizer)
    assert rows.report.replies == 2 and rows.report.own_rows == 0
    row = rows[0]
    layers = label_layers(row, tokenizer)
    for layer, text in (("system_thinking", "Ann stalls."), ("role_thinking", "He knows."), ("speech", "Tea?")):
        start, end, _ = row["branches"][0]
        ids = [row["input_ids"][at] for at in range(start, end) if layers[at] == LAYERS.index(layer)]
        assert tokenizer.decode(ids).strip() == text
