"""Settings with one definition: a dataclass field has default and help text and becomes a command-line option."""

from __future__ import annotations

from dataclasses import MISSING, field
from typing import Any

CONCURRENCY = 16
"""Calls in flight to a model, unless a run says otherwise."""

TIMEOUT = 300.0
"""Seconds that one call to a server may take in all."""

MAX_RETRIES = 6
"""How many times a failed call is repeated."""


def setting(
    default: Any = MISSING,
    *,
    help: str,
    min: float | None = None,
    max: float | None = None,
    choices: tuple[str, ...] = (),
    metavar: str | None = None,
    option: str | None = None,
    off: str | None = None,
) -> Any:
    """A dataclass field with a help text and constraints for its command-line option.

    Args:
        default (`Any`, *optional*): Its default; without one it is required.
        help (`str`): Help text of the option, one sentence.
        min (`float`, *optional*): Minimum value of the option.
        max (`float`, *optional*): Maximum value of the option.
        choices (`tuple[str, ...]`, *optional*): Allowed values of the option.
        metavar (`str`, *optional*): Name of the value in `--help`.
        option (`str`, *optional*): Name of the option, by default the field's; `{prefix}` is the prefix of the group.
        off (`str`, *optional*): What the negated option does, for a flag that is on by default.

    Returns:
        `dataclasses.Field`: The field, with these values in its metadata.

    Example:

    ```python
    >>> from dataclasses import dataclass, fields
    >>> @dataclass(frozen=True)
    ... class Drawing:
    ...     seed: int = setting(42, help="Seed of all sampling and drawing; every call derives its own from it.")
    >>> Drawing().seed, fields(Drawing)[0].metadata["help"]
    (42, 'Seed of all sampling and drawing; every call derives its own from it.')
    ```
    """
    about = {
        "help": help,
        "min": min,
        "max": max,
        "choices": choices,
        "metavar": metavar,
        "option": option,
        "off": off,
    }
    return field(default=default, metadata=about)
