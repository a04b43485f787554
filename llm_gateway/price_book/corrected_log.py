"""Show corrections of the ledger in the request log: a line for each, and in its roll-ups.

Written from the ledger's entries and not from what was just done: again, it changes nothing.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from llm_gateway.insight import rollup
from llm_gateway.models import RequestLog
from tenants.money.models import Entry
from tenants.money.ops import CHARGED_BEFORE

UNIT = "correction"
_NOTHING = dict.fromkeys((*rollup.ADDED, "saved_nano"), 0)


def show_corrections(request_ids: Iterable[UUID]) -> None:
    """Make the log's rows of these requests show the corrections that the ledger has."""
    wanted = set(request_ids)
    lines = _lines(wanted)
    with transaction.atomic():
        for row in RequestLog.objects.select_for_update().filter(pk__in=wanted).order_by("pk"):
            kept = [line for line in row.lines if line.get("unit") != UNIT]
            shown = [*kept, *lines[row.pk]]
            difference = _sum(shown) - _sum(row.lines)
            if shown != row.lines:
                row.lines, row.cost_nano = shown, row.cost_nano + difference
                row.save(update_fields=["lines", "cost_nano"])
                _roll_up(row, difference)


def _lines(request_ids: Iterable[UUID]) -> defaultdict[UUID, list[dict[str, Any]]]:
    found: defaultdict[UUID, list[dict[str, Any]]] = defaultdict(list)
    entries = Entry.all_tenants_unsafe.filter(
        request_id__in=request_ids, kind=Entry.Kind.CORRECTION
    )
    for entry in entries.order_by("attempt_no", "seq"):
        if any(line.get("unit") == CHARGED_BEFORE for line in entry.lines):
            found[entry.request_id].append(
                {
                    "attempt": entry.attempt_no,
                    "unit": UNIT,
                    "units": 1,
                    "per": 1,
                    "price_nano": entry.amount_nano,
                    "amount_nano": entry.amount_nano,
                }
            )
    return found


def _sum(lines: Iterable[dict[str, Any]]) -> int:
    return sum(line["amount_nano"] for line in lines)


def _roll_up(row: RequestLog, difference: int) -> None:
    values = {name: getattr(row, name) for name in rollup.READ}
    # The request itself is counted there already: only what it cost is new.
    uncounted = dict.fromkeys(rollup.COUNTED, 0)
    found = rollup.hours_of([{**values, **_NOTHING, "cost_nano": difference}])
    hours = [hour | uncounted for hour in found]
    with connection.cursor() as cursor:
        rollup.add(connection, cursor, hours)
