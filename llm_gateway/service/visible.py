"""Say which names a caller may call, and which deployments are behind them."""

from llm_gateway.types import Configuration, Deployment
from tenants.types import Caller


def callable_names(configuration: Configuration, caller: Caller) -> list[str]:
    """Return the models and routes a caller may call, sorted."""
    names = {one.name for one in _served(configuration, caller)} | set(configuration.routes)
    return sorted(names if caller.models is None else names & caller.models)


def callable_deployments(configuration: Configuration, caller: Caller) -> list[Deployment]:
    """Return the deployments of the models a caller may call by name, in the order of names."""
    names = frozenset(callable_names(configuration, caller))
    mine = [one for one in _served(configuration, caller) if one.name in names]
    return sorted(mine, key=lambda one: (one.name, one.id))


def _served(configuration: Configuration, caller: Caller) -> list[Deployment]:
    """Return the deployments at everybody's providers and the tenant's own."""
    return [
        one
        for deployments in configuration.models.values()
        for one in deployments
        if one.provider.tenant_id in {None, caller.tenant_id}
    ]
