"""Models behind OpenAI-compatible servers: one reply whatever they send, errors that say what to do."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from her_hf.dual_layer import parse_turn
from her_hf.inference import Caller, ModelError, Reply, Retries, Sampling, Usage
from her_hf.inference.openai import ServerModel
from her_hf.inference.wire import estimate_tokens, whole_characters
from tests.support.chat import BODY, FULL, MESSAGES, THINKING, StandIn, run, serving, streamed, total, whole


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
    assert run(ask("me/b")) == {**plain, "root": "me/b"}
    homes = [run(ask(root))["root"] for root in ("/home/ann/b", "/home/bob/b/", "C:\\Users\\ann\\b")]
    assert len(set(homes)) == 3, "two folders stay two"
    assert all(re.fullmatch(r"b \([0-9a-f]{12}\)", home) for home in homes), "results tell no path of a home folder"


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
    with serving(silent=2) as server, pytest.raises(ModelError, match=r"did not respond for 0\.2 seconds") as caught:
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


def test_a_refused_value_is_an_error() -> None:
    refusal = '{"error": {"message": "temperature must be between 0 and 2, got 3.0"}}'
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
    sent = [headers.get("authorization") for *_, headers in server.requests]
    assert set(sent) == {"Bearer sk-secret"}
    assert "sk-secret" not in f"{caught.value!r} {model!r} {model.name} {model.notes}"
    monkeypatch.delenv("HER_HF_API_KEY")
    with serving() as server:
        run(whole(ServerModel(server.url)))
    assert server.requests[-1][2]["authorization"] == "Bearer sk-other"
    monkeypatch.delenv("OPENAI_API_KEY")
    with serving() as server:
        run(whole(ServerModel(server.url)))
    assert not any("authorization" in headers for *_, headers in server.requests)


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
