"""Weigh a gateway that hostile peers stand around, and see that it lives."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.harness.dialects import OPENAI
from tests.harness.gateway import GatewayProcess
from tests.harness.hostile import MIB, Pulse, Reply, Scales, ask, head
from tests.upstream.client import Upstream

CHAT = OPENAI.path
TEXT: dict[str, Any] = {
    "model": "alpha",
    "max_tokens": 8,
    "messages": [{"role": "user", "content": "hi"}],
}
WELL = json.dumps(TEXT).encode()
DOORS = (
    *(CHAT, "/v1/messages", "/v1/responses", "/v1/embeddings", "/v1/files"),
    *("/v1beta/models/alpha:generateContent", "/v1/conversations"),
    *("/api/v1/llm/complete", "/api/v1/prompts", "/mcp", "/admin/login/", "/nowhere"),
)
PUBLIC = {"/admin/login/", "/nowhere"}


@dataclass(frozen=True, slots=True)
class Besieged:
    """A gateway that knows all its doors, how much it grew in this test, and its pulse."""

    gateway: GatewayProcess
    upstream: Upstream
    scales: Scales
    pulse: Pulse

    @property
    def port(self) -> int:
        return self.gateway.port

    def send(self, path: str, body: bytes) -> Reply:
        return ask(self.port, head(path, f"Content-Length: {len(body)}"), [body])

    def check_well(self, most: int = 64 * MIB) -> None:
        """See that it lives, and grew by no more than it may."""
        told = self.send(CHAT, WELL)
        assert told.status == 200, told
        assert self.pulse.wrong == []
        assert self.scales.grown <= most


@contextmanager
def besieging(gateway: GatewayProcess, upstream: Upstream) -> Iterator[Besieged]:
    """Have every door loaded what it needs, then weigh."""
    assert gateway.process is not None
    if gateway.process.pid not in _warm:
        _warm.add(gateway.process.pid)
        for door in DOORS:
            ask(gateway.port, head(door, f"Content-Length: {len(WELL)}"), [WELL])
        upstream.reset()
    with Pulse(gateway.port) as pulse:
        yield Besieged(gateway, upstream, Scales(gateway.process.pid), pulse)


_warm: set[int] = set()
