"""Say when a second target may start since the first is late; one request in twenty has one.

A value per route: what its requests paid in, and how long their first tokens took lately.
"""

from msgspec import Struct

COST = 20  # requests that pay for one hedge
MOST_PAID = 5 * COST  # a calm hour does not pay for a storm of them
KEPT = 128
FEWEST = 20  # first tokens, before anything can be called late
LATE = 0.95
LEAST_S = 0.01  # what is sooner is our own machine being busy


class Hedging(Struct, frozen=True):
    """How a route's requests went lately. `heard` are seconds to the first token, newest last."""

    paid: int = 0
    heard: tuple[float, ...] = ()


def asked(hedging: Hedging) -> Hedging:
    """Return it after one more request."""
    return Hedging(min(MOST_PAID, hedging.paid + 1), hedging.heard)


def answered(hedging: Hedging, first_token_s: float) -> Hedging:
    return Hedging(hedging.paid, (*hedging.heard[1 - KEPT :], first_token_s))


def hedged(hedging: Hedging) -> Hedging:
    """Return it after a second target was started."""
    return Hedging(hedging.paid - COST, hedging.heard)


def late_after_s(hedging: Hedging) -> float | None:
    """Return after how many seconds a request is late; None where none may be hedged."""
    if len(hedging.heard) < FEWEST or hedging.paid < COST:
        return None
    return max(LEAST_S, sorted(hedging.heard)[int(LATE * len(hedging.heard))])
