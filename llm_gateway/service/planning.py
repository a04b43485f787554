"""Say what the router has to know of one request: what is asked, and how things stand."""

from llm_gateway import pricing
from llm_gateway.routing.candidates import Ask
from llm_gateway.routing.health import View
from llm_gateway.service import bounds
from llm_gateway.service.inbound import Inbound
from llm_gateway.service.runtime import Runtime
from llm_gateway.types import Call, Deployment


def asking_for(inbound: Inbound, call: Call) -> Ask:
    """Return what is asked of the router."""
    caller, controls = inbound.caller, inbound.controls
    return Ask(
        model=call.model,
        further=controls.further,
        tenant_id=caller.tenant_id,
        operation=call.operation,
        needs=call.needs,
        input_tokens=bounds.estimate(call.size),
        models=caller.models,
        tags=controls.tags,
        strategy=controls.strategy,
        provider=controls.provider,
        fallbacks=controls.fallbacks,
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

    return View(
        now=runtime.clock(),
        health=runtime.board.health,
        rests=runtime.board.rests,
        cost_nano=cost_nano,
        turn=turn,
    )
