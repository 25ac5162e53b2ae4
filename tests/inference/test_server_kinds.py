"""Servers as they are: each kind of answer that is not what vLLM sends, by a small scripted server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from her_hf.dual_layer import parse_turn
from her_hf.inference import Caller, ModelError, Reply, Retries, Sampling
from her_hf.inference.openai import ServerModel
from tests.support.chat import BODY, FULL, MESSAGES, THINKING, run, streamed, total, whole
from tests.support.loopback import listening

JSON, EVENTS = "application/json", "text/event-stream"
VERDICT = '{"verdict": "cand_1"}'

Said = tuple[int, str, str | Sequence[str]]
"""Status, content type, and the body, in one piece or in pieces."""


@dataclass
class Scripted:
    """A server that answers each chat request by a rule, and `/v1/models` with a text."""

    rule: Callable[[dict[str, Any]], Said]
    models: tuple[int, str, str] = (200, JSON, '{"data": [{"id": "m"}]}')
    pause: float = 0.0
    asked: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""


@contextmanager
def scripted(rule: Callable[[dict[str, Any]], Said], **more: Any) -> Iterator[Scripted]:
    """Runs it on a free port of loopback."""
    script = Scripted(rule, **more)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Silent."""

        def do_GET(self) -> None:
            self.say(*script.models)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if not self.path.endswith("/chat/completions"):
                self.say(404, JSON, "{}")
                return
            script.asked.append(body)
            self.say(*script.rule(body))

        def say(self, status: int, kind: str, body: str | Sequence[str]) -> None:
            self.send_response(status)
            if kind:
                self.send_header("Content-Type", kind)
            self.end_headers()
            try:
                for piece in [body] if isinstance(body, str) else body:
                    self.wfile.write(piece.encode())
                    self.wfile.flush()
                    time.sleep(script.pause)
            except OSError:
                """The client has gone."""

    with listening(Handler) as script.url:
        yield script


def in_one(message: dict[str, Any], **choice: Any) -> Said:
    """A whole answer."""
    return 200, JSON, json.dumps({"choices": [{"index": 0, "message": message, **choice}]})


def in_events(*deltas: dict[str, Any], done: bool = True, between: str = "", **last: Any) -> Said:
    """A stream; `last` stands in the last chunk's choice."""
    choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices[-1] |= last
    events = [f"data: {json.dumps({'choices': [choice]})}\n\n" for choice in choices]
    return (
        200,
        EVENTS,
        [*[piece for event in events for piece in (between, event)], "data: [DONE]\n\n" if done else ""],
    )


def cut_up(text: str) -> list[dict[str, Any]]:
    return [{"content": text[at : at + 9]} for at in range(0, len(text), 9)]


def either(message: dict[str, Any], deltas: Sequence[dict[str, Any]], **last: Any) -> Callable[[dict[str, Any]], Said]:
    """Answers as it is asked: with events, or whole."""
    return lambda body: in_events(*deltas, **last) if body.get("stream") else in_one(message, **last)


def both_ways(server: Scripted, **how: Any) -> list[Reply]:
    """The reply, streamed and whole; the texts of the stream add up."""
    pieces = run(streamed(ServerModel(server.url), **how))
    last = pieces[-1]
    assert isinstance(last, Reply)
    assert total(pieces) == last.text
    return [last, run(whole(ServerModel(server.url), **how))]


# -- why a reply ended


@pytest.mark.parametrize(
    "reason",
    ["eos_token", "end", "STOP", "end_turn", "COMPLETE", "eos", "done", "FINISH_REASON_STOP", "stop_sequence"],
)
def test_an_end_by_any_name_is_an_end_and_its_speech_is_speech(reason: str) -> None:
    with scripted(either({"content": BODY}, cut_up(BODY), finish_reason=reason)) as server:
        replies = both_ways(server)
    for reply in replies:
        assert (reply.text, reply.finish_reason, reply.ended) == (BODY, "stop", True)
        assert not parse_turn(reply.text).system_thinking


