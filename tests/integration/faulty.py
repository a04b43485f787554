"""Give each test a deployment nobody has called yet: what failed before would still rest it."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2
from typing_extensions import override

from tests.harness.books import Books
from tests.harness.config import (
    API_KEY,
    Row,
    anthropic_provider,
    budget,
    configuration,
    model,
    openai_provider,
    route,
    tenant,
)
from tests.harness.dialects import ANTHROPIC, OPENAI, Dialect, Told
from tests.harness.gateway import GatewayProcess
from tests.harness.processes import free_port
from tests.upstream.client import Upstream

IMPATIENT_S = 1.0
# Repeats do not wait here; how long they wait by themselves is a matter of `resilience.retry`.
RETRY = {"max_attempts": 3, "initial_delay": 0.01, "jitter": 0}
PROVIDERS = {"openai": openai_provider, "anthropic": anthropic_provider}
POOLS = {"plain": 220, "impatient": 24, "once": 24, "refused": 4, "nowhere": 4, "untrusted": 4}
LEFT_OVER = "second-"


@dataclass(frozen=True, slots=True)
class Way:
    """Who asks in which words, and what its provider speaks."""

    caller: Dialect
    kind: str
    stream: bool

    @override
    def __str__(self) -> str:
        form = "stream" if self.stream else "whole"
        return f"{self.caller.name}-from-{self.kind}-{form}"

    @property
    def relayed_whole(self) -> bool:
        """No events: first-token and idle limits do not exist (faults.md §3)."""
        return self.caller.name == self.kind and not self.stream


WAYS = [
    Way(caller, kind, stream)
    for caller in (OPENAI, ANTHROPIC)
    for kind in PROVIDERS
    for stream in (False, True)
]


def deployments(upstream_url: str, untrusted_port: int) -> Iterator[tuple[Row, str]]:
    """Yield the provider of each deployment, which bears its name, with the kind it is of."""
    addresses: Mapping[str, str] = {
        "refused": f"http://127.0.0.1:{free_port()}",
        "nowhere": "http://provider.invalid",
        "untrusted": f"https://127.0.0.1:{untrusted_port}",
    }
    settings: Mapping[str, Row] = {
        "impatient": {"timeouts": {"first_token": IMPATIENT_S, "idle": IMPATIENT_S, "total": 6}},
        "once": {"retry": RETRY | {"max_attempts": 1}},
    }
    for kind, provider in PROVIDERS.items():
        for pool, size in {**POOLS, "second": 1}.items():
            address = addresses.get(pool, upstream_url)
            fields = {"retry": RETRY, **settings.get(pool, {})}
            for n in range(size):
                name = f"{LEFT_OVER}{kind}" if pool == "second" else f"{pool}-{kind}-{n}"
                yield provider(address, name, **fields), kind


def faulty_configuration(upstream_url: str, untrusted_port: int) -> Row:
    rows = list(deployments(upstream_url, untrusted_port))
    names = [row["name"] for row, _kind in rows]
    return configuration(
        upstream_url,
        providers=[*(row for row, _kind in rows), {"name": "spare", "kind": "mock"}],
        models=[
            *(model(name, name) for name in names),
            model("spare", "spare", price=("0", "0")),
        ],
        routes=[
            route(f"{row['name']}-or-second", row["name"], f"{LEFT_OVER}{kind}")
            for row, kind in rows
            if not row["name"].startswith(LEFT_OVER)
        ],
        tenants=[tenant(budgets=[budget("1000")])],
    )


@dataclass(slots=True)
class Faulty:
    """A gateway with deployments to use up, and the books it keeps."""

    gateway: GatewayProcess
    upstream: Upstream
    books: Books
    client: httpx2.Client
    _used: "dict[tuple[str, str], itertools.count[int]]" = field(default_factory=dict)

    def fresh(self, kind: str, pool: str = "plain") -> str:
        """Return the name of a deployment that no test has called."""
        n = next(self._used.setdefault((pool, kind), itertools.count()))
        assert n < POOLS[pool], f"{pool} deployments are used up: make more"
        return f"{pool}-{kind}-{n}"

    def pay_in(self, further: int) -> None:
        """Earn that many further attempts: a process has a budget of them (faults.md §4)."""
        body = OPENAI.body("spare")
        for _ in range(7 * further):
            assert self.client.post("/v1/chat/completions", json=body).status_code == 200

    def ask(self, way: Way, name: str, **fields: Any) -> Told:
        return way.caller.ask(self.gateway.url, name, stream=way.stream, **fields)

    def attempts(self, told: Told) -> list[str]:
        """Return how each attempt stands in the ledger: its outcome, or the state of its hold.

        Each is there exactly once, as an entry or as a hold.
        """
        entries = self.books.terminal(told.request_id)
        holds = self.books.holds(told.request_id)
        ended = {row["attempt_no"]: row["outcome"] for row in entries}
        held = {row["attempt_no"]: row["state"] for row in holds}
        assert len(ended) + len(held) == len(entries) + len(holds)
        assert not ended.keys() & held.keys()
        found = ended | held
        assert sorted(found) == list(range(1, len(found) + 1))
        return [found[number] for number in sorted(found)]


def client_of(gateway: GatewayProcess) -> httpx2.Client:
    headers = {"Authorization": f"Bearer {API_KEY}"}
    return httpx2.Client(base_url=gateway.url, headers=headers, timeout=20)
