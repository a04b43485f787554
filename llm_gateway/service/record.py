"""Write down what became of a request: one `CallRecord` for every sink."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from llm_gateway.errors import CallerError, CallerLeftError, GatewayError
from llm_gateway.guardrails.guard import told
from llm_gateway.service.repeats import Repeats, repeats
from llm_gateway.service.waits import told_waits
from llm_gateway.types import CallRecord, Ending

if TYPE_CHECKING:
    from llm_gateway.service.exchange import Exchange

STATUS_LEFT = 499  # nginx's word for a caller that hung up


def call_record(exchange: "Exchange") -> CallRecord:
    """Return the record of an ended request."""
    inbound, call, error = exchange.inbound, exchange.call, exchange.error
    caller, runtime = inbound.caller, exchange.runtime
    last = exchange.attempts[-1] if exchange.attempts else None
    now = runtime.clock()
    duration = now - inbound.started
    usage = exchange.usage
    first_token = last.first_token if last else None
    found = exchange.reuse.found if exchange.reuse else None
    named = repeats(call, usage.input) if call and last else Repeats("")
    return CallRecord(
        id=inbound.request_id,
        created_at=datetime.fromtimestamp(runtime.wall_clock() - duration, UTC),
        tenant_id=caller.tenant_id,
        api_key_id=caller.key_id,
        project_id=caller.project_id,
        tenant_name=caller.tenant,
        project_name=caller.project or "",
        key_name=caller.key,
        endpoint=inbound.endpoint,
        dialect=inbound.door.name,
        requested_model=call.model[:128] if call else "",
        model=last.deployment.name if last else found.model if found else "",
        provider=last.provider.name if last else found.provider if found else "",
        stream=call.stream if call else False,
        status=_status(exchange),
        outcome=_outcome(exchange),
        code=error.code if error else "",
        error=error.message[:500] if error else "",
        finish_reason=(last.facts.finish_reason or "") if last else "",
        end_user=(call.end_user or "")[:256] if call else "",
        tags=dict(inbound.controls.tags),
        input_tokens=usage.input,
        output_tokens=usage.output,
        cached_tokens=usage.cache_read,
        reasoning_tokens=usage.reasoning,
        estimated=usage.estimated,
        cost_nano=exchange.cost_nano,
        lines=_lines(exchange),
        cache=exchange.reuse.state if exchange.reuse else "off",
        saved_nano=found.cost_nano if found else 0,
        fallback=exchange.fallback or "",
        hedged=exchange.hedged,
        digest=named.digest,
        prefix_digest=named.prefix_digest,
        prefix_tokens=named.prefix_tokens,
        duration_ms=duration * 1000,
        first_token_ms=None if first_token is None else (first_token - inbound.started) * 1000,
        attempts=tuple(attempt.record() for attempt in exchange.attempts),
        decision=_decision(exchange),
    )


def _status(exchange: "Exchange") -> int:
    if exchange.error is not None:
        return exchange.error.status
    return STATUS_LEFT if exchange.left else 200


def _outcome(exchange: "Exchange") -> Ending:
    error: GatewayError | None = exchange.error
    if error is None or isinstance(error, CallerLeftError):
        return "cancelled" if exchange.left else "ok"
    return "refused" if isinstance(error, CallerError) else "failed"


def _lines(exchange: "Exchange") -> list[dict[str, Any]]:
    return [
        {"attempt": attempt.number, **line}
        for attempt in exchange.attempts
        if attempt.bill
        for line in msgspec.to_builtins(attempt.bill.lines)
    ]


def _decision(exchange: "Exchange") -> dict[str, Any]:
    """Return limits with numbers, candidates with why they were dropped, and each step's reason."""
    plan, rates = exchange.plan, exchange.told_rates
    last = exchange.attempts[-1] if exchange.attempts else None
    guarded = told((*exchange.lookers, *(last.lookers if last else ())))
    return {
        "limits": [
            {"limit": m.kind, "scope": m.scope, "value": m.limit, "used": m.used}
            for m in ((rates.requests, rates.tokens, rates.concurrency) if rates else ())
            if m is not None
        ],
        "candidates": [target.name for target in plan.attempts] if plan else [],
        "dropped": [
            {"name": one.name, "cause": one.cause, "reason": one.reason}
            for one in (*(plan.dropped if plan else ()), *exchange.skipped)
        ],
        "steps": exchange.steps,
        **({"timeouts": told_waits(exchange.waits)} if exchange.waits else {}),
        **({"fallback": exchange.fallback} if exchange.fallback else {}),
        **({"guardrails": guarded} if guarded else {}),
    }