@pytest.mark.parametrize(
    "reason",
    ["max_tokens", "MAX_TOKENS", "model_length", "max_output_tokens", "token_limit", "model_context_window_exceeded"],
)
def test_a_length_by_any_name_is_a_cut_and_speech_stays_speech(reason: str) -> None:
    for said in (BODY[:70], "Ann: Sugar, Mr. Be", "<role_action>pours tea</role_action> Sug", "I was just about"):
        with scripted(either({"content": said}, cut_up(said), finish_reason=reason)) as server:
            for reply in both_ways(server):
                assert (reply.text, reply.finish_reason, reply.ended) == (said, "length", False)


@pytest.mark.parametrize("reason", ["content_filter", "SAFETY", "error", "abort", "tool_calls"])
def test_what_neither_model_nor_limit_ended_says_so_and_is_no_thinking(reason: str) -> None:
    with scripted(either({"content": "Well, so"}, cut_up("Well, so"), finish_reason=reason)) as server:
        for reply in both_ways(server):
            assert (reply.text, reply.finish_reason, reply.ended) == ("Well, so", reason, False)


def test_a_stop_text_is_no_end_of_turn() -> None:
    with scripted(either({"content": BODY}, cut_up(BODY), finish_reason="stop_sequence")) as server:
        replies = both_ways(server, sampling=Sampling(stop=("\nBell:",)))
    assert [(reply.finish_reason, reply.ended) for reply in replies] == [("stop", False)] * 2


@pytest.mark.parametrize("reason", [None, "", "null"])
def test_a_missing_reason_with_the_end_mark_is_an_end(reason: str | None) -> None:
    with scripted(either({"content": BODY}, cut_up(BODY), finish_reason=reason)) as server:
        replies = both_ways(server)
    assert [(reply.text, reply.finish_reason, reply.ended) for reply in replies] == [(BODY, "stop", True)] * 2


def test_a_missing_reason_without_the_end_mark_is_a_broken_connection() -> None:
    with (
        scripted(lambda _: in_events(*cut_up(BODY), done=False)) as server,
        pytest.raises(ModelError, match="middle of a reply") as caught,
    ):
        run(streamed(ServerModel(server.url)))
        assert caught.value.kind == "dropped" and caught.value.retryable


# -- where the text lies

THOUGHTS = [{"type": "thinking", "thinking": [{"type": "text", "text": THINKING}]}]
TEXTS = [{"type": "text", "text": BODY[:20]}, {"type": "output_text", "text": BODY[20:]}]


@pytest.mark.parametrize(
    "thoughts",
    [THOUGHTS, [{"type": "reasoning", "summary": [{"type": "summary_text", "text": THINKING}]}]],
)
def test_content_in_parts(thoughts: list[dict[str, Any]]) -> None:
    deltas = [{"content": thoughts}, {"content": TEXTS[:1]}, {"content": TEXTS[1:]}]
    with scripted(either({"content": [*thoughts, *TEXTS]}, deltas, finish_reason="stop")) as server:
        assert [reply.text for reply in both_ways(server)] == [FULL] * 2
        assert [reply.text for reply in both_ways(server, thinking=False)] == [BODY] * 2


def test_parts_without_text_and_a_refusal() -> None:
    parts = [{"type": "image_url", "image_url": {"url": "x"}}, None, 5, {"type": "text"}, "a", {"text": "b"}]
    with scripted(either({"content": parts}, [{"content": parts}], finish_reason="stop")) as server:
        assert [reply.text for reply in both_ways(server)] == ["ab"] * 2
    said = {"content": None, "refusal": "I would rather not."}
    with scripted(either(said, [said], finish_reason="stop")) as server:
        assert [reply.text for reply in both_ways(server)] == ["I would rather not."] * 2


