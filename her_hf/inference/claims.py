"""Claims of processes that share a ledger: each process holds a lock file for as long as it lives.

The operating system releases a lock when its process ends for any reason, so that no claim outlives its process.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from filelock import FileLock, Timeout

_SECONDS = 10.0


class Mark:
    """The lock file of one process that uses a ledger; removed when the ledger is closed, unlocked by a kill.

    Args:
        ledger (`Path`): The ledger's file; the lock file is next to it.

    Raises:
        `OSError`: If the file cannot be created or locked.
    """

    def __init__(self, ledger: Path) -> None:
        self.owner = uuid.uuid4().hex[:16]
        self._file = _file_of(ledger, self.owner)
        self._lock = FileLock(self._file, timeout=_SECONDS, thread_local=False)
        self._lock.acquire()

    def close(self) -> None:
        """Unlocks and removes the file."""
        self._lock.release()
        self._file.unlink(missing_ok=True)


def is_alive(ledger: Path, owner: str) -> bool:
    """Whether the owner of a claim still holds its lock file; an unlocked file is removed."""
    file = _file_of(ledger, owner)
    if not file.exists():
        return False
    lock = FileLock(file, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    lock.release()
    file.unlink(missing_ok=True)
    return False


def owners(ledger: Path) -> list[str]:
    """The owners of all lock files of a ledger, alive or not."""
    return [
        file.name.removeprefix(f"{ledger.name}.")[: -len(".tmp")]
        for file in ledger.parent.glob(f"{ledger.name}.*.tmp")
    ]


def _file_of(ledger: Path, owner: str) -> Path:
    return ledger.with_name(f"{ledger.name}.{owner}.tmp")
