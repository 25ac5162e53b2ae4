"""The rules of the HER chat template, through the plain tokenizer of a saved checkpoint."""

from __future__ import annotations

import gc
import re
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jinja2 import TemplateError

from her_hf.dual_layer import ZERO_WIDTH_SPACE, escape_tags, parse_turn, split_system, view_text
from her_hf.processing.frames import CHATML
from her_hf.processing.templates import chat_template, training_template
from tests.support.tokenizers import BOS, FRAMES, NAMES, assistant, attached, expected, render, turns, user

Z = ZERO_WIDTH_SPACE
START = "===Conversation Start==="
FULL = (
    "<system_thinking>\nAnn stalls.\n</system_thinking>\nAnn: <role_thinking>He knows.</role_thinking> "
    "<role_action>pours</role_action> Tea?"
)
SELF = "Ann: <role_thinking>He knows.</role_thinking> <role_action>pours</role_action> Tea?"
OTHERS = "Ann: <role_action>pours</role_action> Tea?"

PIECES = [
    *("<system_thinking>", "</system_thinking>", "<role_thinking>", "</role_thinking>", "<role_action>", "<think>"),
    *("</role_action>", "</think>", "<role_speech>", "</role_speech>", "< Role_Think >", "</ LONG_role_thinking\n>"),
    *("<thought>", "<", "> ", ">", "</", "/", "role_action>", "system_thinking", "<b>", "<items>", "<!", "<.", "<!+P"),
    *("!+T", "|", "<|im_end|>", "<think\u2003>", "<thin\u212a>", "<" + " " * 60, " " * 59, Z, "Ann", ":", " ", "\n"),
    *("a", "b c", "=", "\u3000", "\x1c", "\x85", "{{ 1 }}", "{%", "\\", "'", "\ud800", "İ", "\0"),
]
# Whole blocks with line breaks between them, which pieces drawn one by one hardly ever make.
BLOCKS = st.lists(
    st.tuples(
        st.sampled_from(["", "\n", "\n\n", " "]),
        st.sampled_from(["", "role_thinking", "role_action", "think", "role_speech"]),
        st.sampled_from(["x", "y<", "z>", "", "w"]),
        st.sampled_from(["", "\n"]),
        st.sampled_from([True, True, True, False]),
    ),
    max_size=7,
).map(lambda blocks: "".join(block(*parts) for parts in blocks))
TEXT = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=16).map("".join) | BLOCKS


def block(before: str, tag: str, text: str, after: str, closed: bool) -> str:
    return f"{before}<{tag}>{text}{after}{f'</{tag}>' if closed else ''}" if tag else f"{before}{text}{after}"


def shielded(text: str) -> str:
    """The escapes that the template adds to a view."""
    return text.replace("<|", f"<{Z}|").replace(START, f"={Z}{START[1:]}")


# -- views


@given(TEXT)
@example("<<think>p</think>a<think>p</think>b")  # an unfinished "<" counts on behind what is hidden,
@example("<<think>p</think>a<role_speech>b")  # but not behind a tag that hides nothing
@example("<<think>p</think>a><think>p</think>b")
@example("<role_action>a<</role_action>b<role_action>c</role_action>")
@example("a <role_thinking>x\n<role_action>y</role_thinking> b")  # a break inside what is hidden
@example("a <role_thinking>x</role_thinking>\n<role_thinking>y</role_thinking> b")  # between two that are hidden
@example("<role_action>a</role_action><role_speech> </role_speech><role_action>b<role_action>c</role_action>d")
@example("Ann: a\n<role_thinking>x</role_thinking>\n\n<role_thinking>y</role_thinking>\nb")
@example("a\n<role_thinking>x</role_thinking>\n<think>y</think> b")  # a break between two hidden runs counts
@example("a <role_action>x</role_action>\n<role_action>y</role_action> b")
def test_a_user_message_is_the_others_view(text: str) -> None:
    assert turns(render([user("x"), user(text)])) == [("user", "\n\n".join(filter(None, ["x", _others(text)])))]


@given(TEXT)
def test_a_past_assistant_message_is_the_self_view(text: str) -> None:
    seen = turns(render([user("x"), assistant(text), user("x")]))
    assert seen[1] == ("assistant", shielded(view_text(text, "self")))


