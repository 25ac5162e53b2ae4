"""The fixture tokenizers: as bases, and as a downstream user meets them once the method is attached."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from her_hf.processing import HERProcessor
from her_hf.processing.frames import CHATML, LLAMA3, Frame
from tests.support.paths import FIXTURES

BASES = FIXTURES / "tokenizers"
FRAMES: dict[str, Frame] = {"qwen3": CHATML, "llama3": LLAMA3, "smollm2": CHATML}
NAMES = tuple(FRAMES)
BOS = {"qwen3": "", "llama3": "<|begin_of_text|>", "smollm2": ""}

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
    found = []
    for part in text.removeprefix(BOS[name]).split(frame.turn_start)[1:]:
        role, _, rest = part.partition(frame.role_end)
        body, end, gap = rest.partition(frame.turn_end)
        assert gap == ("\n" if frame is CHATML and end else "")
        found.append((role, body if end else f"{body}…"))
    return found
