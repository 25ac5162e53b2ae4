"""Text on its way to a terminal."""

from __future__ import annotations

import re
from pathlib import Path

_UNFIT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def clean(text: str) -> str:
    """Text without control characters and half characters: a model or a file must not steer the terminal."""
    return _UNFIT.sub("", text)


def hub_note(model: str) -> str | None:
    """What to say before the Hub is asked for a model, which takes its time if the name is mistyped; else `None`."""
    if Path(model).expanduser().exists() or model.count("/") > 1 or model.startswith((".", "~", "/")):
        return None
    return f"There is no folder {model} here: asking the Hugging Face Hub …"
