"""Bases whose chat template requires a system message, refuses it, drops it, or accepts parts only."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import PartialState
from transformers import AutoTokenizer

from her_hf.inference import Sampling
from her_hf.inference.local import LocalModel
from her_hf.judging import Pair
from her_hf.judging.pairwise.prompts import compact_messages, pair_messages
from her_hf.processing import HERProcessor, take_any_roles
from her_hf.training.reward_model.rows import PairReport, reward_rows
from her_hf.training.reward_model.sft import plain_tokenizer
from tests.support.one_pass import tiny_model
from tests.support.tokenizers import BASES, NAMES, assistant, render, user

LOOP = (
    "{%- for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
DEMANDS = "{%- if messages[0].role != 'system' %}{{ raise_exception('The first message must be of the system.') }}"
REFUSES = "{%- if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
ALTERNATES = (
    "{%- for m in messages %}{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate user/assistant/…') }}{% endif %}{% endfor %}"
)
PARTS = LOOP.replace("m.content", "m.content[0]['text']")
TEMPLATES = {
    "demands": DEMANDS + "{% endif %}" + LOOP,
    "refuses": REFUSES + "{% endif %}" + LOOP,
    "alternates": ALTERNATES + LOOP,
    "drops": LOOP.replace("for m in messages", "for m in messages if m.role != 'system'"),
    "demands parts": DEMANDS + "{% endif %}" + PARTS,
    "parts": PARTS,
}
TEXT = ("demands", "refuses", "alternates", "drops")


def base(kind: str) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(BASES / "qwen3")
    tokenizer.chat_template = TEMPLATES[kind]
    return tokenizer


@pytest.fixture(params=TEXT)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A whole base of one of these kinds."""
    tokenizer = base(request.param)
    tokenizer.save_pretrained(tmp_path)
    tiny_model("llama", len(tokenizer), dtype=torch.float32).save_pretrained(tmp_path)
    return tmp_path


def pair() -> Pair:
    prompt = [{"role": "system", "content": "You are Ann."}, {"role": "user", "content": "Bob: hi"}]
    return Pair.from_row({"prompt": prompt, "cand_1": "Ann: Tea?", "cand_2": "Ann: No.", "label": "cand_1"})


@pytest.mark.parametrize("kind", TEMPLATES)
def test_attach_meets_them(kind: str) -> None:
    chat = [{"role": "system", "content": "s"}, user("Bob: hi"), assistant("Ann: <role_thinking>x</role_thinking> y")]
    her = HERProcessor.attach(base(kind))
    for messages in (chat, chat[1:], [chat[0], chat[1], chat[1]]):
        assert her.apply_chat_template(messages, tokenize=False) == render(messages)


@pytest.mark.parametrize(
    ("kind", "said"), [("demands", "requires a system"), ("refuses", "accepts no system"), ("drops", "no")]
)
def test_a_base_of_its_own_template_takes_both_kinds(kind: str, said: str, tmp_path: Path) -> None:
    tokenizer = base(kind)
    assert said in (take_any_roles(tokenizer) or "")
    tokenizer.save_pretrained(tmp_path)
    for again in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        assert take_any_roles(again) is None  # once is enough, and goes with the folder
        led = again.apply_chat_template([{"role": "system", "content": "rules"}, user("x")], tokenize=False)
        alone = again.apply_chat_template([user("x")], tokenize=False, add_generation_prompt=True)
        if kind == "demands":
            assert led == "<|im_start|>system\nrules<|im_end|>\n<|im_start|>user\nx<|im_end|>\n"
            assert alone.startswith(
                "<|im_start|>system\n<|im_end|>\n<|im_start|>user\nx<|im_end|>\n<|im_start|>assist"
            )
        else:
            assert led == "<|im_start|>user\nrules\n\nx<|im_end|>\n"
            assert alone == "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize("name", NAMES)
def test_templates_that_take_both_stay_as_they_are(name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(BASES / name)
    before = tokenizer.chat_template
    assert take_any_roles(tokenizer) is None and tokenizer.chat_template == before
    her = HERProcessor.attach(tokenizer).tokenizer
    before = her.chat_template
    assert take_any_roles(her) is None and her.chat_template == before


def test_one_that_renders_nothing_is_refused() -> None:
    tokenizer = base("demands")
    for template, said in (("{{ raise_exception('only tools') }}", "only tools"), ("", "renders no plain conv")):
        tokenizer.chat_template = template
        with pytest.raises(ValueError, match=said):
            take_any_roles(tokenizer)


def test_reward_models_learn_and_judge_through_it(folder: Path) -> None:
    PartialState()  # what a recipe's settings do
    tokenizer = plain_tokenizer(str(folder))
    for form in ("compact", "published"):
        rows = reward_rows([pair()], tokenizer, PairReport(), form=form, both_orders=False, direct_answers=True)
        assert len(rows) == 1
    tokenizer.save_pretrained(folder)  # as training leaves it
    model = LocalModel.load(str(folder), attach=False, device="cpu")
    assert not model.notes
    for messages in (pair_messages(pair()), compact_messages(pair())):
        assert asyncio.run(model.chat(messages, sampling=Sampling(max_tokens=2), thinking=False)).text is not None


def test_a_base_judges_as_it_is_and_says_what_was_changed(folder: Path) -> None:
    model = LocalModel.load(str(folder), attach=False, device="cpu")
    assert len(model.notes) == 1 and "system message" in model.notes[0]
    text = asyncio.run(model.prompt(compact_messages(pair()), thinking=False)).text
    assert compact_messages(pair())[0]["content"] in text
