"""Name every model that the contract tests call, with the provider behind it.

Each exchange and each broken target has a provider of its own: what one answers must not make
another rest.
"""

from collections.abc import Mapping
from itertools import product
from typing import Any, NamedTuple

from tests.contract.recordings import Recording, everything
from tests.harness.canary import canary
from tests.harness.config import Row, budget, key, model, provider, route, tenant

APIS = ("openai.chat", "openai.embeddings", "anthropic.messages", "anthropic.count_tokens")
KINDS = ("openai", "anthropic")
# Models of the scripted upstream that answer as a test scripts them, one of each dialect.
PLAIN = {kind: f"plain-{kind}" for kind in KINDS}
MAX_OUTPUT = 4096
POOR_KEY, LISTING_KEY = canary("api-key-without-money"), canary("api-key-usage-only")

# What a first target may suffer: how long it may take, and what the request log calls it.
QUICK = {"connect": 1, "first_token": 0.4, "idle": 0.4, "total": 0.8}
FAULTS = {"429": "rate_limit", "500": "server", "529": "server", "refused": "network"} | {
    "timeout": "timeout"
}


class Descent(NamedTuple):
    """A route whose first target suffers `fault`; the targets speak these dialects."""

    fault: str
    caller: str
    first: str
    second: str
    shape: str  # whole or streamed: a route for each, since what failed rests

    @property
    def name(self) -> str:
        return "-".join(("down", *self))


def descents() -> list[Descent]:
    return [Descent(*values) for values in product(FAULTS, KINDS, KINDS, KINDS, SHAPES)]


SHAPES = ("whole", "streamed")


def sections(upstream_url: str, replay_url: str | None, refusing_url: str) -> dict[str, Any]:
    """Return all sections of the configuration; without `replay_url` there are no recordings."""
    ours, theirs = _base_urls(upstream_url), _base_urls(replay_url or upstream_url)
    rows = (
        [_plain(kind, ours) for kind in KINDS]
        + [_played(row, ours if row.golden else theirs) for row in everything(*APIS)]
        + [
            _broken(case, _base_urls(refusing_url) if case.fault == "refused" else ours)
            for case in descents()
        ]
    )
    rich = tenant(
        budgets=[budget("1000.00", hard=False)],
        keys=[key(), key("listing", LISTING_KEY, scopes=["usage"])],
    )
    poor = tenant("poor", budgets=[budget("0.000001")], keys=[key("poor", POOR_KEY)])
    return {
        "providers": [made for made, _ in rows],
        "models": [made for _, made in rows],
        "routes": [route(case.name, f"{case.name}-1st", PLAIN[case.second]) for case in descents()],
        "tenants": [rich, poor],
    }


def _base_urls(address: str) -> dict[str, str]:
    return {"openai": f"{address}/v1", "anthropic": address}


def _plain(kind: str, base_urls: Mapping[str, str]) -> tuple[Row, Row]:
    name = PLAIN[kind]
    return provider(f"p-{name}", kind, base_urls[kind]), _model(name)


def _played(row: Recording, base_urls: Mapping[str, str]) -> tuple[Row, Row]:
    once = {"max_attempts": 1}
    made = provider(f"p-{row.id}", row.kind, base_urls[row.kind], retry=once)
    return made, _model(row.id, upstream_name=row.id if row.golden else f"rec:{row.id}")


def _broken(case: Descent, base_urls: Mapping[str, str]) -> tuple[Row, Row]:
    name = f"{case.name}-1st"
    timeouts = {"timeouts": QUICK} if case.fault == "timeout" else {}
    made = provider(f"p-{name}", case.first, base_urls[case.first], **timeouts)
    return made, _model(name)


def _model(name: str, **fields: Any) -> Row:
    """Return a model that may whatever its provider's protocol can do."""
    made = model(name, f"p-{name}", max_output_tokens=MAX_OUTPUT, **fields)
    del made["capabilities"], made["context_window"]
    return made
