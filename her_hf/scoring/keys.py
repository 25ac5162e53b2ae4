"""Keys of a judge's JSON, which it spells as it likes. Standard library only."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any


def folded_key(key: str) -> str:
    """A key without what spellings differ in: case, white space, underscores, full-width letters.

    Example:

    ```python
    >>> folded_key(" Better_Response")
    'better response'
    ```
    """
    return " ".join(unicodedata.normalize("NFKC", key).replace("_", " ").split()).casefold()


def with_known_keys(value: Mapping[Any, Any], names: Iterable[str]) -> dict[Any, Any]:
    """An object whose known keys are spelt as we spell them; all others stay as they are.

    Args:
        value (`Mapping`): The object as it was read.
        names (`Iterable[str]`): The keys that are known.

    Raises:
        `ValueError`: If two spellings of one key have different values.

    Example:

    ```python
    >>> with_known_keys({"Severity": 10, "note": "x"}, ("type", "severity"))
    {'severity': 10, 'note': 'x'}
    ```
    """
    known = {folded_key(name): name for name in names}
    found: dict[Any, Any] = {}
    for key, one in value.items():
        name = known.get(folded_key(key), key) if isinstance(key, str) else key
        if name in found and found[name] != one:
            raise ValueError(f"{name} is given twice, as {found[name]!r:.80} and as {one!r:.80}")
        found[name] = one
    return found
