"""Files that commands write unless the user names one: logs of conversations and of servers."""

from __future__ import annotations

import os
import re
import secrets
from datetime import datetime
from pathlib import Path

MAX_FILE_NAME = 100
"""Bytes of a name in a file name: with date and suffix, every file system accepts it."""


def new_log(kind: str, about: str, suffix: str) -> Path:
    """A new file under the user's state folder (`XDG_STATE_HOME`, else `~/.local/state`); it is not created.

    Args:
        kind (`str`): Its folder, such as `chats`.
        about (`str`): What it is about, such as a character; becomes part of the name.
        suffix (`str`): Suffix of the name.

    Raises:
        `OSError`: If no file can be created there.
    """
    state = os.environ.get("XDG_STATE_HOME")
    root = Path(state) if state and Path(state).is_absolute() else Path.home() / ".local" / "state"
    name = re.sub(r"\W+", "-", about).lower().encode()[:MAX_FILE_NAME].decode(errors="ignore").strip("-") or "log"
    folder, stamp = root / "her_hf" / kind, datetime.now().strftime("%Y%m%d-%H%M%S")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("it is not writable")
    except OSError as error:
        raise OSError(f"No log can be written to {folder} ({error}). Name a file for it with --log.") from error
    # Two may start within one second, and neither creates its file immediately.
    return folder / f"{stamp}-{name}-{secrets.token_hex(3)}{suffix}"
