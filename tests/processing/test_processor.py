"""HERProcessor, and what a checkpoint says about its replies."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import regex
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from transformers import AutoProcessor, AutoTokenizer

from her_hf.dual_layer import TAGS, Issue, Layer, escape_tags, parse_turn
from her_hf.dual_layer.text import read_tag
from her_hf.processing import HERProcessor, response
from her_hf.scenes.prompt import LANGUAGES, scene_prompt_source
from tests.support.tokenizers import BASES, FRAMES, NAMES, assistant, attached, processor, render, user

REST = "Ann: <role_thinking>He knows.</role_thinking> <role_action>pours</role_action> Tea?"
REPLY = f"Ann stalls.\n</system_thinking>\n{REST}"
FULL = f"<system_thinking>\n{REPLY}"


def other_end(name: str) -> str:
    """Another token at which such models stop; the same one where a family has no other."""
    frame = FRAMES[name]
    return (frame.other_ends or (frame.turn_end,))[0]


def prompt(name: str = "qwen3", **options: Any) -> str:
    return render([user("Bob: hi")], name, add_generation_prompt=True, **options)


# -- response template: plain transformers


PARSED = [
    ("whole", REPLY + "{end}", {}, "Ann stalls.", REST),
    ("cut off", REPLY, {}, "Ann stalls.", REST),
    ("thinking off", REST + "{end}", {"enable_thinking": False}, None, REST),
    ("opened itself", FULL + "{end}", {"enable_thinking": False}, "Ann stalls.", REST),
    ("unclosed", "Ann stalls.{end}", {}, "Ann stalls.", None),
    ("unclosed, cut off", "Ann stalls.", {}, "Ann stalls.", None),
    ("second block", f"{REPLY} <system_thinking>x</system_thinking>{{end}}", {}, "Ann stalls.",
     f"{REST} <system_thinking>x</system_thinking>"),
    ("bare prefill", f"\n{REPLY}{{end}}", {"bare_prefill": True}, "Ann stalls.", REST),
    ("empty", "{end}", {}, None, None),
    ("another stop", REPLY + "{other}", {}, "Ann stalls.", REST),
    ("unclosed, another stop", "Ann stalls.{other}", {}, "Ann stalls.", None),
    ("closed by an alias", f"Ann stalls.</think>{REST}{{end}}", {}, "Ann stalls.", REST),
    ("closed by an alias, other case, spaces", f"Ann stalls. </ THOUGHT\n>\n{REST}", {}, "Ann stalls.", REST),
    ("opened itself by an alias", f"<Think>Ann stalls.</SystemThinking>{REST}", {"enable_thinking": False},
     "Ann stalls.", REST),
    ("the tag repeated", f"<think>\nAnn stalls.</think>\n{REST}", {}, "<think>\nAnn stalls.", REST),
    ("a tag that is too long", f"Ann stalls.<{' ' * 60}/think>", {}, f"Ann stalls.<{' ' * 60}/think>", None),
    ("a letter like another", f"plan</ſystem_thinking>s</thİnk>t</thin\u212a>{REST}", {},
     "plan</ſystem_thinking>s</thİnk>t", REST),
    ("no system tag", "Ann stalls.</ thinking>", {}, "Ann stalls.</ thinking>", None),
    ("a thought and its end inside", f"<role_thinking>No.</role_thinking> She stalls.</think>{REST}", {},
     "<role_thinking>No.</role_thinking> She stalls.", REST),
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("reply", "options", "thinking", "content"), [row[1:] for row in PARSED], ids=[row[0] for row in PARSED]
)
def test_parse_response(
    reply: str, options: dict[str, Any], thinking: str | None, content: str | None, name: str
) -> None:
    tokenizer, before = attached(name), prompt(name, **options)
    reply = reply.replace("{end}", FRAMES[name].turn_end).replace("{other}", other_end(name))
    want = {"role": "assistant", "thinking": thinking, "content": content}
    want = {key: value for key, value in want.items() if value}
    assert tokenizer.parse_response(reply, prefix=before) == want
    ids = tokenizer.encode(reply, add_special_tokens=False)
    before_ids = tokenizer.encode(before, add_special_tokens=False)
    assert tokenizer.parse_response(ids, prefix=before_ids) == want
    assert processor(name).parse_response(reply, prefix=before) == want


@pytest.mark.parametrize("name", NAMES)
def test_streaming_equals_whole(name: str) -> None:
    tokenizer, before = attached(name), prompt(name)
    for reply in (
        REPLY,
        "Ann stalls.",
        f"{REPLY} <system_thinking>x</system_thinking>",
        "a </b> \n\n </system_thinkin",
        REPLY + other_end(name),
    ):
        text = reply + FRAMES[name].turn_end
        whole = tokenizer.parse_response(text, prefix=before)
        for size in (1, 2, 3, 7):
            parser = tokenizer.get_response_parser(prefix=before)
            events = [e for at in range(0, len(text), size) for e in parser.feed(text[at : at + size])]
            message, last = parser.finalize()
            assert message == whole
            for field in ("thinking", "content"):
                chunks = [e["text"] for e in events + last if e["type"] == "region_chunk" and e["field"] == field]
                assert "".join(chunks) == whole.get(field, "")


SYSTEM_TAGS = sorted(tag for tag, layer in TAGS.items() if layer is Layer.SYSTEM_THINKING)
WHITE = st.sampled_from(["", "", " ", "\n", "\u3000", "\x1c", "\n\n  "])
ANGLES = ["<", ">", "</", "/", "think>", "<b>", "</ inner>", "< ", "<|", "</role_thinkin", "system_thinking", "<thin"]
SPACED = [" " * 60, "\n", "\x1d", "\u200b", "a", "plan", "Ann: "]
JUNK = st.lists(st.sampled_from(ANGLES + SPACED) | st.text(max_size=3), max_size=8).map("".join)
REPLIES = st.lists(
    st.sampled_from(
        [
            "Ann: ",
            "Tea?",
            "<role_action>",
            "</role_action>",
            "<role_thinking>",
            "</role_thinking>",
            "<think>",
            "</think>",
        ]
    )
    | JUNK,
    max_size=6,
).map("".join)


LIKE_LETTERS = {"ſ": "s", "İ": "i", "ı": "i", "ｋ": "k", "т": "t"}
"""Letters that a pattern without case, or the eye, takes for those of a tag."""


@st.composite
def written_tags(draw: st.DrawFn, closing: bool) -> str:
    """A tag of system thinking as models write it."""
    name = draw(st.sampled_from(SYSTEM_TAGS))
    name = draw(st.sampled_from([name, name.upper(), name.title(), name.replace("k", "\u212a")]))
    letter = draw(st.sampled_from(["", "", "", *LIKE_LETTERS]))  # with another letter it is no tag
    name = name.replace(LIKE_LETTERS.get(letter, ""), letter) if letter else name
    slash = f"{draw(WHITE)}/" if closing else ""
    return f"<{slash}{draw(WHITE)}{name}{draw(WHITE)}>"


@given(
    thinking=JUNK,
    close=st.just("") | written_tags(closing=True),
    reply=REPLIES,
    opened=st.just("") | written_tags(closing=False),
    size=st.integers(1, 9),
)
@example("a", "</think>", "Ann: hi", "", 1)
@example("a <", "</ THOUGHT >", "Ann: hi", "<think>", 3)
def test_plain_transformers_closes_where_the_parser_closes(
    thinking: str, close: str, reply: str, opened: str, size: int
) -> None:
    """`opened`: how the model opens the block, if no prompt did."""
    before = prompt(enable_thinking=not opened)
    if close and read_tag(close[1:-1]) is None:
        reply = escape_tags(reply)  # thinking goes on, and tags in it are text to plain transformers
    text = opened + escape_tags(thinking) + (close + reply if close else "")
    message = attached().parse_response(text, prefix=before)
    turn = processor("qwen3").parse_turn(text, prefix=before)
    assume(turn.system_thinking or "<think" not in reply)  # behind an empty block the parser takes the next one
    assert message.get("thinking", "") == (turn.system_thinking or "")
    content = parse_turn(message.get("content", ""))
    assert (content.name, content.segments) == (turn.name, turn.segments)

    parser = attached().get_response_parser(prefix=before)
    events = [*parser.initial_events]
    events += [e for at in range(0, len(text), size) for e in parser.feed(text[at : at + size])]
    streamed, last = parser.finalize()
    assert streamed == message
    chunks = [e["text"] for e in events + last if e["type"] == "region_chunk" and e["field"] == "thinking"]
    assert "".join(chunks).strip() == message.get("thinking", "")


@pytest.mark.parametrize("module", [re, regex])
def test_the_patterns_and_the_parser_read_the_same_letters(module: Any) -> None:
    """Every letter that is another one in some case, in every place of every tag."""
    odd = [
        c for c in map(chr, range(0x80, 0x11000)) if (c.upper() + c.lower() + c.casefold()).isascii() or c in "ſİıK"
    ]
    patterns = [module.compile(response._system_tag(closing)) for closing in (False, True)]
    for tag in SYSTEM_TAGS:
        for at in range(len(tag)):
            for letter in [tag[at].upper(), *odd]:
                name = tag[:at] + letter + tag[at + 1 :]
                for pattern, written in zip(patterns, (name, f"/{name}"), strict=True):
                    assert bool(pattern.fullmatch(f"<{written}>")) == (read_tag(written) is not None), written


@pytest.mark.parametrize("module", [re, regex])
@pytest.mark.parametrize(
    "unit", [" ", "<", "< ", "</", "</ ", " <", "</think", "<|im_end", "</" + " " * 60, "\n</t", "<think>"]
)
def test_the_patterns_take_linear_time(module: Any, unit: str) -> None:
    """In both engines: vLLM and transformers need not use the same."""
    fields = attached().response_template["fields"]["thinking"]
    for pattern in (fields["open_pattern"], fields["close_pattern"]):
        compiled = module.compile(pattern, module.DOTALL)
        text = "<think>" + unit * (400_000 // len(unit))
        start = time.process_time()
        compiled.search(text, 8)
        compiled.search(text)
        assert time.process_time() - start < 5  # measured: 0.1; quadratic: minutes


def test_a_parsed_reply_goes_back_into_the_history() -> None:
    """What a client keeps of a reply renders as training showed it."""
    message = attached().parse_response(REPLY + "<|im_end|>", prefix=prompt())
    chat = [user("Bob: hi"), message]
    assert render(chat).endswith(f"{FULL}<|im_end|>\n")
    assert render([*chat, user("Bob: so?")]).count("stalls") == 0


# -- parse_turn and stream


@pytest.mark.parametrize("name", NAMES)
def test_parse_turn(name: str) -> None:
    her, end = processor(name), FRAMES[name].turn_end
    want = parse_turn(FULL)
    for before, reply in [
        (prompt(name), REPLY + end),
        (prompt(name), f"{REPLY}{end}\nAnd more."),
        (prompt(name, bare_prefill=True), f"\n{REPLY}"),
        (prompt(name, enable_thinking=False), FULL),
        ("", FULL),
        ("<system_thinking>\n", REPLY),
        (prompt(name) + "Ann st", f"alls.{REPLY.removeprefix('Ann stalls.')}"),
    ]:
        turn = her.parse_turn(reply, prefix=before, speaker="Ann")
        assert turn == want
        assert turn.well_formed
        # Behind a token, as generated: at the start of a text some tokenizers put a space.
        ids = torch.tensor(her.tokenizer.encode(end + reply, add_special_tokens=False)[1:])
        assert her.parse_turn(ids, prefix=before) == want
        assert her.is_ended(reply) == her.is_ended(ids) == (end in reply)
    assert her.parse_turn(REST, prefix=prompt(name, enable_thinking=False)) == parse_turn(REST)


@pytest.mark.parametrize("name", NAMES)
def test_only_the_end_of_turn_token_ends_a_reply(name: str) -> None:
    from her_hf.inference.detokenize import Detokenizer
    from her_hf.inference.local import LocalModel

    her, frame = processor(name), FRAMES[name]
    model = SimpleNamespace(generation_config=her.generation_config())
    local = LocalModel(her.tokenizer, model, name="tiny")
    for reply, ended, finish in [
        (REPLY + frame.turn_end, True, "stop"),
        (REPLY, False, "length"),
        *((REPLY + other, False, "stop") for other in frame.other_ends),
        *((f"{REPLY}{other}{frame.turn_end}", False, "stop") for other in frame.other_ends),
    ]:
        assert her.is_ended(reply) is ended
        assert her.parse_turn(reply, prefix=prompt(name)) == parse_turn(FULL)
        ids = her.tokenizer.encode(reply, add_special_tokens=False)
        if not any(
            reply.endswith(other + frame.turn_end) for other in frame.other_ends
        ):  # generation stops at the first of them
            found = local._reply("", Detokenizer(local._decode, ()), ids, 1)
            assert (found.ended, found.finish_reason) == (ended, finish)


def test_parse_turn_records_issues() -> None:
    her = processor("qwen3")
    assert Issue.UNCLOSED in her.parse_turn("Ann stalls.<|im_end|>", prefix=prompt()).issues
    assert Issue.EMPTY in her.parse_turn("", prefix=prompt()).issues
    assert Issue.FOREIGN_SPEAKER in her.parse_turn(REPLY, prefix=prompt(), speaker="Bob", names=("Ann", "Bob")).issues


@given(st.text(max_size=30) | st.sampled_from([REPLY, FULL, REST]), st.integers(1, 9), st.booleans())
def test_stream_equals_parse_turn(text: str, size: int, thinks: bool) -> None:
    her, before = processor("qwen3"), prompt(enable_thinking=thinks)
    stream = her.stream(prefix=before)
    for at in range(0, len(text), size):
        stream.feed(text[at : at + size])
    assert stream.close() == her.parse_turn(text, prefix=before) == parse_turn(text, prefilled=thinks)


def test_prefix_must_be_said() -> None:
    with pytest.raises(TypeError, match="prefix"):
        processor("qwen3").parse_turn(REPLY)  # type: ignore[call-arg]


# -- the processor as a processor


@pytest.mark.parametrize("name", NAMES)
def test_save_and_load(name: str, tmp_path: Path) -> None:
    her = processor(name)
    her.save_pretrained(tmp_path)
    again = HERProcessor.from_pretrained(tmp_path)
    auto = AutoProcessor.from_pretrained(tmp_path)
    plain = AutoTokenizer.from_pretrained(tmp_path)
    assert isinstance(auto, HERProcessor)
    assert not isinstance(plain, HERProcessor)
    messages = [user("x"), assistant(FULL), user("y")]
    want = her.apply_chat_template(messages, add_generation_prompt=True)
    for other in (again, auto, plain):
        assert other.apply_chat_template(messages, add_generation_prompt=True) == want
        assert other.chat_template == her.chat_template
    assert again.parse_turn(REPLY, prefix=prompt(name)) == parse_turn(FULL)
    for file in tmp_path.rglob("*.json"):
        assert "auto_map" not in file.read_text()


def test_a_trainers_save_of_the_tokenizer_alone_is_enough(tmp_path: Path) -> None:
    processor("qwen3").tokenizer.save_pretrained(tmp_path)
    assert isinstance(AutoProcessor.from_pretrained(tmp_path), HERProcessor)


def test_without_her_hf_the_plain_tokenizer_behaves(tmp_path: Path) -> None:
    processor("qwen3").save_pretrained(tmp_path)
    code = f"""
