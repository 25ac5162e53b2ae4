"""Text for the terminal."""

from __future__ import annotations

import re

from her_hf.references import is_hub_id

_UNFIT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def clean(text: str) -> str:
    """Text without control characters and lone surrogates: a model or a file must not control the terminal."""
    return _UNFIT.sub("", text)


def hub_note(model: str) -> str | None:
    """A note for a model that will be requested from the Hub, which a mistyped folder is too; else `None`."""
    if not is_hub_id(model):
        return None
    return f"There is no folder {model} here: looking for it on the Hugging Face Hub …"