@pytest.mark.parametrize(
    ("reasoning", "finish", "text"),
    [
        (VERDICT, "stop", VERDICT),
        (f"```json\n{VERDICT}\n```", "stop", f"```json\n{VERDICT}\n```"),
        (f"Both are fine.\n</think>\n{VERDICT}", "stop", ""),
        (BODY, "stop", BODY),
        (VERDICT, "length", VERDICT),
        (VERDICT[:-4], "length", ""),
        ("He asked for tea.", "stop", ""),
    ],
)
@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_an_answer_that_came_as_reasoning_though_thinking_is_off(
    name: str, reasoning: str, finish: str, text: str
) -> None:
    """Only what is an answer: thinking is never taken for one."""
    deltas = [{name: reasoning[at : at + 7]} for at in range(0, len(reasoning), 7)]
    with scripted(either({"content": None, name: reasoning}, deltas, finish_reason=finish)) as server:
        replies = both_ways(server, thinking=False)
        assert [(reply.text, reply.content, reply.reasoning) for reply in replies] == [(text, text, reasoning)] * 2
        model = ServerModel(server.url)
        run(whole(model, thinking=False))
        assert len(model.notes) == bool(text)


def test_a_draft_in_reasoning_is_no_answer_where_a_schema_was_sent() -> None:
    drafts = (f"Analysis: perhaps {VERDICT}? No.", f'She says "</think>" and {VERDICT}', BODY)
    for draft in drafts:
        with scripted(lambda _, said=draft: in_one({"content": "", "reasoning_content": said})) as server:
            reply = run(whole(ServerModel(server.url), thinking=False, schema={"type": "object"}))
        assert (reply.text, reply.content, reply.reasoning) == ("", "", draft)


# -- what it refuses

DEPRECATED = "`temperature` is deprecated for this model."
NOT_BOTH = "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
ONLY_ONE = "invalid temperature: only 1 is allowed for this model"
NO_TOP_P = "Unsupported parameter: 'top_p' is not supported with this model."
UNSET = "`top_p` must be unset when temperature is specified"
UNSET_OTHER = "temperature must not be set when `top_p` is specified"
ONE_WHEN_THINKING = "temperature must be 1 when thinking is enabled."
COMPLETION = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
)


def refusing(*refusals: tuple[str, Callable[[dict[str, Any]], bool]]) -> Callable[[dict[str, Any]], Said]:
    """Answers 400 with each text while its condition holds, and then as it is asked."""

    def rule(body: dict[str, Any]) -> Said:
        for said, holds in refusals:
            if holds(body):
                return 400, JSON, json.dumps({"error": {"message": said, "type": "invalid_request_error"}})
        return either({"content": BODY}, cut_up(BODY), finish_reason="stop")(body)

    return rule


def sends(*names: str) -> Callable[[dict[str, Any]], bool]:
    return lambda body: all(name in body for name in names)


