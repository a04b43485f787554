"""Say that a target's protocol has no word for what a caller asked."""

from llm_gateway.errors import UnexpressibleError
from llm_gateway.types import ChatRequest


def unexpressible(param: str, why: str = "it has no word for it") -> UnexpressibleError:
    """Return the error that names `param`, a field in the caller's words."""
    return UnexpressibleError(
        f"'{param}' cannot be sent to the target's protocol: {why}.", param=param
    )


def refuse_extras(request: ChatRequest) -> None:
    """Raise UnexpressibleError for the first field that no other dialect shares."""
    for name in request.extras:
        raise unexpressible(name)
