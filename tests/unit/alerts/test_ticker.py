"""Jobs of a process run on threads of their own, survive their failures and end with it."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError
from structlog.testing import capture_logs

from tenants.ticker import Job, Ticker

PATIENCE_S = 10


class Turns:
    """A job that does one thing after the other and says when the last one is done."""

    def __init__(self, *things: Callable[[], object]) -> None:
        self.things = list(things)
        self.threads: set[str] = set()
        self.done = threading.Event()

    def __call__(self) -> None:
        self.threads.add(threading.current_thread().name)
        thing = self.things.pop(0) if self.things else None
        if thing is None:
            self.done.set()
        else:
            thing()


def job(run: Callable[[], object], name: str = "test.job") -> Job:
    return Job(name=name, run=run, every_s=0.001, first_s=0.0)


def raising(error: Exception) -> Callable[[], Any]:
    def fail() -> None:
        raise error

    return fail


def test_each_job_has_a_thread_and_none_waits_for_another() -> None:
    free = threading.Event()
    slow, quick = Turns(lambda: free.wait(PATIENCE_S)), Turns()
    ticker = Ticker([job(slow, "slow"), job(quick, "quick")])
    ticker.start()
    assert quick.done.wait(PATIENCE_S)
    assert not slow.done.is_set()
    free.set()
    assert slow.done.wait(PATIENCE_S)
    ticker.stop()
    assert (slow.threads, quick.threads) == ({"ticker slow"}, {"ticker quick"})


def test_after_its_stop_nothing_begins() -> None:
    turns = Turns()
    ticker = Ticker([Job(name="test.job", run=turns, every_s=60, first_s=60)])
    ticker.start()
    ticker.stop()
    assert not turns.threads
    assert not any(thread.name == "ticker test.job" for thread in threading.enumerate())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        # A database that is away is told once, not every ten seconds.
        (OperationalError("away"), ["background.database"]),
        (ValueError("a mistake"), ["background.failed"] * 2),
    ],
)
def test_a_job_that_failed_runs_again(error: Exception, said: list[str]) -> None:
    turns = Turns(raising(error), raising(error))
    with capture_logs() as logs:
        ticker = Ticker([job(turns)])
        ticker.start()
        assert turns.done.wait(PATIENCE_S)
        ticker.stop()
    assert [line["event"] for line in logs] == said
