"""Ask idle deployments a word where their provider wants that: the one probe that costs something.

A probe is a request like any other, in the name of the tenant that `health_check.probe_as` names:
that tenant's hard budget is all it can spend, its ledger and request log say what it did. Without
a hard budget nothing is asked. One process of the fleet asks.
"""

import asyncio
import logging
from functools import partial

from llm_gateway.errors import GatewayError
from llm_gateway.routing.health import Health
from llm_gateway.routing.ways import way_of
from llm_gateway.scope import Scope
from llm_gateway.service import asking
from llm_gateway.service.carried import Carried
from llm_gateway.service.inbound import Controls
from llm_gateway.service.rounds import Round, go_round
from llm_gateway.service.runtime import Runtime
from llm_gateway.types import Deployment
from tenants.auth import load_caller_of
from tenants.ids import new_id
from tenants.types import Caller

HALF_OPEN_S = 1.0  # between probes of a circuit that waits for one
ENDPOINT = "probe"
WORD = {"messages": [{"role": "user", "content": "ping"}], "max_tokens": 16}

log = logging.getLogger(__name__)


async def probe_for_ever(runtime: Runtime) -> None:
    """Ask whatever is due, each deployment by itself."""
    began = runtime.clock()

    def probed() -> Round:
        for one in runtime.snapshot.current.deployments.values():
            if one.provider.health_check.probe_as and way_of("chat", (), one):
                yield one.id, partial(_probe_where_due, runtime, one, began)

    await go_round(probed, "billed probe")


async def _probe_where_due(runtime: Runtime, deployment: Deployment, began: float) -> None:
    wait_s = _wait_s(runtime, deployment, began)
    if wait_s is None or not await runtime.board.fleet.turn(f"probe{deployment.id}", wait_s):
        return
    try:
        caller = await _payer(runtime, deployment)
        if caller is not None:
            await _ask(runtime, caller, deployment)
    except GatewayError as error:
        log.info("The probe of %s says: %s", deployment.name, error.message)
    except Exception:
        log.exception("%s cannot be probed", deployment.name)
        await asyncio.sleep(deployment.provider.health_check.probe_interval)


def _wait_s(runtime: Runtime, deployment: Deployment, began: float) -> float | None:
    """Return for how long it is nobody else's turn; None where no probe is due."""
    board, wanted = runtime.board, deployment.provider.health_check
    known = board.health.get(deployment.id, Health())
    state = board.state(deployment).state
    if state == "open" or known.in_flight:
        return None
    if state == "half_open":
        return None if board.list_tells(deployment.provider) else HALF_OPEN_S
    idle_since = max(began, known.measured_at)
    return wanted.probe_interval if runtime.clock() >= idle_since + wanted.probe_interval else None


async def _payer(runtime: Runtime, deployment: Deployment) -> Caller | None:
    """Return who pays; None, and why in the log, where nobody may."""
    health_check, owner = deployment.provider.health_check, deployment.provider.tenant_id
    payer = health_check.probe_as or ""
    caller = await runtime.reader.read(lambda: load_caller_of(payer))
    if caller is None:
        problem = "there is no such active tenant"
    elif owner not in (None, caller.tenant_id):
        problem = "the provider is another tenant's"
    elif not any(rule.hard and rule.limit_nano is not None for rule in caller.budgets):
        problem = "it has no hard budget"
    else:
        return caller
    log.warning("%s is not probed in the name of %s: %s", deployment.name, payer, problem)
    await asyncio.sleep(health_check.probe_interval)
    return None


async def _ask(runtime: Runtime, caller: Caller, deployment: Deployment) -> None:
    """Ask this deployment alone. Raises GatewayError."""
    asker = asking.Asker(
        runtime=runtime,
        caller=caller,
        endpoint=ENDPOINT,
        request_id=new_id(),
        controls=Controls(fallbacks=False, cache="no-store", provider=deployment.provider.name),
    )
    async with Scope() as closing:
        carried = Carried(runtime, asking.chat(asker, {**WORD, "model": deployment.name}))
        closing.on_close(carried.end)
        await carried.answer()
