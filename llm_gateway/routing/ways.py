"""Say by which of its operations a deployment can answer a call.

A caller's own protocol is the best way: bytes pass. Where the deployment has it not, another that
carries the same crosses over.
"""

from llm_gateway.types import Deployment

# What can be said in either protocol, by the operation that asks. Other operations have one way.
_WAYS = {"chat": ("chat", "responses")}


def way_of(operation: str, ways: tuple[str, ...], deployment: Deployment) -> str | None:
    """Return the best operation of the provider for a call, None where there is none.

    `ways` are those of the call, the best first; empty for those of its operation.
    """
    for way in ways or _WAYS.get(operation, (operation,)):
        if _serves(deployment, way):
            return way
    return None


def _serves(deployment: Deployment, way: str) -> bool:
    provider, able = deployment.provider, deployment.capabilities
    if way not in provider.adapters:
        return False
    return way not in provider.quirks.only_named if able is None else way in able
