"""The console's pages for providers, models, routes, keys and traffic: a module each."""

from llm_gateway.admin import (
    api_keys,
    background,
    circuits,
    deployments,
    guardrails,
    history,
    invoices,
    live,
    prices,
    providers,
    requests,
    routes,
)

__all__ = [
    "api_keys",
    "background",
    "circuits",
    "deployments",
    "guardrails",
    "history",
    "invoices",
    "live",
    "prices",
    "providers",
    "requests",
    "routes",
]
