"""Run a process whose output goes to files, and wait for what it says instead of for a while."""

import os
import secrets
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.harness.fostering import NAME
from tests.harness.nursery import Child, nursery

PROJECT = Path(__file__).resolve().parents[2]
_PORTS = range(10_000, 32_000)  # the system deals out those from 32768 on


def free_port() -> int:
    """Return a port that nobody has: of those that no outgoing connection is given either.

    Of the system's own choice it might be somebody's before who asked for it listens there.
    """
    while True:
        with suppress(OSError), socket.socket() as listener:
            listener.bind(("127.0.0.1", _PORTS[secrets.randbelow(len(_PORTS))]))
            return int(listener.getsockname()[1])


def command_line(pid: int) -> str:
    """Return how a process was called; empty once it is gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def was_spawned(pid: int) -> bool:
    """Say whether it lives, and is what `multiprocessing` was told to run, not what that needs."""
    with suppress(FileNotFoundError, ProcessLookupError):
        called = command_line(pid)
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        return bool(called) and (NAME in called or name == NAME)
    return False


def memory_bytes(pid: int) -> int:
    """Return how much memory a process has now; from here on its peak is counted anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return _status_bytes(pid, "VmRSS:")


def peak_bytes(pid: int) -> int:
    """Return the most that it has had since `memory_bytes`."""
    return _status_bytes(pid, "VmHWM:")


def _status_bytes(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(name)]
    return int(line.split()[1]) * 1024


def unused(folder: Path, stem: str) -> Path:
    """Return a path without suffix in the folder that nothing was written to yet."""
    taken = {path.stem for path in folder.iterdir()}
    return next(
        folder / f"{stem}-{n}" for n in range(1, len(taken) + 2) if f"{stem}-{n}" not in taken
    )


class Process:
    """A process in a group of its own; `stem` names its output files, `.out` and `.err`.

    `user` runs it instead of ours, which root alone may ask for. One that is `forked` is a program
    of ours, and starts without importing what all of them import; one that is `spawning` others
    says so.
    """

    def __init__(
        self,
        command: Sequence[str],
        stem: Path,
        environment: Mapping[str, str],
        *,
        user: str | None = None,
        forked: bool = False,
        spawning: bool = False,
    ) -> None:
        self.out, self.err = stem.with_suffix(".out"), stem.with_suffix(".err")
        self._process: subprocess.Popen[bytes] | Child
        with self.err.open("wb") as err:
            if forked:
                _, *arguments = command
                self._process = nursery().start(
                    arguments,
                    environment,
                    stdout=subprocess.PIPE,
                    stderr=err,
                    spawning=spawning,
                )
            else:
                self._process = subprocess.Popen(  # noqa: S603 - our own command
                    command,
                    cwd=PROJECT,
                    env=dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=err,
                    start_new_session=True,
                    user=user,
                )
        self.pid = self._process.pid
        self._said = threading.Condition()
        self._lines: list[str] = []
        self._silent = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def log(self) -> str:
        parts = (path.read_text(errors="replace") for path in (self.out, self.err))
        return "\n".join(parts)

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    @property
    def children(self) -> list[int]:
        """The processes it has started itself, such as a server's workers."""
        listed = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(pid) for pid in listed.read_text().split()]

    def wait_for_line(self, start: str, timeout_s: float) -> str:
        """Return the first line on stdout that starts so; a failure shows the whole log."""

        def found() -> bool:
            return self._silent or any(line.startswith(start) for line in self._lines)

        with self._said:
            self._said.wait_for(found, timeout_s)
            for line in self._lines:
                if line.startswith(start):
                    return line
        raise TimeoutError(f"no line {start!r} in {timeout_s} s; this was said:\n{self.log}")

    def wait(self, timeout_s: float) -> int:
        """Return the exit code, once the output is complete too."""
        code = self._process.wait(timeout_s)
        self._reader.join(timeout_s)
        return code

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill9(self) -> None:
        """Kill the whole group at once."""
        with suppress(ProcessLookupError):  # all of it has gone already
            os.killpg(self.pid, signal.SIGKILL)
        self.wait(10)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as said, self.out.open("wb", buffering=0) as out:
            for line in said:
                out.write(line)
                with self._said:
                    self._lines.append(line.decode(errors="replace").rstrip())
                    self._said.notify_all()
        with self._said:
            self._silent = True
            self._said.notify_all()
