"""Hugging Face style docstrings as Griffe's Google parser reads them: plain types, defaults from the signature."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ARGUMENT = re.compile(r"^(?P<name>\s+[\w*, ]+) \((?P<type>`[^\n]*)\):", re.MULTILINE)
_OUTCOME = re.compile(r"^(?P<indent>\s+)`(?P<type>[^`\n]+)`:", re.MULTILINE)
_LINK = re.compile(r"\[`~?(?P<name>[\w.]+)`\](?!\()")


class HuggingFaceDocstrings(griffe.Extension):
    """Rewrites `name (`type`, *optional*, defaults to `1`): …` and `[`Name`]` before they are parsed."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrites one object's docstring."""
        if obj.docstring is None:
            return
        text = _ARGUMENT.sub(_plain_argument, obj.docstring.value)
        text = _OUTCOME.sub(r"\g<indent>\g<type>:", text)
        obj.docstring.value = _LINK.sub(r"`\g<name>`", text)


def _plain_argument(found: re.Match[str]) -> str:
    types = found["type"].partition(", *optional*")[0].replace("`, `", " | ").replace("`", "").replace(" or ", " | ")
    return f"{found['name']} ({types}):"
