"""The private parts of transformers that processing relies on, read in transformers 5.24.0.

`tests/processing/test_internals.py` fails when one of them changes.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def keep_processor_class(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Makes a tokenizer save the name of its processor, which is kept where a trainer saves only the tokenizer."""
    tokenizer._set_processor_class(name)


def optional_file(base: str | PathLike[str], name: str, revision: str | None = None) -> Path | None:
    """The local path of a file of a folder or Hub id, downloaded if necessary; `None` if there is no such file.

    Raises:
        `OSError`: If the Hub is needed and cannot be reached.
    """
    from transformers.utils import cached_file

    found = cached_file(base, name, revision=revision, _raise_exceptions_for_missing_entries=False)
    return None if found is None else Path(found)
