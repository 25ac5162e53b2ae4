"""Parsing a whole turn."""

from __future__ import annotations

from collections.abc import Sequence

from .stream import TurnStream, parse_with
from .turn import Turn


def parse_turn(
    text: str,
    *,
    notation: str = "her",
    prefilled: bool = False,
    speaker: str | None = None,
    names: Sequence[str] = (),
    origin_id: tuple[int, ...] = (),
) -> Turn:
    """Parses one turn of dual-layer text.

    Tags match in any case and with inner spaces; legacy tags are accepted. Nothing inside thinking becomes visible, a
    closing tag pops to its match, unclosed thinking runs to the end. Problems of the text are in `Turn.issues`.

    Args:
        text (`str`): The turn, as written or generated.
        notation (`str`, *optional*, defaults to `"her"`):
            `"her"` (tags) or `"coser"` (`[thought]`, `(action)`, their full-width forms, and tags).
        prefilled (`bool`, *optional*, defaults to `False`): Whether `<system_thinking>` was already in the prompt.
        speaker (`str`, *optional*): Who should speak; another label is an issue.
        names (`Sequence[str]`, *optional*):
            The cast. If given, only these, `speaker` and Environment are labels. If the cast or the speaker is known,
            `**Ann:**`, `ANN:`, `[Ann]:` and `Ann (whispering):` are labels as well, with an issue; the text in the
            parentheses of the last becomes an action.
        origin_id (`tuple[int, ...]`, *optional*): Indices of the raw messages, stored in the turn.

    Returns:
        `Turn`: The turn; every `str` gives one.

    Raises:
        `TypeError`: If `text` is not a string.
        `ValueError`: If the notation is unknown.

    Example:

    ```python
    >>> parse_turn("[I must hide it.] (smiles) Good day.", notation="coser").pattern
    'TAS'
    ```

    Source: HER, arXiv 2601.21459 (format); CoSER, ICML 2025 (bracket notation).
    """
    if not isinstance(text, str):
        raise TypeError(f"parse_turn needs a str, got {type(text).__name__}; pass the message's text.")
    stream = TurnStream(prefilled=prefilled, speaker=speaker, names=names, notation=notation)
    return parse_with(stream, text, tuple(origin_id))
