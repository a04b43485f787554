"""Turn a name asked for into the attempts worth making, in order; all else is dropped by name.

Load balancing and fallback are one list: the strategy orders it, failure moves down it.
"""

from collections.abc import Callable, Collection, Sequence
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from llm_gateway.errors import (
    CredentialError,
    GatewayError,
    InvalidRequestError,
    Rejection,
    ThrottledError,
)
from llm_gateway.routing.affinity import Belongs, drawn_from
from llm_gateway.routing.candidates import Ask, Dropped, asked_route, candidates, why_none
from llm_gateway.routing.health import View, rest_s
from llm_gateway.routing.strategies import SHARING, STRATEGIES, Strategy, by_chance, shuffled
from llm_gateway.types import Configuration, Deployment, KeyConfig, RouteConfig, RouteTarget, Target

MOST_RACERS = 5


class Plan(Struct, frozen=True):
    """Attempts in order, and what was passed over, for the decision record.

    `racers` are those of them that start together; only a race has any. `rejection` says why these
    are the targets that the route names for what its own cannot take. `belongs` is what the request
    belongs together with, where the route minds.
    """

    attempts: tuple[Target, ...]
    dropped: tuple[Dropped, ...] = ()
    racers: tuple[Target, ...] = ()
    rejection: Rejection | None = None
    belongs: Belongs | None = None


def plan(ask: Ask, configuration: Configuration, view: View, rng: Random) -> Plan:
    """Return the attempts worth making for a request; targets that rest come last.

    Raises ModelNotFoundError, ContextLengthError, InvalidRequestError or NoTargetError when there
    is none, by what stood in the way.
    """
    route = asked_route(ask, configuration)
    targets, dropped = candidates(route, ask, configuration)
    strategy = ask.strategy or route.strategy
    belongs = ask.belongs(route.affinity) if route.affinity is not None else None
    if belongs is not None:
        view = _leading(belongs, view)
    targets = _strategy(strategy)(targets, view, rng)
    if view.draw is not None and strategy in SHARING:
        first = by_chance(targets, view, rng)[:1]
        targets.sort(key=lambda target: target not in first)
    # A preference, so the sort is stable and nothing is lost by it.
    targets.sort(key=lambda target: target.deployment.provider.name != ask.provider)
    named = {target.deployment.id for target in targets}
    for further in _fallback_routes(route, ask, configuration):
        more, passed = candidates(further, ask, configuration)
        known = {target.deployment.id for target in targets}
        new = [target for target in more if target.deployment.id not in known]
        targets += _strategy(further.strategy)(new, view, rng)
        dropped += passed
    if not targets:
        return _instead(why_none(ask, dropped), dropped, ask, configuration, view, rng)
    attempts = _with_keys(targets, view, rng)
    attempts.sort(key=lambda target: rest_s(target, view))
    racers = _racers(attempts, named) if strategy == "race" and ask.operation == "chat" else []
    if not ask.fallbacks:
        kept = racers or attempts[:1]
        others = [target for target in attempts if target not in kept]
        dropped += [Dropped(one.name, "fallbacks_off", "fallbacks are off") for one in others]
        attempts = kept
    return Plan(tuple(attempts), tuple(dropped), tuple(racers), belongs=belongs)


def other_targets(
    rejection: Rejection, ask: Ask, configuration: Configuration, view: View, rng: Random
) -> Plan:
    """Return the attempts at models that the route names for a class of rejection, in order.

    The same checks hold for them; a key that may call the route may call them.
    """
    route = configuration.routes.get(ask.model)
    names = route.instead.get(rejection, ()) if route is not None and not ask.further else ()
    if not names or not ask.fallbacks or ask.operation != "chat":
        return Plan((), rejection=rejection)
    lines = tuple(RouteTarget(model=name) for name in names)
    targets, dropped = candidates(RouteConfig(name=ask.model, targets=lines), ask, configuration)
    attempts = _with_keys(STRATEGIES["fallback"](targets, view, rng), view, rng)
    attempts.sort(key=lambda target: rest_s(target, view))
    return Plan(tuple(attempts), tuple(dropped), rejection=rejection)


def remaining(targets: Sequence[Target], failed: Target, error: GatewayError) -> list[Target]:
    """Return the targets still worth trying after one failed.

    A rate limit concerns only this pair and a refused credential its key everywhere; anything
    else is the deployment's fault, whichever key is used.
    """
    if isinstance(error, ThrottledError):
        return list(targets)
    if isinstance(error, CredentialError) and failed.key is not None:
        return [target for target in targets if target.key != failed.key]
    return [one for one in targets if one.deployment.id != failed.deployment.id]


def _instead(
    error: GatewayError,
    dropped: Sequence[Dropped],
    ask: Ask,
    configuration: Configuration,
    view: View,
    rng: Random,
) -> Plan:
    """Return the plan of a request that none of the route's own targets can take, or raise why."""
    if error.rejection is None:
        raise error
    others = other_targets(error.rejection, ask, configuration, view, rng)
    if not others.attempts:
        raise error
    return replace(others, dropped=(*dropped, *others.dropped))


def _racers(attempts: Sequence[Target], named: Collection[int]) -> list[Target]:
    """Return the first attempt at each deployment that was named, in order; not too many."""
    racers: dict[int, Target] = {}
    for target in attempts:
        if target.deployment.id in named:
            racers.setdefault(target.deployment.id, target)
    return list(racers.values())[:MOST_RACERS]


def _strategy(name: str) -> Strategy:
    for known, strategy in STRATEGIES.items():
        if known == name:
            return strategy
    raise InvalidRequestError(
        f"{name!r} is not a strategy: use one of {', '.join(STRATEGIES)}.",
        param="x-mobius-strategy",
    )


def _fallback_routes(
    route: RouteConfig, ask: Ask, configuration: Configuration
) -> list[RouteConfig]:
    # Vectors of another model do not compare, so embeddings stay with what was asked for.
    if not ask.fallbacks or ask.operation == "embeddings":
        return []
    names = configuration.settings.fallback_routes
    routes = (configuration.routes.get(name) for name in names if name != route.name)
    return [further for further in routes if further is not None]


def _leading(belongs: Belongs, view: View) -> View:
    """Return the view of a request that belongs with others: what it draws, where it is warm."""

    def cost_nano(deployment: Deployment) -> int | None:
        cost = view.cost_nano(deployment)
        if cost is None or not belongs.beginning or not view.warm(belongs.name, deployment.id):
            return cost
        return cost - view.saved_nano(deployment, belongs.beginning)

    return replace(view, draw=drawn_from(belongs.name), cost_nano=cost_nano)


def _with_keys(targets: Sequence[Target], view: View, rng: Random) -> list[Target]:
    """Return each target once for every key of its provider, the first key by weight."""
    draw = view.draw
    chance: Callable[[KeyConfig], float] | None = None
    if draw is not None:  # what a provider keeps warm it keeps for the account of a key
        chance = lambda key: draw("k", key.id)  # noqa: E731 - as short as it can be
    expanded: list[Target] = []
    for target in targets:
        keys = target.deployment.provider.keys
        in_order = shuffled(keys, lambda key: key.weight, rng, chance)
        expanded += [replace(target, key=key) for key in in_order] or [target]
    return expanded
