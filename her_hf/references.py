"""What a user names a model by: a folder here, or an id on the Hub. A mistyped folder fails within seconds.

Left to transformers, a name that is no folder is requested from the Hub file by file, each with its own retries, which
takes more than a minute where the Hub cannot be reached.
"""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path
from typing import cast

_HUB_ID = re.compile(r"(?!.*(--|\.\.))\w[\w.-]*(/\w[\w.-]*)?(?<![.-])")
_LONGEST_ID = 96
_CACHED = ("config.json", "tokenizer_config.json", "adapter_config.json")
_SECONDS = 10.0


def is_hub_id(name: str | PathLike[str]) -> bool:
    """Whether a name can only be that of a repository on the Hub: it is no path here, and has the form of an id.

    Args:
        name (`str` or `PathLike`): What the user named.

    Example:

    ```python
    >>> is_hub_id("nobody/nosuch"), is_hub_id("./nosuch"), is_hub_id("runs/a/b"), is_hub_id("nosuch/")
    (True, False, False, False)
    ```
    """
    text = str(name)
    return len(text) <= _LONGEST_ID and bool(_HUB_ID.fullmatch(text)) and not Path(text).exists()


def check_model(name: str | PathLike[str]) -> None:
    """Checks in one short request, or none, that a folder here or a model on the Hub has this name.

    Args:
        name (`str` or `PathLike`): Folder or Hub id.

    Raises:
        `FileNotFoundError`: If it is neither a path here, nor downloaded before, nor on the Hub as far as that can be
            reached.
    """
    if Path(name).expanduser().exists():
        return
    missing = f"There is no folder {name} here (looked in {Path.cwd()})"
    if not is_hub_id(name):
        raise FileNotFoundError(f"{missing}, and it is not the form of a Hub id (owner/name): check the path.")
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError

    # An HTTPError of the client that this huggingface_hub works with, and an OSError, as being offline is one.
    failures = cast("tuple[type[Exception], ...]", (*HfHubHTTPError.__bases__, HFValidationError))
    try:
        HfApi().model_info(str(name), timeout=_SECONDS)
    except RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"{missing}, and the Hub has no model of that name that you may read: check the spelling, or log in if it "
            "is private (hf auth login)."
        ) from error
    except HfHubHTTPError:
        return  # the Hub answers, but not this: loading the files tries again
    except failures as error:
        if any(isinstance(try_to_load_from_cache(str(name), file), str) for file in _CACHED):
            return
        reason = str(error).strip().partition("\n")[0][:200]
        raise FileNotFoundError(
            f"{missing}, and the Hub cannot be asked for it ({type(error).__name__}: {reason}): check the path, or "
            "the connection if it is a Hub id."
        ) from error