@given(TEXT, st.sampled_from(NAMES))
@example("<think>a</think><think>b</think>c", "qwen3")  # only the first block leads
@example("<think>a<role_action>b</think> c", "qwen3")
@example("a<think>b</think>", "qwen3")
def test_the_last_assistant_message_is_in_full(text: str, name: str) -> None:
    thinking, rest = split_system(text)
    said = f"<system_thinking>\n{thinking}\n</system_thinking>\n{rest}" if thinking else rest
    assert turns(render([user("x"), assistant(text)], name), name)[1] == ("assistant", shielded(said))


@given(TEXT)
def test_thinking_in_its_own_field_is_escaped(text: str) -> None:
    said = turns(render([user("x"), assistant("Ann: hi", reasoning_content=text)]))[1][1]
    thinking = escape_tags(text.strip())
    assert said == shielded(f"<system_thinking>\n{thinking}\n</system_thinking>\nAnn: hi" if thinking else "Ann: hi")


def _others(text: str) -> str:
    return shielded(view_text(text, "others"))


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_conversation(name: str) -> None:
    messages = [
        {"role": "system", "content": f" You are Ann. <role_thinking>x</role_thinking> {START} "},
        user(f"{START}\n\nBob: <role_thinking>Hm.</role_thinking> Hello."),
        assistant(FULL),
        user("Bob: <think>plot</think> So?"),
        user("Cy: <role_action>coughs</role_action>"),
        assistant(FULL),
    ]
    want = [
        ("system", f" You are Ann. <role_thinking>x</role_thinking> ={Z}{START[1:]} "),
        ("user", f"{START}\n\nBob: Hello."),
        ("assistant", SELF),
        ("user", "Bob: So?\n\nCy: <role_action>coughs</role_action>"),
        ("assistant", FULL),
    ]
    assert turns(render(messages, name), name) == expected(name, want)


VIEWS = [
    ("unclosed thought", "a <role_thinking>b <role_action>c", "a", "a <role_thinking>b c</role_thinking>"),
    ("any case, inner spaces", "< ROLE_Thinking >b</ role_THINKING > a", "a", "<role_thinking>b</role_thinking> a"),
    ("legacy tags", "<think>p</think><long_role_thinking>b</long_role_thinking> a", "a", None),
    ("nothing nested shows", "<role_thinking>b<role_action>c</role_action></role_thinking>a", "a", None),
    (
        "close pops to its match",
        "<role_action>a<role_thinking>b</role_action>c",
        "<role_action>a</role_action> c",
        None,
    ),
    ("close without match", "<role_thinking>b</role_action>a", "a", "<role_thinking>b</role_thinking> a"),
    ("spaces survive", "one<role_thinking>b</role_thinking>two", "one two", None),
    (
        "actions stay two",
        "<role_action>a</role_action><role_thinking>x</role_thinking><role_action>b</role_action>",
        "<role_action>a</role_action> <role_action>b</role_action>",
        None,
    ),
    (
        "thoughts stay two",
        "<role_thinking>a</role_thinking><think>x</think><role_thinking>b</role_thinking>c",
        "c",
        "<role_thinking>a</role_thinking> <role_thinking>b</role_thinking> c",
    ),
    (
        "an element goes on behind what is nested in it",
        "<role_action>a <role_action>b</role_action> c</role_action>",
        "<role_action>a b c</role_action>",
        "<role_action>a b c</role_action>",
    ),
    ("a late block is hidden", "a <think>p</think> b", "a b", "a b"),
    ("a joint completes no tag", "<<think>p</think>role_action>x", f"< {Z}role_action>x", f"< {Z}role_action>x"),
    ("65 characters are no tag", "<" + " " * 60 + "think>a", "<" + " " * 60 + "think>a", None),
    ("64 characters are one", "a<" + " " * 59 + "think>b", "a", "a"),
    ("a method of dict is no tag", "<items>a<get>b", "<items>a<get>b", "<items>a<get>b"),
]


@pytest.mark.parametrize(("text", "others", "own"), [row[1:] for row in VIEWS], ids=[row[0] for row in VIEWS])
def test_views(text: str, others: str | None, own: str | None) -> None:
    """The property tests compare with `view_text`; these say what both must give."""
    seen = turns(render([user(text), assistant(text), user(text)]))
    assert seen[0][1] == (view_text(text, "others") if others is None else others)
    assert seen[1][1] == (view_text(text, "self") if own is None else own)


