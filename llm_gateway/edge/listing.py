"""List the models a key may call, in the shape of each dialect."""

from collections.abc import Callable
from typing import Any

from llm_gateway.edge.http import encode
from llm_gateway.errors import ModelNotFoundError
from llm_gateway.service.runtime import Runtime
from llm_gateway.service.visible import callable_names
from llm_gateway.types import Configuration
from tenants.types import Caller

_LIST = "/models"
# Neither shape has a word for "not known": the epoch says so without a lie about a date.
_CREATED, _CREATED_AT = 0, "1970-01-01T00:00:00Z"


def render(runtime: Runtime, caller: Caller, dialect: str, path: str) -> bytes:
    """Return the list, or the one model that the path names. Raises ModelNotFoundError."""
    configuration = runtime.snapshot.current.configuration
    names = callable_names(configuration, caller)
    show = _SHAPES[dialect]
    wanted = path.partition(_LIST)[2].strip("/")
    if wanted:
        if wanted not in names:
            raise ModelNotFoundError(f"The model {wanted!r} does not exist.", param="model")
        return encode(show(wanted, configuration))
    rows = [show(name, configuration) for name in names]
    if dialect == "gemini":
        return encode({"models": rows})
    if dialect == "anthropic_messages":
        ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
        return encode({"data": rows, "has_more": False, **ends})
    return encode({"object": "list", "data": rows})


def _openai(name: str, configuration: Configuration) -> dict[str, Any]:
    deployments = configuration.models.get(name)
    owner = deployments[0].provider.name if deployments else "mobius"
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": owner}


def _anthropic(name: str, _: Configuration) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": name, "created_at": _CREATED_AT}


def _gemini(name: str, configuration: Configuration) -> dict[str, Any]:
    """Return a model with the limits of its first deployment; those of a route are not known."""
    deployments = configuration.models.get(name)
    first = deployments[0] if deployments else None
    served = first.provider.adapters if first is not None else {"chat": ""}
    limits = {
        "inputTokenLimit": first.context_window if first else None,
        "outputTokenLimit": first.max_output_tokens if first else None,
    }
    return {
        "name": f"models/{name}",
        "baseModelId": name,
        "version": "",
        "displayName": name,
        **{field: limit for field, limit in limits.items() if limit is not None},
        "supportedGenerationMethods": [
            method for operation in served for method in _METHODS.get(operation, ())
        ],
    }


_METHODS = {
    "chat": ("generateContent", "streamGenerateContent", "countTokens"),
    "embeddings": ("embedContent", "batchEmbedContents"),
}
_SHAPES: dict[str, Callable[[str, Configuration], dict[str, Any]]] = {
    "openai_chat": _openai,
    "anthropic_messages": _anthropic,
    "gemini": _gemini,
}
