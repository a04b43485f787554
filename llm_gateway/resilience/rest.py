"""Say how long a key or deployment rests after what it answered; never longer than its cap.

Resting is apart from the breaker: a provider that throttles us is well (faults.md §2).
"""

from random import Random
from typing import Literal

from msgspec import Struct

from llm_gateway.errors import Certainty, CredentialError, MissingModelError, UpstreamError

FIRST_S, LONGEST_S = 5.0, 60.0
# A rest that a provider names is kept up to an hour; a longer one is taken for a mistake.
LONGEST_TOLD_S = 3600.0
# A refused key or name is mended by hand; it is tried again now and then, should nobody tell us.
BROKEN_S = 60.0
JITTER = 0.25


class Rest(Struct, frozen=True):
    """Who rests and for how long: this key here (`pair`), the key anywhere, or the deployment."""

    covers: Literal["pair", "key", "deployment"]
    seconds: float
    reason: str


def rest_after(error: BaseException | None, strikes: int, rng: Random) -> Rest | None:
    """Return the rest that an answer asks for; `strikes` counts those in a row before this one."""
    if not isinstance(error, UpstreamError) or error.certainty is not Certainty.REFUSED:
        return None
    if isinstance(error, CredentialError):
        return Rest("key", BROKEN_S, "its credential was refused")
    if isinstance(error, MissingModelError):
        return Rest("deployment", BROKEN_S, "its provider does not know the model")
    return _throttled(error, strikes, rng)


def told_to_wait_s(error: UpstreamError) -> float | None:
    """Return what the provider's `Retry-After` says, None where it says nothing credible."""
    told = error.retry_after_s
    return told if told is not None and 0 <= told <= LONGEST_TOLD_S else None


def _throttled(error: UpstreamError, strikes: int, rng: Random) -> Rest | None:
    told = told_to_wait_s(error)
    if told is not None:
        return Rest("pair", told, f"its provider asked for {told:.1f} s")
    if not error.rests_key:
        return None
    seconds = FIRST_S * 2.0 ** min(strikes, 10) * rng.uniform(1 - JITTER, 1 + JITTER)
    return Rest("pair", min(LONGEST_S, seconds), "rate limited")