@pytest.mark.parametrize(
    ("refusals", "gone", "left"),
    [
        ([(DEPRECATED, sends("temperature"))], {"temperature"}, {"top_p", "max_tokens"}),
        ([(NOT_BOTH, sends("temperature", "top_p"))], {"top_p"}, {"temperature", "max_tokens"}),
        ([(ONLY_ONE, sends("temperature")), (NO_TOP_P, sends("top_p"))], {"temperature", "top_p"}, {"max_tokens"}),
        (
            [(NOT_BOTH, sends("temperature", "top_p")), (DEPRECATED, sends("temperature"))],
            {"temperature", "top_p"},
            set(),
        ),
        ([(UNSET, sends("temperature", "top_p"))], {"top_p"}, {"temperature", "max_tokens"}),
        ([(UNSET_OTHER, sends("temperature", "top_p"))], {"top_p"}, {"temperature", "max_tokens"}),
        ([(ONE_WHEN_THINKING, sends("temperature"))], {"temperature"}, {"top_p", "max_tokens"}),
        ([(COMPLETION, sends("max_tokens"))], {"max_tokens"}, {"max_completion_tokens", "temperature"}),
    ],
)
def test_a_rejected_field_is_omitted_and_logged_once(
    refusals: list[tuple[str, Callable[[dict[str, Any]], bool]]], gone: set[str], left: set[str]
) -> None:
    async def three_times(model: ServerModel) -> None:
        for _ in range(3):
            assert (await model.chat(MESSAGES, sampling=Sampling(seed=1), thinking=False)).text == BODY
        await model.close()

    with scripted(refusing(*refusals)) as server:
        model = ServerModel(server.url)
        run(three_times(model))
    assert len(server.asked) == 3 + len(refusals)  # each refusal is met once
    assert not gone & server.asked[-1].keys() and left <= server.asked[-1].keys()
    assert sorted(note.split("the field ")[1].split(":")[0] for note in model.notes) == sorted(gone)
    assert not any("http" in note for note in model.notes)  # they go into results, which name no host


@pytest.mark.parametrize("said", ["temperature must be 1 or less", "top_p must be 1.0 at most when sampling"])
def test_a_value_out_of_range_is_no_refusal_of_its_field(said: str) -> None:
    with scripted(refusing((said, sends("temperature")))) as server, pytest.raises(ModelError, match=said):
        run(whole(ServerModel(server.url)))


def test_errors_of_a_server_are_reported_without_its_address() -> None:
    def rule(_: dict[str, Any]) -> Said:
        port = server.url.rpartition(":")[2]
        return 500, JSON, json.dumps({"error": {"message": f"127.0.0.1 and 127.0.0.1:{port} and 127.0.0.11 broke"}})

    with scripted(rule) as server, pytest.raises(ModelError) as caught:
        run(whole(ServerModel(server.url)))
    assert "500: [address] and [address] and 127.0.0.11 broke" in str(caught.value)


def test_a_url_with_a_password_is_refused_and_not_repeated() -> None:
    for url in ("http://ann:s3cret@127.0.0.1:8000/v1", "http://s3cret@h", "ftp://ann:s3cret@h"):
        with pytest.raises(ValueError, match="must not contain a user and password") as caught:
            ServerModel(url)
        assert "s3cret" not in str(caught.value)


def test_many_calls_that_are_refused_together_tell_it_once() -> None:
    async def together(model: ServerModel) -> None:
        await asyncio.gather(*(model.chat(MESSAGES, thinking=False) for _ in range(8)))
        await model.close()

    with scripted(refusing((DEPRECATED, sends("temperature")))) as server:
        model = ServerModel(server.url)
        run(together(model))
    assert len(model.notes) == 1


# -- streams and whole answers


def test_a_whole_answer_is_asked_for_explicitly() -> None:
    with scripted(either({"content": BODY}, cut_up(BODY), finish_reason="stop")) as server:
        both_ways(server)
    assert [body["stream"] for body in server.asked] == [True, False]
    assert ["stream_options" in body for body in server.asked] == [True, False]


@pytest.mark.parametrize("kind", [JSON, "text/plain; charset=utf-8", f"{JSON}; charset=utf-8"])
def test_a_server_that_answers_a_stream_request_with_plain_json(kind: str) -> None:
    body = in_one({"content": BODY, "reasoning": THINKING}, finish_reason="stop")[2]
    with scripted(lambda _: (200, kind, body)) as server:
        assert [reply.text for reply in both_ways(server)] == [FULL] * 2


@pytest.mark.parametrize("kind", [EVENTS, "", "text/plain"])
def test_a_server_that_streams_whatever_is_asked(kind: str) -> None:
    body = in_events({"reasoning": THINKING}, *cut_up(BODY), finish_reason="stop")[2]
    with scripted(lambda _: (200, kind, body)) as server:
        assert [reply.text for reply in both_ways(server)] == [FULL] * 2


