"""Run the gateway as its operators do: a home, an environment, `manage.py` and its server."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.harness.canary import canary, master_key
from tests.harness.database import Databases, Migrate
from tests.harness.nursery import KEPT, READ_EARLY, nursery
from tests.harness.processes import Process, free_port, unused, was_spawned

READY = "Mobius is ready on "
START_LIMIT_S = 60
# One key for all homes of a session: what the migrated template holds is encrypted with it.
MASTER_KEY, SECRET_KEY = master_key(), canary("django-secret-key")


def environment(home: Path, database_url: str, redis_url: str = "") -> dict[str, str]:
    """Return all a gateway process may know; nothing of the tests' own environment leaks in."""
    return KEPT | {
        "HOME": str(home),
        "PYTHONUNBUFFERED": "1",
        "MOBIUS_HOME": str(home),
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "MOBIUS_MASTER_KEY": MASTER_KEY,
        "DJANGO_SECRET_KEY": SECRET_KEY,
        "ALLOWED_HOSTS": "127.0.0.1,localhost",
        "MOBIUS_LOG_FORMAT": "json",
        "MOBIUS_LOG_LEVEL": "DEBUG",
    }


@dataclass(frozen=True, slots=True)
class Run:
    """One finished `manage.py` command."""

    code: int
    stdout: str
    stderr: str


def manage(
    output: Path, variables: Mapping[str, str], *arguments: str, timeout_s: float = 120
) -> Run:
    """Run a command to its end, whatever its end is; what it said is kept in `output`."""
    stem = unused(output, f"manage-{arguments[0]}")
    out, err = stem.with_suffix(".out"), stem.with_suffix(".err")
    with out.open("wb") as stdout, err.open("wb") as stderr:
        child = nursery().start(["manage.py", *arguments], variables, stdout=stdout, stderr=stderr)
        try:
            code = child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            raise
    return Run(code, out.read_text(), err.read_text())


class GatewayProcess:
    """A gateway installation: stays the same over any number of commands, starts and kills."""

    def __init__(self, home: Path, output: Path, variables: dict[str, str]) -> None:
        self.home = home
        self.output = output
        self.environment = variables
        self.port = free_port()
        self.process: Process | None = None
        self._spawning = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What the server has said since its last start."""
        return self.process.log if self.process else ""

    @property
    def workers(self) -> list[int]:
        """The processes that answer requests: the server itself, or those it has spawned."""
        assert self.process is not None
        if not self._spawning:
            return [self.process.pid]
        return [pid for pid in self.process.children if was_spawned(pid)]

    # --- commands

    def manage(self, *arguments: str, **variables: str) -> Run:
        return manage(self.output, self.environment | variables, *arguments)

    def managed(self, *arguments: str, **variables: str) -> str:
        """Run a command that has to succeed and return its stdout."""
        run = self.manage(*arguments, **variables)
        if run.code != 0:
            raise AssertionError(f"manage.py {arguments} ended with {run.code}:\n{run.stderr}")
        return run.stdout

    def apply(self, configuration: Mapping[str, Any], *options: str) -> dict[str, Any]:
        path = unused(self.home, "configuration").with_suffix(".json")
        path.write_text(json.dumps(configuration))
        found: dict[str, Any] = json.loads(self.managed("apply", str(path), "--json", *options))
        return found

    # --- the server

    def serve(
        self, workers: int = 1, *, mutant: str = "", forked: bool = True, **variables: str
    ) -> "GatewayProcess":
        """Start on the same port as ever and return once it says that it is ready.

        `mutant` is a guard to do without, see `tests.harness.mutants`; one that is not `forked`
        starts as an operator's does, which takes seconds.
        """
        command = ["-m", "tests.harness.mutants", mutant] if mutant else ["manage.py"]
        command = [sys.executable, *command, "serve", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", str(workers)]
        self._spawning = workers > 1
        stem = unused(self.output, "serve")
        variables = self.environment | variables
        forked = forked and not READ_EARLY & variables.keys()
        self.process = Process(command, stem, variables, forked=forked, spawning=self._spawning)
        self.process.wait_for_line(READY, START_LIMIT_S)
        return self

    def kill9(self) -> None:
        """Kill server and workers at once, as a power cut would."""
        if self.process is not None:
            self.process.kill9()

    @property
    def serving(self) -> bool:
        return self.process is not None and self.process.exit_code is None

    @contextmanager
    def without(self, mutant: str) -> Iterator["GatewayProcess"]:
        """Serve with a guard taken out in place of who serves; afterwards nobody does."""
        if self.serving:
            self.terminate()
        try:
            yield self.serve(mutant=mutant)
        finally:
            self.terminate()

    def terminate(self, timeout_s: float = 30) -> int:
        """Ask it to stop, as a deploy does, and return its exit code."""
        assert self.process is not None
        self.process.signal(signal.SIGTERM)
        return self.process.wait(timeout_s)


@contextmanager
def installed(
    databases: Databases, home: Path, output: Path, redis_url: str = ""
) -> Iterator[GatewayProcess]:
    """Yield a fresh, migrated installation that does not serve yet; afterwards nothing is left."""
    database_url = databases.create(home)
    gateway = GatewayProcess(home, output, environment(home, database_url, redis_url))
    try:
        yield gateway
    finally:
        gateway.kill9()
        databases.drop(database_url)


def migrate_into(output: Path) -> Migrate:
    """Return how a database is migrated; what that says is kept in `output`."""

    def migrate(home: Path, database_url: str) -> None:
        run = manage(output, environment(home, database_url), "migrate", "--no-input")
        if run.code != 0:
            raise AssertionError(f"migrate ended with {run.code}:\n{run.stderr}")

    return migrate
