"""What a server refuses: fields, streaming or replies without streaming, requests. Pure functions."""

from __future__ import annotations

import json
import re
import time
from email.utils import parsedate_to_datetime
from typing import Any

from .interface import ModelError

OPTIONAL_FIELDS = (
    *("chat_template_kwargs", "stream_options", "response_format", "seed", "top_p", "temperature"),
    *("continue_final_message", "add_generation_prompt"),
)
"""Fields that some hosted services refuse; each is omitted once a server has complained about it by name."""

_SHOWN_BODY = 600
_REFUSING = (400, 422, 501)
_TOGETHER = (
    r"\bboth\b|together|mutually exclusive|only one of|at the same time|simultaneously|"
    r"must (?:be (?:unset|omitted)|not be (?:set|specified))"
)
_REFUSAL = re.compile(
    r"unsupported|(?:not|n't) support|unrecogni[sz]ed|unknown|\bextra(?![a-z])|not permitted|unexpected|unavailable|"
    r"deprecated|no longer|not implemented|only \S+ is allowed|(?:may|can) only be set to 1\b|"
    r"must be (?:set to )?1(?:\.0)? (?:when|if|while|with)\b|" + _TOGETHER,
    re.IGNORECASE,
)
_BOTH = re.compile(_TOGETHER, re.IGNORECASE)
_STREAM = re.compile(r"\b(?:non-?)?stream(?:ing|ed)?\b", re.IGNORECASE)
_WANTED = re.compile(r"\b(?:only|must|requires?|required|set)\b", re.IGNORECASE)


def newly_refused(status: int, body: str, sent: dict[str, Any]) -> str | None:
    """The field of a refused request that the server does not accept, if it is an optional one.

    The complaint must be about the field itself: an error about a value out of range names the field as well, but
    without the field replies would be sampled with other settings than requested. Of two samplers that exclude each
    other, the temperature is kept.
    """
    if status not in _REFUSING:
        return None
    for complaint in filter(_REFUSAL.search, _complaints(_json_or_text(body))):
        fields = (*OPTIONAL_FIELDS, "max_tokens") if "max_completion_tokens" in complaint else OPTIONAL_FIELDS
        named = {field: re.search(rf"\b{field}\b", complaint) for field in fields if field in sent}
        places = {found.start(): field for field, found in named.items() if found}
        if {"temperature", "top_p"} <= set(places.values()) and _BOTH.search(complaint):
            return "top_p"
        if places:
            return places[min(places)]  # others may follow, for example as alternatives
    return None


def refuses_the_way(status: int, body: str, *, stream: bool) -> bool:
    """Whether a server refuses to stream this reply, or to send it as a whole, whichever was requested."""
    if status not in _REFUSING:
        return False
    complaints = [text for text in _complaints(_json_or_text(body)) if _STREAM.search(text)]
    return any(_REFUSAL.search(text) or (not stream and _WANTED.search(text)) for text in complaints)


def _complaints(data: Any) -> list[str]:
    """The complaints of a server, each with the place it names (`loc`, `param`), without an echo of the request."""
    if isinstance(data, str):
        return [data]
    if isinstance(data, list):
        return [complaint for entry in data for complaint in _complaints(entry)]
    if not isinstance(data, dict):
        return []
    loc = data.get("loc")
    own = [data.get(key) for key in ("param", "type", "code")] + (loc if isinstance(loc, list) else [])
    place = " ".join(word for word in own if isinstance(word, str))
    texts = [data.get(key) for key in ("error", "message", "detail", "msg")]
    return [f"{place} {complaint}" for complaint in _complaints(texts)]


def explain_status(status: int, body: str, url: str, retry_after: str | None = None) -> ModelError:
    """An error for an answer other than 200, with the server's message and a remedy."""
    message = error_text(body) or "(no text)"
    remedy = ""
    lowered = message.lower()
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
            " If the conversation is too long for the model, set a smaller context window or fewer tokens per reply."
        )
    wait = _seconds(retry_after)
    return ModelError(f"{url} answered {status}: {message}.{remedy}", kind="status", status=status, retry_after=wait)


def _seconds(retry_after: str | None) -> float | None:
    """Seconds to wait by a `Retry-After` header, which holds a number or a date."""
    if not retry_after:
        return None
    if re.fullmatch(r"[0-9]{1,9}(?:\.[0-9]*)?", retry_after.strip()):
        return float(retry_after)
    try:
        return max(parsedate_to_datetime(retry_after).timestamp() - time.time(), 0.0)
    except ValueError:
        return None


def error_text(body: str) -> str:
    """The message in the body of an error, at most a few lines of it."""
    data = _json_or_text(body)
    for key in ("error", "message", "detail"):
        if isinstance(data, dict) and data.get(key):
            data = data[key]
    return (data if isinstance(data, str) else json.dumps(data, ensure_ascii=False))[:_SHOWN_BODY].rstrip(".")


def _json_or_text(body: str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.strip()
