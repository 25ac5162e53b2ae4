"""inference: one interface over servers and transformers in process; system thinking is inline whatever came."""

from __future__ import annotations

import asyncio
import copy
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from chat_helpers import BODY, FULL, THINKING, StandIn, serving, total
from hypothesis import given
from hypothesis import strategies as st

from her_hf.dual_layer import parse_turn
from her_hf.inference import Caller, ModelError, Reply, Retries, Sampling, Usage, is_url, open_model, wire
from her_hf.inference.detokenize import Detokenizer
from her_hf.inference.inline import InlineText, opens_thinking
from her_hf.inference.openai import ServerModel
from her_hf.inference.wire import api_root, estimate_tokens, newly_refused, whole_characters

T = TypeVar("T")
FIXTURES = Path(__file__).parent / "fixtures"
MESSAGES = [{"role": "system", "content": "You are Ann."}, {"role": "user", "content": "===Conversation Start==="}]


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


async def streamed(model: Any, **how: Any) -> list[str | Reply]:
    try:
        return [piece async for piece in model.stream(MESSAGES, **how)]
    finally:
        await model.close()


async def whole(model: Any, **how: Any) -> Reply:
    try:
        return await model.chat(MESSAGES, **how)
    finally:
        await model.close()


# -- the interface


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", 0),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("stop", "x"),
        ("stop", ("",)),
    ],
)
def test_sampling_refuses_what_cannot_be_drawn(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        Sampling(**{field: value})  # type: ignore[arg-type]


def test_sampling_can_key_a_ledger() -> None:
    assert len({Sampling(), Sampling(), Sampling(seed=1), Sampling(stop=("x",))}) == 3


@pytest.mark.parametrize(
    ("kind", "status", "retryable"),
    [
        ("status", 429, True),
        ("status", 503, True),
        ("status", 400, False),
        ("status", 401, False),
        ("connection", None, True),
        ("timeout", None, True),
        ("dropped", None, True),
        ("protocol", None, False),
    ],
)
def test_errors_know_whether_to_try_again(kind: str, status: int | None, retryable: bool) -> None:
    assert ModelError("", kind=kind, status=status).retryable is retryable


@pytest.mark.parametrize("module", ["her_hf.inference", "her_hf.inference.openai", "her_hf.session"])
def test_a_server_needs_no_torch(module: str) -> None:
    code = f"import sys, {module}; print([name for name in ('torch', 'transformers') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


# -- system thinking inline


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
        (None, "", "Ann is about to", "length", "<system_thinking>\nAnn is about to"),
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


# -- servers


@pytest.mark.parametrize("tokenizes", [False, True])
@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
@pytest.mark.parametrize("way", ["split", "prefilled", "plain"])
def test_a_server_gives_one_text_whatever_its_way(way: str, field: str, tokenizes: bool) -> None:
    with serving(way=way, reasoning_field=field, tokenizes=tokenizes) as server:
        pieces = run(streamed(ServerModel(server.url)))
        reply = run(whole(ServerModel(server.url + "/v1/")))
    last = pieces[-1]
    assert isinstance(last, Reply)
    assert total(pieces) == last.text == reply.text == FULL
    assert (last.ended, last.finish_reason, last.usage) == (True, "stop", Usage(10, 20))
    assert (last.content, last.reasoning) == (reply.content, reply.reasoning)
    assert last.reasoning == (THINKING if way == "split" else None)
    assert parse_turn(last.text, names=["Ann"]).well_formed


def test_thinking_streams_where_the_server_tokenizes_and_is_else_held_back_until_it_closes() -> None:
    async def sizes(model: ServerModel) -> tuple[int, int]:
        first = [piece async for piece in model.stream(MESSAGES)]
        second = [piece async for piece in model.stream(MESSAGES)]
        await model.close()
        assert total(first) == total(second) == FULL
        return len(first), len(second)

    with serving(way="prefilled", tokenizes=True) as server:
        first, second = run(sizes(ServerModel(server.url)))
        assert first == second > 10
    with serving(way="prefilled") as server:
        first, second = run(sizes(ServerModel(server.url)))
        assert 2 < first == second


UNTOLD = {"first": "Ann stalls.\n</system_thinking>\nAnn: Tea?", "second": "Bob wants to kill her, secretly."}
"""What a server without a reasoning parser sends after a prompt that opens the block."""


@pytest.mark.parametrize("tokenizes", [False, True])
def test_replies_are_read_alike_in_any_order(tokenizes: bool) -> None:
    async def one(model: ServerModel, word: str) -> tuple[str, str]:
        return word, (await model.chat([{"role": "user", "content": word}])).text

    async def in_turn(model: ServerModel, *words: str) -> set[tuple[str, str]]:
        texts = {await one(model, word) for word in words}
        await model.close()
        return texts

    async def at_once(model: ServerModel) -> set[tuple[str, str]]:
        texts = set(await asyncio.gather(*(one(model, word) for word in ["first", "second"] * 5)))
        await model.close()
        return texts

    with serving(way="prefilled", tokenizes=tokenizes, answers=UNTOLD) as server:
        found = run(in_turn(ServerModel(server.url), "first", "second"))
        assert run(in_turn(ServerModel(server.url), "second", "first")) == found
        before = server.asked("/tokenize")
        assert run(at_once(ServerModel(server.url))) == found
        assert server.asked("/tokenize") == before + 1
    opening = "<system_thinking>\n"
    assert found == {
        ("first", opening + UNTOLD["first"]),
        ("second", (opening if tokenizes else "") + UNTOLD["second"]),
    }


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("tokenizes", [False, True])
def test_without_thinking_the_text_is_the_answer_only_and_the_content_is_as_it_came(
    tokenizes: bool, streams: bool
) -> None:
    answers = {str(MESSAGES[-1]["content"]): "He hides it.\n</think>\n\nAnn: Tea?"}
    with serving(way="prefilled", tokenizes=tokenizes, streams=streams, answers=answers) as server:
        pieces = run(streamed(ServerModel(server.url), thinking=False))
        reply = run(whole(ServerModel(server.url), thinking=False))
    last = pieces[-1]
    assert isinstance(last, Reply)
    assert total(pieces) == last.text == reply.text == "Ann: Tea?"
    assert last.content == reply.content == "He hides it.\n</think>\n\nAnn: Tea?"


@pytest.mark.parametrize(("status", "tells"), [(429, True), (503, True), (404, False), (405, False), (501, False)])
def test_a_failure_of_tokenize_that_may_pass_is_an_error(status: int, tells: bool) -> None:
    async def ask(model: ServerModel) -> list[Any]:
        found: list[Any] = []
        for _ in range(2):
            try:
                found.append((await model.fingerprint())["template"])
            except ModelError as error:
                found.append(error.retryable)
        await model.close()
        return found

    with serving(tokenizes=True) as server:
        _, template = run(ask(ServerModel(server.url)))
        server.tokenize_errors = [(status, "busy")]
        assert run(ask(ServerModel(server.url))) == ([True, template] if tells else [None, None])
        server.tokenize_errors = [(status, "busy")]
        patient = Caller(ServerModel(server.url), retries=Retries(first=0.01))
        assert run(patient.fingerprint()) == {"model": "her-tiny", "template": template if tells else None}
        server.tokenize_errors = [(503, "busy")]
        with pytest.raises(ModelError, match="answered 503"):
            run(whole(ServerModel(server.url)))
        assert not server.tokenize_errors


def test_a_refusal_of_one_conversation_is_no_lack_of_tokenize() -> None:
    async def ask(model: ServerModel) -> list[bool]:
        found = [(await model.prompt(MESSAGES)).exact for _ in range(2)]
        await model.close()
        return found

    with serving(tokenizes=True, tokenize_errors=[(400, "roles must alternate")]) as server:
        assert run(ask(ServerModel(server.url))) == [False, True]


def test_the_weights_behind_a_name_count() -> None:
    async def ask(root: Any) -> dict[str, Any]:
        with serving(models=[{"id": "m", "root": root}]) as server:
            model = ServerModel(server.url)
            found = await model.fingerprint()
            await model.close()
            return found

    plain = {"model": "m", "template": None}
    assert [run(ask(root)) for root in ("m", None, "", 5)] == [plain] * 4
    assert run(ask("/models/b")) == {**plain, "root": "/models/b"}


def test_the_request_says_everything() -> None:
    sampling = Sampling(max_tokens=7, temperature=0.3, top_p=0.5, seed=11, stop=("END",))
    with serving() as server:
        run(streamed(ServerModel(server.url), sampling=sampling, thinking=False))
    (body,) = server.chats
    assert body == {
        "model": "her-tiny",
        "messages": MESSAGES,
        "max_tokens": 7,
        "temperature": 0.3,
        "top_p": 0.5,
        "seed": 11,
        "stop": ["END"],
        "stream": True,
        "stream_options": {"include_usage": True},
        "chat_template_kwargs": {"enable_thinking": False, "enable_system_thinking": False},
    }


def test_without_thinking_the_text_is_the_content() -> None:
    with serving(way="prefilled") as server:
        assert total(run(streamed(ServerModel(server.url), thinking=False))) == BODY


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\r\n"])
def test_only_a_line_feed_ends_a_line_of_a_stream(mark: str) -> None:
    with serving(body=f"Ann: one{mark}two") as server:
        assert total(run(streamed(ServerModel(server.url), thinking=False))) == f"Ann: one{mark}two"


def test_half_characters_are_replaced_where_they_come_in() -> None:
    for streams in (True, False):
        with serving(body="Ann: hi \ud83d there", thinking="Ann \ude00", streams=streams) as server:
            reply = run(streamed(ServerModel(server.url)))[-1]
        assert isinstance(reply, Reply)
        assert (reply.content, reply.reasoning) == ("Ann: hi \ufffd there", "Ann \ufffd")
        assert "\ud83d" not in reply.text
    assert whole_characters("\ufeffa\U0001f3ad\ud83d\ude00") == "\ufeffa\U0001f3ad\U0001f600"


@pytest.mark.parametrize(
    ("finish", "stop_reason", "ended"),
    [("stop", None, True), ("stop", 151645, True), ("stop", "END", False), ("length", None, False)],
)
def test_ended_means_by_the_end_of_turn_token(finish: str, stop_reason: object, ended: bool) -> None:
    with serving(finish=finish, stop_reason=stop_reason) as server:
        reply = run(streamed(ServerModel(server.url)))[-1]
    assert isinstance(reply, Reply)
    assert (reply.ended, reply.finish_reason) == (ended, finish)


def test_a_server_that_cannot_stream() -> None:
    with serving(streams=False) as server:
        pieces = run(streamed(ServerModel(server.url)))
    assert pieces[0] == FULL
    assert isinstance(pieces[1], Reply)


@pytest.mark.parametrize(
    ("script", "kind", "status", "words"),
    [
        (
            {"errors": [(400, '{"error": {"message": "context length is 4096"}}')]},
            "status",
            400,
            "smaller context window",
        ),
        ({"errors": [(401, '{"error": "bad key"}')]}, "status", 401, "HER_HF_API_KEY"),
        ({"errors": [(404, '{"detail": "no such model"}')]}, "status", 404, "no such model"),
        ({"errors": [(429, "slow down")]}, "status", 429, "slow down"),
        ({"errors": [(500, "")]}, "status", 500, "answered 500"),
        ({"errors": [(200, "<html>")]}, "protocol", None, "not the JSON"),
        ({"errors": [(200, "{}")]}, "protocol", None, "without a choice"),
        ({"drop_after": 3}, "dropped", None, "middle of a reply"),
        ({"error_after": 3}, "protocol", None, "the engine died"),
        ({"models": []}, "protocol", None, "--model-name"),
        ({"models": [{"id": "a"}, {"id": "b"}]}, "protocol", None, "a, b"),
    ],
)
def test_a_failed_request_says_why_and_what_to_do(
    script: dict[str, Any], kind: str, status: int | None, words: str
) -> None:
    with serving(**script) as server, pytest.raises(ModelError, match=words) as caught:
        run(streamed(ServerModel(server.url)))
    assert (caught.value.kind, caught.value.status) == (kind, status)
    assert caught.value.retry_after == (2.0 if status else None)


def test_nobody_there_and_nobody_answering() -> None:
    with serving() as server:
        gone = server.url
    with pytest.raises(ModelError, match="No server answers") as caught:
        run(whole(ServerModel(gone)))
    assert caught.value.kind == "connection"
    with serving(silent=2) as server, pytest.raises(ModelError, match=r"silent for 0\.2 seconds") as caught:
        run(whole(ServerModel(server.url, timeout=0.2)))
    assert caught.value.kind == "timeout"


def test_fields_a_server_refuses_are_left_out_and_noted_once() -> None:
    async def twice(model: ServerModel) -> list[str]:
        for _ in range(2):
            assert total([piece async for piece in model.stream(MESSAGES, sampling=Sampling(seed=1))]) == FULL
        await model.close()
        return model.notes

    with serving(refuses=("chat_template_kwargs", "seed")) as server:
        notes = run(twice(ServerModel(server.url)))
    assert [name for note in notes for name in ("chat_template_kwargs", "seed") if name in note] == [
        "chat_template_kwargs",
        "seed",
    ]
    assert "seed" not in server.chats[-1]
    assert len(server.chats) == 4


def test_max_completion_tokens_where_it_must_be() -> None:
    refusal = (
        '{"error": {"message": "Unsupported parameter: use \'max_completion_tokens\' instead of \'max_tokens\'."}}'
    )
    with serving(errors=[(400, refusal)]) as server:
        run(streamed(ServerModel(server.url)))
    assert server.chats[-1]["max_completion_tokens"] == 1024
    assert "max_tokens" not in server.chats[-1]


def _openai(message: str, param: str | None = None, code: str | None = None) -> str:
    return json.dumps(
        {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}},
        ensure_ascii=False,
    )


