"""Rows of `dialogues.jsonl`, as simulations write them and judges read them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from her_hf.dual_layer import Turn
from her_hf.simulation.gca import replayed
from her_hf.simulation.styles import style_named

Row = dict[str, Any]
SceneKey = tuple[str, int, int]

_ADDRESS = re.compile(
    r"[a-z]+://[^\s,;<>\"']*[^\s,;<>\"'.:!?)\]}]"  # a URL
    r"|(?<![\w.])(?:(?:\d{1,3}\.){3}\d{1,3}|localhost|\[[0-9a-f]*:[0-9a-f:.]+\])(?::\d+)?(?!\w)"
    r"|(?<![\w.-])[a-z][\w-]*(?:\.[\w-]+)*:\d{4,5}\b",  # a host by name with its port
    re.IGNORECASE,
)


def scene_key(row: Row) -> SceneKey:
    """The key of a row of `dialogues.jsonl` or `judgements.jsonl`.

    Raises:
        `ValueError`: If the row has none.
    """
    try:
        book, i_p, i_c = row["key"]
        return str(book), int(i_p), int(i_c)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"a row needs `key`: [book, i_p, i_c], got {str(row)[:80]}") from error


def turns_of(row: Row) -> list[Turn]:
    """The turns of a row of `dialogues.jsonl`, without system thinking.

    Raises:
        `ValueError`: If a turn has no name or text; the message names the scene and the turn.
    """
    turns = []
    for index, entry in enumerate(row.get("turns") or []):
        name, text = entry.get("name"), entry.get("text")
        if not isinstance(name, str) or not name.strip() or not isinstance(text, str):
            raise ValueError(
                f"dialogue {row.get('key')}, turn {index}: needs `name` and `text`, got {sorted(entry)}. Mend the row."
            )
        turns.append(replayed(name, text))
    return turns


def notation_of(row: Row) -> str:
    """The notation of the models' own text in a row of `dialogues.jsonl`: that of the style they were spoken to in.

    Raises:
        `ValueError`: If there is no such style.
    """
    return style_named((row.get("settings") or {}).get("style", "her")).notation


def without_address(text: str) -> str:
    """A server's words without hosts and ports: the same model at another address gives the same rows.

    Example:

    ```python
    >>> without_address("No server answers at http://127.0.0.1:8000/v1 (refused by localhost:8000).")
    'No server answers at [address] (refused by [address]).'
    ```
    """
    return _ADDRESS.sub("[address]", text)


def missing_row(missing: Mapping[str, Any]) -> Row:
    """A missing judgement for a file. What failed may name an address; what a judge wrote stays as it is."""
    if missing["cause"] != "request":
        return dict(missing)
    return {**missing, "detail": without_address(str(missing["detail"]))}
