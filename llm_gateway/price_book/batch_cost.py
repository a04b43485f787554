"""Say what a batch cost once its results tell what they used, as a correction of what was charged.

Each answer is priced by itself, by the price of the day on which the batch was begun; what the
ledger is given are the lines of all of them.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from uuid import UUID

import msgspec
from msgspec.structs import asdict, replace

from llm_gateway.adapters.batched import all_used
from llm_gateway.pricing import Cost, Line, cost, price_for
from llm_gateway.types import Configuration, Deployment, Price, Usage
from tenants.money.models import Entry
from tenants.money.rows import EntryRow

_COPIED = (
    *("request_id", "attempt_no", "tenant_id", "project_id", "api_key_id", "user_id"),
    *("end_user", "tags", "deployment_id", "model", "hold_nano"),
)


def correction(
    request_id: UUID, used: Sequence[Usage], configuration: Configuration
) -> EntryRow | None:
    """Return the entry that makes a batch cost what it used.

    None where its entry, its model or the model's price is not there any more.
    """
    entries = list(Entry.all_tenants_unsafe.filter(request_id=request_id).order_by("seq"))
    charged = next((one for one in entries if one.kind == Entry.Kind.ATTEMPT), None)
    if charged is None:
        return None
    price = _price(charged, configuration)
    if price is None:
        return None
    bill = merged(cost(usage, price) for usage in used)
    return EntryRow(
        kind="correction",
        seq=0,  # the ledger knows which is next
        outcome="settled",
        estimated=False,
        unpriced=bill.unpriced,
        price_version_id=price.id,
        amount_nano=bill.total_nano,
        bucket_ids=tuple(charged.bucket_ids),
        # Not as of one answer: a price by the length of the input would take them for one.
        usage={"requests": len(used), "used": asdict(all_used(used))},
        lines=msgspec.to_builtins(bill.lines),
        **{name: getattr(charged, name) for name in _COPIED},
    )


def merged(costs: Iterable[Cost]) -> Cost:
    """Return several costs as one: lines of one unit and price are one line."""
    lines: defaultdict[tuple[str, int, int | None], list[Line]] = defaultdict(list)
    for one in costs:
        for line in one.lines:
            lines[line.unit, line.per, line.price_nano].append(line)
    summed = tuple(
        replace(
            some[0],
            units=sum(line.units for line in some),
            amount_nano=sum(line.amount_nano for line in some),
        )
        for some in lines.values()
    )
    return Cost(sum(line.amount_nano for line in summed), summed)


def _price(charged: Entry, configuration: Configuration) -> Price | None:
    deployment = _deployment(charged, configuration)
    if deployment is None:
        return None
    begun = datetime.fromtimestamp((charged.request_id.int >> 80) / 1000, UTC).date()
    return price_for(deployment, configuration.terms.get(charged.tenant_id), begun)


def _deployment(charged: Entry, configuration: Configuration) -> Deployment | None:
    known = (one for named in configuration.models.values() for one in named)
    return next((one for one in known if one.id == charged.deployment_id), None)