def _vllm(message: str, param: str | None = None) -> str:
    return json.dumps({"error": {"message": message, "type": "BadRequestError", "param": param, "code": 400}})


def _pydantic(kind: str, message: str, *loc: str) -> str:
    echo = {"chat_template_kwargs": {}, "stream_options": {}, "seed": 1, "top_p": 0.9, "temperature": 0.7}
    return json.dumps({"detail": [{"type": kind, "loc": ["body", *loc], "msg": message, "input": echo}]})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        # OpenAI and services that speak like it
        (_openai("Unrecognized request argument supplied: chat_template_kwargs"), "chat_template_kwargs"),
        (_openai("Unknown parameter: 'seed'.", "seed", "unknown_parameter"), "seed"),
        (
            _openai(
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
                "instead.",
                "max_tokens",
                "unsupported_parameter",
            ),
            "max_tokens",
        ),
        (
            _openai(
                "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) value is "
                "supported.",
                "temperature",
                "unsupported_value",
            ),
            "temperature",
        ),
        (_openai("'response_format' of type 'json_schema' is not supported with this model."), "response_format"),
        (_openai("This response_format type is unavailable now"), "response_format"),
        (_openai("property 'stream_options' is unsupported"), "stream_options"),
        ('[{"error": {"message": "Unknown name \\"top_p\\": Cannot find field."}}]', "top_p"),
        ("Failed to deserialize: unknown field `seed`, expected one of `model`, `top_p`, `temperature`", "seed"),
        ('{"detail": "Unexpected fields in the request: {\'chat_template_kwargs\'}"}', "chat_template_kwargs"),
        (_vllm("per-request seed is not supported on this platform"), "seed"),
        (_pydantic("extra_forbidden", "Extra inputs are not permitted", "stream_options"), "stream_options"),
        ('{"message": ' + _pydantic("extra_forbidden", "Extra inputs are not permitted", "seed") + "}", "seed"),
        # a value is refused, or something else that is not to be left out
        (_openai("temperature must be between 0 and 2, got 3.0"), None),
        (
            _openai(
                "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3.0 instead.",
                "temperature",
                "decimal_above_max_value",
            ),
            None,
        ),
        (_openai("Invalid schema for response_format 'flaws': 'x' is not valid", "response_format"), None),
        (_vllm("top_p must be in (0, 1], got 1.5.", "top_p"), None),
        (_vllm("temperature must be non-negative, got -1.0.", "temperature"), None),
        (
            _vllm(
                "'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum context length is "
                "4096 tokens and your request has 10 input tokens (5000 > 4096 - 10).",
                "max_tokens",
            ),
            None,
        ),
        (_pydantic("less_than_equal", "Input should be less than or equal to 2", "temperature"), None),
        (_pydantic("missing", "Field required", "messages"), None),
        (_pydantic("extra_forbidden", "Extra inputs are not permitted", "other"), None),
        (_openai("Unsupported parameter: 'max_tokens'.", "max_tokens"), None),
        ('{"detail": [{"loc": 5, "msg": null}, 7], "message": {"error": []}}', None),
        ("", None),
    ],
)
def test_a_field_is_left_out_only_where_the_server_does_not_take_it(
    body: str, field: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "OPTIONAL_FIELDS", tuple({**dict.fromkeys(wire.OPTIONAL_FIELDS), "response_format": 0}))
    sent = dict.fromkeys([*wire.OPTIONAL_FIELDS, "model", "messages", "max_tokens"])
    assert newly_refused(400, body, sent) == newly_refused(422, body, sent) == field
    assert newly_refused(500, body, sent) is None
    if field:
        del sent[field]
        assert newly_refused(400, body, sent) != field


