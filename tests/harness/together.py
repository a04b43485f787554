"""Send many requests at the same moment; keep what each was told and how long that took.

Callers are threads, so that a test can break something while they wait.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from threading import Barrier
from typing import Any

from tests.harness.config import API_KEY
from tests.harness.dialects import ANTHROPIC, Dialect, Told

READY_LIMIT_S = 30


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, not sent yet; `end_user` is named in the words of its dialect."""

    dialect: Dialect
    model: str
    stream: bool = False
    key: str = API_KEY
    content: str = "count, please"
    end_user: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def send(self, url: str) -> "Heard":
        """Ask and read what comes, as far as it comes."""
        fields: dict[str, Any] = {}
        if self.end_user:
            named = {"metadata": {"user_id": self.end_user}}, {"user": self.end_user}
            fields = named[0] if self.dialect is ANTHROPIC else named[1]
        started, told = time.monotonic(), None
        with suppress(HTTPException, ConnectionError):
            told = self.dialect.ask(
                url,
                self.model,
                stream=self.stream,
                key=self.key,
                content=self.content,
                headers=dict(self.headers),
                **fields,
            )
        return Heard(self, told, time.monotonic() - started)


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of a request; `told` is None where not even the head of an answer came."""

    ask: Ask
    told: Told | None
    seconds: float

    @property
    def status(self) -> int:
        return self.told.status if self.told else 0

    @property
    def complete(self) -> bool:
        """Whether the caller has all of a good answer, its end included."""
        if self.told is None or self.told.status != 200 or not self.told.clean:
            return False
        return not self.ask.stream or self.ask.dialect.end in self.told.text


@contextmanager
def asking(url: str, asks: Sequence[Ask]) -> Iterator[list[Future[Heard]]]:
    """Yield once all are on their way: each thread waits until every other stands ready too."""
    barrier = Barrier(len(asks) + 1)

    def send(ask: Ask) -> Heard:
        barrier.wait(READY_LIMIT_S)
        return ask.send(url)

    with ThreadPoolExecutor(len(asks)) as threads:
        told = [threads.submit(send, ask) for ask in asks]
        barrier.wait(READY_LIMIT_S)
        yield told


class LateError(AssertionError):
    """It took longer than it may; see `tests/again.py`."""


def in_time(took_s: float, limit_s: float) -> None:
    """Raise LateError past the limit."""
    if took_s > limit_s:
        raise LateError(f"it took {took_s:.3f} s, and may take {limit_s} s")


def until(happened: Callable[[], bool], limit_s: float, every_s: float = 0.02) -> float:
    """Return after how many seconds it happened. Raises LateError past the limit."""
    started = time.monotonic()
    while not happened():
        if time.monotonic() - started > limit_s:
            raise LateError(f"it did not happen in {limit_s} s")
        time.sleep(every_s)
    return time.monotonic() - started
