"""System thinking is inline, whatever way a server hands it over."""

from __future__ import annotations

import time

import pytest

from her_hf.inference.inline import InlineText, opens_thinking
from tests.support.chat import BODY, FULL, THINKING


@pytest.mark.parametrize(
    ("way", "reasoning", "content", "finish", "text"),
    [
        (None, THINKING, BODY, "stop", FULL),
        ("split", THINKING, BODY, "stop", FULL),
        ("split", "", BODY, "stop", BODY),
        ("split", THINKING, "", "length", f"<system_thinking>\n{THINKING}"),
        ("prefilled", "", FULL.removeprefix("<system_thinking>\n"), "stop", FULL),
        (None, "", FULL.removeprefix("<system_thinking>\n"), "stop", FULL),
        ("plain", "", FULL, "stop", FULL),
        (None, "", FULL, "stop", FULL),
        (None, "", f"< Think >x</THINK>{BODY}", "stop", f"< Think >x</THINK>{BODY}"),
        (None, "", BODY, "stop", BODY),
        (None, "", "Hello, my friend, I was just about to", "length", "Hello, my friend, I was just about to"),
        ("prefilled", "", "Ann is about to", "length", "<system_thinking>\nAnn is about to"),
        (None, "", "", "stop", ""),
    ],
)
def test_inline_text(way: str | None, reasoning: str, content: str, finish: str, text: str) -> None:
    for size in (1, 3, 1000):
        inline = InlineText(way)
        shown = "".join(inline.reasoning(reasoning[at : at + size]) for at in range(0, len(reasoning), size))
        shown += "".join(inline.content(content[at : at + size]) for at in range(0, len(content), size))
        assert shown + inline.close(finish) == text


@pytest.mark.parametrize("way", ["plain", "split", "prefilled", None])
def test_a_close_that_nothing_opened_tells_whatever_was_expected(way: str | None) -> None:
    inline = InlineText(way)
    assert inline.content(FULL.removeprefix("<system_thinking>\n")) + inline.close("stop") == FULL


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("opened", ["<system_thinking>", "\n< think >"])
def test_an_opening_tag_that_the_prompt_has_already_is_not_doubled(opened: str, size: int) -> None:
    content = f"{opened}x</system_thinking>{BODY}"
    inline = InlineText("prefilled")
    shown = "".join(inline.content(content[at : at + size]) for at in range(0, len(content), size))
    assert shown + inline.close("stop") == content


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Ann: Tea?", "Ann: Tea?"),
        (" Ann: < 3 <role_thinking>x</role_thinking>\n", " Ann: < 3 <role_thinking>x</role_thinking>\n"),
        ("He asked for tea.\n</think>\n\nAnn: Tea?", "Ann: Tea?"),
        ("a</think>b < / System_Thinking >Ann: Tea?", "Ann: Tea?"),
        ("<think>He asked.</think>\nAnn: Tea?", "Ann: Tea?"),
        ("<think>a</think>\n<thought>b</thought>Ann: Tea?", "Ann: Tea?"),
        ("<think>a <think> b</think> c</think>Ann: Tea?", "Ann: Tea?"),
        ("a <think>b</think> c</think>Ann: Tea?", "Ann: Tea?"),
        ("He thinks.</think>", ""),
        ("<think>He asked", "<think>He asked"),
        ("Ann: Tea? <think>No.</think>", "Ann: Tea? <think>No.</think>"),
        ('{"flaw": "a stray </think> in turn 2"}', '{"flaw": "a stray </think> in turn 2"}'),
        ('[1]\n</think>\n{"flaw": 2}', '{"flaw": 2}'),
        ("[" * 100_000, "[" * 100_000),
        ("", ""),
    ],
)
def test_inline_text_without_thinking_is_the_answer(content: str, text: str) -> None:
    for size in (1 if len(content) < 1000 else 1000, 100_000):
        inline = InlineText(thinking=False)
        shown = inline.reasoning("hm")
        shown += "".join(inline.content(content[at : at + size]) for at in range(0, len(content), size))
        assert shown + inline.close("stop") == text


@pytest.mark.parametrize(
    "unit", ["<", "<think>", "</think>", "< ", "x</think>", "<think>x</think>", "x<think></think>"]
)
def test_hostile_replies_take_linear_time(unit: str) -> None:
    start = time.process_time()
    for content in (unit * 50_000, "<" + " " * 200_000):
        for thinking in (True, False):
            inline = InlineText(thinking=thinking)
            inline.content(content)
            inline.close("stop")
    assert time.process_time() - start < 2


DRAFTS = [
    'Analysis: perhaps {"flaws": []}? No, Ann repeats herself; severity 10.',
    'She says "</think>" and then: {"flaws": []} which is wrong.',
    '{"flaws": []} would be too kind.',
    '{"flaws": []} {"flaws": [1]}',
    '```json\n{"flaws": []}\n```\nNo, that is wrong.',
    '{"flaws": [], "flaws": [1]}',
    "{'flaws': []}",
    '"none"',
]


@pytest.mark.parametrize("schema", [True, False])
@pytest.mark.parametrize("draft", DRAFTS)
def test_a_draft_in_reasoning_is_no_answer(draft: str, schema: bool) -> None:
    inline = InlineText(thinking=False, schema=schema)
    assert inline.reasoning(draft) + inline.close("stop") == "" and not inline.aside_was_all


@pytest.mark.parametrize(
    ("reasoning", "schema", "answer"),
    [
        ('{"flaws": []}', True, True),
        (' ```json\n{"flaws": []}\n```\n', True, True),
        ("Ann: Tea?", False, True),
        ("<role_action>nods</role_action> Tea?", False, True),
        ("Ann: Tea?", True, False),
        ("I might write <role_action>nods</role_action>.", False, False),
        ("Let me think.\n</think>\nTea?", False, False),
    ],
)
def test_reasoning_is_the_answer_only_as_a_whole(reasoning: str, schema: bool, answer: bool) -> None:
    """JSON for whoever asked for JSON; what is plainly a turn for an actor that was not to think."""
    inline = InlineText(thinking=False, schema=schema)
    assert inline.reasoning(reasoning) + inline.close("stop") == (reasoning if answer else "")


def test_fenced_json_may_quote_a_tag() -> None:
    said = '```json\n{"flaw": "a stray </think> in turn 2"}\n```'
    inline = InlineText(thinking=False)
    assert inline.content(said) + inline.close("stop") == said


def test_without_thinking_an_answer_streams_where_the_prompt_opens_none() -> None:
    inline = InlineText("plain", thinking=False)
    assert [inline.content(piece) for piece in ("Ann", ": Tea?")] == ["Ann", ": Tea?"]
    inline = InlineText("plain", thinking=False)
    assert [inline.content(piece) for piece in (" ", "<role", "_action>", "x")] == ["", "", " <role_action>", "x"]
    inline = InlineText("plain", thinking=False)
    assert [inline.content(piece) for piece in ("<thi", "nk>", "x</think>", "Ann: Tea?")] == [""] * 4
    assert inline.close("stop") == "Ann: Tea?"


@pytest.mark.parametrize(
    ("prompt", "opens"),
    [
        ("…<system_thinking>\n", True),
        ("…<system_thinking>", True),
        ("assistant\n", False),
        ("", False),
        ("<system_thinking>\n</system_thinking>\n", False),
        ("<system_thinking>\nAnn", False),
    ],
)
def test_opens_thinking(prompt: str, opens: bool) -> None:
    assert opens_thinking(prompt) is opens
