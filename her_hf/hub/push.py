"""Pushing a finished folder to the Hub, once, with its card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from her_hf.durable import read_json

IGNORED = ["checkpoint-*", "checkpoint-*/**", "training_args.bin", "run.json", "uncertainty.jsonl", "*.tmp", ".*"]
"""What is not uploaded: checkpoints and drafts, what a run stores to resume, and its own settings, which hold paths of
this machine and may hold a token. The card says what determined the result."""

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
        base (`str`, *optional*): Hub id of the base; a pushed adapter names it instead of a local folder. If it is
            not known, the adapter names only the last part of the folder's path.
        private (`bool`, *optional*): Whether a new repository is private; the Hub's default if not given.
        token (`str`, *optional*): Token; that of the login if not given.
        message (`str`, *optional*, defaults to `"HER-SFT"`): Commit message.

    Returns:
        `str`: Address of the repository.

    Raises:
        `huggingface_hub.errors.HfHubHTTPError`: If the Hub refuses; the call can be repeated.

    Example (not run: it needs the Hub):

    ```python
    >>> push_folder("outputs/smollm2-135m-her-sft", "me/smollm2-135m-her-sft")
    ```
    """
    from huggingface_hub import HfApi

    folder, api = Path(folder), HfApi(token=token)
    repo = api.create_repo(repo_id, private=private, exist_ok=True)
    adapter = _read_adapter(folder)
    named = base or (Path(adapter["base_model_name_or_path"]).name if _is_local(adapter) else None)
    rename = bool(adapter) and named is not None
    ignored = [*IGNORED, _ADAPTER] if rename else IGNORED
    api.upload_folder(repo_id=repo.repo_id, folder_path=folder, ignore_patterns=ignored, commit_message=message)
    if rename:
        adapter["base_model_name_or_path"] = named
        api.upload_file(
            repo_id=repo.repo_id,
            path_in_repo=_ADAPTER,
            path_or_fileobj=json.dumps(adapter, indent=2).encode(),
            commit_message=f"{message}: the base by its name",
        )
    return str(repo)


def _read_adapter(folder: Path) -> dict[str, Any]:
    file = folder / _ADAPTER
    return read_json(file) if file.is_file() else {}


def _is_local(adapter: Mapping[str, Any]) -> bool:
    """Whether an adapter names its base by a path of this machine."""
    return Path(adapter.get("base_model_name_or_path") or "").is_absolute()
