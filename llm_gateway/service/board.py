"""Keep what this process knows of each deployment: its circuit, its health, its rests.

The pure functions of `resilience` and `routing` decide; this is where their values stay.
"""

import logging
from collections import deque
from collections.abc import Callable
from random import Random

from llm_gateway import metrics
from llm_gateway.resilience import breaker as circuits
from llm_gateway.resilience.breaker import Breaker, Outcome, Transition, Verdict
from llm_gateway.resilience.rest import rest_after
from llm_gateway.routing.health import Health, RestKey, began, ended, rest_key
from llm_gateway.types import Deployment, Target

HISTORY = 50

log = logging.getLogger(__name__)


class Board:
    """Circuits, health and rests of one process, by deployment id."""

    def __init__(self, clock: Callable[[], float], rng: Random) -> None:
        self._clock, self._rng = clock, rng
        self.circuits: dict[int, Breaker] = {}
        self.health: dict[int, Health] = {}
        self.rests: dict[RestKey, float] = {}
        self.history: deque[tuple[str, Transition]] = deque(maxlen=HISTORY)
        self._strikes: dict[RestKey, int] = {}

    def begin(self, target: Target) -> Verdict:
        """Ask the circuit; where it allows the call, `end` must follow."""
        deployment = target.deployment
        before = self.circuits.get(deployment.id, Breaker())
        after, verdict = circuits.begin(before, self._clock(), self._rng)
        self._keep(deployment, before, after)
        if verdict.allowed:
            self.health[deployment.id] = began(self.health.get(deployment.id, Health()))
        return verdict

    def end(
        self,
        target: Target,
        verdict: Verdict,
        error: BaseException | None,
        *,
        first_token_s: float | None,
        neutral: bool = False,
    ) -> None:
        """Take in how a call ended. `neutral`: it says nothing about the deployment."""
        deployment, now = target.deployment, self._clock()
        outcome = Outcome.NEUTRAL if neutral else circuits.outcome_of(error)
        before = self.circuits.get(deployment.id, Breaker())
        after = circuits.after(
            before,
            outcome,
            verdict.ticket,
            now=now,
            rng=self._rng,
            settings=deployment.provider.breaker,
        )
        self._keep(deployment, before, after)
        self.health[deployment.id] = ended(
            self.health.get(deployment.id, Health()),
            now=now,
            failed=outcome is Outcome.FAILURE,
            first_token_s=first_token_s,
        )
        self._rest(target, error, now)

    def state(self, deployment: Deployment) -> Breaker:
        """Return the circuit as it stands now."""
        return circuits.at(self.circuits.get(deployment.id, Breaker()), self._clock())

    def retry_after_s(self, deployment: Deployment) -> float | None:
        """Return the seconds until a refusing circuit asks again, None where it does not refuse."""
        return circuits.allows(self.state(deployment), self._clock(), self._rng).retry_after_s

    def _rest(self, target: Target, error: BaseException | None, now: float) -> None:
        pair = rest_key(target, "pair")
        if error is None:
            if self._strikes:
                self._strikes.pop(pair, None)
            return
        rest = rest_after(error, self._strikes.get(pair, 0), self._rng)
        if rest is None:
            return
        self._strikes[pair] = self._strikes.get(pair, 0) + 1
        self.rests[rest_key(target, rest.covers)] = now + rest.seconds
        self.rests = {key: until for key, until in self.rests.items() if until > now}
        log.warning("%s rests %.1f s: %s", target.name, rest.seconds, rest.reason)

    def _keep(self, deployment: Deployment, before: Breaker, after: Breaker) -> None:
        if after is before:
            return
        self.circuits[deployment.id] = after
        change = circuits.transition(before, after)
        if change is None:
            return
        name = f"{deployment.provider.name}/{deployment.name}"
        self.history.append((name, change))
        metrics.breaker_changed(deployment.provider.name, deployment.name, change.after)
        log.warning("Circuit of %s: %s → %s (%s)", name, change.before, change.after, change.reason)
