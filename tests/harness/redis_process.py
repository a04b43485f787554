"""Run a Redis of the test's own, which may be killed, frozen and started from an old file."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import redis

from tests.harness.processes import Process, free_port, unused
from tests.harness.services import absent
from tests.harness.together import until

START_LIMIT_S = 10


class RedisProcess:
    """One server on one port for as long as the test wants; it writes a file only when told to."""

    def __init__(self, folder: Path) -> None:
        self._program = shutil.which("redis-server") or absent("Redis", "no redis-server found")
        self._folder = folder
        self._port = free_port()
        self._process: Process | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, socket_timeout=2)

    def start(self) -> None:
        """Start with what the file holds, if there is one; return once it answers."""
        place = ["--port", str(self._port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        command = [self._program, *place, "--save", ""]
        self._process = Process(command, unused(self._folder, "redis"), os.environ)
        until(self._answers, START_LIMIT_S)

    def save(self) -> None:
        """Write the file that the next start will read."""
        with self.client() as client:
            client.save()

    def forget(self) -> None:
        """Remove that file."""
        (self._folder / "dump.rdb").unlink(missing_ok=True)

    def empty(self) -> None:
        with self.client() as client:
            client.flushall()

    def kill9(self) -> None:
        assert self._process is not None
        self._process.kill9()

    def freeze(self) -> None:
        assert self._process is not None
        self._process.signal(SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.signal(SIGCONT)

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


@contextmanager
def own_redis(folder: Path) -> Iterator[RedisProcess]:
    """Yield a running one; afterwards it is gone."""
    server = RedisProcess(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill9()
