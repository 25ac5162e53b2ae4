"""Patterns: the order of layers in a turn, in letters."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from .layers import Segment


def pattern_of(segments: Iterable[Segment]) -> str:
    """Order of layers in letters T (role thinking), A (action), S (speech).

    System thinking has no letter, and runs with only a misplaced system block between them count as one.

    Example:

    ```python
    >>> pattern_of(parse_turn("<role_thinking>t</role_thinking><role_action>a</role_action>Hi").segments)
    'TAS'
    ```
    """
    letters = (segment.layer.letter for segment in segments)
    return "".join(letter for letter, _ in groupby(letter for letter in letters if letter))
