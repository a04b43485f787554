"""Say which names a caller may call."""

from llm_gateway.types import Configuration
from tenants.types import Caller


def callable_names(configuration: Configuration, caller: Caller) -> list[str]:
    """Return the models and routes a key may call, sorted."""
    names = {
        name
        for name, deployments in configuration.models.items()
        if any(one.provider.tenant_id in {None, caller.tenant_id} for one in deployments)
    }
    names |= set(configuration.routes)
    return sorted(names if caller.models is None else names & caller.models)
