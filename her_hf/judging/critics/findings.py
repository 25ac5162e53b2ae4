"""What critics list, flaws or errors: the schema of a list, and its entries checked one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from her_hf.inference import Schema
from her_hf.scoring.keys import stray_keys, with_known_keys
from her_hf.scoring.missing import Missing

from ..structured import JsonReply, closed_object, shorten


def findings_schema(name: str, properties: Mapping[str, Any]) -> Schema:
    """JSON schema of an object with one list, whose entries have exactly these properties.

    Args:
        name (`str`): The key of the list.
        properties (`Mapping`): The schema of each property of an entry.
    """
    return closed_object({name: {"type": "array", "items": closed_object(properties)}})


def read_findings(
    found: JsonReply, listed: Sequence[Any], what: str, keys: Sequence[str], check: Callable[[dict[str, Any]], object]
) -> list[dict[str, Any]] | Missing:
    """Reads the entries of a critic's list.

    Args:
        found ([`~her_hf.judging.JsonReply`]): The answer.
        listed (`Sequence`): The list in it.
        what (`str`): What messages call an entry.
        keys (`Sequence[str]`): The keys of an entry; `severity`, one of them, may be absent.
        check (`Callable`): Raises `ValueError` for an entry with a value that cannot be read.

    Returns:
        `list[dict]` or `Missing`: The entries, keys spelt as above. Missing if an entry is not an object, has
            an unknown key that may contain a part of the answer, or has a value that cannot be read; also if a
            severity is absent from JSON that was repaired, where a string may have swallowed it.
    """
    read = []
    for index, given in enumerate(listed):
        where = f"{what} {index}"
        if not isinstance(given, Mapping):
            return Missing("bad_value", f"{where} must be an object, got {shorten(repr(given))}")
        try:
            spelt = with_known_keys(given, keys)
            if stray := stray_keys(spelt, keys):
                return Missing("wrong_keys", f"{where}: wanted {list(keys)}, got {shorten(repr(stray))}")
            if found.repaired and "severity" not in spelt:
                return Missing("wrong_keys", f"{where}: no severity, in JSON whose strings had to be guessed")
            check(spelt)
        except ValueError as problem:
            return Missing("bad_value", f"{where}: {problem}, in {shorten(repr(given))}")
        read.append(spelt)
    return read
