"""Go down a plan until a target answers: one after another, or those of a race together.

`resilience.retry` decides what follows a failure; here it is done, and noted for the record.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from llm_gateway.errors import (
    BudgetError,
    BusyError,
    CredentialError,
    GatewayError,
    MissingModelError,
    ModelNotPricedError,
    NoTargetError,
    RateLimitError,
    Rejection,
    ThrottledError,
    UnavailableError,
    UnexpressibleError,
    UpstreamError,
)
from llm_gateway.resilience import hedge
from llm_gateway.resilience.rest import told_to_wait_s
from llm_gateway.resilience.retry import Situation, Step, again_s, next_step, rest_step
from llm_gateway.routing.candidates import Dropped
from llm_gateway.routing.health import RestKey, View, rest_key, soonest
from llm_gateway.routing.router import Plan, other_targets, remaining
from llm_gateway.service.attempt import Attempt, CircuitOpen
from llm_gateway.service.planning import view_for
from llm_gateway.types import Call, Target

if TYPE_CHECKING:
    from llm_gateway.service.exchange import Exchange

# An open attempt, what it failed by, or None for a target that was passed over.
Outcome = Attempt | GatewayError | None


async def first_answer(exchange: "Exchange", call: Call, plan: Plan) -> Attempt:
    """Return the attempt that answers. Raises the last one's fault where none does."""
    return await _Descent(exchange, call, _sound(exchange, plan)).run()


def _sound(exchange: "Exchange", plan: Plan) -> Plan:
    """Leave out whose key or name was refused lately: no call mends that (faults.md §2).

    Raises that refusal where nothing else is left.
    """
    now, rests = exchange.runtime.clock(), exchange.runtime.board.rests
    if not rests:
        return plan
    judged = [(target, _refused(target, rests, now)) for target in plan.attempts]
    refused = [(target, error) for target, error in judged if error is not None]
    if not refused:
        return plan
    exchange.skipped += [Dropped(target.name, "condition", why.message) for target, why in refused]
    sound = tuple(target for target, error in judged if error is None)
    if not sound:
        raise refused[0][1]
    return replace(plan, attempts=sound, racers=tuple(t for t in plan.racers if t in sound))


def _refused(
    target: Target, rests: Mapping[RestKey, float], now: float
) -> CredentialError | MissingModelError | None:
    """Return what a target would answer whose key or name was refused lately."""
    if rests.get(rest_key(target, "key"), now) > now:
        return CredentialError("The provider did not accept the gateway's credential.")
    if rests.get(rest_key(target, "deployment"), now) > now:
        return MissingModelError("The provider does not know the model the gateway asked for.")
    return None


