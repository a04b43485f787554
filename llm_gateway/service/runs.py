"""Hold agent runs to their steps and their time, counted by the ledger over all processes."""

import math

from llm_gateway.errors import (
    BudgetError,
    LedgerUnavailableError,
    OverloadedError,
    PermissionDeniedError,
)
from llm_gateway.service.inbound import Inbound
from llm_gateway.service.runtime import Runtime
from tenants.money import types as money
from tenants.money.runs import Step


async def take_step(runtime: Runtime, inbound: Inbound) -> float:
    """Count a request as a step of the run it names; return until when it may go on (monotonic).

    Raises BudgetError where steps or time are used up, PermissionDeniedError where it was stopped.
    """
    caller, run = inbound.caller, inbound.controls.run or ""
    step = Step(
        request_id=inbound.request_id,
        tenant_id=caller.tenant_id,
        run=run,
        max_steps=caller.run_steps,
        max_seconds=caller.run_seconds,
    )
    try:
        state = await runtime.ledger.step(step)
    except money.LedgerUnavailableError:
        raise LedgerUnavailableError(
            "The ledger cannot be written now; nothing was spent.", retry_after_s=2
        ) from None
    except money.LedgerOverloadedError:
        raise OverloadedError("Too many requests wait for the ledger.", retry_after_s=1) from None
    if state.stopped:
        raise PermissionDeniedError(f"The run {run} was stopped.")
    if state.taken:
        seconds = caller.run_seconds
        return math.inf if seconds is None else runtime.clock() + seconds - state.age_s
    if caller.run_steps is not None and state.steps >= caller.run_steps:
        raise BudgetError(f"The run {run} has used its {caller.run_steps} steps.")
    raise BudgetError(f"The run {run} has used its {caller.run_seconds} seconds.")
