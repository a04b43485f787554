"""Build configurations as operators write them, around the scripted upstream.

All secrets are canaries; the inference key's value is `API_KEY`.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from tests.harness.canary import canary

Row = dict[str, Any]

API_KEY = canary("api-key")
PROVIDER_KEY = canary("provider-key")
CHAT = ("chat", "stream", "tools", "vision", "json_schema")
SINCE = "2020-01-01"


def provider(name: str, kind: str, base_url: str, **fields: Any) -> Row:
    return {
        "name": name,
        "kind": kind,
        "base_url": base_url,
        "allow_private_network": True,
        "keys": [{"name": "main", "value": PROVIDER_KEY}],
        "health_check": {"interval": 0},  # else what is idle would be asked beside what is tested
        **fields,
    }


def openai_provider(upstream_url: str, name: str = "openai", **fields: Any) -> Row:
    return provider(name, "openai", f"{upstream_url}/v1", **fields)


def anthropic_provider(upstream_url: str, name: str = "anthropic", **fields: Any) -> Row:
    return provider(name, "anthropic", upstream_url, **fields)


def model(
    name: str,
    provider: str = "openai",
    *,
    price: tuple[str, str] | None = ("1.00", "4.00"),
    **fields: Any,
) -> Row:
    """Return a chat model; the price is US dollars per million tokens of input and output."""
    row: Row = {
        "name": name,
        "provider": provider,
        "context_window": 128_000,
        "max_output_tokens": 4096,
        "capabilities": list(CHAT),
    }
    if price is not None:
        row["prices"] = [{"from": SINCE, "input": price[0], "output": price[1]}]
    return row | fields


def budget(limit: str, **fields: Any) -> Row:
    return {"name": "total", "limit": limit, "period": "total", "hard": True, **fields}


def route(name: str, *targets: str, strategy: str = "fallback", **fields: Any) -> Row:
    rows = [{"model": target} for target in targets]
    return {"name": name, "strategy": strategy, "targets": rows, **fields}


def key(name: str = "dev", value: str = API_KEY, **fields: Any) -> Row:
    return {"name": name, "value": value, **fields}


def tenant(name: str = "acme", **fields: Any) -> Row:
    return {"name": name, "keys": [key()], **fields}


def models() -> list[Row]:
    """Return alpha and beta, which speak OpenAI, claude, which does not, and embed."""
    return [
        model("alpha"),
        model("beta", price=("2.00", "8.00")),
        model("claude", "anthropic", price=("3.00", "15.00")),
        model("embed", price=("0.02", "0"), capabilities=["embeddings"]),
    ]


def configuration(upstream_url: str, **sections: Any) -> Row:
    """Return a whole configuration; a section that is given replaces the one of that name."""
    return {
        "version": 1,
        "settings": {"pre_stop_seconds": 0},  # no balancer has to notice
        "providers": [openai_provider(upstream_url), anthropic_provider(upstream_url)],
        "models": models(),
        "routes": [route("alpha-then-beta", "alpha", "beta")],
        "tenants": [tenant()],
        **sections,
    }


def nano_prices(models: Sequence[Row]) -> dict[str, dict[str, int]]:
    """Return the agreed prices as the upstream takes them: nano-dollars a token, by its name."""
    return {
        str(row.get("upstream_name", row["name"])): {
            kind: int(Decimal(value) * 1000)  # a dollar per million is 1000 nano-dollars each
            for kind, value in row["prices"][-1].items()
            if kind in {"input", "output", "cache_read", "cache_write"}
        }
        for row in models
        if row.get("prices")
    }
