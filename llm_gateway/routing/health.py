"""Keep what recent traffic says of each deployment; numbers only, nothing is called to learn them.

What rests is known by (deployment id, key id); None on one side stands for all of it. Ids are
positive: a deployment that needs no key has KEYLESS in its place, REFUSED where it was refused.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from llm_gateway.routing.affinity import Draw
from llm_gateway.types import Deployment, Target

RestKey = tuple[int | None, int | None]
KEYLESS, REFUSED = 0, -1

HEARD = 9  # first tokens whose middle one counts: five slow ones are enough to notice
RATE_SHARE = 0.1
STALE_S = 60.0


class Health(Struct, frozen=True, kw_only=True):
    """One deployment, lately. Shares are 0..1, times seconds; None is not known.

    `first_token_s` is the median of `heard`, newest last; `measured_at` is when a call last said
    something of it, a failure included.
    """

    first_token_s: float | None = None
    heard: tuple[float, ...] = ()
    measured_at: float = -math.inf
    in_flight: int = 0
    error_rate: float = 0.0
    repeat_success: float | None = None


class Look(Struct, frozen=True, kw_only=True):
    """What a provider's model list said when it was looked at last.

    `error` is the category of what went wrong, empty where the list was there. `tells` is whether
    that says anything of the provider: a list that a key may not read does not.
    """

    at: float
    error: str = ""
    tells: bool = True


class View(Struct, frozen=True, kw_only=True):
    """What a plan looks at beside the configuration.

    `cost_nano` says what this request would cost at a deployment, None where that is not known;
    `rests` until when a key or deployment rests; `turn` counts the plans of the name asked for.
    `saved_nano` is how much less that is where the deployment has so many bytes of the prompt warm,
    `warm` whether it has: by a name and the deployment's id. `draw` is what stands in for chance
    where the request belongs together with others.
    """

    now: float
    health: Mapping[int, Health] = {}
    rests: Mapping[RestKey, float] = {}
    cost_nano: Callable[[Deployment], int | None] = lambda _deployment: None
    saved_nano: Callable[[Deployment, int], int] = lambda _deployment, _size: 0
    warm: Callable[[bytes, int], bool] = lambda _name, _deployment: False
    turn: int = 0
    draw: Draw | None = None


def began(health: Health) -> Health:
    """Return the health of a deployment that was just called."""
    return replace(health, in_flight=health.in_flight + 1)


def ended(
    health: Health, *, now: float, failed: bool, first_token_s: float | None, repeat: bool = False
) -> Health:
    """Return the health after a call; `repeat` says that it followed a wait for this deployment."""
    heard, stale = health.heard, now - health.measured_at >= STALE_S
    if first_token_s is not None:
        heard = (first_token_s,) if stale else (*heard[1 - HEARD :], first_token_s)
    elif failed and stale:
        heard = ()  # found out: nothing can be said of its speed now
    told = first_token_s is not None or failed
    return replace(
        health,
        in_flight=max(0, health.in_flight - 1),
        first_token_s=sorted(heard)[len(heard) // 2] if heard else None,
        heard=heard,
        measured_at=now if told else health.measured_at,
        error_rate=_mean(health.error_rate, float(failed), RATE_SHARE),
        repeat_success=_mean(health.repeat_success, float(not failed), RATE_SHARE)
        if repeat
        else health.repeat_success,
    )


def rest_key(target: Target, covers: Literal["pair", "key", "deployment"]) -> RestKey:
    """Return under which key a rest of this target is kept."""
    key = target.key.id if target.key is not None else KEYLESS
    if covers == "key":
        # What needs no key and is refused for one all the same is so at this deployment alone.
        return (None, key) if key != KEYLESS else (target.deployment.id, REFUSED)
    return (target.deployment.id, key if covers == "pair" else None)


def rest_s(target: Target, view: View) -> float:
    """Return the seconds a target still rests, 0 where it does not."""
    if not view.rests:
        return 0.0
    keys = {rest_key(target, "pair"), rest_key(target, "key"), rest_key(target, "deployment")}
    return max(0.0, *(view.rests.get(key, view.now) - view.now for key in keys))


def soonest(targets: Sequence[Target], view: View) -> tuple[Target, float]:
    """Return the target that is back first and the seconds until then."""
    first = min(targets, key=lambda target: rest_s(target, view))
    return first, rest_s(first, view)


def _mean(mean: float | None, value: float, share: float) -> float:
    return value if mean is None else mean + share * (value - mean)