def test_an_unclosed_thought_swallows_its_own_message_only() -> None:
    merged = turns(render([user("Bob: <role_thinking>hm"), user("Cy: so?"), user("<think>"), user("Di: no.")]))
    assert merged == [("user", "Bob:\n\nCy: so?\n\nDi: no.")]


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        (["Bob: look <", "role_thinking> Cy: so?", "Di: no."], f"Bob: look <\n\n{Z}role_thinking> Cy: so?\n\nDi: no."),
        (["Bob: <", "Cy", "think>x"], f"Bob: <\n\n{Z}Cy\n\n{Z}think>x"),
        (["Bob: <b>", "think>x"], "Bob: <b>\n\nthink>x"),
    ],
)
def test_no_tag_arises_where_messages_merge(said: list[str], seen: str) -> None:
    messages = [user(text) for text in said]
    assert turns(render(messages)) == [("user", seen)]
    assert turns(render([user(seen)])) == [("user", seen)]  # what is read again is the same


@pytest.mark.parametrize("field", ["reasoning_content", "thinking", "reasoning"])
def test_aliases_of_thinking(field: str) -> None:
    message = assistant(SELF, **{field: "  Ann stalls.\n"})
    assert turns(render([user("x"), message]))[1][1] == FULL
    assert turns(render([user("x"), message, user("y")]))[1][1] == SELF
    assert turns(render([user("x"), assistant(FULL, **{field: "Else."})]))[1][1] == FULL.replace("Ann stalls", "Else")


@pytest.mark.parametrize("field", ["reasoning_content", "thinking", "reasoning"])
def test_aliases_are_the_templates_own(field: str) -> None:
    """Servers and older transformers fill no alias."""
    from transformers.utils.chat_template_utils import _compile_jinja_template

    template = _compile_jinja_template(chat_template(CHATML))
    assert template.render(messages=[assistant(SELF, **{field: "Ann stalls."})]).endswith(f"{FULL}<|im_end|>\n")


# -- content, names, roles


CONTENTS: list[tuple[Any, str]] = [
    ("Bob: hi", "Bob: hi"),
    ([{"type": "text", "text": "Bob: <role_thinking>a"}, {"type": "text", "text": "b</role_thinking> hi"}], "Bob: hi"),
    ([{"type": "text", "text": "Bob: hi"}, "ho"], "Bob: hi\nho"),
    (None, ""),
    ([], ""),
    ("", ""),
]


@pytest.mark.parametrize(("content", "text"), CONTENTS)
def test_content(content: Any, text: str) -> None:
    assert turns(render([user(content), assistant(content), user("x")]))[0] == ("user", text)
    assert turns(render([{"role": "system", "content": content}]))[0][0] == "system"


def test_content_may_be_missing() -> None:
    assert turns(render([{"role": "user"}, {"role": "assistant"}])) == [("user", ""), ("assistant", "")]


THOUGHT = "<role_thinking>x</role_thinking>"
NAMED = [
    ("Ann", "hi", "Ann: hi", "Ann: hi"),
    ("Ann", "Ann: hi", "Ann: hi", "Ann: hi"),
    ("Ann", "Ann ：hi", "Ann ：hi", "Ann ：hi"),
    ("Ann", f"{THOUGHT}Ann: hi", "Ann: hi", f"Ann: {THOUGHT} Ann: hi"),
    ("Ann", f"Ann: {THOUGHT} hi", "Ann: hi", f"Ann: {THOUGHT} hi"),
    ("Ann", "Anna: hi", "Ann: Anna: hi", "Ann: Anna: hi"),
    ("Ann", "<role_action>nods</role_action>", *["Ann: <role_action>nods</role_action>"] * 2),
    ("Ann", THOUGHT, "Ann:", f"Ann: {THOUGHT}"),
    (" Ann\n Lee ", "hi", "Ann Lee: hi", "Ann Lee: hi"),
    ("Ann", "**Ann** (smiles): yes", *["**Ann** (smiles): yes"] * 2),
    ("Bob", "Bob (x): hm", *["Bob (x): hm"] * 2),
    ("Ann", "ANN : hi", *["ANN : hi"] * 2),
    ("Ann", "**Ann (so [b]):** hi", *["**Ann (so [b]):** hi"] * 2),
    ("Ann", "[Ann]: hi", *["[Ann]: hi"] * 2),
    ("安娜", "【安娜】（低声）：走", *["【安娜】（低声）：走"] * 2),
    ("O'Neil", "O’Neil: hi", *["O’Neil: hi"] * 2),
    ("Ann", "**Bob:** hi", *["Ann: **Bob:** hi"] * 2),
    ("Ann", "Anna (x): hi", *["Ann: Anna (x): hi"] * 2),
    ("Ann", "Ann (x) hi", *["Ann: Ann (x) hi"] * 2),
    ("Will", "will: hi", *["Will: will: hi"] * 2),
    ("Will", "WILL: hi", *["WILL: hi"] * 2),
    ("", "hi", "hi", "hi"),
    (None, "hi", "hi", "hi"),
]


