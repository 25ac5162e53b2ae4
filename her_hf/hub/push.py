"""Pushing a finished folder to the Hub, once, with its card."""

from __future__ import annotations

import json
from pathlib import Path

IGNORED = ["checkpoint-*", "checkpoint-*/**", "*.tmp", ".*"]
"""What stays here: checkpoints of the run and drafts."""

_ADAPTER = "adapter_config.json"


def push_folder(
    folder: str | Path,
    repo_id: str,
    *,
    base: str | None = None,
    private: bool | None = None,
    token: str | None = None,
    message: str = "HER-SFT",
) -> str:
    """Uploads a model folder; the same call again uploads what is missing.

    Args:
        folder (`str` or `Path`): What `recipes/sft.py` wrote.
        repo_id (`str`): `owner/name`, or a name of your own namespace.
        base (`str`, *optional*): Hub id of the base; a pushed adapter names it instead of a
            local folder.
        private (`bool`, *optional*): Whether a new repository is private; the Hub's default if not given.
        token (`str`, *optional*): Token; the one that is logged in if not given.
        message (`str`, *optional*, defaults to `"HER-SFT"`): Commit message.

    Returns:
        `str`: Address of the repository.

    Raises:
        `huggingface_hub.errors.HfHubHTTPError`: If the Hub refuses; nothing is lost, and the call can be repeated.

    Example:

    ```python
    >>> push_folder("outputs/smollm2-135m-her-sft", "me/smollm2-135m-her-sft")
    ```
    """
    from huggingface_hub import HfApi

    folder, api = Path(folder), HfApi(token=token)
    repo = api.create_repo(repo_id, private=private, exist_ok=True)
    rename = base is not None and (folder / _ADAPTER).is_file()
    ignored = [*IGNORED, _ADAPTER] if rename else IGNORED
    api.upload_folder(repo_id=repo.repo_id, folder_path=folder, ignore_patterns=ignored, commit_message=message)
    if rename:
        config = json.loads((folder / _ADAPTER).read_text(encoding="utf-8"))
        config["base_model_name_or_path"] = base
        api.upload_file(
            repo_id=repo.repo_id,
            path_in_repo=_ADAPTER,
            path_or_fileobj=json.dumps(config, indent=2).encode(),
            commit_message=f"{message}: the base by its Hub id",
        )
    return str(repo)
