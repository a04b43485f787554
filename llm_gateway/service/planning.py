"""Say what the router has to know of one request: what is asked, and how things stand."""

from collections.abc import Mapping
from datetime import UTC, datetime

from django.db import Error

from llm_gateway import pricing
from llm_gateway.errors import LedgerUnavailableError
from llm_gateway.insight.budgets import buckets_now
from llm_gateway.routing.candidates import Ask
from llm_gateway.routing.health import View
from llm_gateway.service import bounds
from llm_gateway.service.inbound import Inbound
from llm_gateway.service.likeness import belonging
from llm_gateway.service.runtime import Runtime
from llm_gateway.types import Call, Configuration, Deployment
from tenants.money.applicable import applicable


def watches_budget(configuration: Configuration, name: str) -> bool:
    """Say whether the way of a request depends on how much of a budget is used."""
    names = (name, *configuration.settings.fallback_routes)
    routes = (configuration.routes.get(each) for each in names)
    return any(route.watches_budget for route in routes if route is not None)


async def budget_used(runtime: Runtime, inbound: Inbound, call: Call) -> float:
    """Return the used share of the fullest budget that binds whatever model answers.

    Raises LedgerUnavailableError.
    """
    bound = applicable(
        inbound.caller.budgets,
        model="",
        asked=call.model,
        end_user=call.end_user or "",
        tags=inbound.controls.tags,
        run=inbound.controls.run or "",
    )
    now = datetime.fromtimestamp(runtime.wall_clock(), UTC)
    try:
        found = await runtime.reader.read(lambda: buckets_now(inbound.caller.tenant_id, bound, now))
    except Error:
        raise LedgerUnavailableError("Budgets cannot be read now.", retry_after_s=2) from None
    return max((budget.used_share for budget in found), default=0.0)


def asking_for(
    inbound: Inbound, call: Call, at_least: Mapping[int, int], budget_used: float = 0.0
) -> Ask:
    """Return what is asked of the router; `at_least` are tokens that are certain of a target."""
    caller, controls = inbound.caller, inbound.controls
    return Ask(
        model=call.model,
        further=controls.further,
        tenant_id=caller.tenant_id,
        operation=call.operation,
        ways=call.ways,
        needs=call.needs,
        input_tokens=bounds.estimate(call.size),
        input_at_least=at_least,
        models=caller.models,
        tags=controls.tags,
        budget_used=budget_used,
        strategy=controls.strategy,
        provider=controls.provider,
        fallbacks=controls.fallbacks,
        belongs=lambda kind: belonging(kind, inbound, call),
    )


def view_for(runtime: Runtime, inbound: Inbound, call: Call, turn: int = 0) -> View:
    """Return how the deployments stand now, with what this request would cost at each."""

    def cost_nano(deployment: Deployment) -> int | None:
        price = runtime.price_now(deployment, inbound.caller.tenant_id)
        if price is None:
            return None
        output = bounds.output_bound(call, deployment, inbound.caller.max_output_tokens)
        try:
            return pricing.bound(
                price, input_tokens=bounds.estimate(call.size), output_tokens=output
            )
        except pricing.UnpricedError:
            return None

    def saved_nano(deployment: Deployment, size: int) -> int:
        price = runtime.price_now(deployment, inbound.caller.tenant_id)
        return pricing.saved_when_warm(price, bounds.estimate(size)) if price else 0

    now = runtime.clock()
    return View(
        now=now,
        health=runtime.board.health,
        rests=runtime.board.rests,
        cost_nano=cost_nano,
        saved_nano=saved_nano,
        warm=lambda name, deployment_id: runtime.board.warm.has(name, deployment_id, now),
        turn=turn,
    )