@pytest.mark.parametrize(("name", "text", "others", "own"), NAMED)
def test_name(name: str | None, text: str, others: str, own: str) -> None:
    assert turns(render([user("x"), user(text, name=name)]))[0][1] == f"x\n\n{others}"
    assert turns(render([user("x"), assistant(text, name=name), user("y")]))[1][1] == own
    assert turns(render([user("x"), assistant(text, name=name)]))[1][1] == own


LABELS = st.tuples(
    st.sampled_from(["", "*", "**", "_", "[", "**[", "【"]),
    st.sampled_from(["Ann", "ANN", "ann", "O’Neil", "o'neil", "Bob"]),
    *[st.sampled_from(["", "", " ", "*", "**", "_", "]", "】", "(x)", "（x [y]）", ":", "："])] * 5,
).map("".join)


@given(LABELS, st.sampled_from(["Ann", "O'Neil"]))
@example("**Ann** (x [y]):", "Ann")
def test_a_label_that_is_read_is_not_written_again(label: str, name: str) -> None:
    text = f"{label} hi"
    seen = turns(render([user("x"), user(text, name=name)]))[0][1].removeprefix("x\n\n")
    assert seen in (text, f"{name}: {text}")
    if parse_turn(text, names=[name]).name == name:
        assert seen == text


def test_a_name_does_not_come_before_the_conversation_start() -> None:
    assert turns(render([user(f"{START}\n\nBob: hi", name="Bob")]))[0][1] == f"{START}\n\nBob: hi"


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ({"role": "tool", "content": "x"}, "got tool.*user message"),
        ({"role": "critic", "content": "x"}, "got critic"),
        ({"role": "user", "content": [{"type": "image", "url": "x"}]}, "only text parts"),
        ({"role": "user", "content": 3}, "content must be"),
        ({"role": "user", "content": {"text": "x"}}, "content must be"),
    ],
)
def test_bad_messages(message: dict[str, Any], says: str) -> None:
    with pytest.raises(TemplateError, match=says):
        render([message])


# -- prompt, switch, marks


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("options", "tail"),
    [
        ({}, "<system_thinking>\n"),
        ({"enable_thinking": True}, "<system_thinking>\n"),
        ({"enable_thinking": None}, "<system_thinking>\n"),
        ({"enable_thinking": False}, ""),
        ({"enable_system_thinking": False}, ""),
        ({"enable_system_thinking": False, "enable_thinking": True}, ""),
        ({"bare_prefill": True}, "<system_thinking>"),
    ],
)
def test_generation_prompt(name: str, options: dict[str, Any], tail: str) -> None:
    prompt = render([user("x")], name, add_generation_prompt=True, **options)
    frame = FRAMES[name]
    assert prompt == BOS[name] + frame.user_start + "x" + frame.user_end + frame.turn_gap + frame.reply_start + (
        frame.reply_lead + tail if tail else ""
    )


def test_thinking_off_leaves_it_out_of_the_last_turn() -> None:
    for switch in ("enable_thinking", "enable_system_thinking"):
        assert turns(render([user("x"), assistant(FULL)], **{switch: False}))[1][1] == SELF


def test_before_a_generation_prompt_every_turn_is_history() -> None:
    assert turns(render([user("x"), assistant(FULL)], add_generation_prompt=True))[1][1] == SELF


def ids(messages: list[dict[str, Any]], name: str, **options: Any) -> list[int]:
    return list(attached(name).apply_chat_template(messages, **options)["input_ids"])


def masked(messages: Any, name: str = "qwen3", **options: Any) -> Any:
    """Ids and the mask of what is trained, as training asks the plain tokenizer of a checkpoint for them."""
    template = training_template(attached(name).get_chat_template())
    return attached(name).apply_chat_template(
        messages, chat_template=template, return_assistant_tokens_mask=True, **options
    )


