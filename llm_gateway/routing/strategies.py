"""Order targets for one request; every strategy returns a permutation of what it was given.

Targets that a strategy finds equal are ordered by chance, each by its weight: that is the load
balancing over the deployments of one name.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import TypeVar

from llm_gateway.routing.health import STALE_S, Health, View
from llm_gateway.types import StrategyName, Target

Strategy = Callable[[Sequence[Target], View, Random], list[Target]]
Item = TypeVar("Item")

_UNKNOWN = Health()


def fallback(targets: Sequence[Target], view: View, rng: Random) -> list[Target]:
    """Order by the lines of the route."""
    return sorted(by_chance(targets, view, rng), key=lambda target: target.rank)


def cheapest(targets: Sequence[Target], view: View, rng: Random) -> list[Target]:
    """Order by what this request would cost; an unknown price comes last, it is not zero."""
    return sorted(
        by_chance(targets, view, rng), key=lambda target: _or_inf(view.cost_nano(target.deployment))
    )


def fastest(targets: Sequence[Target], view: View, rng: Random) -> list[Target]:
    """Order by median time to the first token; where it is not known lately, one call finds out."""
    return sorted(by_chance(targets, view, rng), key=lambda target: _latency(target, view))


def best_quality(targets: Sequence[Target], view: View, rng: Random) -> list[Target]:
    """Order by quality, the unknown last."""
    return sorted(by_chance(targets, view, rng), key=lambda target: -_quality(target))


def weighted(targets: Sequence[Target], view: View, rng: Random) -> list[Target]:
    """Order by chance: first place in proportion to weight; weight 0 comes after all others."""
    return by_chance(targets, view, rng)


def round_robin(targets: Sequence[Target], view: View, _rng: Random) -> list[Target]:
    turn = view.turn % len(targets) if targets else 0
    return [*targets[turn:], *targets[:turn]]


def least_busy(targets: Sequence[Target], view: View, rng: Random) -> list[Target]:
    return sorted(by_chance(targets, view, rng), key=lambda target: _health(target, view).in_flight)


# They say how load is shared: what belongs together overrides that.
SHARING: frozenset[StrategyName] = frozenset({"weighted", "round_robin", "least_busy", "fastest"})
# Those of a race start together (`router.Plan.racers`), in the order of the route.
STRATEGIES: Mapping[StrategyName, Strategy] = {
    "fallback": fallback,
    "cheapest": cheapest,
    "fastest": fastest,
    "best_quality": best_quality,
    "weighted": weighted,
    "round_robin": round_robin,
    "least_busy": least_busy,
    "race": fallback,
}


def shuffled(
    items: Sequence[Item],
    weight: Callable[[Item], float],
    rng: Random,
    chance: Callable[[Item], float] | None = None,
) -> list[Item]:
    """Return a random permutation in which an item comes first in proportion to its weight.

    Each draws an exponential waiting time of rate `weight` (Efraimidis and Spirakis 2006), by
    `chance` where that is given: 0 to under 1.
    """
    if len(items) < 2:  # noqa: PLR2004 - nothing to choose
        return list(items)
    waits = [_wait(weight(item), chance(item) if chance else rng.random()) for item in items]
    return [items[i] for i in sorted(range(len(items)), key=waits.__getitem__)]


def by_chance(targets: Sequence[Target], view: View, rng: Random) -> list[Target]:
    """Return targets by chance, or by what is drawn where the request belongs with others."""
    draw = view.draw
    chance = (lambda target: draw("d", target.deployment.id)) if draw else None
    return shuffled(targets, lambda target: target.weight, rng, chance)


def _wait(weight: float, chance: float) -> float:
    return -math.log(1.0 - chance) / weight if weight > 0 else math.inf


def _health(target: Target, view: View) -> Health:
    return view.health.get(target.deployment.id, _UNKNOWN)


def _quality(target: Target) -> int:
    return -1 if target.deployment.quality is None else target.deployment.quality


def _latency(target: Target, view: View) -> float:
    health = _health(target, view)
    if view.now - health.measured_at < STALE_S:
        return math.inf if health.first_token_s is None else health.first_token_s
    return math.inf if health.in_flight else 0.0  # one call at a time finds out


def _or_inf(nano: int | None) -> float:
    return math.inf if nano is None else nano
