"""List all that a tenant manages by itself, by the name that it has in a path."""

from collections.abc import Mapping

from llm_gateway.configuration.guardrails import Guardrails
from llm_gateway.configuration.managed import (
    AnyKind,
    Budgets,
    Keys,
    Limits,
    Members,
    Projects,
)
from llm_gateway.configuration.own_providers import Providers

KINDS: Mapping[str, AnyKind] = {
    "keys": Keys(),
    "projects": Projects(),
    "members": Members(),
    "budgets": Budgets(),
    "limits": Limits(),
    "guardrails": Guardrails(),
    "providers": Providers(),
}
