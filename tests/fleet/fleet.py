"""Hold a fleet and what it may be asked about: its upstream, its books, its rates."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
import redis

from tests.harness.books import Books
from tests.harness.crowd import Crowd, crowded
from tests.harness.gateway import GatewayProcess
from tests.harness.together import until
from tests.upstream.client import Upstream

PROCESSES = 4
LINES = 8
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Fleet:
    """Several processes of one installation."""

    gateway: GatewayProcess
    upstream: Upstream
    books: Books
    redis_url: str

    def crowded(self, scene: Callable[[Crowd], Awaitable[Result]], *, lines: int = LINES) -> Result:
        """Play a scene with so many connections to each process."""
        return crowded(self.gateway.port, scene, pids=self.gateway.workers, lines=lines)

    def revived(self, limit_s: int = 60) -> None:
        """Return once as many processes serve as ever: who was killed is started again."""
        until(lambda: len(self.gateway.workers) == PROCESSES, limit_s)
        self.books.until_serving(limit_s=limit_s)

    @contextmanager
    def mutant(self, name: str) -> Iterator[int]:
        """Let one process with a guard taken out join the fleet; yield its own port."""
        theirs = self.gateway
        gateway = GatewayProcess(theirs.home, theirs.output, theirs.environment)
        try:
            yield gateway.serve(mutant=name).port
            gateway.terminate()
        finally:
            gateway.kill9()

    def sql(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run SQL as the owner of the database."""
        url = self.gateway.environment["DATABASE_URL"]
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(query.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    # --- rates, as Redis has them

    def forget_rates(self) -> None:
        with redis.Redis.from_url(self.redis_url) as client:
            client.flushdb()

    def booked(self, kind: str) -> int:
        """Return what is booked now under the only limit of that kind (requests or tokens)."""
        with redis.Redis.from_url(self.redis_url) as client:
            keys = list(client.scan_iter(match=f"rl:*:{kind}:*", count=1000))
            assert len(keys) <= 1, keys
            return int(client.hget(keys[0], "sum") or 0) if keys else 0

    def running(self) -> int:
        """Return how many slots are taken under all limits, leases of the dead included."""
        with redis.Redis.from_url(self.redis_url) as client:
            return sum(client.zcard(key) for key in client.scan_iter(match="rl:*:concurrency:*"))

    def age_rates(self, seconds: int) -> None:
        """Let what is booked have been booked that much earlier."""
        with redis.Redis.from_url(self.redis_url) as client:
            for key in client.scan_iter(match="rl:*", count=1000):
                if client.type(key) != b"hash":
                    continue
                window = {name.decode(): int(value) for name, value in client.hgetall(key).items()}
                aged = {"sum": window.pop("sum")}
                aged |= {name: window.pop(name) - seconds for name in ("oldest", "newest")}
                aged |= {str(int(second) - seconds): units for second, units in window.items()}
                client.delete(key)
                client.hset(key, mapping=aged)
