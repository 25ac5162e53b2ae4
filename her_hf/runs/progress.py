"""A bar with rate and time left."""

from __future__ import annotations

from typing import Any

from tqdm.auto import tqdm


class Progress:
    """A progress bar; without a total it shows how many are done, and the rate.

    Args:
        what (`str`): What is being done, such as `"judging"`.
        unit (`str`): What is counted, such as `"pair"`.
        total (`int`, *optional*): How many there are to be, if that is known.
        show (`bool`, *optional*, defaults to `True`): Whether to show it.

    Example:

    ```python
    >>> progress = Progress("judging", "pair", total=100)
    >>> progress.skip(40)  # they were there before
    >>> progress.advance()
    >>> progress.close()
    ```
    """

    def __init__(self, what: str, unit: str, *, total: int | None = None, show: bool = True) -> None:
        self._bar: Any = tqdm(total=total, desc=what, unit=unit, disable=not show, smoothing=0.1)

    def advance(self, steps: int = 1) -> None:
        """Counts what was done now."""
        self._bar.update(steps)

    def skip(self, steps: int = 1) -> None:
        """Counts what was done before, which says nothing of the rate."""
        if not self._bar.disable:
            self._bar.initial += steps
            self._bar.n += steps
            self._bar.last_print_n += steps
            self._bar.update(0)

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._bar.close()
