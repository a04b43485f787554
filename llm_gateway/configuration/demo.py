"""Make the configuration that `make run` starts with, from what the environment holds.

The mock provider is always there, and every provider whose key is found; nothing is contacted.
"""

from collections.abc import Mapping

from llm_gateway.configuration import schema
from llm_gateway.configuration.demo_providers import (
    Fields,
    common_fields,
    found_providers,
    given,
    models_of,
    offered_models,
    price_fields,
    provider_fields,
)
from llm_gateway.configuration.document import read
from llm_gateway.configuration.environment import Environment, wrong
from llm_gateway.configuration.scalars import one_of, whole_number
from llm_gateway.providers.catalog import CATALOG
from llm_gateway.providers.known_prices import known_prices
from tenants.types import parse_usd

TENANT, KEY, MOCK_MODEL = "demo", "default", "mock-gpt"

_STRATEGIES = (
    *("fallback", "cheapest", "fastest", "best_quality"),
    *("weighted", "round_robin", "least_busy"),
)
_TTL = whole_number(1)


def demo(variables: Mapping[str, str]) -> schema.File:
    """Return the demo configuration. Raises ConfigurationError, naming the variable at fault."""
    environment = Environment(variables)
    found = [] if environment.flag("LLM_FORCE_MOCK") else list(found_providers(environment))
    common = common_fields(environment)
    names = {sample.kind: models_of(sample, environment) for sample in found}
    offered = [*offered_models(found, names, environment), *_mock_models()]
    return read(
        schema.File,
        {
            "version": 1,
            "providers": [
                *(provider_fields(one, environment, common) for one in found),
                _mock_provider(),
            ],
            "models": offered,
            "routes": [_smart(offered, environment)],
            "tenants": [_tenant(environment)],
        },
    )


def _mock_provider() -> Fields:
    return {"name": "mock", "kind": "mock", "mock": {"word_delay": 0.02}}


def _mock_models() -> list[Fields]:
    chat = ["chat", "stream", "tools", "json_schema", "vision"]
    return [
        *(
            {**_mock_model(name, 128_000, chat, "0.50", "1.50"), "max_output_tokens": 4096}
            for name in (MOCK_MODEL, "mock-claude")
        ),
        _mock_model("mock-embedding", 8192, ["embeddings"], "0.02"),
    ]


def _mock_model(name: str, window: int, capabilities: list[str], *price: str) -> Fields:
    return {
        "name": name,
        "provider": "mock",
        "context_window": window,
        "capabilities": capabilities,
        "prices": [price_fields(*price)],
    }


def _smart(offered: list[Fields], environment: Environment) -> Fields:
    """Return the route over one model of each provider; the mock, which cannot fail, is last."""
    first: dict[str, str] = {}
    for model in offered:
        first.setdefault(model["provider"], model["name"])
    public = {model["name"] for model in offered}
    order = [
        _target(name, first, public, environment)
        for name in ("PRIMARY_LLM", "LLM_PROVIDER", "FALLBACK_LLM")
    ]
    chosen = [*filter(None, order[:2]), *filter(None, order[2:]), *first.values()]
    strategy = environment.text("LLM_ROUTER_STRATEGY").lower().replace("-", "_") or "fallback"
    try:
        one_of(*_STRATEGIES).read(strategy)
    except ValueError as error:
        raise wrong("LLM_ROUTER_STRATEGY", str(error)) from None
    return {
        "name": "smart",
        "strategy": strategy,
        "targets": [{"model": name} for name in dict.fromkeys(chosen)],
    }


def _target(
    variable: str, first: dict[str, str], public: set[str], environment: Environment
) -> str | None:
    """Return the model a provider's or model's name stands for; None where it is not to be had."""
    name = environment.text(variable)
    if not name or name in public:
        return name or None
    if name.lower() in CATALOG:
        return first.get(name.lower())
    if any(known_prices(row.prices, name) for row in CATALOG.values() if row.prices):
        return None
    raise wrong(variable, f"{name!r} is neither a provider nor a model that is known")


def _tenant(environment: Environment) -> Fields:
    budgets = [
        {"name": name, "limit": _money(environment, variable, default), "period": period}
        for name, variable, default, period in (
            ("daily", "LLM_DAILY_BUDGET", "10.00", "day"),
            ("monthly", "LLM_MONTHLY_BUDGET", "100.00", "month"),
        )
    ]
    cache = given(
        enabled=environment.flag("LLM_CACHE_ENABLED") or None,
        ttl=environment.number("LLM_CACHE_TTL", _TTL),
    )
    return {
        "name": TENANT,
        "budgets": [{**budget, "soft": [0.8]} for budget in budgets],
        "cache": cache,
        "keys": [{"name": KEY, "scopes": ["inference", "usage", "manage"]}],
    }


def _money(environment: Environment, variable: str, default: str) -> str:
    text = environment.text(variable) or default
    try:
        parse_usd(text)
    except ValueError as error:
        raise wrong(variable, str(error)) from None
    return text
