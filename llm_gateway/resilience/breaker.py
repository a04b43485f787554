"""Stop calling a deployment that fails, and come back gently; at most one probe runs at a time.

closed → open → half_open → ramp → closed, and by hand forced_open, forced_closed (faults.md §5).
Values in, values out: whoever calls keeps the state and logs `transition(before, after)`.
Every `begin` that allows a call is followed by `after` with its ticket, also when the caller left.
"""

import math
from enum import Enum
from random import Random
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from llm_gateway.errors import UpstreamError
from llm_gateway.types import BreakerSettings

State = Literal["closed", "open", "half_open", "ramp", "forced_open", "forced_closed"]

WINDOW_S = 10
RATE_CALLS = 10
RATE = 0.5
PROBE_S = 30.0  # a probe that never reports gives its slot back
RAMP_FIRST_S, RAMP_S, RAMP_SHARE = 1.0, 10.0, 0.1
JITTER = 0.2
HALF_LIFE_S = 600.0


class Outcome(Enum):
    """How a call ended, for the breaker. NEUTRAL says nothing about the deployment."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEUTRAL = "neutral"


class Second(Struct, frozen=True):
    """Calls that ended in one second."""

    at: int
    calls: int
    failures: int


class Breaker(Struct, frozen=True, kw_only=True):
    """State of one deployment's circuit; times are monotonic seconds."""

    state: State = "closed"
    reason: str = ""
    since: float = 0.0
    until: float = math.inf  # when time alone ends this state, or the probe of half_open
    openings: int = 0  # in a row: each doubles the next wait
    failures: int = 0  # consecutive
    successes: int = 0  # of probes
    probing: bool = False
    ticket: int = 0  # names who may report: outcomes of calls from before a change are ignored
    seconds: tuple[Second, ...] = ()
    past_at: float = 0.0  # adaptive: calls and failures with a half-life of ten minutes
    past_calls: float = 0.0
    past_failures: float = 0.0


class Verdict(Struct, frozen=True):
    """Whether a call may be made; `probe` means it takes the one slot of a half-open circuit."""

    allowed: bool
    reason: str
    ticket: int = 0
    probe: bool = False
    retry_after_s: float | None = None


class Transition(Struct, frozen=True):
    """One change of state, to be logged."""

    before: State
    after: State
    reason: str
    at: float


def outcome_of(error: BaseException | None) -> Outcome:
    """Return what an attempt's error, or None, says about the deployment."""
    if error is None:
        return Outcome.SUCCESS
    counts = isinstance(error, UpstreamError) and error.counts_for_breaker
    return Outcome.FAILURE if counts else Outcome.NEUTRAL


def allows(breaker: Breaker, now: float, rng: Random) -> Verdict:
    """Say whether a call may be made now, without taking anything."""
    breaker = at(breaker, now)
    match breaker.state:
        case "closed" | "forced_closed":
            return Verdict(True, breaker.state, breaker.ticket)
        case "ramp":
            return _ramp_verdict(breaker, now, rng)
        case "half_open":
            return _probe_verdict(breaker)
        case "open" | "forced_open":
            wait = breaker.until - now
            reason = f"{breaker.state}: {breaker.reason}"
            return Verdict(False, reason, retry_after_s=wait if math.isfinite(wait) else None)


def begin(breaker: Breaker, now: float, rng: Random) -> tuple[Breaker, Verdict]:
    """Say whether a call may be made now; where it is the probe, its slot is taken."""
    breaker = at(breaker, now)
    verdict = allows(breaker, now, rng)
    if verdict.probe:
        until = now + PROBE_S
        breaker = replace(breaker, probing=True, until=until, ticket=verdict.ticket)
    return breaker, verdict


def after(
    breaker: Breaker,
    outcome: Outcome,
    ticket: int,
    *,
    now: float,
    rng: Random,
    settings: BreakerSettings,
) -> Breaker:
    """Return the state after a call that `begin` allowed has ended."""
    breaker = at(breaker, now)
    if ticket != breaker.ticket:
        return breaker
    match breaker.state:
        case "closed":
            return _counted(breaker, outcome, now, rng, settings)
        case "ramp" if outcome is Outcome.FAILURE:
            return _opened(breaker, "failed while coming back", now, rng, settings)
        case "half_open":
            return _probed(breaker, outcome, now, rng, settings)
        case _:
            return breaker


def at(breaker: Breaker, now: float) -> Breaker:
    """Return the state once the time up to now has passed."""
    if now < breaker.until:
        return breaker
    match breaker.state:
        case "open":
            return _moved(breaker, "half_open", "waited", now)
        case "forced_open":
            return reset(breaker, now, "end of forced_open")
        case "ramp" | "forced_closed":
            return _closed(breaker, f"end of {breaker.state}", now)
        case "half_open" | "closed":
            return _freed(breaker)


def reset(breaker: Breaker, now: float, reason: str = "reset by hand") -> Breaker:
    """Forget what failed and come back through the ramp."""
    return replace(_ramped(breaker, reason, now), openings=0)


def force_open(breaker: Breaker, now: float, until: float) -> Breaker:
    return replace(_moved(breaker, "forced_open", "by hand", now), until=until)


def force_closed(breaker: Breaker, now: float, until: float) -> Breaker:
    return replace(_moved(breaker, "forced_closed", "by hand", now), until=until)


def transition(before: Breaker, after: Breaker) -> Transition | None:
    """Return the change between two values of one breaker, None where the state is the same."""
    if before.state == after.state and before.since == after.since:
        return None
    return Transition(before.state, after.state, after.reason, after.since)


