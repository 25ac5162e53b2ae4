"""A progress bar with rate and remaining time."""

from __future__ import annotations

from typing import Any

from tqdm.auto import tqdm


class Progress:
    """A progress bar; without a total it shows the number of finished units and the rate.

    Args:
        what (`str`): The description, such as `"judging"`.
        unit (`str`): The unit, such as `"pair"`.
        total (`int`, *optional*): Expected number of units, if known.
        show (`bool`, *optional*, defaults to `True`): Whether to show it.

    Example:

    ```python
    >>> progress = Progress("judging", "pair", total=100)
    >>> progress.skip(40)  # done by an earlier start
    >>> progress.advance()
    >>> progress.close()
    ```
    """

    def __init__(self, what: str, unit: str, *, total: int | None = None, show: bool = True) -> None:
        self._bar: Any = tqdm(total=total, desc=what, unit=unit, disable=not show, smoothing=0.1)

    def advance(self, steps: int = 1) -> None:
        """Adds finished units."""
        self._bar.update(steps)

    def skip(self, steps: int = 1) -> None:
        """Adds units of an earlier start, which do not count for the rate."""
        if not self._bar.disable:
            self._bar.initial += steps
            self._bar.n += steps
            self._bar.last_print_n += steps
            self._bar.update(0)

    def close(self) -> None:
        """Closes the bar, which stays visible."""
        self._bar.close()
