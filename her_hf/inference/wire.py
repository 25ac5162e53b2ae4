"""Requests to and responses from an OpenAI-compatible server: pure functions, no connection."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from her_hf.durable import digest

from .interface import Messages, ModelError, Sampling, Schema, Usage

_ABSOLUTE = re.compile(r"[/~]|[A-Za-z]:[/\\]|\\\\")
_SEPARATORS = re.compile(r"[/\\]")
_NOT_PLAIN = re.compile(r"[^A-Za-z \t\n\r\f\v]+")
_CUT = re.compile(r"length|limit|truncat|max\w*tokens?|token\w*max|context\w*exceeded", re.IGNORECASE)
_BROKEN_OFF = re.compile(
    r"error|abort|cancel|filter|safety|recitation|blocklist|prohibited|refus|guardrail|tool|function|resource",
    re.IGNORECASE,
)
"""Words in the finish reasons of a reply that was not ended by its model or its limit: filters, errors, tools."""


def api_root(url: str) -> str:
    """The base URL of a server: with `/v1` if it has no path, without a trailing `/chat/completions`.

    Raises:
        `ValueError`: If it has no host, or a user or password (which the message does not repeat).
    """
    parts = urlsplit(url.strip())
    if "@" in parts.netloc:
        raise ValueError(
            "The URL of a server must not contain a user and password (`user:password@`), which would be written to "
            "files. Leave them out, and set HER_HF_API_KEY if the server requires a key."
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"A server needs a URL such as http://127.0.0.1:8000/v1; got {url!r}")
    path = parts.path.rstrip("/").removesuffix("/chat/completions").removesuffix("/models").rstrip("/")
    return urlunsplit((parts.scheme, parts.netloc, path or "/v1", "", ""))


def weights_name(root: str) -> str:
    """What results call the weights behind a server's name: a Hub id as it is, a folder without the way to it.

    Results are published, and the way to a folder names homes and machines; a digest keeps two folders distinct.

    Example:

    ```python
    >>> weights_name("me/her-sft"), weights_name("/home/ann/outputs/her-sft")
    ('me/her-sft', 'her-sft (d38505ac2a44)')
    ```
    """
    if not _ABSOLUTE.match(root):
        return root
    last = _SEPARATORS.split(root.rstrip("/\\"))[-1]
    return f"{last} ({digest(root)[:12]})"


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
    """The request for one reply. Both names of the thinking switch are sent: vLLM's parser knows only the first."""
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
    body["stream"] = stream  # always sent: some servers stream by default
    if stream:
        body["stream_options"] = {"include_usage": True}
    return {key: value for key, value in body.items() if key not in refused}


def thinking_switch(thinking: bool) -> dict[str, bool]:
    """Template arguments that turn the opening system block on or off."""
    return {"enable_thinking": thinking, "enable_system_thinking": thinking}


def model_cards(text: str) -> list[dict[str, Any]] | None:
    """The entries of `/v1/models`, which is a list, bare or under `data` or `models`; `None` if it is not.

    An entry may be a name or an object.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(data, dict):
        data = next((data[key] for key in ("data", "models") if isinstance(data.get(key), list)), None)
    if not isinstance(data, list):
        return None
    cards = [entry if isinstance(entry, dict) else {"id": entry} for entry in data]
    return [{**card, "id": name} for card in cards if (name := _name_of(card))]


def _name_of(card: dict[str, Any]) -> str:
    return next((card[key] for key in ("id", "model", "name") if isinstance(card.get(key), str)), "")


def parse_object(text: str, url: str) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        `ModelError`: If it is not a JSON object.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ModelError(
            f"{url} answered {text[:200]!r}, not the JSON of an OpenAI-compatible server. Check the URL.",
            kind="protocol",
        )
    return value


def error_of(data: dict[str, Any]) -> Any:
    """The error in a response or chunk; `None` for an empty one such as `{"code": 0, "message": ""}`."""
    error = data.get("error")
    return None if isinstance(error, dict) and not any(error.values()) else error or None


def first_choice(data: dict[str, Any]) -> dict[str, Any]:
    """The only choice of a response or chunk; `{}` for a chunk without one (usage, keep-alive)."""
    choices = data.get("choices")
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}


def pieces(part: dict[str, Any]) -> tuple[str, str]:
    """Reasoning and content of a message or delta.

    The name of the field differs between servers and versions; content may be a list of parts, some of them thinking;
    a refusal is an answer too.
    """
    thought, text = _parts(part.get("content"))
    reasoning = _text_of(part.get("reasoning")) or _text_of(part.get("reasoning_content"))
    text = text or _text_of(part.get("refusal"))
    return whole_characters(reasoning + thought), whole_characters(text)


def _parts(content: Any) -> tuple[str, str]:
    """Thinking and text of a message's content."""
    if not isinstance(content, list):
        return "", _text_of(content)
    thought = text = ""
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(kind, str) and ("think" in kind or "reason" in kind):
            thought += _text_of(part)
        else:
            text += _text_of(part)
    return thought, text


_TEXT_FIELDS = ("text", "thinking", "reasoning", "content", "summary", "refusal")


def _text_of(value: Any) -> str:
    """The text of a part, nested at any depth; `""` for a part without text, such as an image."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(_text_of, value))
    if isinstance(value, dict):
        return next((text for field in _TEXT_FIELDS if (text := _text_of(value.get(field)))), "")
    return ""


def whole_characters(text: str) -> str:
    """Text with half characters (lone surrogates) replaced: JSON can escape them, but UTF-8 has no bytes for them."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def usage_of(data: dict[str, Any]) -> Usage | None:
    """Token counts, if this response or chunk has them."""
    usage = data.get("usage")
    if not isinstance(usage, dict):
        return None
    return Usage(usage.get("prompt_tokens"), usage.get("completion_tokens"))


def finish_of(choice: dict[str, Any]) -> str:
    """Why a choice ended, in OpenAI's terms: `"stop"` by the model, `"length"` if truncated, else the server's reason.

    Servers have many names for an end (`eos_token`, `end_turn`, `STOP`, `COMPLETE`); only a reason that mentions a
    length or a limit means truncated. `""` if the choice has no reason.
    """
    given = choice.get("finish_reason")
    reason = str((given.get("type") if isinstance(given, dict) else given) or "")
    if reason.lower() in ("", "null", "none"):
        return ""
    if _CUT.search(reason):
        return "length"
    return reason if _BROKEN_OFF.search(reason) else "stop"


def ended(choice: dict[str, Any], *, stops: bool) -> bool:
    """Whether the end-of-turn token ended the reply, and no stop text.

    Args:
        choice (`dict`): The choice, or the chunk with the finish reason; `{}` if there was none before the end mark.
        stops (`bool`): Whether there were stop texts. vLLM's `stop_reason` is then the text, or a token id.
    """
    by_text = isinstance(choice.get("stop_reason"), str) or (stops and "sequence" in str(choice.get("finish_reason")))
    return finish_of(choice) in ("", "stop") and not by_text


def estimate_tokens(messages: Messages) -> int:
    """An estimate of a prompt's length for servers that do not count tokens; it errs on the high side.

    Three Latin letters or spaces are a token, and so is each byte of other characters (other scripts, digits, marks),
    which small vocabularies encode by bytes.
    """
    total = 0
    for message in messages:
        text = message.get("content") or ""
        plain = len(_NOT_PLAIN.sub("", text))
        total += 8 + len(text.encode("utf-8", "replace")) - plain + (plain + 2) // 3
    return total
