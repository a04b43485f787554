"""Keep settles on disk while the database is away; replaying them twice changes nothing.

One file for each process, locked by it: a file nobody locks belongs to a process that is gone.
"""

import fcntl
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import structlog

from tenants.money.ops import Settle

log = structlog.get_logger(__name__)

CAP_BYTES = 64 * 2**20
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Settle).decode

# Runs settles, returns those that failed and have to be kept.
Run = Callable[[Sequence[Settle]], list[Settle]]


class Spool:
    """The spool of this process, and those left behind in the same folder."""

    def __init__(self, folder: Path, *, cap_bytes: int = CAP_BYTES) -> None:
        self._folder = folder
        self._cap_bytes = cap_bytes
        self._path: Path | None = None
        self._descriptor = -1
        self._size = 0

    @property
    def has_room(self) -> bool:
        return self._size < self._cap_bytes

    def write(self, settles: Sequence[Settle]) -> bool:
        """Return whether the settles are on disk now; a full or failing disk takes none."""
        if not settles:
            return True
        lines = b"".join(map(_line, settles))
        if self._size + len(lines) > self._cap_bytes:
            return False
        try:
            self._open()
            os.write(self._descriptor, lines)
            os.fdatasync(self._descriptor)
        except OSError as error:
            log.error("ledger.spool_failed", error=str(error))  # noqa: TRY400 - the text says it
            return False
        self._size += len(lines)
        return True

    def replay(self, run: Run) -> None:
        """Run what is spooled, here and by processes that are gone; keep only what failed."""
        if self._size:
            failed = self._replay(self._descriptor, run)
            os.ftruncate(self._descriptor, 0)
            self._size = 0
            self.write(failed)
        for path in self._folder.glob("*.settles"):
            if path != self._path:
                self._adopt(path, run)

    def close(self) -> None:
        """Leave what is spooled for the next process; remove the file if there is nothing."""
        if self._path is not None:
            if not self._size:
                self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._path = None

    def _open(self) -> None:
        if self._path is not None:
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{os.getpid()}-{os.urandom(4).hex()}.settles"
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        self._path = path

    def _adopt(self, path: Path, run: Run) -> None:
        with suppress(FileNotFoundError, BlockingIOError):
            descriptor = os.open(path, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                failed = self._replay(descriptor, run)
                if not failed or self.write(failed):
                    path.unlink()
            finally:
                os.close(descriptor)

    def _replay(self, descriptor: int, run: Run) -> list[Settle]:
        os.lseek(descriptor, 0, os.SEEK_SET)
        with os.fdopen(os.dup(descriptor), "rb") as file:
            settles = list(_read(file))
        failed = run(settles)
        if settles:
            log.info("ledger.spool_replayed", settles=len(settles), failed=len(failed))
        return failed


def _line(settle: Settle) -> bytes:
    text = _encode(settle)
    return b"%08x %b\n" % (zlib.crc32(text), text)


def _read(lines: Iterator[bytes] | Sequence[bytes]) -> Iterator[Settle]:
    for number, line in enumerate(lines, 1):
        checksum, _, text = line.rstrip(b"\n").partition(b" ")
        if checksum == b"%08x" % zlib.crc32(text):
            yield _decode(text)
        else:
            # Torn by a crash in the middle of a write: nobody was told that it is durable.
            log.error("ledger.spool_torn", line=number)
