"""Failures for results, without addresses of servers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from her_hf.inference import ModelError
from her_hf.inference.window import WindowFull

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
    # A host name with its port; a short number after a plain word may be a line or a code.
    rf"|{_NAME}:(?:\d{{4,5}}|80|443)\b|(?<![\w.-])(?=[a-z]+[\d.-]){_NAME}:\d{{2,5}}\b"
    rf"|(?<![\w.-])(?:[\w-]+\.)+{_ENDINGS}\b(?![.\w-]*\w)"  # a host name alone
    r"|\bport[ :=]{1,3}\d{2,5}\b|\bhost=['\"]?[\w.-]+['\"]?",
    re.IGNORECASE,
)


def without_address(text: str) -> str:
    """Replaces hosts and ports in the text of a failure, so that rows do not depend on the address of a server.

    Example:

    ```python
    >>> without_address("No server answers at http://127.0.0.1:8000/v1 (refused by localhost:8000).")
    'No server answers at [address] (refused by [address]).'
    ```
    """
    return _ADDRESS.sub("[address]", text)


def failure_of(error: ModelError | WindowFull) -> dict[str, str]:
    """The failure record for an error.

    Returns:
        `dict`: `cause`, which is the kind of the error or `"window"`, and `detail`: its message without addresses,
            with the HTTP status if there is one.
    """
    detail = without_address(str(error))
    if isinstance(error, WindowFull):
        return {"cause": "window", "detail": detail}
    if error.status is not None and str(error.status) not in detail:
        detail = f"{detail} (HTTP {error.status})"
    return {"cause": error.kind, "detail": detail}


def missing_row(missing: Mapping[str, Any]) -> dict[str, Any]:
    """A missing judgement for a file: addresses are removed from a failed request; an answer is not changed."""
    if missing["cause"] != "request":
        return dict(missing)
    return {**missing, "detail": without_address(str(missing["detail"]))}
