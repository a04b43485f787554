"""Run periodic jobs beside the event loop: a thread and a database connection for each.

A job that fails is tried again at its next time, and says so once until it works again. Any number
of processes may run the same job at once: each job sees to that itself.
"""

import threading
from collections.abc import Callable, Sequence

import structlog
from django.db import Error, connections
from msgspec import Struct

log = structlog.get_logger(__name__)


class Job(Struct, frozen=True, kw_only=True):
    """Something to do every so often; `name` is its Celery task's name too."""

    name: str
    run: Callable[[], object]
    every_s: float
    first_s: float  # after the start of the process


class Ticker:
    """The jobs of one process. Their threads are daemons: a long one does not hold up the end."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        self._threads = [
            threading.Thread(target=self._tick, args=(job,), name=f"ticker {job.name}", daemon=True)
            for job in self._jobs
        ]
        for thread in self._threads:
            thread.start()

    def stop(self, *, patience_s: float = 5.0) -> None:
        """Begin nothing new, and wait a moment for what runs."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(patience_s / len(self._threads))

    def _tick(self, job: Job) -> None:
        wait_s, works = job.first_s, True
        while not self._stopping.wait(wait_s):
            works = _run(job, worked=works)
            wait_s = job.every_s


def _run(job: Job, *, worked: bool) -> bool:
    """Run a job; say whether it worked. What keeps failing alike is told once."""
    try:
        job.run()
    except Error as error:
        if worked:
            log.warning("background.database", job=job.name, error=type(error).__name__)
        return False
    except Exception:
        log.exception("background.failed", job=job.name)
        return False
    finally:
        connections.close_all()  # this thread's; the next run opens anew
    return True