def ramp_share(elapsed_s: float) -> float:
    """Return which part of its calls a deployment gets this long after it came back."""
    if elapsed_s < RAMP_FIRST_S:
        return RAMP_SHARE
    grown = (elapsed_s - RAMP_FIRST_S) / (RAMP_S - RAMP_FIRST_S)
    return min(1.0, RAMP_SHARE + (1 - RAMP_SHARE) * grown)


def _ramp_verdict(breaker: Breaker, now: float, rng: Random) -> Verdict:
    share = ramp_share(now - breaker.since)
    if rng.random() < share:
        return Verdict(True, "ramp", breaker.ticket)
    return Verdict(False, f"ramp: {share:.0%} of its share", retry_after_s=1.0)


def _probe_verdict(breaker: Breaker) -> Verdict:
    if breaker.probing:
        return Verdict(False, "half_open: a probe is running", retry_after_s=1.0)
    # A new ticket: a probe that outlived its slot may not report for the one after it.
    return Verdict(True, "half_open: probe", breaker.ticket + 1, probe=True)


def _moved(breaker: Breaker, state: State, reason: str, now: float) -> Breaker:
    """Return a fresh state; what ran before it may no longer report."""
    return Breaker(
        state=state,
        reason=reason,
        since=now,
        openings=breaker.openings,
        ticket=breaker.ticket + 1,
        past_at=breaker.past_at,
        past_calls=breaker.past_calls,
        past_failures=breaker.past_failures,
    )


def _freed(breaker: Breaker) -> Breaker:
    return replace(breaker, probing=False, until=math.inf)


def _ramped(breaker: Breaker, reason: str, now: float) -> Breaker:
    return replace(_moved(breaker, "ramp", reason, now), until=now + RAMP_S)


def _closed(breaker: Breaker, reason: str, now: float) -> Breaker:
    # Calls that began in the ramp still count when they end: their ticket stays good.
    return replace(_moved(breaker, "closed", reason, now), openings=0, ticket=breaker.ticket)


def _opened(
    breaker: Breaker, reason: str, now: float, rng: Random, settings: BreakerSettings
) -> Breaker:
    # The exponent is bounded: a deployment that is down for months must not overflow a float.
    doubled = settings.recovery_timeout * 2.0 ** min(breaker.openings, 30)
    wait = min(doubled, settings.max_recovery_timeout) * rng.uniform(1 - JITTER, 1 + JITTER)
    moved = _moved(breaker, "open", reason, now)
    return replace(moved, until=now + wait, openings=breaker.openings + 1)


def _probed(
    breaker: Breaker, outcome: Outcome, now: float, rng: Random, settings: BreakerSettings
) -> Breaker:
    if outcome is Outcome.FAILURE:
        return _opened(breaker, "probe failed", now, rng, settings)
    if outcome is Outcome.NEUTRAL or not breaker.probing:
        return _freed(breaker)
    successes = breaker.successes + 1
    if successes >= settings.success_threshold:
        return _ramped(breaker, f"{successes} probes succeeded", now)
    return replace(_freed(breaker), successes=successes)


def _counted(
    breaker: Breaker, outcome: Outcome, now: float, rng: Random, settings: BreakerSettings
) -> Breaker:
    if outcome is Outcome.NEUTRAL:
        return breaker
    failed = outcome is Outcome.FAILURE
    breaker = replace(
        breaker,
        failures=breaker.failures + 1 if failed else 0,
        seconds=_tallied(breaker.seconds, int(now), failed),
    )
    if settings.adaptive:
        breaker = _remembered(breaker, now, failed)
    reason = _why_open(breaker, settings) if failed else None
    return breaker if reason is None else _opened(breaker, reason, now, rng, settings)


def _tallied(seconds: tuple[Second, ...], second: int, failed: bool) -> tuple[Second, ...]:
    if seconds and seconds[-1].at == second:
        last = seconds[-1]
        return (*seconds[:-1], Second(second, last.calls + 1, last.failures + failed))
    recent = tuple(kept for kept in seconds if kept.at > second - WINDOW_S)
    return (*recent, Second(second, 1, int(failed)))


def _remembered(breaker: Breaker, now: float, failed: bool) -> Breaker:
    kept = 0.5 ** ((now - breaker.past_at) / HALF_LIFE_S)
    return replace(
        breaker,
        past_at=now,
        past_calls=breaker.past_calls * kept + 1,
        past_failures=breaker.past_failures * kept + failed,
    )


def _why_open(breaker: Breaker, settings: BreakerSettings) -> str | None:
    if breaker.failures >= settings.failure_threshold:
        return f"{breaker.failures} failures in a row"
    calls = sum(second.calls for second in breaker.seconds)
    failures = sum(second.failures for second in breaker.seconds)
    least, rate = RATE_CALLS, RATE
    if settings.adaptive:
        least, rate = _usual(breaker, calls, failures)
    if calls >= least and failures >= rate * calls:
        return f"{failures} of {calls} calls failed within {WINDOW_S} s"
    return None


def _usual(breaker: Breaker, calls: int, failures: int) -> tuple[int, float]:
    """Return how many calls and which failure rate are out of the ordinary here."""
    # What is judged is taken out of what it is judged by, else a burst hides itself.
    past_calls = breaker.past_calls - calls
    baseline = (breaker.past_failures - failures) / past_calls if past_calls >= 1 else 0.0
    expected = breaker.past_calls * math.log(2) / HALF_LIFE_S * WINDOW_S
    return round(_clamp(expected / 2, 10, 100)), _clamp(5 * baseline, 0.2, 0.8)


def _clamp(value: float, least: float, most: float) -> float:
    return max(least, min(most, value))
