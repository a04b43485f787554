"""Start our own programs from a process that has imported already what all of them import.

An interpreter spends most of a short command on imports: two seconds of it, some thousand times in
a whole run of the tests. What is forked here has read neither settings nor environment, and goes
on as `python manage.py …` or `python -m …` would from there; so does what it spawns. Who is given
what was read early is started in the ordinary way.
"""

import atexit
import gc
import json
import os
import runpy
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import IO, NoReturn

from tests.harness.fostering import LONGEST_REQUEST, set_aside

PROJECT = Path(__file__).resolve().parents[2]

# Nothing of these looks at Django's settings when it is imported, or at the environment but for:
READ_EARLY = frozenset({"SSL_CERT_FILE", "SSL_CERT_DIR"})  # aiohttp, for whom it trusts
# prometheus_client is none of them: it decides when it is imported whether workers count together.
PRELOADED = (
    *("django.contrib.postgres.fields", "django.core.management.base", "django.forms"),
    *("django.test.signals", "django.views.generic"),
    *("aiohttp", "cryptography.fernet", "cryptography.x509", "django_stubs_ext", "httpx2"),
    *("jsonschema_rs", "jwt", "opentelemetry.trace", "psycopg_pool"),
    *("redis.asyncio", "requests", "segno", "structlog", "twisted.internet.defer"),
    *("uritemplate", "uvicorn.main", "uvloop", "yaml"),
    *("llm_gateway.adapters", "llm_gateway.pricing", "llm_gateway.providers.egress"),
    *("llm_gateway.response_cache", "llm_gateway.routing.router", "tenants.limits"),
)
# The environment that programs start from; what is read before the first line of Python is here.
KEPT = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
# What begins a report: the process id; then, once it has ended, the exit code.
NUMBER = struct.Struct("i")


class Child:
    """A process that the nursery has started; as much of `subprocess.Popen` as the harness uses."""

    def __init__(self, report: int, stdout: IO[bytes] | None) -> None:
        self._report = report
        self.pid: int = NUMBER.unpack(os.read(report, NUMBER.size))[0]
        self.stdout = stdout
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code. Raises subprocess.TimeoutExpired."""
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def _look(self, timeout_s: float | None) -> int | None:
        if self.returncode is None:
            with selectors.PollSelector() as selector:
                selector.register(self._report, selectors.EVENT_READ)
                if not selector.select(timeout_s):
                    return None
            told = os.read(self._report, NUMBER.size)
            os.close(self._report)
            # It says nothing where the nursery itself was killed.
            self.returncode = NUMBER.unpack(told)[0] if told else -signal.SIGKILL
        return self.returncode


class Nursery:
    """The process that programs are forked from; it ends with who started it."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                cwd=PROJECT,
                env=KEPT | {"PYTHONUNBUFFERED": "1"},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def start(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        stdout: IO[bytes] | int,
        stderr: IO[bytes],
        spawning: bool = False,
    ) -> Child:
        """Start `python *arguments` in the project, in a group of its own.

        `spawning` others, it finds them forked as well.
        """
        said: IO[bytes] | None = None
        if stdout == subprocess.PIPE:
            mine, stdout = os.pipe()
            said = os.fdopen(mine, "rb")
        out = stdout if isinstance(stdout, int) else stdout.fileno()
        report, theirs = os.pipe()
        request = json.dumps([list(arguments), dict(environment), spawning]).encode()
        socket.send_fds(self._socket, [request], [out, stderr.fileno(), theirs])
        os.close(theirs)
        if said is not None:
            os.close(out)
        return Child(report, said)


_nursery: Nursery | None = None


def nursery() -> Nursery:
    """Return the one of this process."""
    global _nursery  # noqa: PLW0603 - made when it is first used
    if _nursery is None:
        _nursery = Nursery()
    return _nursery


# --- the process itself -------------------------------------------------------------------------


class Birth(Exception):  # noqa: N818 - it carries a child out of the parent's frames
    """This process is the child now, and is to run the arguments."""

    def __init__(self, arguments: list[str], *, spawning: bool) -> None:
        super().__init__()
        self.arguments, self.spawning = arguments, spawning


def serve(asked: socket.socket) -> None:
    """Fork whatever is asked for, until nobody asks any more. Raises Birth in each child."""
    selector = selectors.DefaultSelector()
    selector.register(asked, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is not asked:
                selector.unregister(key.fileobj)
                _report_end(key.fd, *key.data)
                continue
            request, files, _, _ = socket.recv_fds(asked, LONGEST_REQUEST, 3)
            if not request:
                return
            out, err, report = files
            pid = os.fork()
            if pid == 0:
                selector.close()
                asked.detach()
                raise _become(request, out, err)
            os.close(out)
            os.close(err)
            os.write(report, NUMBER.pack(pid))
            selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, report))


def _report_end(watched: int, pid: int, report: int) -> None:
    _, status = os.waitpid(pid, 0)
    os.close(watched)
    with suppress(BrokenPipeError):  # nobody waits for it any more
        os.write(report, NUMBER.pack(os.waitstatus_to_exitcode(status)))
    os.close(report)


def _become(request: bytes, out: int, err: int) -> Birth:
    arguments, environment, spawning = json.loads(request)
    os.setsid()
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    return Birth(arguments, spawning=spawning)


def run(arguments: Sequence[str]) -> None:
    """Go on as `python *arguments` does."""
    if arguments[0] == "-m":
        sys.argv = list(arguments[1:])
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    elif arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        exec(arguments[1], {"__name__": "__main__"})  # noqa: S102 - what multiprocessing runs
    else:
        sys.argv = list(arguments)
        runpy.run_path(arguments[0], run_name="__main__")


def end(code: object) -> NoReturn:
    """End as an interpreter does, but for taking all apart: that takes longer than most commands.

    `code` is what was given to `sys.exit`.
    """
    if code is not None and not isinstance(code, int):
        sys.stderr.write(f"{code}\n")
        code = 1
    # As multiprocessing ends those that it forks.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for said in (sys.stdout, sys.stderr):
        with suppress(ValueError):  # the program may have closed it
            said.flush()
    os._exit(code or 0)


def main() -> None:
    for name in PRELOADED:
        import_module(name)
    # Whoever is forked looks through none of this for garbage, which would copy it page by page.
    gc.freeze()
    asked = socket.socket(fileno=int(sys.argv[1]))
    try:
        serve(asked)
    except Birth as birth:
        program = birth
    else:
        return
    spawned = set_aside() if program.spawning else []
    try:
        run(spawned or program.arguments)
    except SystemExit as told:
        end(told.code)
    end(0)


if __name__ == "__main__":
    main()
