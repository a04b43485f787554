"""Describe what a caller may call: what each model can, costs and how it fares, and what else."""

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Literal

from msgspec import Struct

from llm_gateway.pricing import LINES, PER
from llm_gateway.routing.health import Health, Look
from llm_gateway.service.circuit_view import LookNow, look_at
from llm_gateway.service.runtime import Runtime
from llm_gateway.service.visible import callable_deployments, callable_names
from llm_gateway.types import Deployment, Price
from tenants.types import Caller, short_usd

DOWN = frozenset({"open", "forced_open"})


class ModelHealth(Struct, frozen=True, kw_only=True):
    """How a deployment fares: its circuit's state, and what recent calls say of it.

    `said_by` is which spoke last: a call (traffic), or a look at the provider's model list (probe).
    """

    state: str
    error_rate: float
    first_token_ms: float | None
    in_flight: int
    said_by: Literal["traffic", "probe"] | None
    probe: LookNow | None


class ModelInfo(Struct, frozen=True, kw_only=True):
    """A model at a provider; None is not known. Prices are US dollars per million tokens.

    `alternative` is a model that could stand in while the circuit is open.
    """

    model: str
    provider: str
    context_window: int | None
    max_output_tokens: int | None
    capabilities: tuple[str, ...] | None
    quality: int | None
    prices: Mapping[str, str] | None
    health: ModelHealth
    alternative: str | None = None


class RouteInfo(Struct, frozen=True, kw_only=True):
    route: str
    strategy: str
    models: tuple[str, ...]


class Wanted(Struct, frozen=True, kw_only=True):
    """Which models are asked for; a window or a quality that nobody knows is none."""

    capability: str | None = None
    min_context: int = 0
    min_quality: int = 0
    provider: str | None = None

    def fits(self, one: Deployment) -> bool:
        return (
            (self.capability is None or _can(one, self.capability))
            and (one.context_window or 0) >= self.min_context
            and (one.quality or 0) >= self.min_quality
            and (self.provider is None or one.provider.name == self.provider)
        )


def models(runtime: Runtime, caller: Caller, wanted: Wanted) -> list[ModelInfo]:
    deployments = callable_deployments(runtime.snapshot.current.configuration, caller)
    return [
        _model(runtime, one, deployments, runtime.price_now(one, caller.tenant_id))
        for one in deployments
        if wanted.fits(one)
    ]


def routes(runtime: Runtime, caller: Caller) -> list[RouteInfo]:
    configuration = runtime.snapshot.current.configuration
    return [
        RouteInfo(
            route=name,
            strategy=route.strategy,
            models=tuple(target.model for target in route.targets),
        )
        for name in callable_names(configuration, caller)
        if (route := configuration.routes.get(name)) is not None
    ]


def _model(
    runtime: Runtime, one: Deployment, others: Iterable[Deployment], price: Price | None
) -> ModelInfo:
    health = runtime.board.health.get(one.id, Health())
    state = runtime.board.state(one).state
    first_token_s = health.first_token_s
    return ModelInfo(
        model=one.name,
        provider=one.provider.name,
        context_window=one.context_window,
        max_output_tokens=one.max_output_tokens,
        capabilities=None if one.capabilities is None else tuple(sorted(one.capabilities)),
        quality=one.quality,
        prices=_prices(price),
        health=ModelHealth(
            state=state,
            error_rate=round(health.error_rate, 4),
            first_token_ms=None if first_token_s is None else round(first_token_s * 1000, 1),
            in_flight=health.in_flight,
            said_by=_said_by(health, runtime.board.looks.get(one.provider.id)),
            probe=look_at(runtime.board, one, runtime.wall_clock() - runtime.clock()),
        ),
        alternative=_alternative(runtime, one, others) if state in DOWN else None,
    )


def _said_by(health: Health, look: Look | None) -> Literal["traffic", "probe"] | None:
    if look is not None and look.at > health.measured_at:
        return "probe"
    return "traffic" if isfinite(health.measured_at) else None


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
    known = {name: getattr(price, name) for name in LINES}
    return {
        name: short_usd(nano + nano * price.margin_ppm // PER)
        for name, nano in known.items()
        if nano is not None
    }
