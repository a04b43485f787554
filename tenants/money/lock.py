"""One process for each embedded ledger: the lock ends with the process, however it ends."""

import fcntl
import os
from pathlib import Path

from tenants.money.types import LedgerInUseError


class ProcessLock:
    """An exclusive lock on a file, kept until `release` or the end of the process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock. Raises LedgerInUseError, naming the process that has it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise LedgerInUseError(
                f"Another Mobius process (pid {owner}) serves from {self._path.parent}: SQLite"
                " takes one at a time. Stop it, or set DATABASE_URL to a PostgreSQL database."
            ) from None
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
