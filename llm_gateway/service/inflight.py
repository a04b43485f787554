"""Describe a request that runs: what whoever looks at it now is told."""

from typing import TYPE_CHECKING, Literal
from uuid import UUID

from msgspec import Struct

from llm_gateway.service import bounds

if TYPE_CHECKING:
    from llm_gateway.service.attempt import Attempt
    from llm_gateway.service.exchange import Exchange
    from llm_gateway.service.stops import Arriving

State = Literal["arriving", "waiting", "answering"]


class InFlight(Struct, frozen=True, kw_only=True):
    """One request, at one moment. Cost and tokens are those until now, of all its attempts."""

    id: UUID
    tenant_id: int
    tenant: str
    project: str | None
    key: str
    endpoint: str
    dialect: str
    stream: bool | None
    state: State
    model: str = ""
    provider: str = ""
    attempt: int = 0
    age_s: float = 0.0
    output_tokens: int = 0
    cost_nano: int = 0


def arriving(one: "Arriving", now: float) -> InFlight:
    """Describe a request whose body is still on its way."""
    caller = one.caller
    return InFlight(
        id=one.request_id,
        tenant_id=caller.tenant_id,
        tenant=caller.tenant,
        project=caller.project,
        key=caller.key,
        endpoint=one.endpoint,
        dialect="",
        stream=None,
        state="arriving",
        age_s=now - one.started,
    )


def running(one: "Exchange", now: float) -> InFlight:
    """Describe a request that is being answered, or waits for that."""
    inbound, caller, call = one.inbound, one.caller, one.call
    attempt = one.current
    tokens, cost_nano = _until_now(attempt)
    return InFlight(
        id=one.request_id,
        tenant_id=caller.tenant_id,
        tenant=caller.tenant,
        project=caller.project,
        key=caller.key,
        endpoint=inbound.endpoint,
        dialect=inbound.door.name,
        stream=call.stream if call else None,
        state="answering" if attempt and attempt.first_token is not None else "waiting",
        model=attempt.deployment.name if attempt else call.model if call else "",
        provider=attempt.provider.name if attempt else "",
        attempt=attempt.number if attempt else 0,
        age_s=now - inbound.started,
        output_tokens=tokens,
        cost_nano=one.cost_nano + cost_nano,
    )


def _until_now(attempt: "Attempt | None") -> tuple[int, int]:
    """Return output tokens and cost of an attempt that has no bill yet."""
    if attempt is None or attempt.hold is None or not attempt.running:
        return 0, 0
    bill = bounds.bill(attempt.facts, attempt.asked)
    return bill.usage.output, bill.amount_nano