def test_a_refused_value_is_an_error() -> None:
    refusal = _openai("temperature must be between 0 and 2, got 3.0")
    with serving(errors=[(400, refusal)]) as server:
        model = ServerModel(server.url)
        with pytest.raises(ModelError, match="between 0 and 2"):
            run(streamed(model, sampling=Sampling(temperature=3)))
    assert (len(server.chats), model.notes) == (1, [])


def test_the_key_goes_to_the_server_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
    monkeypatch.setenv("HER_HF_API_KEY", "sk-secret")
    with serving(errors=[(401, "key sk-secret is not valid")]) as server:
        model = ServerModel(server.url)
        with pytest.raises(ModelError) as caught:
            run(whole(model))
    sent = [headers.get("authorization") or headers.get("Authorization") for *_, headers in server.requests]
    assert set(sent) == {"Bearer sk-secret"}
    assert "sk-secret" not in f"{caught.value!r} {model!r} {model.name} {model.notes}"
    monkeypatch.delenv("HER_HF_API_KEY")
    with serving() as server:
        run(whole(ServerModel(server.url)))
    assert server.requests[-1][2]["Authorization"] == "Bearer sk-other"


def test_a_named_model_is_asked_for_without_looking() -> None:
    with serving(models=[{"id": "a"}, {"id": "b", "max_model_len": 77}]) as server:
        model = ServerModel(server.url, model="b")
        run(whole(model))
        assert [path for path, *_ in server.requests] == ["/tokenize", "/v1/chat/completions"]
        assert model.name == f"b at {server.url}/v1"
    assert server.chats[0]["model"] == "b"


