"""What the apps in `spaces/` share: Gradio, and which judge a visitor may have asked."""

from __future__ import annotations

import html
import os
import sys
from typing import Any

MOST_CHARACTERS = 200_000
"""Of one text that a visitor pastes."""

JUDGE_URL, JUDGE_MODEL = "JUDGE_URL", "JUDGE_MODEL"
"""Variables of a Space in which its owner names a judge."""


def gradio() -> Any:
    """Gradio, kept from taking a checkout's folder `spaces/` for the package `spaces`, which it would call."""
    try:
        import spaces  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError:
        pass
    else:
        if not hasattr(spaces, "GPU"):
            sys.modules["spaces"] = None  # type: ignore[assignment]
    import gradio as gr

    return gr


def may_type_judge() -> bool:
    """Whether a visitor may say which server is asked.

    Not in a Space on the Hub, whose network and key are its owner's: there the owner names the judge, or nobody does.
    """
    return "SPACE_ID" not in os.environ


def chosen_judge(url: str, model: str) -> tuple[str | None, str | None]:
    """URL and model name of the judge to ask: what was typed where that is allowed, else what the owner named."""
    if may_type_judge() and url.strip():
        return url.strip(), model.strip() or None
    return os.environ.get(JUDGE_URL) or None, os.environ.get(JUDGE_MODEL) or None


def said(error: BaseException) -> str:
    """An error's message for a toast, which Gradio shows as HTML; pasted and generated text is in it."""
    return html.escape(str(error))


def number(value: float | None, form: str = ".1f") -> str:
    """A figure for a table."""
    return "–" if value is None else format(value, form)
