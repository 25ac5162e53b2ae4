"""The fixture tokenizers: as bases, and as a downstream user meets them once the method is attached."""

from __future__ import annotations

import re
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from her_hf.processing import HERProcessor
from her_hf.processing.frames import CHATML, GLM4, LLAMA3, Frame
from her_hf.processing.frames import FRAMES as ALL_FRAMES
from tests.support.paths import FIXTURES

BASES = FIXTURES / "tokenizers"
FRAMES: dict[str, Frame] = {
    "qwen3": CHATML,
    "llama3": LLAMA3,
    "smollm2": CHATML,
    **{frame.name: frame for frame in ALL_FRAMES if frame not in (CHATML, LLAMA3)},
}
NAMES = tuple(FRAMES)
BOS = {
    **{name: "" for name in NAMES},
    "llama3": "<|begin_of_text|>",
    "glm4": "[gMASK]<sop>",
    **{name: "<bos>" for name in NAMES if name.startswith("gemma")},
    **{name: "<s>" for name in NAMES if name.startswith("mistral")},
}

_folders = tempfile.TemporaryDirectory(prefix="her_tokenizers_")


@lru_cache
def processor(name: str, bare_prefill: bool = False) -> HERProcessor:
    """HER's processor on a fixture base."""
    return HERProcessor.attach(BASES / name, bare_prefill=bare_prefill)


@lru_cache
def attached(name: str = "qwen3", bare_prefill: bool = False) -> PreTrainedTokenizerBase:
    """The plain tokenizer that `AutoTokenizer` makes of the saved folder."""
    folder = Path(_folders.name) / f"{name}-{bare_prefill}"
    processor(name, bare_prefill).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def user(content: Any, **fields: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **fields}


def assistant(content: Any, **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **fields}


def render(messages: list[dict[str, Any]], name: str = "qwen3", **options: Any) -> str:
    """The chat as text."""
    text: str = attached(name, options.pop("bare_prefill", False)).apply_chat_template(
        messages, tokenize=False, **options
    )
    return text


def turns(text: str, name: str = "qwen3") -> list[tuple[str, str]]:
    """Reads a rendered chat back: role and text of each turn. The tail of a prompt ends in "…"."""
    frame = FRAMES[name]
    assert text.startswith(BOS[name])
    rest, found = text.removeprefix(BOS[name]), []
    if frame is GLM4:
        return _glm_turns(rest)
    while rest:
        starts = {
            "system": (frame.system_start, frame.system_end),
            "user": (frame.user_start, frame.user_end),
            "assistant": (frame.reply_start + frame.reply_lead, frame.turn_end),
        }
        role = next((role for role, (start, _) in starts.items() if start and rest.startswith(start)), "assistant")
        start, end = starts[role]
        assert rest.startswith(start), rest[:80]
        body, ended, rest = rest.removeprefix(start).partition(end)
        assert rest.startswith(frame.turn_gap if ended else "")
        rest = rest.removeprefix(frame.turn_gap)
        found.append((role, body if ended else f"{body}…"))
    return found


def _glm_turns(text: str) -> list[tuple[str, str]]:
    """Turns that end where another begins; a reply ends with the token of the user, whose turn need not follow."""
    empty, *parts = re.split(r"<\|(system|user|assistant)\|>", text)
    assert empty == ""
    found, ended = [], False
    for role, body in zip(parts[::2], parts[1::2], strict=True):
        ended = role == "user" and bool(found) and found[-1][0] == "assistant"
        if not (ended and body == ""):
            assert body.startswith("\n"), body[:80]
            found.append((role, body.removeprefix("\n")))
    if found and found[-1][0] == "assistant" and not ended:
        found[-1] = ("assistant", f"{found[-1][1]}…")
    return found


def expected(name: str, parts: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The turns of a frame for those of one that has system turns: without them, system text opens the user's turn."""
    if FRAMES[name].system_start:
        return parts
    joined: list[tuple[str, str]] = []
    for role, text in parts:
        role = "user" if role == "system" else role
        if joined and joined[-1][0] == role == "user":
            joined[-1] = (role, f"{joined[-1][1]}\n\n{text}" if text else joined[-1][1])
        else:
            joined.append((role, text))
    return joined
