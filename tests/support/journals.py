"""For the tests of all users of a journal: lines that a run must not resume from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def check_refusals(file: Path, start: Callable[[], object], *, needs: str) -> None:
    """A second line without a required field, or of other settings, is an error, and no file is changed.

    Args:
        file (`Path`): The journal that a whole run has left.
        start (`Callable`): Starts the run once more; raises what it raises.
        needs (`str`): A field that a run which goes on reads.
    """
    whole = file.read_bytes()
    first, second, *rest = whole.splitlines(keepends=True)
    row: dict[str, Any] = json.loads(second)
    older = {name: value for name, value in row.items() if name != needs}
    for changed, said in (
        (older, f"{needs}: Field required"),
        ({**row, "settings": "0" * 64}, "belongs to another run"),
    ):
        file.write_bytes(b"".join([first, json.dumps(changed, ensure_ascii=False).encode() + b"\n", *rest]))
        before = file.read_bytes()
        with pytest.raises(ValueError) as refused:
            start()
        message = str(refused.value)
        assert f"{file}, line 2: " in message and said in message and "Delete the line" in message, message
        assert file.read_bytes() == before and len(message) < len(str(file)) + 700
    file.write_bytes(whole)
    start()
    assert file.read_bytes() == whole
