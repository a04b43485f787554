"""A fleet of four whose circuits are watched: models that fail, a crowd that asks, an operator."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2

from tests.harness.books import Books
from tests.harness.config import (
    Row,
    configuration,
    model,
    nano_prices,
    openai_provider,
    route,
    tenant,
)
from tests.harness.crowd import Crowd, crowded
from tests.harness.database import Databases
from tests.harness.dialects import OPENAI, Told
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.people import make_operator, operator_of
from tests.harness.redis_process import RedisProcess
from tests.harness.together import until
from tests.upstream.client import SeenCall, Upstream

PROCESSES = 4
STEADY = "steady"
AWAY, BACK = "circuits: Redis is away", "circuits: Redis is back"
_RETRIES_OFF = {"max_attempts": 2, "initial_delay": 0.01}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: when it was sent and what came of it."""

    at: float
    told: Told


@dataclass(frozen=True, slots=True)
class Change:
    """One row of the history; `at` on the test's own monotonic clock."""

    at: float
    before: str
    after: str
    reason: str
    error: str
    process: str


@dataclass(frozen=True, slots=True)
class Circuits:
    """The fleet, as the tests see it."""

    gateway: GatewayProcess
    upstream: Upstream
    redis: RedisProcess
    books: Books

    def serve(self, mutant: str = "") -> None:
        self.gateway.serve(workers=PROCESSES, mutant=mutant)
        self.books.until_serving()

    def ask(self, name: str, rate: float, seconds: float) -> list[Asked]:
        """Ask so often a second for so long, every process in turn, whatever is answered."""

        async def one(crowd: Crowd) -> Asked:
            at = time.monotonic()
            return Asked(at, await crowd.ask(OPENAI, name))

        async def scene(crowd: Crowd) -> list[Asked]:
            began, asking = time.monotonic(), []
            while (now := time.monotonic()) < began + seconds:
                asking.append(asyncio.create_task(one(crowd)))
                await asyncio.sleep(max(0.0, began + len(asking) / rate - now))
            return await asyncio.gather(*asking)

        asked: list[Asked] = self._crowded(scene)
        return asked

    def rush(self, name: str, count: int) -> list[Told]:
        """Ask with one caller at each process, each again as soon as it was answered."""

        async def caller(crowd: Crowd) -> list[Told]:
            return [await crowd.ask(OPENAI, name) for _ in range(count // PROCESSES)]

        async def scene(crowd: Crowd) -> list[Told]:
            told = await asyncio.gather(*(caller(crowd) for _ in range(PROCESSES)))
            return [one for several in told for one in several]

        told: list[Told] = self._crowded(scene)
        return told

    def rush_at(self, pid: int, name: str, count: int) -> list[Told]:
        """Ask one process alone, one request after another."""

        async def scene(crowd: Crowd) -> list[Told]:
            return [await crowd.ask(OPENAI, name) for _ in range(count)]

        # Whoever listens first would take the connection: so the others are held still meanwhile.
        others = [other for other in self.gateway.workers if other != pid]
        try:
            for other in others:
                os.kill(other, signal.SIGSTOP)
            return crowded(self.gateway.port, scene)
        finally:
            for other in others:
                os.kill(other, signal.SIGCONT)

    def _crowded(self, scene: Any) -> Any:
        return crowded(self.gateway.port, scene, pids=self.gateway.workers, lines=4)

    def calls(self, name: str) -> list[SeenCall]:
        return [call for call in self.upstream.calls if call.model == name]

    def shown(self, name: str, change: str) -> int:
        """Return how many times processes have shown a change of a model's circuit."""
        said = f"Circuit of p-{name}/{name}: {change}"
        return self.gateway.log.count(json.dumps(said)[1:-1])

    def turns(self) -> tuple[int, int]:
        log = self.gateway.log
        return log.count(AWAY), log.count(BACK)


class Operator:
    """Who is signed in to the console."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.client = operator_of(gateway).client

    def circuits(self) -> dict[str, dict[str, Any]]:
        """Return the circuits that the answering process has, by model."""
        return {row["model"]: row for row in self._seen()["data"]}

    def changes(self, name: str) -> list[Change]:
        """Return the history of a model's circuit, the oldest first."""
        ahead = datetime.now(UTC).timestamp() - time.monotonic()
        rows = [row for row in self._seen()["changes"] if row["model"] == name]
        return [
            Change(
                _seconds(row["at"]) - ahead,
                row["before"],
                row["after"],
                row["reason"],
                row["error"],
                row["process"],
            )
            for row in reversed(rows)
        ]

    def decide(self, name: str, action: str, seconds: int | None = None) -> httpx2.Response:
        deployment = self.circuits()[name]["deployment"]
        given = {"action": action} | ({"seconds": seconds} if seconds else {})
        return self.send(f"/api/v1/circuits/{deployment}", given)

    def send(self, path: str, given: dict[str, Any]) -> httpx2.Response:
        headers = {"X-CSRFToken": self.client.cookies["csrftoken"]}
        return self.client.post(path, params=given, headers=headers)

    def _seen(self) -> dict[str, Any]:
        answer = self.client.get("/api/v1/circuits")
        assert answer.status_code == 200, answer.text
        seen: dict[str, Any] = answer.json()
        return seen


def _seconds(instant: str) -> float:
    return datetime.fromisoformat(instant).timestamp()


def wanted(upstream_url: str, breakers: dict[str, Row]) -> Row:
    """Return a model for each breaker, each with a route that falls back to a steady one."""
    names = (*breakers, STEADY)
    return configuration(
        upstream_url,
        providers=[
            openai_provider(
                upstream_url,
                f"p-{name}",
                circuit_breaker=breakers.get(name, {}),
                retry=_RETRIES_OFF,
            )
            for name in names
        ],
        models=[model(name, f"p-{name}") for name in names],
        routes=[route(f"{name}-or-steady", name, STEADY) for name in breakers],
        tenants=[tenant()],
    )


@contextmanager
def circuits(
    databases: Databases,
    home: Path,
    output: Path,
    upstream: Upstream,
    redis: RedisProcess,
    breakers: dict[str, Row],
) -> Iterator[Circuits]:
    """Yield a fleet that does not serve yet."""
    with installed(databases, home, output, redis.url) as gateway:
        gateway.apply(wanted(upstream.base_url, breakers))
        make_operator(gateway)
        yield Circuits(gateway, upstream, redis, Books(gateway))


def reset_upstream(fleet: Circuits, *names: str) -> None:
    fleet.upstream.reset()
    fleet.upstream.prices(**nano_prices([model(name) for name in (*names, STEADY)]))


def in_force(fleet: Circuits, name: str, change: str, before: int, limit_s: float = 10) -> float:
    """Return how long it takes until every process has shown a change."""
    return until(lambda: fleet.shown(name, change) >= before + PROCESSES, limit_s)
