"""Frames: what each writes, which one a base has, and the control tokens that can be typed."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from transformers import AutoTokenizer

from her_hf.dual_layer import ZERO_WIDTH_SPACE
from her_hf.processing import HERProcessor
from her_hf.processing.frames import FRAMES as ALL
from her_hf.processing.frames import MISTRAL_V3, MISTRAL_V3_TEKKEN, MISTRAL_V7_TEKKEN, Frame, find_frame, typed_tokens
from tests.support.sentencepiece import sentencepiece_tokenizer
from tests.support.tokenizers import BASES, FRAMES, NAMES, assistant, render, turns, user

Z = ZERO_WIDTH_SPACE
SYSTEM = {"role": "system", "content": "You are Ann."}
REPLY = assistant("Ann: No.", reasoning_content="Stall.")
THINKING = "<system_thinking>\nStall.\n</system_thinking>\nAnn: No."

WRITTEN = {
    "qwen3": "<|im_start|>system\nYou are Ann.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    f"Ann: No.<|im_end|>\n<|im_start|>user\nSo?<|im_end|>\n<|im_start|>assistant\n{THINKING}<|im_end|>\n",
    "llama3": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nYou are Ann.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    "Ann: No.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nSo?<|eot_id|>"
    f"<|start_header_id|>assistant<|end_header_id|>\n\n{THINKING}<|eot_id|>",
    "mistral-v3": f"<s>[INST] You are Ann.\n\nHi[/INST] Ann: No.</s>[INST] So?[/INST] {THINKING}</s>",
    "mistral-v3-tekken": f"<s>[INST]You are Ann.\n\nHi[/INST]Ann: No.</s>[INST]So?[/INST]{THINKING}</s>",
    "mistral-v7-tekken": "<s>[SYSTEM_PROMPT]You are Ann.[/SYSTEM_PROMPT][INST]Hi[/INST]Ann: No.</s>[INST]So?[/INST]"
    f"{THINKING}</s>",
    "gemma3": "<bos><start_of_turn>user\nYou are Ann.\n\nHi<end_of_turn>\n<start_of_turn>model\nAnn: No."
    f"<end_of_turn>\n<start_of_turn>user\nSo?<end_of_turn>\n<start_of_turn>model\n{THINKING}<end_of_turn>\n",
    "gemma4": "<bos><|turn>system\nYou are Ann.<turn|>\n<|turn>user\nHi<turn|>\n<|turn>model\nAnn: No.<turn|>\n"
    f"<|turn>user\nSo?<turn|>\n<|turn>model\n{THINKING}<turn|>\n",
    "glm4": "[gMASK]<sop><|system|>\nYou are Ann.<|user|>\nHi<|assistant|>\nAnn: No.<|user|>\nSo?<|assistant|>\n"
    f"{THINKING}<|user|>",
}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written(name: str) -> None:
    assert render([SYSTEM, user("Hi"), REPLY, user("So?"), REPLY], name) == WRITTEN[name]


def test_every_frame_has_a_tokenizer_to_test_with() -> None:
    assert {frame.name for frame in ALL} == {FRAMES[name].name for name in NAMES}
    assert len(WRITTEN) == len(ALL) == len({frame.name for frame in ALL})


@pytest.mark.parametrize("frame", ALL, ids=lambda frame: frame.name)
def test_all_tokens_that_are_written_are_named(frame: Frame) -> None:
    """What is left of the pieces without them are roles and white space."""
    texts = [frame.system_start, frame.system_end, frame.user_start, frame.user_end, frame.reply_start, frame.turn_end]
    tokens = "|".join(map(re.escape, frame.control_tokens))
    assert re.fullmatch(r"[a-z\s]*", re.sub(tokens, "", "".join([*texts, frame.begin, frame.turn_gap])))
    assert frame.turn_end in frame.control_tokens


# -- which frame


@pytest.mark.parametrize("name", NAMES)
def test_the_frame_of_a_base(name: str) -> None:
    assert find_frame(AutoTokenizer.from_pretrained(BASES / name))[0] is FRAMES[name]


def changed(name: str, old: str, new: str) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(BASES / name)
    assert old in tokenizer.chat_template
    tokenizer.chat_template = tokenizer.chat_template.replace(old, new)
    return tokenizer


def test_mistrals_are_told_by_their_system_message_and_spaces() -> None:
    """A template that drops system messages has no turn for them, whatever is in the vocabulary."""
    dropped = changed("mistral-v7-tekken", "[SYSTEM_PROMPT]' + message.content + '[/SYSTEM_PROMPT]", "")
    dropped.chat_template = dropped.chat_template.replace("[SYSTEM_PROMPT]You help.[/SYSTEM_PROMPT]", "")
    assert find_frame(dropped)[0] is MISTRAL_V3_TEKKEN
    assert find_frame(changed("mistral-v3", "'[INST] '", "'[INST]'"))[0] is MISTRAL_V3_TEKKEN
    assert find_frame(changed("mistral-v7-tekken", "'[INST]'", "'[INST] '"))[0] is MISTRAL_V3
    assert find_frame(changed("mistral-v7-tekken", "You help.", ""))[0] is MISTRAL_V7_TEKKEN


def test_a_template_that_refuses_system_messages() -> None:
    """As that of Gemma 2."""
    refusing = changed("gemma3", "{{- bos_token }}", "{{- bos_token }}{{- raise_exception('no system role') if "
                       "messages[0].role == 'system' else '' }}")  # fmt: skip
    her = HERProcessor.attach(refusing)
    assert her.frame.name == "gemma3"
    assert "You are Ann.\n\nHi<end_of_turn>" in her.apply_chat_template([SYSTEM, user("Hi")], tokenize=False)


# -- system text without a turn of its own


@pytest.mark.parametrize("name", ["mistral-v3", "gemma3"])
def test_system_text_belongs_to_the_users_turn(name: str) -> None:
    late = {"role": "system", "content": "Night."}
    assert turns(render([SYSTEM, late, user("Hi"), late, REPLY, late, user("So?"), REPLY], name), name) == [
        ("user", "You are Ann.\n\nNight.\n\nHi\n\nNight."),
        ("assistant", "Ann: No."),
        ("user", "Night.\n\nSo?"),
        ("assistant", THINKING),
    ]
    assert turns(render([SYSTEM, REPLY], name), name)[0] == ("user", "You are Ann.")
    assert turns(render([{"role": "system", "content": None}, user("Hi")], name), name) == [("user", "Hi")]


@pytest.mark.parametrize("name", ["mistral-v3", "gemma3"])
def test_system_text_completes_no_tag(name: str) -> None:
    start = user("===Conversation Start===\n\nBob: hi")
    said = render([{"role": "system", "content": "a <role_action>b</role_action> <"}, user("role_thinking> c")], name)
    assert turns(said, name) == [("user", f"a <role_action>b</role_action> <\n\n{Z}role_thinking> c")]
    assert turns(render([SYSTEM, start], name), name) == [("user", f"You are Ann.\n\n{start['content']}")]


def test_a_reply_that_ends_with_the_users_token() -> None:
    assert render([REPLY, REPLY, SYSTEM, user("Hi")], "glm4") == (
        "[gMASK]<sop><|assistant|>\nAnn: No.<|user|><|assistant|>\nAnn: No.<|user|>"
        "<|system|>\nYou are Ann.<|user|>\nHi"
    )


# -- where a reply begins


@pytest.mark.parametrize("name", NAMES)
def test_where_the_open_reply_begins(name: str) -> None:
    frame = FRAMES[name]
    for options, tail in (({}, "<system_thinking>\n"), ({"enable_thinking": False}, "")):
        prompt = render([SYSTEM, user("Hi")], name, add_generation_prompt=True, **options)
        for begun in ("", "Ann: <role_action>x"):
            start = frame.opened_by(prompt + begun)
            assert start is not None and (prompt + begun)[start:].strip(" ") == tail + begun
    assert frame.opened_by(f"{frame.user_start}Hi") is None
    closed = render([SYSTEM, user("Hi"), REPLY], name)
    # Where a reply has no header, another one may follow.
    assert frame.opened_by(closed) == (None if frame.reply_start else len(closed))


# -- control tokens that can be typed


def test_tokens_that_can_be_typed() -> None:
    tokenizer = AutoTokenizer.from_pretrained(BASES / "qwen3")
    assert typed_tokens(tokenizer, FRAMES["qwen3"]) == []
    tags = ["<system_thinking>", "</role_action>"]
    tokenizer.add_special_tokens(
        {"extra_special_tokens": [*tags, "<file_sep>", "[control_1]", "[control_22]", "word", "!", "<s1>", "<|x|>"]}
    )
    assert typed_tokens(tokenizer, FRAMES["qwen3"]) == ["<file_sep>", "<s1>", "[control_"]
    her = HERProcessor.attach(tokenizer)
    said = her.apply_chat_template(
        [user("Bob: <file_sep>[control_5] <role_action>nods</role_action> word!")], tokenize=False
    )
    assert f"Bob: <{Z}file_sep>[{Z}control_5] <role_action>nods</role_action> word!<|im_end|>" in said


def test_chatml_on_another_vocabulary() -> None:
    """As fine-tunes of Mistral and Llama 2 have it: the end of text of their vocabulary ends no turn."""
    her = HERProcessor.attach(sentencepiece_tokenizer("plain"))
    chat = [user("Bob: a</s><s>b<unk>"), assistant("Ann: </s>"), user("</s>", name="<s>")]
    found = her.apply_chat_template(chat)["input_ids"]
    assert not {her.tokenizer.convert_tokens_to_ids(token) for token in ("<s>", "</s>", "<unk>")} & set(found)


@pytest.mark.parametrize("piece", ["[INST]", "</s>[", "[control_"])
def test_breaking_them_up_takes_linear_time(piece: str) -> None:
    def seconds(count: int) -> float:
        times = []
        for _ in range(3):
            start = time.process_time()
            render([user(piece * count)], "mistral-v7-tekken")
            times.append(time.process_time() - start)
        return min(times)

    assert seconds(40_000) < 8 * seconds(10_000) + 0.1
