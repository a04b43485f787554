"""Try a provider's key and list its models through the official SDKs, which send by egress.

What a provider does wrong becomes one sentence for people, without secrets or addresses.
"""

import asyncio
import importlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from datetime import datetime
from types import MappingProxyType
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from llm_gateway.errors import GatewayError, InvalidAnswerError, UpstreamError
from llm_gateway.providers.auth import Credential
from llm_gateway.providers.egress import Egress
from llm_gateway.providers.endpoint import Endpoint
from llm_gateway.providers.listed_capabilities import said_of
from llm_gateway.providers.upstream import Answer
from llm_gateway.types import Outgoing, Timeouts

_T = TypeVar("_T")
_Send = Callable[[str, Outgoing], Awaitable[Answer]]
_Listed = Callable[[str, _Send], AsyncGenerator[object, None]]

# A catalogue row's `sdk` → the module that speaks through it. They are heavy: see `discover`.
_SDKS: Mapping[str, str] = MappingProxyType(
    {
        "openai": "llm_gateway.providers.sdk_openai",
        "anthropic": "llm_gateway.providers.sdk_anthropic",
        "cohere": "llm_gateway.providers.cohere_models",
        "gemini": "llm_gateway.providers.gemini_models",
    }
)
_MOST_MODELS = 5000

# Where Anthropic and servers of the OpenAI kind say how much a model takes and gives.
_WINDOW_FIELDS = ("context_length", "context_window", "max_model_len", "max_input_tokens")
_OUTPUT_FIELDS = ("max_output_tokens", "max_completion_tokens", "max_tokens")


class DiscoveredModel(Struct, frozen=True, kw_only=True):
    """One line of a provider's model list; `created` is in Unix seconds.

    `capabilities` are those that it names: of the others nothing is known.
    """

    id: str
    title: str | None = None
    created: int | None = None
    owned_by: str | None = None
    context_window: int | None = None
    max_output_tokens: int | None = None
    capabilities: frozenset[str] = frozenset()


class Verification(Struct, frozen=True, kw_only=True):
    """Whether a key works, a sentence for people, and what it may call."""

    ok: bool
    message: str
    models: tuple[DiscoveredModel, ...] = ()


class Control(Struct, frozen=True, kw_only=True):
    """Whom to ask and how: `sdk` is the catalogue row's, None where none speaks to it.

    `sdk_path` is what its base URL has behind the endpoint's.
    """

    egress: Egress
    endpoint: Endpoint
    credential: Credential | None
    sdk: str | None
    sdk_path: str = ""
    timeouts: Timeouts = Timeouts()

    async def send(self, method: str, outgoing: Outgoing) -> Answer:
        outgoing = replace(outgoing, path=self.sdk_path + outgoing.path)
        return await self.egress.free_call(
            self.endpoint, method, outgoing, self.credential, self.timeouts
        )


async def verify(control: Control) -> Verification:
    """Say in one sentence whether the key works; never raises for what the provider does."""
    try:
        models = await discover(control)
    except GatewayError as error:
        return Verification(ok=False, message=error.message)
    return Verification(
        ok=True, message=f"The key works: the provider lists {len(models)} models.", models=models
    )


async def discover(control: Control) -> tuple[DiscoveredModel, ...]:
    """Return the provider's models, sorted by id; raises GatewayError with a clear sentence."""
    if control.sdk is None:
        raise UpstreamError("Providers of this kind have no model list to ask for.")
    # In a thread: the import would hold every request of the process for a second.
    module = await asyncio.to_thread(importlib.import_module, _SDKS[control.sdk])
    try:
        return await _collected(module.listed, control)
    except Exception as error:  # noqa: BLE001 - SDKs build their objects unvalidated: an odd list shows anywhere
        failure = _ours(error)
    # Outside the handler: what an SDK raises holds its request.
    raise failure


async def _collected(listed: _Listed, control: Control) -> tuple[DiscoveredModel, ...]:
    found: dict[str, DiscoveredModel] = {}
    base_url = control.endpoint.base_url.rstrip("/") + control.sdk_path
    async with aclosing(listed(base_url, control.send)) as models:
        async for model in models:
            line = _discovered(model)
            found[line.id] = line
            if len(found) >= _MOST_MODELS:
                break
    return tuple(found[id_] for id_ in sorted(found))


def _ours(error: BaseException | None) -> GatewayError:
    """Return our own error, which an SDK may have wrapped in one of its own."""
    while error is not None:
        if isinstance(error, GatewayError):
            return error
        error = error.__cause__
    return InvalidAnswerError("The provider's model list could not be understood.")


def _discovered(model: object) -> DiscoveredModel:
    id_ = _first(model, ("id", "name"), str)
    if id_ is None:
        raise InvalidAnswerError("The provider's model list has a line without an id.")
    created_at = _first(model, ("created_at",), datetime)
    return DiscoveredModel(
        id=id_,
        title=_first(model, ("display_name", "name"), str),
        created=_first(model, ("created",), int)
        if created_at is None
        else int(created_at.timestamp()),
        owned_by=_first(model, ("owned_by",), str),
        context_window=_first(model, _WINDOW_FIELDS, int),
        max_output_tokens=_first(model, _OUTPUT_FIELDS, int),
        capabilities=said_of(model),
    )


def _first(model: object, names: tuple[str, ...], kind: type[_T]) -> _T | None:
    for name in names:
        value = getattr(model, name, None)
        if isinstance(value, kind):
            return value
    return None
