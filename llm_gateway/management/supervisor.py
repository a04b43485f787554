"""Keep several serving processes on one socket, and replace them one after another on SIGHUP.

A new one serves before an old one is told to leave, so a deploy refuses nobody: what waits on the
socket is taken by whoever listens. SIGTERM tells all to leave; the second one, at once.
"""

import logging
import os
import signal
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from socket import socket

import uvicorn

from llm_gateway.management.server import Server

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
LOOK_S = 0.2
LONGEST_START_S, SILENT_S = 60.0, 25.0
# One that could not start has something wrong with it that a second try at once finds again.
PAUSE_S = 1.0
FAILED_START = 3

log = logging.getLogger(__name__)
spawn = get_context("spawn")


def work(config: uvicorn.Config, sockets: list[socket], told: Connection) -> None:
    """Serve in a process of its own."""
    Server(config, lambda: told.send(True), told.send).run(sockets)


class Worker:
    """One serving process."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket]) -> None:
        self._heard, told = spawn.Pipe(duplex=False)
        self._process = spawn.Process(target=work, args=(config, sockets, told))
        self._process.start()
        told.close()
        self._since = time.monotonic()
        self._serves, self._well, self._silent = False, True, 0

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def listen(self) -> None:
        """Take in what it has said since the last time."""
        self._silent += 1
        with suppress(EOFError, OSError):
            while self._heard.poll():
                self._serves, self._well, self._silent = True, bool(self._heard.recv()), 0

    @property
    def serves(self) -> bool:
        return self._serves

    @property
    def stuck(self) -> bool:
        """Say whether it makes no progress: by its own word, or since it says none any more."""
        # Counted in looks, not by the clock: who was frozen together with us is none the worse.
        return self._serves and (not self._well or self._silent * LOOK_S > SILENT_S)

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.exitcode

    @property
    def failed(self) -> bool:
        """Say whether it will not serve any more."""
        late = time.monotonic() - self._since > LONGEST_START_S
        return not self.serves and (self.code is not None or late)

    def tell(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            if self.pid is not None and self.code is None:
                os.kill(self.pid, number)


class Supervisor:
    """The parent of the workers; it serves nothing itself."""

    def __init__(
        self, config: uvicorn.Config, sockets: list[socket], serving: Callable[[], None]
    ) -> None:
        self._config, self._sockets, self._serving = config, sockets, serving
        self._workers: list[Worker] = []
        self._leaving: list[Worker] = []  # told to, or gone by themselves
        self._old: list[Worker] = []  # to be replaced, one after another
        self._new: Worker | None = None
        self._stopping = self._served = False
        self._code = 0
        self._told: deque[signal.Signals] = deque()

    def run(self) -> int:
        """Return the exit code, once nobody serves any more."""
        for number in SIGNALS:
            signal.signal(number, lambda number, _: self._told.append(signal.Signals(number)))
        self._workers = [self._start() for _ in range(self._config.workers)]
        while self._workers or self._leaving or self._new:
            time.sleep(LOOK_S)
            while self._told:
                self._hear(self._told.popleft())
            self._look()
        return self._code

    def _start(self) -> Worker:
        return Worker(self._config, self._sockets)

    def _hear(self, number: signal.Signals) -> None:
        if number is not signal.SIGHUP:
            self._stop()
        elif not self._stopping:
            log.info("Every worker is replaced")
            self._old = list(self._workers)

    def _stop(self) -> None:
        """Tell all to leave, also those that leave already: they take it as now."""
        everyone = [*self._workers, *self._leaving, *([self._new] if self._new else [])]
        self._stopping, self._old, self._new = True, [], None
        self._workers, self._leaving = [], everyone
        for worker in everyone:
            worker.tell(signal.SIGTERM)

    def _look(self) -> None:
        for worker in [*self._workers, *self._leaving, *([self._new] if self._new else [])]:
            worker.listen()
        self._count_gone()
        if self._stopping:
            return
        if not self._served and any(worker.serves for worker in self._workers):
            self._served = True
            self._serving()
        self._mend()
        self._replace()

    def _count_gone(self) -> None:
        for worker in [one for one in self._leaving if one.code is not None]:
            self._leaving.remove(worker)
            # One that was told before it could listen dies of it, and loses nothing.
            if worker.code and worker.serves:
                log.error("Worker %s ended with %s", worker.pid, worker.code)
                self._code = 1

    def _mend(self) -> None:
        """Put a new worker in the place of one that is gone."""
        for place, worker in enumerate(self._workers):
            if worker.failed and not self._served:
                log.error("Worker %s could not start", worker.pid)
                self._code = FAILED_START
                self._stop()
                return
            if worker.code is not None or worker.failed or worker.stuck:
                why = "is stuck" if worker.stuck else f"is gone ({worker.code})"
                log.warning("Worker %s %s: another one starts", worker.pid, why)
                worker.tell(signal.SIGKILL)
                if worker.failed:
                    time.sleep(PAUSE_S)
                self._workers[place] = self._start()

    def _replace(self) -> None:
        """Take one step: start a new one, or let the old one go once the new one serves."""
        self._old = [one for one in self._old if one in self._workers]
        if self._new is None:
            self._new = self._start() if self._old else None
        elif self._new.serves:
            old = self._old.pop(0) if self._old else self._workers[-1]
            self._workers[self._workers.index(old)] = self._new
            self._new = None
            self._leaving.append(old)
            old.tell(signal.SIGTERM)
        elif self._new.failed:
            log.error("The new worker could not start: the others stay as they are")
            self._new.tell(signal.SIGKILL)
            self._leaving.append(self._new)
            self._new, self._old = None, []
