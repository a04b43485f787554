"""Say what would be done with a request: limits, candidates, costs, circuits. Nothing is sent.

The same functions decide as for a request that is made; what they would book is only looked at.
"""

from datetime import UTC, datetime
from typing import Any

from django.db import Error

from llm_gateway.errors import ContentBlockedError, GatewayError, LedgerUnavailableError
from llm_gateway.guardrails.guard import told as told_of
from llm_gateway.insight.budgets import BudgetNow, buckets_now
from llm_gateway.routing.candidates import asked_route
from llm_gateway.routing.health import rest_s
from llm_gateway.routing.router import Plan, plan
from llm_gateway.service import bounds
from llm_gateway.service.attempt import Attempt
from llm_gateway.service.body import call_of
from llm_gateway.service.guarding import guarded_call, lookers_at
from llm_gateway.service.inbound import Inbound
from llm_gateway.service.measuring import surely
from llm_gateway.service.planning import asking_for, budget_used, view_for
from llm_gateway.service.runtime import Runtime
from llm_gateway.service.waits import timeouts_at, told_waits, waits_of
from llm_gateway.types import Call, Target, Timeouts
from tenants.money.types import Bound as Binding
from tenants.types import usd

Told = dict[str, Any]


async def explain(runtime: Runtime, inbound: Inbound) -> Told:
    """Return the decision record that this request would have, with what it would cost at most.

    Raises GatewayError for a request that is not understood.
    """
    call = call_of(inbound)
    lookers = lookers_at(inbound.caller, "request")
    blocked: ContentBlockedError | None = None
    try:
        call = await guarded_call(inbound, call, lookers)
    except ContentBlockedError as error:
        blocked = error
    at_least = await surely(runtime, inbound, call)
    ask = asking_for(inbound, call, at_least, await budget_used(runtime, inbound, call))
    configuration, view = runtime.snapshot.current.configuration, view_for(runtime, inbound, call)
    route = asked_route(ask, configuration)
    told: Told = {
        "request": {
            "model": call.model,
            "endpoint": inbound.endpoint,
            "stream": call.stream,
            "input_tokens": bounds.estimate(call.size),
            "max_output_tokens": call.max_output_tokens,
        },
        "route": {"name": route.name, "strategy": ask.strategy or route.strategy},
        "guardrails": told_of(lookers),
        "limits": await _limits(runtime, inbound),
        "timeouts": told_waits(waits_of(inbound, call.model, configuration)),
        "candidates": [],
        "dropped": [],
        "refused": None,
    }
    if blocked is not None:
        return {**told, "refused": _refusal(blocked)}
    try:
        found = plan(ask, configuration, view, runtime.rng)
    except GatewayError as error:
        return {**told, "refused": _refusal(error)}
    told["dropped"] = [
        {"name": one.name, "cause": one.cause, "reason": one.reason} for one in found.dropped
    ]
    told["candidates"] = candidates = await _candidates(runtime, inbound, call, found)
    if not any(one["fits"] for one in candidates):
        told["refused"] = {"reason": candidates[0]["reason"]}
    return told


class _Rehearsal(Attempt):
    """An attempt that is never made."""

    def look(self) -> bounds.Bound:
        """Return what the attempt would be held to. Raises GatewayError where it is refused."""
        self.outgoing = self._render()
        self.price = self.runtime.price_now(self.deployment, self.inbound.caller.tenant_id)
        bound = bounds.bound(self.asked, output=self.output_bound)
        bounds.check_priced(bound, self.deployment, hard=self.hard)
        return bound


async def _limits(runtime: Runtime, inbound: Inbound) -> list[Told]:
    caller = inbound.caller
    return [
        {
            "limit": meter.kind,
            "scope": meter.scope,
            "value": meter.limit,
            "used": meter.used,
            "full": meter.used >= meter.limit,
        }
        for meter in await runtime.limits.status(caller.tenant_id, caller.rates)
    ]


async def _candidates(runtime: Runtime, inbound: Inbound, call: Call, found: Plan) -> list[Told]:
    view = view_for(runtime, inbound, call)
    waits = waits_of(inbound, call.model, runtime.snapshot.current.configuration)
    racing = {target.name for target in found.racers}
    told = []
    for number, target in enumerate(found.attempts, 1):
        circuit = runtime.board.state(target.deployment)
        rests = rest_s(target, view)
        told.append(
            {
                "place": number,
                "name": target.name,
                "model": target.deployment.name,
                "provider": target.deployment.provider.name,
                "key": target.key.name if target.key else None,
                "races": target.name in racing,
                "circuit": {"state": circuit.state, "reason": circuit.reason},
                "rests_s": round(rests, 1),
                "timeouts": _timeouts(timeouts_at(target.deployment, waits)),
                **await _cost(runtime, inbound, call, target, number),
            }
        )
    return told


def _timeouts(timeouts: Timeouts) -> Told:
    return {name: getattr(timeouts, name) for name in ("connect", "first_token", "idle", "total")}


async def _cost(
    runtime: Runtime, inbound: Inbound, call: Call, target: Target, number: int
) -> Told:
    rehearsal = _Rehearsal(runtime, inbound, call, target, number)
    try:
        bound = rehearsal.look()
    except GatewayError as error:
        return {"fits": False, "reason": error.message, "most_cost_usd": None, "budgets": []}
    budgets = await _budgets(runtime, inbound.caller.tenant_id, rehearsal.buckets)
    short = [one for one in budgets if _is_short(one, bound.amount_nano)]
    return {
        "fits": not short,
        "reason": f"budget {short[0].rule.name} has no room for it" if short else None,
        "input_tokens": bound.input_estimate,
        "most_output_tokens": bound.output_tokens,
        "most_cost_usd": None if bound.price is None else usd(bound.amount_nano),
        "budgets": [_budget(one) for one in budgets],
    }


async def _budgets(
    runtime: Runtime, tenant_id: int, binding: tuple[Binding, ...]
) -> list[BudgetNow]:
    now = datetime.fromtimestamp(runtime.wall_clock(), UTC)
    try:
        return await runtime.reader.read(lambda: buckets_now(tenant_id, binding, now))
    except Error:
        raise LedgerUnavailableError("Budgets cannot be read now.", retry_after_s=2) from None


def _is_short(budget: BudgetNow, amount_nano: int) -> bool:
    if not budget.rule.hard or budget.limit_nano is None:
        return False
    return budget.used_nano + budget.held_nano + amount_nano > budget.limit_nano


def _budget(budget: BudgetNow) -> Told:
    rule, limit = budget.rule, budget.limit_nano
    return {
        "name": rule.name,
        "scope": rule.scope,
        "period": rule.period,
        "subject": budget.subject or None,
        "hard": rule.hard,
        "mode": rule.mode,
        "limit": None if limit is None else usd(limit),
        "used": usd(budget.used_nano),
        "held": usd(budget.held_nano),
    }


def _refusal(error: GatewayError) -> Told:
    return {"status": error.status, "code": error.code, "reason": error.message}
