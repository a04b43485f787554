"""Put one attempt into the ledger's words: what is held before it, how it ended, why it may not."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.structs import asdict

from llm_gateway.errors import Certainty, ContentBlockedError, GatewayError, UpstreamError
from llm_gateway.pricing import PER
from llm_gateway.service import bounds
from llm_gateway.service.inbound import Inbound
from llm_gateway.types import Call, Facts, Price, Target
from tenants.money import types as money
from tenants.money.alarms import INVALID
from tenants.money.rows import EntryRow
from tenants.types import Caller, usd


class Ending(Struct, frozen=True, kw_only=True):
    """How an attempt ended. Without a settlement it is uncertain: its hold is charged at expiry."""

    outcome: money.Outcome
    settlement: money.Settlement | None = None
    bill: bounds.Bill | None = None


def hold_request(
    inbound: Inbound,
    call: Call,
    target: Target,
    bound: bounds.Bound,
    *,
    number: int,
    buckets: tuple[money.Bound, ...],
) -> money.HoldRequest:
    """Return what has to be set aside for attempt `number`."""
    caller, price = inbound.caller, bound.price
    return money.HoldRequest(
        request_id=inbound.request_id,
        attempt_no=number,
        tenant_id=caller.tenant_id,
        project_id=caller.project_id,
        api_key_id=caller.key_id,
        deployment_id=target.deployment.id,
        model=target.deployment.name,
        price_version_id=price.id if price else None,
        amount_nano=bound.amount_nano,
        buckets=buckets,
        input_estimate=bound.input_estimate,
        input_nano=bound.input_nano,
        output_nano_per_million=_output_nano(price) if price else 0,
        end_user=call.end_user or "",
        tags=dict(inbound.controls.tags),
        zero_price=bound.free,
        unpriced=price is None or bool(bound.unpriced),
    )


def _output_nano(price: Price) -> int:
    """Return what a million output tokens cost, margin included, rounded up."""
    listed = price.output or 0
    return listed - (-listed * price.margin_ppm // PER)


def ending(facts: Facts, error: GatewayError | None, asked: bounds.Asked, *, left: bool) -> Ending:
    """Return how an attempt ended: by what was reported, else counted, else uncertain."""
    whole = facts.complete and facts.error is None
    # What we did not let through was answered: it costs what an answer does that was left.
    answered = whole or _reported(facts) or isinstance(error, ContentBlockedError)
    if error is not None and not answered:
        if _may_be_billed(facts, error):
            return Ending(outcome="uncertain")
        return Ending(
            outcome="failed", settlement=money.Settlement(outcome="failed", amount_nano=0)
        )
    bill = bounds.bill(facts, asked)
    outcome: money.Outcome = "failed" if error else "cancelled" if left else "settled"
    settlement = money.Settlement(
        outcome=outcome,
        amount_nano=bill.amount_nano,
        usage=asdict(bill.usage) | _not_understood(facts),
        lines=msgspec.to_builtins(bill.lines),
        estimated=bill.usage.estimated,
        unpriced=bill.unpriced,
        provider_cost_nano=facts.cost_nano,
    )
    return Ending(outcome=outcome, settlement=settlement, bill=bill)


def _not_understood(facts: Facts) -> dict[str, str]:
    """Keep a usage that is none as it was reported (money.md §11)."""
    return {} if facts.usage_invalid is None else {INVALID: facts.usage_invalid}


def _reported(facts: Facts) -> bool:
    """Say whether the provider told the whole usage, and not only how it began."""
    return facts.usage is not None and not facts.usage.estimated


def _may_be_billed(facts: Facts, error: GatewayError) -> bool:
    """Say whether nobody can tell if the provider did, and bills, the work (faults.md §1)."""
    if facts.error is not None:
        return False
    return isinstance(error, UpstreamError) and error.certainty is Certainty.AMBIGUOUS


def hit_entry(
    request_id: UUID, caller: Caller, model: str, tags: Mapping[str, str], *, saved_nano: int
) -> EntryRow:
    """Return the entry of an answer that was given before: it costs nothing, and saved so much."""
    return EntryRow(
        request_id=request_id,
        attempt_no=0,
        kind="cache_hit",
        seq=0,
        outcome="settled",
        estimated=False,
        unpriced=False,
        tenant_id=caller.tenant_id,
        project_id=caller.project_id,
        api_key_id=caller.key_id,
        end_user="",
        tags=dict(tags),
        deployment_id=None,
        model=model,
        price_version_id=None,
        amount_nano=0,
        hold_nano=0,
        bucket_ids=(),
        usage={"saved_nano": saved_nano},
    )


def refusal_detail(refusal: money.Refusal) -> dict[str, Any]:
    """Return the numbers of a budget's refusal, in US dollars."""
    return {
        "budget": refusal.budget,
        "scope": refusal.scope,
        "period": refusal.period,
        "limit": usd(refusal.limit_nano),
        "used": usd(refusal.used_nano),
        "held": usd(refusal.held_nano),
        "renews_at": refusal.renews_at.isoformat() if refusal.renews_at else None,
        **({"per": refusal.per, "subject": refusal.subject} if refusal.per else {}),
    }
