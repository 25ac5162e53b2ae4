"""Settings stated once: a dataclass field holds its default and its help, and the command line is made from both."""

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
) -> Any:
    """A dataclass field that says what it means.

    Args:
        default (`Any`, *optional*): Its default; without one it must be given.
        help (`str`): One sentence for `--help`.
        min (`float`, *optional*): The smallest value that the command line takes.
        max (`float`, *optional*): The largest value that the command line takes.
        choices (`tuple[str, ...]`, *optional*): The values that the command line takes, if they can be listed.
        metavar (`str`, *optional*): How `--help` names its value.
        option (`str`, *optional*): Name of the option if it is not the field's; `{prefix}` stands for the group's.

    Returns:
        `dataclasses.Field`: With the texts in its metadata.

    Example:

    ```python
    >>> from dataclasses import dataclass, fields
    >>> @dataclass(frozen=True)
    ... class Drawing:
    ...     seed: int = setting(42, help="Every call derives its own seed from this.")
    >>> Drawing().seed, fields(Drawing)[0].metadata["help"]
    (42, 'Every call derives its own seed from this.')
    ```
    """
    metadata = {"help": help, "min": min, "max": max, "choices": choices, "metavar": metavar, "option": option}
    return field(default=default, metadata=metadata)