class _Descent:
    """One way down; what it finds out stays with its exchange."""

    def __init__(self, exchange: "Exchange", call: Call, plan: Plan) -> None:
        self._exchange, self._runtime = exchange, exchange.runtime
        self._call, self._plan = call, plan
        self._failures: list[GatewayError] = []
        self._repeats = 0
        self._pool: Sequence[Target] = plan.attempts
        self._rejected = plan.rejection
        route = self._runtime.snapshot.current.configuration.routes.get(call.model)
        self._named = tuple(route.instead) if route is not None else ()
        hedges = route is not None and route.hedge and call.operation == "chat"
        hedges = hedges and exchange.inbound.idempotency is None
        self._hedging = (call.model, call.stream) if hedges else None

    async def run(self) -> Attempt:
        self._runtime.retry_budget = self._runtime.retry_budget.first()
        left = list(self._plan.attempts)
        await self._rest_first(left[0])
        winner, late_s = None, self._late_after_s(left)
        if len(self._plan.racers) > 1:
            winner = await self._race(self._plan.racers)
            left = self._beside(self._plan.racers)
        elif late_s is not None:
            winner, left = await self._hedge(left, late_s)
        if winner is None:
            winner = await self._one_after_another(left)
        if winner is not None:
            self._answered_by(winner)
            return winner
        if self._failures:
            raise self._with_time(self._failures[-1])
        raise self._exchange.refusal or self._nothing_open()

    async def _one_after_another(self, left: list[Target]) -> Attempt | None:
        while left:
            if self._exchange.stopped is not None:
                raise self._exchange.stopped
            target = left.pop(0)
            outcome = await self._try(target, self._number(), left)
            if isinstance(outcome, Attempt):
                return outcome
            if outcome is not None:
                self._failures.append(outcome)
                left = await self._after(target, self._worth(left, target, outcome))
        return None

    def _number(self) -> int:
        """Return the number of the next attempt; of those together some have none to show."""
        return 1 + max((attempt.number for attempt in self._exchange.attempts), default=0)

    def _answered_by(self, winner: Attempt) -> None:
        self._exchange.fallback, belongs = self._rejected, self._plan.belongs
        if belongs is not None and belongs.beginning:
            now = self._runtime.clock()
            self._runtime.board.warm.told(belongs.name, winner.deployment.id, now)
        if self._hedging is not None and winner.first_token is not None:
            seen = self._runtime.board.hedging
            took = winner.first_token - winner.started
            seen[self._hedging] = hedge.answered(seen[self._hedging], took)

    async def _try(self, target: Target, number: int, left: Sequence[Target]) -> Outcome:
        exchange = self._exchange
        attempt = exchange.attempt_for(self._call, target, number)
        attempt.elsewhere = frozenset(why for why in self._named if self._others(why, left))
        try:
            return await exchange.open(attempt, last=not left)
        except CircuitOpen as passed:
            exchange.skipped.append(Dropped(target.name, "condition", str(passed)))
            return None
        except (BudgetError, ModelNotPricedError, RateLimitError, UnexpressibleError) as error:
            # Of this target alone: a cheaper or freer one may do, another may have word or price.
            exchange.refusal = error
            exchange.skipped.append(Dropped(target.name, "condition", error.message))
            return None
        except GatewayError as error:
            return error

    async def _after(self, target: Target, left: list[Target]) -> list[Target]:
        """Return what to try after a failure, once that may be tried."""
        step = self._step(target, left)
        self._exchange.look_for_caller()
        if step.action == "stop" or self._exchange.left:
            return []
        if self._moved_on(left):
            return left
        self._runtime.retry_budget = self._runtime.retry_budget.further()
        if step.action == "repeat":
            self._repeats += 1
            await asyncio.sleep(step.wait_s)
            return [soonest([target, *self._pool], self._view())[0]]
        return left

    # --- what one model rejects another may take ----------------------------------------------

    def _worth(self, left: list[Target], target: Target, error: GatewayError) -> list[Target]:
        """Return the targets that may do better after a failure."""
        if error.rejection is None:
            return remaining(left, target, error)
        return self._others(error.rejection, remaining(left, target, error))

    def _moved_on(self, left: Sequence[Target]) -> bool:
        """Say whether these are targets that may take what the last one rejected."""
        rejection = self._failures[-1].rejection
        if rejection is None:
            return False
        self._rejected, self._pool = rejection, left
        return True

    def _others(self, rejection: Rejection, left: Sequence[Target]) -> list[Target]:
        """Return the targets named for a rejection that were not called yet."""
        if rejection == self._rejected:
            return list(left)
        exchange = self._exchange
        configuration = self._runtime.snapshot.current.configuration
        ask = exchange.asking(self._call)
        named = other_targets(rejection, ask, configuration, self._view(), self._runtime.rng)
        called = {attempt.deployment.id for attempt in exchange.attempts}
        return [one for one in named.attempts if one.deployment.id not in called]

    # --- together -----------------------------------------------------------------------------

    async def _race(self, racers: Sequence[Target]) -> Attempt | None:
        """Return the first that answers, once the others are ended and settled.

        Each has its own hold: those that do not fit do not start.
        """
        exchange = self._exchange
        exchange.steps.append(f"a race of {len(racers)}")
        first = self._number()
        tasks = [
            asyncio.create_task(self._try(target, first + n, ())) for n, target in enumerate(racers)
        ]
        winner: Attempt | None = None
        try:
            winner = await self._first_of(tasks)
        finally:
            await _end_losers(tasks, winner)
        return self._won(winner)

    async def _hedge(
        self, left: list[Target], late_s: float
    ) -> tuple[Attempt | None, list[Target]]:
        """Return the first that answers, a second having started if the first is late.

        Where there is none: what is left to try.
        """
        first, others = left[0], left[1:]
        number, second = self._number(), _elsewhere(left)
        tasks = [asyncio.create_task(self._try(first, number, others))]
        winner: Attempt | None = None
        try:
            await asyncio.wait(tasks, timeout=late_s)
            if second is not None and not tasks[0].done() and self._may_hedge():
                self._exchange.steps.append(f"no first token after {late_s:.2f} s: a second target")
                tasks.append(asyncio.create_task(self._try(second, number + 1, ())))
            winner = await self._first_of(tasks)
        finally:
            await _end_losers(tasks, winner)
        if winner is None and second is not None and len(tasks) > 1:
            return None, self._beside([first, second])
        if winner is None and self._failures:
            worth = self._worth(others, first, self._failures[-1])
            return None, await self._after(first, worth)
        return self._won(winner), others

    def _late_after_s(self, left: Sequence[Target]) -> float | None:
        """Count a request of a route that hedges; return when it is late, if that may matter."""
        if self._hedging is None:
            return None
        seen = self._runtime.board.hedging
        seen[self._hedging] = now = hedge.asked(seen[self._hedging])
        return hedge.late_after_s(now) if len(left) > 1 else None

    def _may_hedge(self) -> bool:
        """Say whether a second target may start now, and count it."""
        exchange, seen = self._exchange, self._runtime.board.hedging
        heard = exchange.current is not None and exchange.current.first_token is not None
        if heard or self._hedging is None or not self._runtime.retry_budget.allows:
            return False
        # Others of this route have waited meanwhile too.
        if hedge.late_after_s(seen[self._hedging]) is None:
            return False
        self._runtime.retry_budget = self._runtime.retry_budget.further()
        seen[self._hedging] = hedge.hedged(seen[self._hedging])
        exchange.hedged = True
        return True

    async def _first_of(self, tasks: Sequence[asyncio.Task[Outcome]]) -> Attempt | None:
        """Return the attempt that answers first; failures before it are kept."""
        for finished in asyncio.as_completed(tasks):
            outcome = await finished
            if isinstance(outcome, Attempt):
                return outcome
            if outcome is not None:
                self._failures.append(outcome)
        return None

    def _won(self, winner: Attempt | None) -> Attempt | None:
        if winner is not None:
            self._exchange.current = winner
            self._exchange.attempts.sort(key=lambda attempt: attempt is winner)
        return winner

    def _beside(self, racers: Sequence[Target]) -> list[Target]:
        """Return what is worth trying when nobody has won."""
        raced = {target.deployment.id for target in racers}
        left = [one for one in self._plan.attempts if one.deployment.id not in raced]
        if not self._failures:
            return left
        rejection = self._failures[-1].rejection
        if rejection is not None:
            left = self._others(rejection, ())
        if not left or self._step(racers[-1], left).action != "next":
            return []
        self._moved_on(left)
        return left

    # --- what is decided on -------------------------------------------------------------------

    def _view(self) -> View:
        return view_for(self._runtime, self._exchange.inbound, self._call)

    async def _rest_first(self, first: Target) -> None:
        """Wait for the first target where all of them rest. Raises ThrottledError if too long."""
        # The plan puts what rests last.
        now, rests = self._runtime.clock(), self._runtime.board.rests
        wait = rests.get(rest_key(first, "pair"), now) - now
        if wait <= 0:
            return
        left_s = self._exchange.deadline(first) - self._runtime.clock()
        step = rest_step(wait, left_s, self._runtime.rng)
        self._exchange.steps.append(step.reason)
        if step.action == "stop":
            raise ThrottledError("Every provider is rate limited.", retry_after_s=wait)
        await asyncio.sleep(step.wait_s)

    def _step(self, target: Target, left: Sequence[Target]) -> Step:
        """Return what follows the last failure, which was this target's; its reason is noted."""
        health = self._runtime.board.health.get(target.deployment.id)
        # Of who is next: a provider that is given less time than the next uses up only its own.
        deadline = self._exchange.deadline(left[0] if left else target)
        situation = Situation(
            failures=self._failures,
            targets_left=len(left),
            elsewhere=bool(left) and self._failures[-1].rejection is not None,
            deadline_left_s=deadline - self._runtime.clock(),
            budget=self._runtime.retry_budget,
            policy=target.deployment.provider.retry,
            repeats=self._repeats,
            soonest_s=self._soonest_s(target),
            error_rate=health.error_rate if health else 0.0,
            repeat_success=health.repeat_success if health else None,
        )
        step = next_step(situation, self._runtime.rng)
        self._exchange.steps.append(step.reason)
        return step

    def _soonest_s(self, failed: Target) -> float | None:
        """Return when the first target is back, where the last failure was about being back."""
        error = self._failures[-1]
        told = isinstance(error, UpstreamError) and told_to_wait_s(error) is not None
        by_rest = isinstance(error, ThrottledError) and failed.deployment.provider.retry is None
        if not (told or by_rest):
            return None
        return soonest([failed, *self._pool], self._view())[1] or None

    def _with_time(self, error: GatewayError) -> GatewayError:
        """Let a caller come back when the first target does, whatever the last provider said."""
        if isinstance(error, BusyError):
            error.retry_after_s = again_s(self._runtime.rng)
        elif isinstance(error, ThrottledError | UnavailableError):
            error.retry_after_s = soonest(self._plan.attempts, self._view())[1] or None
        return error

    def _nothing_open(self) -> NoTargetError:
        """Return the error for a plan whose every circuit refuses."""
        waits = [self._runtime.board.retry_after_s(t.deployment) for t in self._plan.attempts]
        known = [wait for wait in waits if wait is not None]
        return NoTargetError(
            "Every provider of this model is resting after failures.",
            retry_after_s=max(1.0, min(known, default=1.0)),
        )


def _elsewhere(targets: Sequence[Target]) -> Target | None:
    """Return the first target at another deployment than the first's."""
    first = targets[0].deployment.id
    return next((target for target in targets if target.deployment.id != first), None)


async def _end_losers(tasks: Sequence[asyncio.Task[Outcome]], winner: Attempt | None) -> None:
    """Cancel what still runs; an attempt that is cancelled is settled like any other."""
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Attempt) and outcome is not winner:
            await outcome.end(None, left=True)
