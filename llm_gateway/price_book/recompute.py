"""Find what entries should have cost by the prices that are right now, and correct the ledger.

An entry is never changed: a correction is one more, of the difference to all there are. So a
second run finds nothing, and one that was cut off goes on where it stopped.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from typing import Any

import msgspec
from msgspec import Struct

from llm_gateway import models, pricing
from llm_gateway.price_book.corrected_log import show_corrections
from llm_gateway.snapshot import read_snapshot
from llm_gateway.types import Deployment, Price, Terms, Usage
from tenants import audit
from tenants.money.models import Entry
from tenants.money.ops import Correct
from tenants.money.rows import EntryRow
from tenants.money.session import Session
from tenants.types import usd

AT_ONCE = 64
_COPIED = (
    *("request_id", "attempt_no", "outcome", "estimated", "tenant_id", "project_id", "api_key_id"),
    *("user_id", "end_user", "tags", "deployment_id", "model", "hold_nano", "usage"),
)
_UUID7 = 7


class Correction(Struct, frozen=True):
    """One attempt that was charged wrongly: what it was charged so far, and what is right."""

    entry: EntryRow
    charged_nano: int

    @property
    def difference_nano(self) -> int:
        return self.entry.amount_nano - self.charged_nano


class Done(Struct):
    """How many attempts were looked at, how many of them corrected, and by how much in all."""

    attempts: int = 0
    corrected: int = 0
    difference_nano: int = 0


def corrections(model: str, start: date, end: date) -> Iterator[list[Correction]]:
    """Yield, in groups, what is to be corrected of a model's attempts from `start` to `end`.

    Both days are included. Attempts whose usage nobody knows, or that have no price, are left.
    """
    prices = _Prices()
    attempts = Entry.all_tenants_unsafe.filter(
        model=model,
        kind=Entry.Kind.ATTEMPT,
        created_at__gte=datetime.combine(start, time(0), UTC),
        created_at__lt=datetime.combine(end + timedelta(days=1), time(0), UTC),
    )
    found = attempts.order_by("pk").iterator(chunk_size=AT_ONCE)
    while group := list(islice(found, AT_ONCE)):
        yield [one for one in _of_group(group, prices) if one is not None]


def recompute(session: Session, model: str, start: date, end: date, *, actor: str) -> Done:
    """Write what is to be corrected, group by group; the trail is one event of the audit log."""
    done = Done()
    for group in corrections(model, start, end):
        wrong = [one for one in group if one.difference_nano]
        if wrong:
            session.carefully([Correct(one.entry) for one in wrong])
        # Those of an earlier run too: it may have been cut off before it came here.
        show_corrections(one.entry.request_id for one in group)
        done.attempts += len(group)
        done.corrected += len(wrong)
        done.difference_nano += sum(one.difference_nano for one in wrong)
    if done.corrected:
        _leave_trail(actor, model, (start, end), done)
    return done


def _of_group(group: list[Entry], prices: "_Prices") -> Iterator[Correction | None]:
    rows = Entry.all_tenants_unsafe.filter(request_id__in={one.request_id for one in group})
    charged = defaultdict(list)
    for row in rows.order_by("seq"):
        charged[row.request_id, row.attempt_no].append(row)
    for attempt in group:
        yield _correction(charged[attempt.request_id, attempt.attempt_no], prices)


def _correction(entries: list[Entry], prices: "_Prices") -> Correction | None:
    """Return what an attempt costs by its last known usage; None where that cannot be said."""
    known = next((one for one in reversed(entries) if "input" in one.usage), None)
    price = prices.of(known) if known else None
    if known is None or price is None:
        return None
    try:
        cost = pricing.cost(msgspec.convert(known.usage, Usage), price)
    except pricing.UnpricedError:
        return None
    entry = EntryRow(
        kind="correction",
        seq=0,  # the ledger knows which is next
        unpriced=False,
        price_version_id=price.id,
        amount_nano=cost.total_nano,
        bucket_ids=tuple(entries[0].bucket_ids),
        lines=msgspec.to_builtins(cost.lines),
        **{name: getattr(known, name) for name in _COPIED},
    )
    return Correction(entry, sum(one.amount_nano for one in entries))


class _Prices:
    """All prices as they stand now."""

    def __init__(self) -> None:
        configuration = read_snapshot().configuration
        self._terms = configuration.terms
        self._deployments: dict[int, Deployment] = {
            one.id: one for named in configuration.models.values() for one in named
        }

    def of(self, entry: Entry) -> Price | None:
        deployment = self._deployments.get(entry.deployment_id or 0)
        if deployment is None:
            return None
        terms: Terms | None = self._terms.get(entry.tenant_id)
        return pricing.price_for(deployment, terms, _day(entry))


def _day(entry: Entry) -> date:
    """Return the day whose price holds: when the request began, which its id says (version 7)."""
    if entry.request_id.version == _UUID7:
        return datetime.fromtimestamp((entry.request_id.int >> 80) / 1000, UTC).date()
    return entry.created_at.astimezone(UTC).date()


def _leave_trail(actor: str, model: str, span: tuple[date, date], done: Done) -> None:
    row = models.Model.objects.filter(name=model).first()
    if row is None:
        return
    after: dict[str, Any] = {
        "from": span[0].isoformat(),
        "to": span[1].isoformat(),
        "attempts": done.corrected,
        "difference": usd(done.difference_nano),
    }
    audit.record(actor, "recomputed", row, None, after)


def totals(groups: Iterable[list[Correction]]) -> Done:
    """Return what a run would do."""
    done = Done()
    for group in groups:
        wrong = [one for one in group if one.difference_nano]
        done.attempts += len(group)
        done.corrected += len(wrong)
        done.difference_nano += sum(one.difference_nano for one in wrong)
    return done