@pytest.mark.parametrize(
    ("models", "own", "window"),
    [
        ([{"id": "m", "max_model_len": 77}], None, 77),
        ([{"id": "m"}], None, None),
        ([{"id": "m", "max_model_len": 77}], 50, 50),
    ],
)
def test_window_of_a_server(models: list[dict[str, Any]], own: int | None, window: int | None) -> None:
    async def ask(model: ServerModel) -> int | None:
        found = await model.window()
        await model.close()
        return found

    with serving(models=models) as server:
        assert run(ask(ServerModel(server.url, window=own))) == window


def test_the_prompt_is_exact_where_the_server_tokenizes() -> None:
    async def ask(server: StandIn) -> Any:
        model = ServerModel(server.url)
        prompt = await model.prompt(MESSAGES)
        await model.close()
        return prompt

    with serving(tokenizes=True) as server:
        exact = run(ask(server))
    assert exact.exact
    assert exact.text.endswith("<assistant><system_thinking>\n")
    assert exact.tokens == len(exact.text)
    with serving() as server:
        guess = run(ask(server))
    assert not guess.exact
    assert "You are Ann." in guess.text
    assert guess.tokens == estimate_tokens(MESSAGES)


def test_closing_a_stream_closes_the_connection() -> None:
    async def leave(server: StandIn) -> None:
        model = ServerModel(server.url)
        stream = model.stream(MESSAGES)
        await anext(stream)
        await stream.aclose()
        await model.close()

    with serving(pause=0.05) as server:
        run(leave(server))
        assert server.closed_early.wait(5)


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("http://h:1", "http://h:1/v1"),
        ("http://h:1/", "http://h:1/v1"),
        ("https://h/v1/", "https://h/v1"),
        ("https://h/api/v2", "https://h/api/v2"),
        ("http://h/v1/chat/completions", "http://h/v1"),
        (" http://h/v1/models?x=1 ", "http://h/v1"),
    ],
)
def test_api_root(url: str, root: str) -> None:
    assert api_root(url) == root


