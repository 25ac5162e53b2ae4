"""What goes over the wire to an OpenAI-compatible server and comes back: pure functions, no connection."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from .interface import Messages, ModelError, Sampling, Schema, Usage

OPTIONAL_FIELDS = ("chat_template_kwargs", "stream_options", "response_format", "seed", "top_p", "temperature")
"""Fields that some hosted services refuse; each is left out once a server has complained of it by name."""

_SHOWN_BODY = 600
_NOT_PLAIN = re.compile(r"[^A-Za-z \t\n\r\f\v]+")
_REFUSAL = re.compile(
    r"unsupported|(?:not|n't) support|unrecogni[sz]ed|unknown|\bextra(?![a-z])|not permitted|unexpected|unavailable",
    re.IGNORECASE,
)


def api_root(url: str) -> str:
    """The base URL of a server: with `/v1` where no path is given, without a trailing `/chat/completions`.

    Raises:
        `ValueError`: If there is no host.
    """
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"A server is named by its URL, such as http://127.0.0.1:8000/v1; got {url!r}")
    path = parts.path.rstrip("/").removesuffix("/chat/completions").removesuffix("/models").rstrip("/")
    return urlunsplit((parts.scheme, parts.netloc, path or "/v1", "", ""))


def chat_body(
    messages: Messages,
    *,
    model: str,
    sampling: Sampling,
    thinking: bool,
    stream: bool,
    refused: set[str],
    schema: Schema | None = None,
) -> dict[str, Any]:
    """The request of one reply. Both names of the thinking switch are sent: vLLM's parser knows only the first."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [dict(message) for message in messages],
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "chat_template_kwargs": thinking_switch(thinking),
    }
    body["max_completion_tokens" if "max_tokens" in refused else "max_tokens"] = sampling.max_tokens
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if schema is not None:
        named = {"name": str(schema.get("title") or "reply"), "schema": dict(schema), "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": named}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return {key: value for key, value in body.items() if key not in refused}


def thinking_switch(thinking: bool) -> dict[str, bool]:
    """Template arguments that turn the opening system block on or off."""
    return {"enable_thinking": thinking, "enable_system_thinking": thinking}


def newly_refused(status: int, body: str, sent: dict[str, Any]) -> str | None:
    """The field of a refused request that the server does not take, if it is one that can be done without.

    It must say so: a value out of range is answered with the field's name as well, and without the field replies would
    be drawn otherwise than was asked for.
    """
    if status not in (400, 422):
        return None
    for complaint in filter(_REFUSAL.search, _complaints(_json_or_text(body))):
        fields = (*OPTIONAL_FIELDS, "max_tokens") if "max_completion_tokens" in complaint else OPTIONAL_FIELDS
        named = {field: re.search(rf"\b{field}\b", complaint) for field in fields if field in sent}
        places = {found.start(): field for field, found in named.items() if found}
        if places:
            return places[min(places)]  # others may follow, as those that would do instead
    return None


def _complaints(said: Any) -> list[str]:
    """What a server objects to, each with the place it names (`loc`, `param`), without its echo of the request."""
    if isinstance(said, str):
        return [said]
    if isinstance(said, list):
        return [complaint for entry in said for complaint in _complaints(entry)]
    if not isinstance(said, dict):
        return []
    loc = said.get("loc")
    own = [said.get(key) for key in ("param", "type", "code")] + (loc if isinstance(loc, list) else [])
    place = " ".join(word for word in own if isinstance(word, str))
    words = [said.get(key) for key in ("error", "message", "detail", "msg")]
    return [f"{place} {complaint}" for complaint in _complaints(words)]


def explain_status(status: int, body: str, url: str, retry_after: str | None = None) -> ModelError:
    """An error for an answer that is not 200, with what the server said and what to do."""
    said = error_text(body) or "(no text)"
    remedy = ""
    lowered = said.lower()
    if status in (401, 403):
        remedy = " Set HER_HF_API_KEY (or OPENAI_API_KEY) to a key this server accepts."
    elif status == 404:
        remedy = " Check the URL (it usually ends in /v1) and the model's name."
    elif status == 429:
        remedy = " The server is busy or a quota is used up: try again later."
    elif status in (400, 413, 422) and any(
        word in lowered for word in ("context", "too long", "maximum", "max_tokens")
    ):
        remedy = (
            " If the conversation is too long for the model, set a smaller context window or fewer tokens a reply."
        )
    wait = float(retry_after) if retry_after and retry_after.replace(".", "", 1).isdigit() else None
    return ModelError(f"{url} answered {status}: {said}.{remedy}", kind="status", status=status, retry_after=wait)


def error_text(body: str) -> str:
    """What a server says in an error's body, at most a few lines of it."""
    data = _json_or_text(body)
    for key in ("error", "message", "detail"):
        if isinstance(data, dict) and data.get(key):
            data = data[key]
    return (data if isinstance(data, str) else json.dumps(data, ensure_ascii=False))[:_SHOWN_BODY].rstrip(".")


def _json_or_text(body: str) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.strip()


def parse_event(line: str, url: str) -> dict[str, Any] | None:
    """Reads one line of a server-sent stream; `None` for lines without data and for the end mark.

    Raises:
        `ModelError`: If the data is no JSON object, or is an error the server sends in the middle of a reply.
    """
    if not line.startswith("data:"):
        return None
    data = line[len("data:") :].strip()
    if not data or data == "[DONE]":
        return None
    event = parse_object(data, url)
    if "error" in event:
        raise ModelError(f"{url} broke off the reply: {error_text(data)}", kind="protocol")
    return event


def parse_object(text: str, url: str) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        `ModelError`: If it is none.
    """
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ModelError(
            f"{url} answered {text[:200]!r}, not the JSON of an OpenAI-compatible server. Check the URL.",
            kind="protocol",
        )
    return value


def first_choice(data: dict[str, Any]) -> dict[str, Any]:
    """The only choice of a response or chunk; `{}` for a chunk without one (usage, keep-alive)."""
    choices = data.get("choices")
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}


def pieces(part: dict[str, Any]) -> tuple[str, str]:
    """Reasoning and content of a message or delta; the field's name differs between servers and versions."""
    reasoning = part.get("reasoning") or part.get("reasoning_content") or ""
    content = part.get("content") or ""
    return (
        whole_characters(reasoning) if isinstance(reasoning, str) else "",
        whole_characters(content) if isinstance(content, str) else "",
    )


def whole_characters(text: str) -> str:
    """Text with half characters (lone surrogates) replaced: JSON can escape them, but UTF-8 has no bytes for them."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def usage_of(data: dict[str, Any]) -> Usage | None:
    """Token counts, if this response or chunk has them."""
    usage = data.get("usage")
    if not isinstance(usage, dict):
        return None
    return Usage(usage.get("prompt_tokens"), usage.get("completion_tokens"))


def ended(finish_reason: str, choice: dict[str, Any]) -> bool:
    """Whether the end-of-turn token ended the reply: `stop_reason` of vLLM is a stop text, or a token's number."""
    return finish_reason == "stop" and not isinstance(choice.get("stop_reason"), str)


def estimate_tokens(messages: Messages) -> int:
    """A careful guess of a prompt's length for servers that do not count: rather too many than too few.

    Three Latin letters or spaces are a token, and each byte of what small vocabularies spell out: other scripts,
    digits, marks.
    """
    total = 0
    for message in messages:
        text = message.get("content") or ""
        plain = len(_NOT_PLAIN.sub("", text))
        total += 8 + len(text.encode("utf-8", "replace")) - plain + (plain + 2) // 3
    return total
