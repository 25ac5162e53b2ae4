"""The YAML at the top of a card (README.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml


def split_card(text: str, name: str) -> tuple[dict[str, Any], str]:
    """The YAML at the top of a card, empty without any, and the text after it.

    Args:
        text (`str`): The card.
        name (`str`): What errors call it.

    Raises:
        `ValueError`: If it is not YAML, has no end, or is no mapping.

    Example:

    ```python
    >>> split_card("---\\nlicense: mit\\n---\\n# A model\\n", "README.md")
    ({'license': 'mit'}, '# A model\\n')
    ```
    """
    lines = text.lstrip("\ufeff").splitlines(keepends=True)
    if not lines or lines[0].strip() != "---":
        return {}, text
    end = next((number for number, line in enumerate(lines[1:], 1) if line.strip() == "---"), None)
    if end is None:
        raise ValueError(f"{name}: the YAML at the top has no end: close it with a line ---")
    try:
        found = yaml.safe_load("".join(lines[1:end]))
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())[:200]
        raise ValueError(f"{name}: the text between the lines --- is not YAML ({said})") from error
    if not isinstance(found, dict | None):
        raise ValueError(f"{name}: the YAML at the top must be a mapping, got {type(found).__name__}")
    return found or {}, "".join(lines[end + 1 :])


def joined_card(front: Mapping[str, Any], body: str) -> str:
    """A card from its YAML and its text.

    Example:

    ```python
    >>> joined_card({"license": "mit"}, "# A model\\n")
    '---\\nlicense: mit\\n---\\n# A model\\n'
    ```
    """
    return f"---\n{yaml.safe_dump(dict(front), sort_keys=False, allow_unicode=True, width=119)}---\n{body}"


def title_of(text: str, name: str) -> str | None:
    """What a card calls its repository: `title`, `pretty_name`, or the first heading."""
    front, body = split_card(text, name)
    named = front.get("title") or front.get("pretty_name")
    if named:
        return str(named).strip()
    heading = next((line for line in body.splitlines() if line.startswith("# ")), None)
    return heading.removeprefix("# ").strip() if heading else None
