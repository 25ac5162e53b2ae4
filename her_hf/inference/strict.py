"""Text that is JSON as a whole, and nothing else."""

from __future__ import annotations

import json
import re
from typing import Any

_FENCE_OPENS = re.compile(r"```\w*[ \t]*\r?\n")


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object; a key with two values is an error, since it is unclear which one counts."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found and found[key] != value:
            raise ValueError(f"the key {key[:80]!r} has two values")
        found[key] = value
    return found


# Raw line breaks inside strings are common and harmless, hence strict=False.
DECODER = json.JSONDecoder(strict=False, object_pairs_hook=_no_key_twice)


def strict_json(text: str) -> Any:
    """The JSON value of a whole text, without repair.

    Raises:
        `ValueError`: If it is not JSON, an object in it has two values for one key, or it is nested too deeply.
    """
    try:
        return DECODER.decode(text.strip().removeprefix("\ufeff"))
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def is_whole_json(text: str) -> bool:
    """Whether a text is one JSON object or list and nothing else, bare or in one Markdown fence.

    Example:

    ```python
    >>> is_whole_json('```json\\n{"flaws": []}\\n```'), is_whole_json('Perhaps {"flaws": []}?')
    (True, False)
    ```
    """
    bare = text.strip()
    if (fence := _FENCE_OPENS.match(bare)) and bare.endswith("```"):
        bare = bare[fence.end() : -3]
    try:
        return isinstance(strict_json(bare), dict | list)
    except ValueError:
        return False
