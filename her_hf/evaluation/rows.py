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

_GROUPS = r"[0-9a-f]{1,4}(?::[0-9a-f]{1,4})*"
_IPV6 = rf"(?:(?:[0-9a-f]{{1,4}}:){{7}}[0-9a-f]{{1,4}}|{_GROUPS}::(?:{_GROUPS})?|::{_GROUPS})(?:%\w+)?"
_NAME = r"(?<![\w.-])[a-z][a-z0-9-]*(?:\.[a-z0-9-]+)*"
_ENDINGS = (
    r"(?:internal|local|localdomain|lan|corp|intranet|svc|cluster|com|net|org|io|ai|dev|app|cloud|edu|gov|"
    r"eu|de|fr|uk|cn|jp)"
)
_ADDRESS = re.compile(
    r"\b[a-z]+://[^\s,;<>\"']*[^\s,;<>\"'.:!?)\]}]"  # a URL
    r"|\('[^'\s]{1,255}', \d{1,5}(?:, \d+)*\)"  # a socket's address as Python shows it
    r"|(?<![\w.])(?:(?:\d{1,3}\.){3}\d{1,3}|localhost)(?::\d+)?(?!\w)"
    rf"|\[{_IPV6}\](?::\d+)?|(?<![\w:.]){_IPV6}(?![\w:])"
    # A host by name with its port; a short number after a plain word may be a line or a code.
    rf"|{_NAME}:(?:\d{{4,5}}|80|443)\b|(?<![\w.-])(?=[a-z]+[\d.-]){_NAME}:\d{{2,5}}\b"
    rf"|(?<![\w.-])(?:[\w-]+\.)+{_ENDINGS}\b(?![.\w-]*\w)"  # a host by name alone
    r"|\bport[ :=]{1,3}\d{2,5}\b|\bhost=['\"]?[\w.-]+['\"]?",
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
    """What was said of a failure, without hosts and ports: the same model at another address gives the same rows.

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