@pytest.mark.parametrize("url", ["http://", "ftp://h/v1", "h:8000"])
def test_api_root_refuses(url: str) -> None:
    with pytest.raises(ValueError, match="named by its URL"):
        api_root(url)


def test_estimate_counts_the_bytes_of_what_small_vocabularies_spell_out() -> None:
    assert estimate_tokens([{"role": "user", "content": "你好世界"}]) == 20
    assert estimate_tokens([{"role": "user", "content": "a" * 30}, {"role": "user", "content": None}]) == 26
    assert estimate_tokens([{"role": "user", "content": "1815: é!"}]) == 8 + 4 + 1 + 1 + 2 + 1


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        # Lengths by the tokenizer of SmolLM2-135M-Instruct, which knows English; counted once, since it is no fixture.
        ("她把信藏进抽屉，抬头看着他，什么也没说。窗外的雨下得更大了。", 56),
        ("Она спрятала письмо в ящик стола и молча посмотрела на него. ", 44),
        ("彼女は手紙を引き出しに隠し、黙って彼を見つめた。", 43),
        ("أخفت الرسالة في الدرج ونظرت إليه دون أن تقول شيئا. ", 49),
        ("🎭😂👩‍👩‍👧🔥", 22),
        ("龘靐齉爩麤灪籱", 19),
        ("Elle cacha la lettre dans le tiroir et le regarda, émue, sans un mot. ", 26),
        ("She hid the letter in the drawer and looked at him without a word. ", 15),
        ("<role_thinking>Not now.</role_thinking> <role_action>nods</role_action> ", 25),
    ],
)
def test_estimate_is_rather_too_many(text: str, tokens: int) -> None:
    assert tokens * 20 <= estimate_tokens([{"role": "user", "content": text * 20}]) <= 3 * tokens * 20