@pytest.mark.parametrize(
    "said",
    [
        "This model only supports streaming: set stream=true.",
        "Non-streaming requests are not supported",
        "stream must be true",
    ],
)
def test_a_judge_that_only_streams(said: str) -> None:
    async def judge(caller: Caller) -> list[str]:
        replies = [
            await caller.ask(MESSAGES, sampling=Sampling(seed=seed), thinking=False, schema={"title": "verdict"})
            for seed in range(3)
        ]
        await caller.close()
        return [reply.text for reply in replies]

    rule = refusing(
        (said, lambda body: not body["stream"]), (DEPRECATED, sends("temperature")), (NO_TOP_P, sends("top_p"))
    )
    with scripted(rule) as server:
        caller = Caller(ServerModel(server.url), retries=Retries(max_retries=0))
        assert run(judge(caller)) == [BODY] * 3
    assert len(server.asked) == 6
    assert server.asked[-1]["stream"] and "response_format" in server.asked[-1]
    assert sum("only streams" in note for note in caller.notes) == 1


def test_a_server_that_refuses_to_stream() -> None:
    with scripted(refusing(("Streaming is not supported by this deployment.", lambda body: body["stream"]))) as server:
        model = ServerModel(server.url)
        assert total(run(streamed(model))) == BODY
        assert total(run(streamed(model))) == BODY
    assert len(server.asked) == 3 and len(model.notes) == 1


def test_a_server_that_refuses_both_ways_is_an_error() -> None:
    with (
        scripted(refusing(("stream is not supported", lambda _: True))) as server,
        pytest.raises(ModelError, match="not supported"),
    ):
        run(whole(ServerModel(server.url)))
    assert len(server.asked) == 2


def test_an_error_that_is_null_is_none_and_signs_of_life_are_no_events() -> None:
    def rule(_: dict[str, Any]) -> Said:
        events = [
            "data: " + json.dumps({"error": None, "choices": [{"delta": delta, "finish_reason": None}]}) + "\n\n"
            for delta in cut_up(BODY)
        ]
        last = "data: " + json.dumps({"error": None, "choices": [{"delta": {}, "finish_reason": "stop"}]}) + "\n\n"
        return 200, EVENTS, [": hi\n\n", "data:\n\n", "event: ping\n\n", *events, "\n\n", last, "data: [DONE]\n\n"]

    with scripted(rule) as server:
        assert total(run(streamed(ServerModel(server.url)))) == BODY
    with (
        scripted(lambda _: (200, JSON, json.dumps({"error": {"message": "overloaded"}, "choices": None}))) as server,
        pytest.raises(ModelError, match="overloaded"),
    ):
        run(whole(ServerModel(server.url)))


@pytest.mark.parametrize("error", [{"code": 0, "message": ""}, {"message": None}, {}, "", 0])
def test_an_empty_error_is_not_an_error(error: Any) -> None:
    def rule(body: dict[str, Any]) -> Said:
        if not body["stream"]:
            status, kind, said = in_one({"content": BODY})
            return status, kind, json.dumps({**json.loads(said), "error": error})
        last = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
        events = [{"choices": [{"delta": delta, "finish_reason": None}]} for delta in cut_up(BODY)]
        lines = [f"data: {json.dumps({**event, 'error': error})}\n\n" for event in [*events, last]]
        return 200, EVENTS, [*lines, "data: [DONE]\n\n"]

    with scripted(rule) as server:
        assert [reply.text for reply in both_ways(server)] == [BODY] * 2


@pytest.mark.parametrize("event", ["data: {half\n\n", "data: [1]\n\n", "data: 5\n\n"])
def test_events_that_are_no_objects_are_an_error(event: str) -> None:
    with (
        scripted(lambda _: (200, EVENTS, [event, "data: [DONE]\n\n"])) as server,
        pytest.raises(ModelError, match="not a JSON object") as caught,
    ):
        run(streamed(ServerModel(server.url)))
    assert caught.value.kind == "protocol"


