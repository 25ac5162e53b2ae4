"""Names of characters and books: which spellings are the same name."""

from __future__ import annotations

import re
import unicodedata

from her_hf.dual_layer import ENVIRONMENT

MAX_NAME = 40
"""Maximum characters of a visitor's name."""


def one_line(text: str) -> str:
    """Text without line breaks and runs of white space, as needed for a label."""
    return " ".join(text.split())


def check_name(name: str) -> str:
    """A visitor's name with normalised white space.

    Raises:
        `ValueError`: If it cannot be used as the label of a turn.
    """
    tidy = one_line(name)
    if not tidy or len(tidy) > MAX_NAME or re.search(r"[:：<>\[\]()=|]", tidy):
        shown = repr(name) if len(name) <= 2 * MAX_NAME else f"one of {len(name):,} characters"
        raise ValueError(f"A name must have 1 to {MAX_NAME} characters and none of : < > [ ] ( ) = |; got {shown}")
    return tidy


def name_key(name: str) -> str:
    """A key that spellings of the same member of a cast share: it ignores case and white space."""
    return one_line(name).casefold()


def spelled(name: str) -> str:
    """A name in canonical spelling: single spaces, and one spelling of Environment."""
    tidy = one_line(name)
    return ENVIRONMENT if tidy.casefold() == ENVIRONMENT.casefold() else tidy


def title_key(title: str) -> str:
    """A key that spellings of the same book title share; it is used wherever a book is excluded by its title.

    It ignores case, white space and punctuation, which differ between file names and catalogues.

    Example:

    ```python
    >>> title_key("Ann's Bees") == title_key("Ann’s  bees")
    True
    ```
    """
    folded = unicodedata.normalize("NFKC", title).casefold()
    return "".join(filter(str.isalnum, folded)) or one_line(folded)