# -- ids to text


def _bytes(ids: Sequence[int]) -> str:
    return bytes(ids).decode("utf-8", errors="replace")


@given(st.text(max_size=40), st.lists(st.integers(1, 5), max_size=60))
def test_pieces_add_up_however_cut(text: str, cuts: list[int]) -> None:
    ids = list(text.encode())
    written = Detokenizer(_bytes)
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(written.feed(ids[at : at + cut]))
        at += cut
    pieces.append(written.feed(ids[at:]))
    pieces.append(written.feed([], final=True))
    assert "".join(pieces) == written.text == text


@given(st.text("abSTOP ", max_size=40), st.integers(1, 4))
def test_nothing_of_a_stop_text_is_shown(text: str, size: int) -> None:
    written = Detokenizer(_bytes, ["STOP", "TOP "])
    ids = list(text.encode())
    shown = "".join(written.feed(ids[at : at + size]) for at in range(0, len(ids), size)) + written.feed(
        [], final=True
    )
    ends = [at for at in (text.find("STOP"), text.find("TOP ")) if at >= 0]
    assert written.stopped is bool(ends)
    # A stop text that ends first may be found before a longer one that began earlier is whole; never is one shown.
    assert text.startswith(shown)
    assert "STOP" not in shown and "TOP " not in shown
    if not ends:
        assert shown == text


# -- in process


class _Scripted:
    """Stands for a causal model: `generate` writes given ids, feeds the streamer, honours stopping."""

    def __init__(self, model: Any, ids: list[int]) -> None:
        self.ids, self.device, self.config = ids, model.device, model.config
        self.generation_config = copy.deepcopy(model.generation_config)

    def generate(self, input_ids: Any, streamer: Any, stopping_criteria: Any, **_: Any) -> Any:
        import torch

        out = input_ids
        if streamer:
            streamer.put(input_ids)
        for token in self.ids:
            out = torch.cat([out, torch.tensor([[token]])], dim=-1)
            if streamer:
                streamer.put(out[:, -1])
            if stopping_criteria[0](out, None).all():
                break
        return out


