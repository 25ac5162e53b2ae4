"""What the apps in `spaces/` share: parts of the page, which judge a visitor may choose, texts that are safe to show.

Functions that make parts of a page need gradio (extra `demo`) and are called inside `gr.Blocks`.
"""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Sequence
from typing import Any

from her_hf.inference import is_url

MAX_CHARACTERS = 200_000
"""Maximum length of a text that a visitor pastes."""

JUDGE_URL, JUDGE_MODEL = "JUDGE_URL", "JUDGE_MODEL"
"""Variables of a Space in which its owner names a judge."""


def may_type_judge() -> bool:
    """Whether a visitor may name the server to call.

    Not in a Space on the Hub, which uses its owner's network and key: there only the owner can name a judge.
    """
    return "SPACE_ID" not in os.environ


def chosen_judge(url: str, model: str) -> tuple[str | None, str | None]:
    """URL and model name of the judge: as typed if that is allowed, else as named by the owner.

    Raises:
        `ValueError`: If the URL is not valid.
    """
    if may_type_judge() and url.strip():
        found, name = url.strip(), model.strip() or None
    else:
        found, name = os.environ.get(JUDGE_URL, ""), os.environ.get(JUDGE_MODEL) or None
    if found and not is_url(found):
        raise ValueError(f"The judge must be the URL of a server, got {found!r}.")
    return found or None, name


def error_text(error: BaseException) -> str:
    """An error's message, which may contain pasted or generated text, for a toast that Gradio shows as HTML."""
    return html.escape(str(error))


def number(value: float | None, form: str = ".1f") -> str:
    """A figure for a table."""
    return "–" if value is None else format(value, form)


def pasted_box(value: str, label: str, info: str, lines: int) -> Any:
    """A text box for what a visitor pastes, `lines` high at first."""
    import gradio as gr

    return gr.Textbox(value, label=label, info=info, lines=lines, max_lines=lines + 10, max_length=MAX_CHARACTERS)


def judge_boxes(calls: str) -> tuple[Any, Any]:
    """Text boxes for URL and model name of a judge, shown where a visitor may name one.

    Args:
        calls (`str`): Which calls are made, e.g. `"one call per chunk"`.
    """
    import gradio as gr

    with gr.Accordion("Ask a judge instead", open=False, visible=may_type_judge()):
        gr.Markdown(f"Used if the judge's answer is empty: {calls} to an OpenAI-compatible server.")
        url = gr.Textbox(label="URL", placeholder="http://127.0.0.1:8000/v1", max_length=500)
        model = gr.Textbox(label="Model", info="Its name on the server, if it offers several", max_length=200)
    return url, model


def result_table(label: str, headers: Sequence[str], widths: Sequence[int] | None = None) -> Any:
    """A table of results.

    Args:
        label (`str`): Its title.
        headers (`Sequence[str]`): Names of the columns.
        widths (`Sequence[int]`, *optional*): Percent of the width of each column; its texts are then wrapped.
    """
    import gradio as gr

    return gr.Dataframe(
        headers=list(headers),
        datatype="str",
        label=label,
        interactive=False,
        wrap=widths is not None,
        column_widths=[f"{width}%" for width in widths] if widths else None,
    )


def computed(page: Any, button: Any, score: Callable[..., Any], inputs: list[Any], outputs: list[Any]) -> None:
    """Computes the outputs when the page is loaded, of its example, and when the button is clicked."""
    button.click(score, inputs, outputs, api_name="score", concurrency_limit=4)
    page.load(score, inputs, outputs, show_progress="hidden")
