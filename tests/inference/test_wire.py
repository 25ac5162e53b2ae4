"""What goes over the wire, read and written by pure functions: addresses, refusals, estimates."""

from __future__ import annotations

import json

import pytest

from her_hf.inference import refusals
from her_hf.inference.refusals import newly_refused
from her_hf.inference.wire import api_root, estimate_tokens


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
    monkeypatch.setattr(
        refusals, "OPTIONAL_FIELDS", tuple({**dict.fromkeys(refusals.OPTIONAL_FIELDS), "response_format": 0})
    )
    sent = dict.fromkeys([*refusals.OPTIONAL_FIELDS, "model", "messages", "max_tokens"])
    assert newly_refused(400, body, sent) == newly_refused(422, body, sent) == field
    assert newly_refused(500, body, sent) is None
    if field:
        del sent[field]
        assert newly_refused(400, body, sent) != field


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
    with pytest.raises(ValueError, match="needs a URL"):
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
