"""List what a key may call: what each model can, costs and how it fares; what else when it is down.

A list of the configuration, not of rows: it has no pages.
"""

from collections.abc import Iterable
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from llm_gateway.api import schemas
from llm_gateway.api.views import GatewayView, parameters, whole_number
from llm_gateway.routing.health import Health
from llm_gateway.service import process
from llm_gateway.service.runtime import Runtime
from llm_gateway.service.visible import callable_deployments, callable_names
from llm_gateway.types import Deployment, Price
from tenants.types import Caller, short_usd

DOWN = frozenset({"open", "forced_open"})
LARGEST_CONTEXT = 10**9
_PRICES = ("input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning")


class Models(GatewayView):
    @extend_schema(
        operation_id="models",
        summary="Models and routes this key may call",
        tags=["inference"],
        parameters=[
            OpenApiParameter("capability", str, description="chat, tools, vision, embeddings, …"),
            OpenApiParameter("min_context", int, description="Tokens of the context window."),
            OpenApiParameter("provider", str),
        ],
        responses={200: schemas.Models, "4XX": schemas.PROBLEM},
    )
    async def get(self, request: Request) -> Response:
        given = parameters(request, "capability", "min_context", "provider")
        least = whole_number(given, "min_context", 0, LARGEST_CONTEXT)
        return Response(
            listing(
                await process.opened(),
                self.caller,
                capability=given.get("capability"),
                min_context=least,
                provider=given.get("provider"),
            )
        )


def listing(
    runtime: Runtime,
    caller: Caller,
    *,
    capability: str | None = None,
    min_context: int = 0,
    provider: str | None = None,
) -> dict[str, Any]:
    """Return every deployment that fits, and the routes unless models are asked for by a trait."""
    deployments = callable_deployments(runtime.snapshot.current.configuration, caller)
    fitting = [
        one
        for one in deployments
        if (not capability or _can(one, capability))
        and (one.context_window or 0) >= min_context
        and (not provider or one.provider.name == provider)
    ]
    filtered = bool(capability or min_context or provider)
    return {
        "data": [_model(runtime, one, deployments) for one in fitting],
        "routes": [] if filtered else _routes(runtime, caller),
    }


def _routes(runtime: Runtime, caller: Caller) -> list[dict[str, Any]]:
    configuration = runtime.snapshot.current.configuration
    names = callable_names(configuration, caller)
    return [
        {
            "route": name,
            "strategy": route.strategy,
            "models": [target.model for target in route.targets],
        }
        for name in names
        if (route := configuration.routes.get(name)) is not None
    ]


def _model(runtime: Runtime, one: Deployment, others: Iterable[Deployment]) -> dict[str, Any]:
    health = runtime.board.health.get(one.id, Health())
    state = runtime.board.state(one).state
    return {
        "model": one.name,
        "provider": one.provider.name,
        "context_window": one.context_window,
        "max_output_tokens": one.max_output_tokens,
        "capabilities": None if one.capabilities is None else sorted(one.capabilities),
        "quality": one.quality,
        "prices": _prices(runtime.price_now(one)),
        "health": {
            "state": state,
            "error_rate": round(health.error_rate, 4),
            "first_token_ms": None
            if health.first_token_s is None
            else round(health.first_token_s * 1000, 1),
            "in_flight": health.in_flight,
        },
        "alternative": _alternative(runtime, one, others) if state in DOWN else None,
    }


def _alternative(runtime: Runtime, down: Deployment, others: Iterable[Deployment]) -> str | None:
    """Return the model nearest in quality that can all that this one can and is up."""
    needs = down.capabilities or frozenset({"chat"})
    able = [
        one
        for one in others
        if one.id != down.id
        and all(_can(one, need) for need in needs)
        and runtime.board.state(one).state not in DOWN
    ]
    nearest = min(able, key=lambda one: _distance(one, down), default=None)
    return nearest.name if nearest else None


def _distance(one: Deployment, other: Deployment) -> tuple[bool, int]:
    return one.name != other.name, abs((one.quality or 0) - (other.quality or 0))


def _can(one: Deployment, capability: str) -> bool:
    return one.capabilities is None or capability in one.capabilities


def _prices(price: Price | None) -> dict[str, str] | None:
    if price is None:
        return None
    known = {name: getattr(price, name) for name in (*_PRICES, "request")}
    return {name: short_usd(nano) for name, nano in known.items() if nano is not None}