import sys
sys.modules["her_hf"] = None  # importing it fails
from transformers import AutoProcessor, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained({str(tmp_path)!r})
other = AutoProcessor.from_pretrained({str(tmp_path)!r})
assert type(other) is type(tokenizer), type(other)
chat = [{{"role": "user", "content": "Bob: hi"}}, {{"role": "assistant", "content": {FULL!r}}}]
prompt = tokenizer.apply_chat_template([*chat, chat[0]], add_generation_prompt=True, tokenize=False)
assert "stalls" not in prompt and prompt.endswith("<system_thinking>\\n"), prompt
print(tokenizer.parse_response({REPLY!r}, prefix=prompt)["thinking"])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout == "Ann stalls.\n", run.stderr


def test_defaults_are_the_tokenizers() -> None:
    her, chat = processor("qwen3"), [user("x"), assistant(FULL)]
    assert her.apply_chat_template(chat)["input_ids"] == her.tokenizer.apply_chat_template(chat)["input_ids"]
    assert any(her.apply_chat_template(chat, return_assistant_tokens_mask=True)["assistant_masks"])
    assert her("Tea?")["input_ids"] == her.tokenizer("Tea?")["input_ids"]
    assert her.decode(her("Tea?")["input_ids"]) == "Tea?"


def test_a_plain_tokenizer_is_refused() -> None:
    with pytest.raises(ValueError, match=r"does not have the HER chat template.*HERProcessor.attach"):
        HERProcessor(AutoTokenizer.from_pretrained(BASES / "qwen3"))


