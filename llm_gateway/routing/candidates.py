"""Say which deployments may and can answer a request, and of each other one why not.

A caller is never led to a model it may not call; another tenant's provider is not even named.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from llm_gateway.errors import (
    ContextLengthError,
    GatewayError,
    InvalidRequestError,
    ModelNotFoundError,
    NoTargetError,
)
from llm_gateway.routing.affinity import Belongs
from llm_gateway.routing.ways import way_of
from llm_gateway.types import (
    Affinity,
    Configuration,
    Deployment,
    RouteConfig,
    RouteTarget,
    Target,
    When,
)

Cause = Literal["not_allowed", "capability", "context", "condition", "fallbacks_off"]


class Ask(Struct, frozen=True, kw_only=True):
    """What is asked of the router: the name, the needs, and what the caller says of the way.

    `input_tokens` is the best estimate (for conditions), `input_at_least` what is certain of a
    deployment, by its id. `models` is the caller's allow list, None for everything. `budget_used`
    is the used share of the caller's tightest budget. `further` are models to go on to: with them,
    `model` is a model's name too and no route's. `belongs` names what it belongs together with.
    """

    model: str
    tenant_id: int
    further: tuple[str, ...] = ()
    operation: str = "chat"
    ways: tuple[str, ...] = ()
    needs: frozenset[str] = frozenset()
    input_tokens: int = 0
    input_at_least: Mapping[int, int] = {}
    models: frozenset[str] | None = None
    tags: Mapping[str, str] = {}
    budget_used: float = 0.0
    strategy: str | None = None
    provider: str | None = None
    fallbacks: bool = True
    belongs: Callable[[Affinity], Belongs | None] = lambda _kind: None


class Dropped(Struct, frozen=True):
    """A target that was passed over."""

    name: str
    cause: Cause
    reason: str


def asked_route(ask: Ask, configuration: Configuration) -> RouteConfig:
    """Return the route of the name asked for; a model's name is a route of that one model.

    Raises ModelNotFoundError, in the same words, for what is unknown and what is not allowed.
    """
    if ask.further:
        lines = tuple(_line(name, ask, configuration) for name in (ask.model, *ask.further))
        return RouteConfig(name=ask.model, strategy="fallback", targets=lines)
    route = configuration.routes.get(ask.model)
    if route is not None and (ask.models is None or ask.model in ask.models):
        return route
    line = _line(ask.model, ask, configuration)
    return RouteConfig(name=ask.model, strategy="weighted", targets=(line,))


def _line(name: str, ask: Ask, configuration: Configuration) -> RouteTarget:
    allowed = ask.models is None or name in ask.models
    if allowed and _visible(configuration.models.get(name, ()), ask):
        return RouteTarget(model=name)
    raise ModelNotFoundError(
        f"The model {name!r} does not exist or this key may not call it.", param="model"
    )


def candidates(
    route: RouteConfig, ask: Ask, configuration: Configuration
) -> tuple[list[Target], list[Dropped]]:
    """Return a target for each deployment of the route that fits, and the others with reasons."""
    targets: dict[int, Target] = {}
    dropped: list[Dropped] = []
    for rank, line in enumerate(route.targets):
        fitting = []
        for deployment in _visible(configuration.models.get(line.model, ()), ask):
            why = _why_not(route, line, deployment, ask)
            if why is None:
                fitting.append(deployment)
            else:
                dropped.append(Dropped(f"{deployment.provider.name}/{deployment.name}", *why))
        whole = sum(deployment.weight for deployment in fitting) or 1
        for deployment in fitting:
            # The deployments of one name share the weight that the route gives the name.
            weight = line.weight * deployment.weight / whole
            target = Target(deployment=deployment, rank=rank, weight=weight)
            targets.setdefault(deployment.id, target)
    return list(targets.values()), dropped


def why_none(ask: Ask, dropped: Sequence[Dropped]) -> GatewayError:
    """Return the error for a request that no target was left for."""
    named = [one for one in dropped if one.cause != "not_allowed"]
    causes = {one.cause for one in named}
    reasons = "; ".join(dict.fromkeys(f"{one.name}: {one.reason}" for one in named))
    if not causes:
        return NoTargetError(f"Nothing serves {ask.model!r} at the moment.")
    if causes == {"context"}:
        return ContextLengthError(f"The request is too long for {ask.model!r} ({reasons}).")
    return InvalidRequestError(
        f"{ask.model!r} cannot take this request ({reasons}).", param="model"
    )


def _visible(deployments: Iterable[Deployment], ask: Ask) -> list[Deployment]:
    return [one for one in deployments if one.provider.tenant_id in {None, ask.tenant_id}]


def _why_not(
    route: RouteConfig, line: RouteTarget, deployment: Deployment, ask: Ask
) -> tuple[Cause, str] | None:
    # A key that may call a route may call what the route leads to.
    if ask.models is not None and ask.models.isdisjoint((route.name, line.model)):
        return "not_allowed", "this key may not call it"
    missing = _missing(deployment, ask)
    if missing:
        return "capability", f"does not support {', '.join(sorted(missing))}"
    window = deployment.context_window
    tokens = ask.input_at_least.get(deployment.id, 0) if ask.input_at_least else 0
    if window is not None and tokens > window:
        return "context", f"{tokens} tokens do not fit into {window}"
    unmet = _unmet(route.when, ask) or _unmet(line.when, ask)
    return None if unmet is None else ("condition", unmet)


def _missing(deployment: Deployment, ask: Ask) -> frozenset[str]:
    if way_of(ask.operation, ask.ways, deployment) is None:
        return frozenset({ask.ways[0] if ask.ways else ask.operation})
    able = deployment.capabilities
    return frozenset() if able is None else ask.needs - able - {ask.operation}


def _unmet(when: When | None, ask: Ask) -> str | None:
    if when is None:
        return None
    if when.max_input_tokens is not None and ask.input_tokens > when.max_input_tokens:
        return f"only for up to {when.max_input_tokens} input tokens"
    for tag, value in when.tags.items():
        if ask.tags.get(tag) != value:
            return f"only for tag {tag}={value}"
    if when.budget_used_below is not None and ask.budget_used >= when.budget_used_below:
        return f"only while less than {when.budget_used_below:.0%} of the budget is used"
    return None
