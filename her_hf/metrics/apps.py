"""What the apps in `spaces/` share: which judge a visitor may have asked, and texts that are safe to show."""

from __future__ import annotations

import html
import os

from her_hf.inference import is_url

MOST_CHARACTERS = 200_000
"""Of one text that a visitor pastes."""

JUDGE_URL, JUDGE_MODEL = "JUDGE_URL", "JUDGE_MODEL"
"""Variables of a Space in which its owner names a judge."""


def may_type_judge() -> bool:
    """Whether a visitor may say which server is asked.

    Not in a Space on the Hub, whose network and key are its owner's: there the owner names the judge, or nobody does.
    """
    return "SPACE_ID" not in os.environ


def chosen_judge(url: str, model: str) -> tuple[str | None, str | None]:
    """URL and model name of the judge to ask: what was typed where that is allowed, else what the owner named.

    Raises:
        `ValueError`: If it is no URL.
    """
    if may_type_judge() and url.strip():
        found, name = url.strip(), model.strip() or None
    else:
        found, name = os.environ.get(JUDGE_URL, ""), os.environ.get(JUDGE_MODEL) or None
    if found and not is_url(found):
        raise ValueError(f"The judge must be the URL of a server, got {found!r}.")
    return found or None, name


def said(error: BaseException) -> str:
    """An error's message for a toast, which Gradio shows as HTML; pasted and generated text is in it."""
    return html.escape(str(error))


def number(value: float | None, form: str = ".1f") -> str:
    """A figure for a table."""
    return "–" if value is None else format(value, form)
