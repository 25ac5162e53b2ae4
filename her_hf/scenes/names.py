"""Names of people and of books: when two spellings mean the same one."""

from __future__ import annotations

import re
import unicodedata

from her_hf.dual_layer import ENVIRONMENT

MAX_NAME = 40
"""Longest name of a visitor, in characters."""


def one_line(text: str) -> str:
    """Text without line breaks and runs of white space, as a label needs it."""
    return " ".join(text.split())


def check_name(name: str) -> str:
    """A visitor's own name, tidied.

    Raises:
        `ValueError`: If it could not stand before a colon as one name.
    """
    tidy = one_line(name)
    if not tidy or len(tidy) > MAX_NAME or re.search(r"[:：<>\[\]()=|]", tidy):
        shown = repr(name) if len(name) <= 2 * MAX_NAME else f"one of {len(name):,} characters"
        raise ValueError(f"A name has 1 to {MAX_NAME} characters and none of : < > [ ] ( ) = |; got {shown}")
    return tidy


def name_key(name: str) -> str:
    """What two spellings of one member of a cast have in common: case and white space do not count."""
    return one_line(name).casefold()


def spelled(name: str) -> str:
    """A name as the cast has it: single spaces, and one spelling of Environment."""
    tidy = one_line(name)
    return ENVIRONMENT if tidy.casefold() == ENVIRONMENT.casefold() else tidy


def title_key(title: str) -> str:
    """What two spellings of one book's title have in common; titles are compared by it wherever a book is left out.

    Case, white space and all marks do not count: file names and catalogues change them.

    Example:

    ```python
    >>> title_key("Ann's Bees") == title_key("Ann’s  bees")
    True
    ```
    """
    folded = unicodedata.normalize("NFKC", title).casefold()
    return "".join(filter(str.isalnum, folded)) or one_line(folded)