def test_push_to_hub_uploads_the_whole_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: dict[str, Any] = {}

    def upload(self: HERProcessor, folder: str, repo_id: str, **_: Any) -> None:
        files = {str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()}
        sent.update(repo=repo_id, files=files)

    class Api:
        def create_repo(self, repo_id: str, **_: Any) -> Any:
            return type("Repo", (), {"repo_id": repo_id})

    class Card:
        def save(self, path: str) -> None:
            Path(path).write_text("card")

    monkeypatch.setattr(HERProcessor, "_upload_modified_files", upload)
    monkeypatch.setattr("transformers.utils.hub.hf_api", Api)
    monkeypatch.setattr("transformers.utils.hub.create_and_tag_model_card", lambda *_, **__: Card())
    processor("qwen3").push_to_hub("ann/her")
    assert sent["repo"] == "ann/her"
    assert sent["files"] >= {
        "chat_template.jinja",
        "additional_chat_templates/scene.jinja",
        "generation_config.json",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }


# -- scene prompt, generation defaults


@pytest.mark.parametrize("language", LANGUAGES)
def test_scene_prompt_is_the_scenes_own(language: str) -> None:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    variables = {
        "character": "Ann",
        "book": "The Drawer",
        "profile": "Hides a letter.",
        "scenario": "A parlour.",
        "others": [{"name": "Bob", "profile": "Looks for it."}],
        "thoughts": "He must not look there.",
    }
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    for extra in ({}, {"system_thinking": False}, {"environment": True}):
        want = environment.from_string(scene_prompt_source(language)).render(**variables, **extra).strip()
        assert processor("llama3").scene_prompt(language=language, **variables, **extra) == want
        assert "Ann" in want