REPLIES = [
    assistant(FULL),
    assistant(SELF, reasoning_content="\n\n  Ann stalls.\n\n"),
    assistant("Ann: 好", reasoning_content="安在拖延。"),
    assistant("1 < 2", reasoning_content="\x1c\x85 > 3"),
    assistant("", reasoning_content="=\u0338"),
    assistant("  Ann:\n\nhi  ", reasoning_content="1234567"),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("reply", REPLIES)
def test_prompt_and_target_are_the_whole(name: str, reply: dict[str, Any]) -> None:
    history = [user(START), assistant("Ann: hi"), user("Bob: so?")]
    for options in ({}, {"enable_thinking": False}):
        prompt = ids(history, name, add_generation_prompt=True, **options)
        out = masked([*history, reply], name, **options)
        whole, mask = list(out["input_ids"]), list(out["assistant_masks"])
        assert whole[: len(prompt)] == prompt
        assert len(whole) > len(prompt)
        # Trained: everything behind the prompt, up to and with the end-of-turn token.
        end = whole.index(attached(name).convert_tokens_to_ids(FRAMES[name].turn_end), len(prompt))
        assert mask == [0] * len(prompt) + [1] * (end + 1 - len(prompt)) + [0] * (len(whole) - end - 1)
        assert len(whole) - end - 1 == len(FRAMES[name].turn_gap)


@given(TEXT, TEXT, st.sampled_from(NAMES))
def test_prompt_is_a_prefix_whatever_is_thought(thinking: str, content: str, name: str) -> None:
    if any("\ud800" <= character <= "\udfff" for character in thinking + content):
        return  # no tokenizer takes a lone surrogate
    prompt = ids([user("x")], name, add_generation_prompt=True)
    whole = ids([user("x"), assistant(content, reasoning_content=f"p{thinking}")], name)
    assert whole[: len(prompt)] == prompt


@pytest.mark.parametrize("name", NAMES)
def test_history_has_no_mark(name: str) -> None:
    out = masked([user("x"), assistant(FULL), user("y")], name)
    assert not any(out["assistant_masks"])


def test_masks_in_a_batch() -> None:
    chats = [[user("x"), assistant(FULL)], [user("x"), assistant(FULL), user("y"), assistant("Ann: no")]]
    out = masked(chats)
    texts = [
        attached().decode([i for i, m in zip(row, mask, strict=True) if m])
        for row, mask in zip(out["input_ids"], out["assistant_masks"], strict=True)
    ]
    assert texts == [FULL.removeprefix("<system_thinking>\n") + "<|im_end|>", "Ann: no<|im_end|>"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("field", ["content", "reasoning_content"])
def test_continue_final_message(field: str, name: str) -> None:
    part = {"content": assistant("<system_thinking>\nAnn sta"), "reasoning_content": assistant("", thinking="Ann sta")}
    text = render([user("x"), part[field]], name, continue_final_message=field)
    assert text == render([user("x")], name, add_generation_prompt=True) + "Ann sta"


# -- the template itself


@pytest.mark.parametrize("name", NAMES)
def test_the_template_opens_with_its_differences(name: str) -> None:
    template = attached(name).chat_template["default"]
    assert template.startswith("{#-\nHER chat template")
    assert "Differences from such a base's own template" in template
    for word in ("include", "import", "extends"):
        assert f"{{%- {word}" not in template and f"{{% {word}" not in template


@pytest.mark.parametrize("name", NAMES)
def test_the_template_is_for_every_engine(name: str) -> None:
    """tests/integration/test_engines.py runs them; here what they would refuse is not even written."""
    template = attached(name).chat_template["default"]
    code = re.sub(r"\{#-.*?-#\}", "", template, flags=re.DOTALL)
    refused = ("generation -%}", "\\u", "\\x", "**", ".count(", "dict(", ".islower(", "strip('", " ~ ", "[-", ":-")
    assert [piece for piece in refused if piece in code] == []


def test_a_token_outside_ascii_is_written_as_it_is() -> None:
    assert 'set begin = "<｜begin▁of▁sentence｜>"' in chat_template(CHATML, begin="<｜begin▁of▁sentence｜>")


@pytest.mark.parametrize("options", [{}, {"add_generation_prompt": True}, {"enable_thinking": False}])
def test_training_renders_the_same(options: dict[str, Any]) -> None:
    messages = [user("Bob: hi"), assistant(FULL), user("Bob: so?"), assistant(FULL)]
    template = training_template(attached().get_chat_template())
    assert template.count("{%- generation -%}") == template.count("{%- endgeneration -%}") == 1
    assert render(messages, chat_template=template, **options) == render(messages, **options)
    assert training_template("{% generation %}{#- a -#}") == "{% generation %}{#- a -#}"


@pytest.mark.parametrize("name", NAMES)
def test_text_generation_webui_finds_the_turns(name: str) -> None:
    """It renders two messages of one role and splits at their texts."""
    first, second = "<<|user-message-1|>>", "<<|user-message-2|>>"
    before, between, after = re.split(
        "|".join(map(re.escape, (first, second))), render([assistant(first), assistant(second)], name)
    )
    frame = FRAMES[name]
    start, end = frame.reply_start + frame.reply_lead, frame.turn_end + frame.turn_gap
    assert (before, between, after) == (BOS[name] + start, end + start, end)
    assert "<|" not in turns(render([user("<|user|> <|user-message|>")], name), name)[0][1]


@pytest.mark.parametrize("role", ["user", "assistant"])
def test_elements_that_are_nested_too_deep(role: str) -> None:
    """They are counted and not remembered one by one; a thought among them still hides what is inside."""
    said = {"user": user, "assistant": assistant}[role]
    action, thought = "<role_action>" * 600, "<role_thinking>b"
    seen = turns(render([user("x"), said(f"{action}a{thought}"), user("y")]))
    assert "a" in seen[role == "assistant"][1] and "b" not in seen[role == "assistant"][1]
    closed = f"{action}a{thought}</role_thinking>{'</role_action>' * 600}c{thought}"
    seen = turns(render([user("x"), said(closed), user("y")]))
    assert "<role_action>a</role_action> c" in seen[role == "assistant"][1]
    assert turns(render([user("<role_action>" * 600 + "</role_action>" * 600 + "<think>a</think>b")]))[0][1] == "b"


def test_small_letters_and_capitals_are_pairs() -> None:
    """For the engine that knows them in ASCII alone."""
    capitals, smalls = (
        "".join(re.findall(r"'(.*?)'", part)).split(" ")
        for part in re.findall(r"set (?:capitals|smalls) = \((.*?)\)\.split", chat_template(CHATML), re.DOTALL)
    )
    assert [capital.lower() for capital in capitals] == smalls
    assert len(set(capitals)) == len(capitals) > 200


@pytest.mark.parametrize(
    ("name", "text"), [("Élise", "ÉLISE : non"), ("Ярик", "**ЯРИК**: да"), ("Οδυσσευς", "ΟΔΥΣΣΕΥΣ: ναι")]
)
def test_a_label_in_capitals_of_another_alphabet(name: str, text: str) -> None:
    assert turns(render([user(text, name=name)]))[0][1] == text
    small = text[0].lower() + text[1:]
    assert turns(render([user(small, name=name)]))[0][1] == (small if text[0] == "*" else f"{name}: {small}")


def test_marks_are_outside_macros() -> None:
    from jinja2 import nodes
    from transformers.utils.chat_template_utils import _compile_jinja_template

    source = training_template(chat_template(CHATML))
    tree = _compile_jinja_template(source).environment.parse(source)
    inside = [*tree.find_all(nodes.Macro), *tree.find_all(nodes.AssignBlock)]
    assert sum(1 for _ in tree.find_all(nodes.CallBlock)) == 1
    assert not any(list(block.find_all(nodes.CallBlock)) for block in inside)


HOSTILE = {
    "unclosed tags": "<think>a",
    "closed by nothing": "</think>",
    "open angles": "<",
    "no tags": "<>",
    "actions and speech": "<role_action>x</role_action>y",
    "closed across": "<role_action><role_thinking>x</think>",
}


def seconds(text: str, runs: int = 3) -> float:
    """Best of some runs, without the garbage collector: its passes cost what the other tests left on the heap."""
    times = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(runs):
            start = time.process_time()
            render([user(text)])
            times.append(time.process_time() - start)
    finally:
        gc.enable()
    return min(times)


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE.keys())
def test_time_is_linear(piece: str) -> None:
    small = piece * (50_000 // len(piece))
    assert turns(render([user(small)]))[0][1] == _others(small)
    assert seconds(small * 4) < 8 * seconds(small) + 0.1  # quadratic: 16 times


def test_a_megabyte_of_unclosed_tags() -> None:
    assert seconds("<think>a" * 125_000, runs=1) < 10  # about two on a free core