# -- the list of models


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ('[{"id": "m"}]', "m"),
        ('["m"]', "m"),
        ('{"models": [{"name": "m", "size": 5}]}', "m"),
        ('{"models": [{"model": "m"}], "object": "list", "data": [{"id": "m2"}]}', "m2"),
    ],
)
def test_a_list_of_models_in_any_shape(said: str, name: str) -> None:
    rule = either({"content": BODY}, cut_up(BODY), finish_reason="stop")
    with scripted(rule, models=(200, JSON, said)) as server:
        run(whole(ServerModel(server.url)))
    assert server.asked[0]["model"] == name


@pytest.mark.parametrize("models", [(200, "text/html", "<html>Hello</html>"), (404, JSON, "{}"), (403, JSON, "{}")])
def test_a_named_model_needs_no_list(models: tuple[int, str, str]) -> None:
    async def everything(model: ServerModel) -> tuple[Any, ...]:
        found = await model.fingerprint(), await model.window(), (await model.chat(MESSAGES, thinking=False)).text
        await model.close()
        return found

    rule = either({"content": BODY}, cut_up(BODY), finish_reason="stop")
    with scripted(rule, models=models) as server:
        named = ServerModel(server.url, model="m")
        assert run(everything(named)) == ({"model": "m", "template": None}, None, BODY)
        with pytest.raises(ModelError, match=r"answered (?:'<html>|40)"):
            run(whole(ServerModel(server.url)))
    with (
        scripted(rule, models=(200, "text/html", "<html>Hello</html>")) as server,
        pytest.raises(ModelError, match=r"not a list of models\. Name one \(--model-name\)"),
    ):
        run(whole(ServerModel(server.url)))


# -- time, and what is sent


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_that_drips_ends_at_the_limit(stream: bool) -> None:
    """Each piece comes soon after the last one, but all of them would take ten seconds."""
    drops = [{"content": "so "} for _ in range(100)]
    answer = in_events(*drops) if stream else (200, JSON, list(in_one({"content": "so " * 10})[2]))
    with scripted(lambda _: answer, pause=0.1) as server:
        begun = time.monotonic()
        with pytest.raises(ModelError, match=r"did not finish its answer within 0\.6 seconds.*--timeout") as caught:
            run((streamed if stream else whole)(ServerModel(server.url, timeout=0.6)))
        assert 0.5 < time.monotonic() - begun < 5
        assert caught.value.kind == "timeout" and caught.value.retryable


def test_whoever_reads_a_stream_slowly_loses_none_of_it() -> None:
    async def slowly(model: ServerModel) -> str:
        text = ""
        pieces: AsyncGenerator[str | Reply, None] = model.stream(MESSAGES, thinking=False)
        async for piece in pieces:
            await asyncio.sleep(0.2)
            text += piece if isinstance(piece, str) else ""
        await model.close()
        return text

    with scripted(lambda _: in_events(*cut_up(BODY), finish_reason="stop")) as server:
        model = ServerModel(server.url, timeout=1)
        model._opens[False] = False  # so that it comes in pieces
        assert run(slowly(model)) == BODY


@pytest.mark.parametrize("seed", [0, 2**31 - 1])
def test_seeds_are_sent_as_they_are(seed: int) -> None:
    with scripted(either({"content": BODY}, cut_up(BODY), finish_reason="stop")) as server:
        run(whole(ServerModel(server.url), sampling=Sampling(seed=seed)))
    assert server.asked[0]["seed"] == seed


@pytest.mark.parametrize("seed", [2**31, 2**63, -1])
def test_seeds_that_no_server_takes_are_refused_before_they_are_sent(seed: int) -> None:
    with pytest.raises(ValueError, match="seed must be"):
        Sampling(seed=seed)