def test_scene_prompt_is_english_by_default() -> None:
    her = processor("qwen3")
    assert her.scene_prompt(character="Ann") == her.scene_prompt(character="Ann", language="en")
    assert her.scene_prompt(character="Ann") != her.scene_prompt(character="Ann", language="zh")


@pytest.mark.parametrize("name", NAMES)
def test_generation_config(name: str, tmp_path: Path) -> None:
    her = processor(name)
    her.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "generation_config.json").read_text())
    assert {key: saved[key] for key in ("do_sample", "temperature", "top_p", "max_new_tokens")} == {
        "do_sample": True,
        "temperature": 0.7,
        "top_p": 0.9,
        "max_new_tokens": 1024,
    }
    tokens = her.tokenizer.convert_ids_to_tokens(saved["eos_token_id"])
    assert tokens[0] == FRAMES[name].turn_end == her.tokenizer.eos_token
    known = her.tokenizer.get_vocab()
    assert tokens[1:] == [token for token in FRAMES[name].other_ends if token in known]


def test_a_generation_config_that_is_there_wins_but_for_the_stops(tmp_path: Path) -> None:
    there = {"temperature": 0.2, "eos_token_id": 5, "top_k": 20, "_from_model_config": True}
    (tmp_path / "generation_config.json").write_text(json.dumps(there))
    processor("qwen3").save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "generation_config.json").read_text())
    stops = processor("qwen3").generation_config().eos_token_id
    assert saved["temperature"] == 0.2
    assert saved["top_p"] == 0.9
    assert saved["top_k"] == 20
    assert saved["eos_token_id"] == [*stops, 5]
    assert "_from_model_config" not in saved
