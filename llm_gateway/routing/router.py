"""Turn a name asked for into the attempts worth making, in order; all else is dropped by name.

Load balancing and fallback are one list: the strategy orders it, failure moves down it.
"""

from collections.abc import Sequence
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from llm_gateway.errors import (
    CredentialError,
    GatewayError,
    InvalidRequestError,
    ThrottledError,
)
from llm_gateway.routing.candidates import Ask, Dropped, asked_route, candidates, why_none
from llm_gateway.routing.health import View, rest_s
from llm_gateway.routing.strategies import STRATEGIES, Strategy, shuffled
from llm_gateway.types import Configuration, RouteConfig, Target


class Plan(Struct, frozen=True):
    """Attempts in order, and what was passed over, for the decision record."""

    attempts: tuple[Target, ...]
    dropped: tuple[Dropped, ...] = ()


def plan(ask: Ask, configuration: Configuration, view: View, rng: Random) -> Plan:
    """Return the attempts worth making for a request; targets that rest come last.

    Raises ModelNotFoundError, ContextLengthError, InvalidRequestError or NoTargetError when there
    is none, by what stood in the way.
    """
    route = asked_route(ask, configuration)
    targets, dropped = candidates(route, ask, configuration)
    targets = _strategy(ask.strategy or route.strategy)(targets, view, rng)
    # A preference, so the sort is stable and nothing is lost by it.
    targets.sort(key=lambda target: target.deployment.provider.name != ask.provider)
    for further in _fallback_routes(route, ask, configuration):
        more, passed = candidates(further, ask, configuration)
        known = {target.deployment.id for target in targets}
        new = [target for target in more if target.deployment.id not in known]
        targets += _strategy(further.strategy)(new, view, rng)
        dropped += passed
    if not targets:
        raise why_none(ask, dropped)
    attempts = _with_keys(targets, rng)
    attempts.sort(key=lambda target: rest_s(target, view))
    if not ask.fallbacks:
        dropped += [Dropped(one.name, "fallbacks_off", "fallbacks are off") for one in attempts[1:]]
        attempts = attempts[:1]
    return Plan(tuple(attempts), tuple(dropped))


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


def _with_keys(targets: Sequence[Target], rng: Random) -> list[Target]:
    """Return each target once for every key of its provider, the first key by weight."""
    expanded: list[Target] = []
    for target in targets:
        keys = target.deployment.provider.keys
        by_chance = shuffled(keys, lambda key: key.weight, rng)
        expanded += [replace(target, key=key) for key in by_chance] or [target]
    return expanded
