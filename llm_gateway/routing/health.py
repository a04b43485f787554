"""Keep what recent traffic says of each deployment; numbers only, nothing is called to learn them.

What rests is known by (deployment id, key id); None on one side stands for all of it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from llm_gateway.types import Deployment, Target

RestKey = tuple[int | None, int | None]

LATENCY_SHARE = 0.2  # of the newest first token in the running mean
RATE_SHARE = 0.1
STALE_S = 60.0


class Health(Struct, frozen=True, kw_only=True):
    """One deployment, lately. Shares are 0..1, times seconds; None is not known."""

    first_token_s: float | None = None
    measured_at: float = 0.0
    in_flight: int = 0
    error_rate: float = 0.0
    repeat_success: float | None = None


class View(Struct, frozen=True, kw_only=True):
    """What a plan looks at beside the configuration.

    `cost_nano` says what this request would cost at a deployment, None where that is not known;
    `rests` until when a key or deployment rests; `turn` counts the plans of the name asked for.
    """

    now: float
    health: Mapping[int, Health] = {}
    rests: Mapping[RestKey, float] = {}
    cost_nano: Callable[[Deployment], int | None] = lambda _deployment: None
    turn: int = 0


def began(health: Health) -> Health:
    """Return the health of a deployment that was just called."""
    return replace(health, in_flight=health.in_flight + 1)


def ended(
    health: Health, *, now: float, failed: bool, first_token_s: float | None, repeat: bool = False
) -> Health:
    """Return the health after a call; `repeat` says that it followed a wait for this deployment."""
    latency, measured_at = health.first_token_s, health.measured_at
    if first_token_s is not None:
        known = latency is not None and now - measured_at < STALE_S
        latency = _mean(latency if known else None, first_token_s, LATENCY_SHARE)
        measured_at = now
    return replace(
        health,
        in_flight=max(0, health.in_flight - 1),
        first_token_s=latency,
        measured_at=measured_at,
        error_rate=_mean(health.error_rate, float(failed), RATE_SHARE),
        repeat_success=_mean(health.repeat_success, float(not failed), RATE_SHARE)
        if repeat
        else health.repeat_success,
    )


def rest_key(target: Target, covers: Literal["pair", "key", "deployment"]) -> RestKey:
    """Return under which key a rest of this target is kept."""
    key = target.key.id if target.key is not None else None
    if covers == "key" and key is not None:
        return (None, key)
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
