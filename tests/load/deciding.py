"""Measure in one process what circuits and routing cost a request: `python -m tests.load.deciding`.

A plan over a route of three targets, then the circuit of the first: asked, and told how it went.
"""

import os
import sys
import time
from random import Random

import django
from msgspec import Struct

from llm_gateway.routing.candidates import Ask
from llm_gateway.routing.health import View
from llm_gateway.routing.router import plan
from llm_gateway.types import (
    Configuration,
    Deployment,
    KeyConfig,
    ProviderConfig,
    RouteConfig,
    RouteTarget,
)

ROUNDS, REPEATS = 5_000, 7
BAR_US = 50
NAMES = ("alpha", "beta", "gamma")


class Taken(Struct, frozen=True):
    """CPU microseconds a request, the best of the repeats."""

    routing_us: float
    circuit_us: float

    @property
    def together_us(self) -> float:
        return self.routing_us + self.circuit_us


def configuration() -> Configuration:
    models = {
        name: (
            Deployment(
                id=number,
                name=name,
                provider=ProviderConfig(
                    id=number,
                    name=name,
                    kind="openai",
                    base_url="http://upstream.test",
                    adapters={"chat": "openai_chat"},
                    keys=(KeyConfig(id=number, name="main"),),
                ),
                upstream_name=name,
                context_window=128_000,
                max_output_tokens=4096,
                capabilities=frozenset({"chat", "stream", "tools"}),
            ),
        )
        for number, name in enumerate(NAMES, 1)
    }
    targets = tuple(RouteTarget(model=name) for name in NAMES)
    return Configuration(
        models=models, routes={"three": RouteConfig(name="three", targets=targets)}
    )


def measure() -> Taken:
    """Return what both take. Django has to be set up: a board writes history."""
    from llm_gateway.service.board import Board  # noqa: PLC0415 - needs Django

    board, rng, configured = Board(time.monotonic, Random(1)), Random(1), configuration()
    ask = Ask(model="three", tenant_id=1, ways=("chat",), needs=frozenset({"chat"}))

    def route() -> None:
        plan(ask, configured, View(now=time.monotonic(), health=board.health), rng)

    target = plan(ask, configured, View(now=0.0), rng).attempts[0]

    def circuit() -> None:
        verdict = board.begin(target)
        board.end(target, verdict, None, first_token_s=0.2)

    return Taken(*(min(_once(work) for _ in range(REPEATS)) for work in (route, circuit)))


def _once(work: object) -> float:
    assert callable(work)
    started = time.process_time()
    for _ in range(ROUNDS):
        work()
    return (time.process_time() - started) / ROUNDS * 1e6


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mobius.settings")
    django.setup()
    taken = measure()
    sys.stdout.write(f"{taken.routing_us:.2f} {taken.circuit_us:.2f}\n")
