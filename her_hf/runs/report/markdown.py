"""Markdown helpers; text of models, servers and scene files is escaped."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

FOLD_FROM = 13
"""Minimum rows of a table that is collapsed."""

_MARKS = re.compile(r"([\\`*_\[\]|~$#])")
_LINKS = re.compile(r"://|\bwww\.", re.IGNORECASE)
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")


def escape(value: object, limit: int = 160) -> str:
    """Escapes text for a line of Markdown, so that it contains no markup, table cell, HTML or link.

    Args:
        value (`object`): The text.
        limit (`int`, *optional*, defaults to 160): Maximum characters; a longer text is truncated and ends with `…`.

    Example:

    ```python
    >>> print(escape("a|b <script>"))
    a\\|b &lt;script&gt;
    ```
    """
    text = " ".join(_BIDI.sub("", str(value)).split())
    text = "".join(sign for sign in text if unicodedata.category(sign) not in ("Cc", "Cs"))
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    text = _MARKS.sub(r"\\\1", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _LINKS.sub(lambda found: found[0].replace("://", "\\://").replace(".", "\\."), text)


def table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; text in cells must already be escaped."""
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in [head, ["---"] * len(head), *rows]]
    return "\n".join(lines)


def fence(text: str, language: str = "text") -> str:
    """A fenced block that the text cannot close; bidirectional control characters are removed."""
    text = _BIDI.sub("", text)
    ticks = "```"
    while ticks in text:
        ticks += "`"
    return f"{ticks}{language}\n{text.strip()}\n{ticks}"


def folded(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """A table; a long one is collapsed."""
    text = table(head, rows)
    if len(rows) < FOLD_FROM:
        return text
    return f"<details><summary>{len(rows)} rows</summary>\n\n{text}\n\n</details>"


def plain_name(fingerprint: object) -> str:
    name = fingerprint.get("model") if isinstance(fingerprint, Mapping) else fingerprint
    return " ".join(str(name or "?").split())


def name_of(fingerprint: object) -> str:
    """A model's name, or that it is not recorded."""
    return escape(plain_name(fingerprint), limit=80) if fingerprint else "a model that is not recorded"


def setting(value: object) -> str:
    """A setting's value: all parts of a model's fingerprint, the first characters of a digest."""
    if isinstance(value, Mapping):
        return ", ".join(f"{escape(name)} {setting(inner)}" for name, inner in sorted(value.items()))
    if isinstance(value, list | tuple):
        return "; ".join(map(setting, value))
    text = str(value)
    return text[:12] if re.fullmatch(r"[0-9a-f]{40,}", text) else escape(text)


def languages(codes: Iterable[str]) -> str:
    """The count of each language, if there are several."""
    counts = sorted(Counter(codes).items())
    return f" ({', '.join(f'{escape(code)} {count}' for code, count in counts)})" if len(counts) > 1 else ""


def counted(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def mean_of(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def points(value: float | None) -> str:
    return figure(value, ".2f")


def figure(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def percent(value: float) -> str:
    return f"{value:.1%}"


def interval(ends: Sequence[float] | None) -> str:
    return f"[{ends[0]:.1f}, {ends[1]:.1f}]" if ends else "–"
