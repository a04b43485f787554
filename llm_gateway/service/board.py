"""Keep what this process knows of each deployment: its circuit, its health, its rests.

The pure functions of `resilience` and `routing` decide; this is where their values stay. A request
reads and writes here alone; what the other processes have to know is handed to `Fleet`, and what
they know comes back by `adopt` and `rest_until`.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from random import Random
from typing import Protocol

from msgspec.structs import replace
from typing_extensions import override

from llm_gateway import metrics
from llm_gateway.errors import GatewayError
from llm_gateway.resilience import breaker as circuits
from llm_gateway.resilience.breaker import (
    Breaker,
    Counts,
    Order,
    Outcome,
    Transition,
    Verdict,
)
from llm_gateway.resilience.hedge import Hedging
from llm_gateway.resilience.rest import rest_after
from llm_gateway.routing.affinity import Warm
from llm_gateway.routing.health import Health, Look, RestKey, began, ended, rest_key
from llm_gateway.service.circuit_log import show
from llm_gateway.types import BreakerSettings, Deployment, ProviderConfig, Target

CLOSED = Breaker()

log = logging.getLogger(__name__)


class After(Protocol):
    """How an outcome changes a circuit: `circuits.after`, or `circuits.after_look`."""

    def __call__(
        self,
        breaker: Breaker,
        outcome: Outcome,
        ticket: int,
        *,
        now: float,
        rng: Random,
        settings: BreakerSettings,
    ) -> Breaker: ...


class Fleet(Protocol):
    """Whom a board tells what it found out. Nothing here waits but `claim`."""

    def counted(self, deployment: Deployment, *, failed: bool) -> None: ...
    def changed(self, deployment: Deployment, change: Transition | None) -> None: ...
    def probed(self, deployment: Deployment) -> None: ...
    def rested(self, key: RestKey, until: float) -> None: ...
    def looked(self, provider_id: int, look: Look) -> None: ...
    async def claim(self, deployment: Deployment) -> bool: ...
    async def turn(self, what: str, seconds: float) -> bool: ...


class Alone(Fleet):
    """A fleet of one: `tell` hears of each change."""

    def __init__(self, tell: Callable[[Deployment, Transition], None]) -> None:
        self._tell = tell

    @override
    def counted(self, deployment: Deployment, *, failed: bool) -> None: ...

    @override
    def changed(self, deployment: Deployment, change: Transition | None) -> None:
        if change is not None:
            self._tell(deployment, change)

    @override
    def probed(self, deployment: Deployment) -> None: ...

    @override
    def rested(self, key: RestKey, until: float) -> None: ...

    @override
    def looked(self, provider_id: int, look: Look) -> None: ...

    @override
    async def claim(self, deployment: Deployment) -> bool:
        return True

    @override
    async def turn(self, what: str, seconds: float) -> bool:
        return True


class Board:
    """Circuits, health and rests of one process, by deployment id."""

    fleet: Fleet

    def __init__(
        self,
        clock: Callable[[], float],
        rng: Random,
        tell: Callable[[Deployment, Transition], None] = show,
    ) -> None:
        self._clock, self._rng = clock, rng
        self.fleet = Alone(tell)
        self.circuits: dict[int, Breaker] = {}
        self.health: dict[int, Health] = {}
        self.looks: dict[int, Look] = {}  # by the provider's id
        self.rests: dict[RestKey, float] = {}
        # By route, and whether it streams.
        self.hedging: defaultdict[tuple[str, bool], Hedging] = defaultdict(Hedging)
        self.warm = Warm()
        self._strikes: dict[RestKey, int] = {}

    # --- one call -----------------------------------------------------------------------------

    def begin(self, target: Target) -> Verdict:
        """Ask the circuit; where it allows the call, `end` must follow, after a probe's `claim`."""
        deployment = target.deployment
        before = self.circuits.get(deployment.id, CLOSED)
        first = self.list_tells(deployment.provider)
        after, verdict = circuits.begin(before, self._clock(), list_first=first)
        self._keep(deployment, before, after)
        if verdict.allowed:
            self.health[deployment.id] = began(self.health.get(deployment.id, Health()))
        return verdict

    async def claim(self, target: Target, verdict: Verdict) -> Verdict:
        """Take the one probe of the fleet for a call that has this process' own slot."""
        deployment = target.deployment
        claimed = await self._claim(deployment, verdict)
        if not claimed.allowed:
            health = self.health[deployment.id]
            self.health[deployment.id] = replace(health, in_flight=max(0, health.in_flight - 1))
        return claimed

    async def _claim(self, deployment: Deployment, verdict: Verdict) -> Verdict:
        if await self.fleet.claim(deployment):
            return verdict
        before = self.circuits.get(deployment.id, CLOSED)
        until = self._clock() + circuits.ELSEWHERE_S
        self._keep(deployment, before, circuits.elsewhere(before, verdict.ticket, until))
        reason = "half_open: another process probes"
        return Verdict(False, reason, retry_after_s=circuits.ELSEWHERE_S)

    def answered(self, target: Target, verdict: Verdict) -> None:
        """Take in that a probe's first token is there: it need not end to be a success."""
        self._take(target.deployment, verdict, Outcome.SUCCESS, "")
        self.fleet.probed(target.deployment)

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
        self._take(deployment, verdict, outcome, getattr(error, "category", ""))
        if verdict.probe:
            self.fleet.probed(deployment)
            metrics.breaker_probed(deployment.provider.name, deployment.name, outcome.value)
        self.health[deployment.id] = ended(
            self.health.get(deployment.id, Health()),
            now=now,
            failed=outcome is Outcome.FAILURE,
            first_token_s=first_token_s,
        )
        self._rest(target, error, now)

    # --- one look at a model list -----------------------------------------------------------------

    def list_tells(self, provider: ProviderConfig) -> bool:
        """Say whether a look at the provider's model list stands for a probe."""
        look = self.looks.get(provider.id)
        return look is not None and look.tells and provider.health_check.interval > 0

    async def begin_look(self, deployment: Deployment) -> Verdict:
        """Ask the circuit for a look; where it is allowed, `end_look` must follow."""
        before = self.circuits.get(deployment.id, CLOSED)
        after, verdict = circuits.begin(before, self._clock())
        self._keep(deployment, before, after)
        return await self._claim(deployment, verdict) if verdict.probe else verdict

    def end_look(
        self, deployment: Deployment, verdict: Verdict, error: BaseException | None
    ) -> None:
        """Take in what the model list says of a deployment of its provider."""
        outcome = self._outcome_of_look(deployment.provider, error)
        self._take(
            deployment, verdict, outcome, getattr(error, "category", ""), circuits.after_look
        )
        if verdict.probe:
            self.fleet.probed(deployment)

    def looked(self, provider: ProviderConfig, error: GatewayError | None) -> None:
        """Keep what the last look found."""
        look = Look(
            at=self._clock(),
            error="" if error is None else error.category,
            tells=self._outcome_of_look(provider, error) is not Outcome.NEUTRAL,
        )
        self.looks[provider.id] = look
        self.fleet.looked(provider.id, look)

    def _outcome_of_look(self, provider: ProviderConfig, error: BaseException | None) -> Outcome:
        """Return what a look says; a list that was never there says nothing by being away."""
        outcome = circuits.outcome_of(error)
        known = self.looks.get(provider.id)
        unheard = known is None or not known.tells
        return Outcome.NEUTRAL if outcome is Outcome.FAILURE and unheard else outcome

    # --- how things stand -----------------------------------------------------------------------

    def state(self, deployment: Deployment) -> Breaker:
        """Return the circuit as it stands now."""
        return circuits.at(self.circuits.get(deployment.id, CLOSED), self._clock())

    def retry_after_s(self, deployment: Deployment) -> float | None:
        """Return the seconds until a refusing circuit asks again, None where it does not refuse."""
        return circuits.allows(self.state(deployment), self._clock()).retry_after_s

    # --- what others decide ---------------------------------------------------------------------

    def obey(self, deployments: Mapping[int, Deployment], orders: Mapping[int, Order]) -> None:
        """Do what was decided by hand; what was done is not done again."""
        now = self._clock()
        for place, order in orders.items():
            if deployment := deployments.get(place):
                before = self.circuits.get(place, CLOSED)
                self._keep(deployment, before, circuits.obeyed(before, order, now))

    def judge(self, deployment: Deployment, counts: Counts) -> None:
        """Look at what the whole fleet counted."""
        before = self.circuits.get(deployment.id, CLOSED)
        settings = deployment.provider.breaker
        after = circuits.counted(
            before, counts, now=self._clock(), rng=self._rng, settings=settings
        )
        self._keep(deployment, before, after)

    def adopt(self, deployment: Deployment, theirs: Breaker) -> None:
        """Take the fleet's circuit for ours."""
        before = self.circuits.get(deployment.id, CLOSED)
        self.circuits[deployment.id] = after = circuits.joined(before, theirs)
        if before.state != after.state:
            show(deployment, Transition(before.state, after.state, after.reason, after.since))

    def adopt_look(self, provider_id: int, look: Look) -> None:
        """Take in what another process saw, unless ours is newer."""
        ours = self.looks.get(provider_id)
        if ours is None or ours.at < look.at:
            self.looks[provider_id] = look

    def rest_until(self, key: RestKey, until: float) -> None:
        """Let rest what another process was told to leave alone."""
        self.rests[key] = max(until, self.rests.get(key, 0.0))

    # --- parts ----------------------------------------------------------------------------------

    def _take(
        self,
        deployment: Deployment,
        verdict: Verdict,
        outcome: Outcome,
        category: str,
        after_it: After = circuits.after,
    ) -> None:
        before = self.circuits.get(deployment.id, CLOSED)
        seen = before
        if outcome is Outcome.FAILURE and before.error != category:
            seen = replace(before, error=category)
        after = after_it(
            seen,
            outcome,
            verdict.ticket,
            now=self._clock(),
            rng=self._rng,
            settings=deployment.provider.breaker,
        )
        self._keep(deployment, before, after)
        if after.state == "closed" and after.seconds is not before.seconds:
            self.fleet.counted(deployment, failed=outcome is Outcome.FAILURE)

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
        key, until = rest_key(target, rest.covers), now + rest.seconds
        self.rests[key] = until
        self.rests = {key: until for key, until in self.rests.items() if until > now}
        self.fleet.rested(key, until)
        log.warning("%s rests %.1f s: %s", target.name, rest.seconds, rest.reason)

    def _keep(self, deployment: Deployment, before: Breaker, after: Breaker) -> None:
        if after is before:
            return
        self.circuits[deployment.id] = after
        change = circuits.transition(before, after)
        if change is not None or before.successes != after.successes:
            self.fleet.changed(deployment, change)
