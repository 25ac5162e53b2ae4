"""Views of a message's text: the rules that the chat template repeats in Jinja.

Unlike [`Turn.render`], these functions do not treat a leading `Name:` as a label, since a message may be anyone's.
"""

from __future__ import annotations

from .layers import View
from .notation import render_segments, visible_runs
from .stream import TurnStream, parse_with


def view_text(text: str, view: str | View) -> str:
    """What a viewer sees of a message: hidden layers dropped, the rest in canonical form.

    Args:
        text (`str`): Text in HER notation.
        view (`str` or `View`):
            `"self"` or `"others"`; `"full"` drops only a leading system block, which [`split_system`] returns.

    Returns:
        `str`: The visible text. An unclosed thought hides the rest of the text.

    Raises:
        `ValueError`: If the view is unknown.

    Example:

    ```python
    >>> view_text("Ann: <role_thinking>No.</role_thinking> Yes, <role_action>nods</role_action> sir.", "others")
    'Ann: Yes, <role_action>nods</role_action> sir.'
    ```
    """
    turn = parse_with(TurnStream(prefilled=False, labels=False), text)
    return render_segments(visible_runs(turn.segments, View(view)))


def split_system(text: str) -> tuple[str, str]:
    """Leading system thinking of a reply, and the rest in SELF view.

    Example:

    ```python
    >>> split_system("<think>Ann stalls.</think>Ann: Tea?")
    ('Ann stalls.', 'Ann: Tea?')
    ```
    """
    turn = parse_with(TurnStream(prefilled=False, labels=False), text)
    return turn.system_thinking or "", render_segments(visible_runs(turn.segments, View.SELF))