@pytest.fixture(scope="module", params=["smollm2", "llama3"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama with a fixture's tokenizer, whose template is the base's own."""
    return tiny_checkpoint(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def local(checkpoint: Path) -> Any:
    return open_model(str(checkpoint))


def tiny_checkpoint(folder: Path, tokenizer: str) -> Path:
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tok = AutoTokenizer.from_pretrained(FIXTURES / "tokenizers" / tokenizer)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tok),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=2048,
        eos_token_id=tok.eos_token_id,
        bos_token_id=tok.bos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tok.save_pretrained(folder)
    return folder


def scripted(local: Any, text: str, *, ended: bool = True) -> Any:
    from her_hf.inference.local import LocalModel

    tokenizer = local._tokenizer
    ids = tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] * ended
    return LocalModel(tokenizer, _Scripted(local._model, ids), name="scripted")


def test_a_base_gets_the_template_and_says_so(local: Any) -> None:
    assert len(local.notes) == 1
    assert "her-hf attach" in local.notes[0]
    prompt = run(local.prompt(MESSAGES))
    assert prompt.exact
    assert prompt.text.endswith("<system_thinking>\n")
    assert not run(local.prompt(MESSAGES, thinking=False)).text.endswith("<system_thinking>\n")
    assert run(local.window()) == 2048


def test_a_carried_template_is_left_alone(checkpoint: Path, tmp_path: Path) -> None:
    from her_hf.processing import attach_tokenizer

    tiny_checkpoint(tmp_path, checkpoint.name.removesuffix("0"))
    attach_tokenizer(str(checkpoint)).save_pretrained(tmp_path)
    assert open_model(str(tmp_path)).notes == []


def test_a_scripted_reply_is_read_whole(local: Any) -> None:
    model = scripted(local, FULL.removeprefix("<system_thinking>\n") + " 你好 🎈")
    pieces = run(streamed(model))
    reply = pieces[-1]
    assert isinstance(reply, Reply)
    assert total(pieces) == reply.text == FULL + " 你好 🎈"
    assert reply.ended and reply.finish_reason == "stop"
    assert len(pieces) > 20
    assert run(whole(model)) == reply
    assert reply.usage.completion_tokens == len(model._model.ids)
    assert parse_turn(reply.text, names=["Ann"]).well_formed


def test_a_cut_reply_and_a_stop_text(local: Any) -> None:
    cut = run(streamed(scripted(local, "Ann stalls", ended=False)))[-1]
    assert isinstance(cut, Reply)
    assert (cut.ended, cut.finish_reason, cut.text) == (False, "length", "<system_thinking>\nAnn stalls")
    model = scripted(local, "Ann: one two\nBell: three four five six seven")
    for reply in (
        run(streamed(model, sampling=Sampling(stop=("\nBell:",)), thinking=False))[-1],
        run(whole(model, sampling=Sampling(stop=("\nBell:",)), thinking=False)),
    ):
        assert isinstance(reply, Reply)
        assert (reply.text, reply.ended, reply.finish_reason) == ("Ann: one two", False, "stop")
        assert (reply.usage.completion_tokens or 0) < len(model._model.ids)


def test_one_seed_one_reply_alone_streamed_or_in_a_batch(local: Any) -> None:
    other = [{"role": "user", "content": "A longer line of talk, so that the rows are padded."}]
    sampling = Sampling(max_tokens=12)

    async def all_ways() -> None:
        streamed = [piece async for piece in local.stream(MESSAGES, sampling=Sampling(max_tokens=12, seed=5))]
        alone = await local.chat(MESSAGES, sampling=Sampling(max_tokens=12, seed=5))
        batch = await local.chat_many([other, MESSAGES, MESSAGES], sampling=sampling, seeds=[5, 5, 6])
        assert total(streamed) == alone.text == batch[1].text
        assert batch[2].text != alone.text
        fresh = await local.chat_many([MESSAGES] * 3, sampling=sampling, batch_size=2)
        assert len({reply.text for reply in fresh}) == 3
        greedy = await local.chat_many([MESSAGES, other], sampling=Sampling(max_tokens=5, temperature=0))
        assert greedy[0] == await local.chat(MESSAGES, sampling=Sampling(max_tokens=5, temperature=0))
        with pytest.raises(ValueError, match="one seed a conversation"):
            await local.chat_many([MESSAGES], seeds=[1, 2])

    run(all_ways())


def test_greedy_is_what_transformers_alone_would_write(local: Any) -> None:
    tokenizer, model = local._tokenizer, local._model
    prompt = tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    out = model.generate(**prompt, do_sample=False, max_new_tokens=8)[0, prompt["input_ids"].shape[1] :]
    reply = run(local.chat(MESSAGES, sampling=Sampling(max_tokens=8, temperature=0)))
    assert reply.content == tokenizer.decode(out, skip_special_tokens=True)
    assert reply.usage.prompt_tokens == prompt["input_ids"].shape[1]


def test_drawing_leaves_torch_alone(local: Any) -> None:
    import torch

    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    run(local.chat(MESSAGES, sampling=Sampling(max_tokens=3, seed=1)))
    assert torch.equal(before, torch.random.get_rng_state())


def test_closing_the_stream_stops_the_model(local: Any) -> None:
    async def leave() -> int:
        stream = local.stream(MESSAGES, sampling=Sampling(max_tokens=1900, seed=1))
        for _ in range(4):
            await anext(stream)
        await stream.aclose()
        # The model is free again: a short reply does not wait for 1900 tokens.
        reply = await asyncio.wait_for(local.chat(MESSAGES, sampling=Sampling(max_tokens=2)), 5)
        return reply.usage.completion_tokens or 0

    assert run(leave()) == 2


def test_a_failure_in_the_model_is_a_model_error(local: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: Any) -> None:
        raise RuntimeError("out of memory\nlong trace")

    monkeypatch.setattr(local._model, "generate", broken)
    for ask in (streamed, whole):
        with pytest.raises(ModelError, match=r"out of memory$") as caught:
            run(ask(local))
        assert caught.value.kind == "local"


def test_the_sampler_draws_from_the_nucleus_in_its_proportions() -> None:
    import torch

    from her_hf.inference.seeded import SeededSampler

    scores = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    sampler = SeededSampler([7], temperature=1.0, top_p=0.75)
    drawn = [int(sampler(torch.zeros(1, 1, dtype=torch.long), scores).argmax()) for _ in range(2000)]  # type: ignore[arg-type]
    counts = [drawn.count(token) / 2000 for token in range(4)]
    assert counts[2:] == [0, 0]
    assert abs(counts[0] - 0.625) < 0.04
    again = SeededSampler([1, 7], temperature=1.0, top_p=0.75)
    rows = [again(torch.zeros(2, 1, dtype=torch.long), scores.repeat(2, 1)).argmax(-1)[1] for _ in range(50)]  # type: ignore[arg-type]
    assert [int(row) for row in rows] == drawn[:50]


def test_what_cannot_be_opened(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        open_model(str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="'nobody/nothing'"):
        open_model("nobody/nothing")
    with pytest.raises(ValueError, match="save_pretrained"):
        open_model(str(tmp_path))
    shutil.copytree(checkpoint, tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.safetensors").write_bytes((checkpoint / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"header length\. Give a whole folder"):
        open_model(str(tmp_path))
    for device in ("bogus", "cuda:99", "xla"):
        with pytest.raises(ValueError, match=rf"cannot use the device '{device}' here: .* such as"):
            open_model(str(checkpoint), device=device)
    with pytest.raises(ValueError, match="goes with a server's URL"):
        open_model(str(checkpoint), model="x")
    with pytest.raises(ValueError, match="dtype"):
        open_model(str(checkpoint), dtype="float99")
    assert is_url("https://h") and not is_url("owner/name")


def test_a_tokenizer_without_an_end_is_refused(local: Any) -> None:
    from her_hf.inference.local import LocalModel

    tokenizer, model = copy.deepcopy(local._tokenizer), _Scripted(local._model, [])
    tokenizer.eos_token = None
    model.generation_config.eos_token_id = None
    with pytest.raises(ValueError, match="no end-of-turn token"):
        LocalModel(tokenizer, model, name="x")
