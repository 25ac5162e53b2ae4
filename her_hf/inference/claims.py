"""Who is asking what, among processes that share a ledger: each holds a file locked for as long as it lives.

A lock of the operating system goes with its process, however that ends, so that no claim outlives who made it.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from filelock import FileLock, Timeout

_SECONDS = 10.0


class Mark:
    """The file that one user of a ledger holds locked; it is gone when the user closes, and free when it was killed.

    Args:
        ledger (`Path`): The ledger's file; the mark lies beside it.

    Raises:
        `OSError`: If the file cannot be made or locked.
    """

    def __init__(self, ledger: Path) -> None:
        self.owner = uuid.uuid4().hex[:16]
        self._file = _file_of(ledger, self.owner)
        self._lock = FileLock(self._file, timeout=_SECONDS, thread_local=False)
        self._lock.acquire()

    def close(self) -> None:
        """Lets go of the file and removes it."""
        self._lock.release()
        self._file.unlink(missing_ok=True)


def is_alive(ledger: Path, owner: str) -> bool:
    """Whether the owner of a claim still holds its mark; one that nobody holds is removed."""
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
    """Whose marks lie beside a ledger, alive or not."""
    return [
        file.name.removeprefix(f"{ledger.name}.")[: -len(".tmp")]
        for file in ledger.parent.glob(f"{ledger.name}.*.tmp")
    ]


def _file_of(ledger: Path, owner: str) -> Path:
    return ledger.with_name(f"{ledger.name}.{owner}.tmp")
