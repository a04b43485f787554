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
from msgspec.structs import replace

from llm_gateway import models, pricing
from llm_gateway.price_book.corrected_log import show_corrections
from llm_gateway.snapshot import read_snapshot
from llm_gateway.types import Deployment, Margin, Price, Terms, Usage
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


class Span(Struct, frozen=True):
    """Which attempts are looked at: of a model from one day to another, both included.

    A tenant pays the margin that it paid then; with `margins`, the one that stands there now.
    """

    model: str
    start: date
    end: date
    margins: bool = False


def corrections(span: Span) -> Iterator[list[Correction]]:
    """Yield, in groups, what is to be corrected.

    Attempts whose usage nobody knows, that have no price or whose provider told the cost are left.
    """
    prices = _Prices(margins=span.margins)
    attempts = Entry.all_tenants_unsafe.filter(
        model=span.model,
        kind=Entry.Kind.ATTEMPT,
        created_at__gte=datetime.combine(span.start, time(0), UTC),
        created_at__lt=datetime.combine(span.end + timedelta(days=1), time(0), UTC),
    )
    found = attempts.order_by("pk").iterator(chunk_size=AT_ONCE)
    while group := list(islice(found, AT_ONCE)):
        yield [one for one in _of_group(group, prices) if one is not None]


def recompute(session: Session, span: Span, *, actor: str) -> Done:
    """Write what is to be corrected, group by group; the trail is one event of the audit log."""
    done = Done()
    for group in corrections(span):
        wrong = [one for one in group if one.difference_nano]
        if wrong:
            session.carefully([Correct(one.entry) for one in wrong])
        # Those of an earlier run too: it may have been cut off before it came here.
        show_corrections(one.entry.request_id for one in group)
        done.attempts += len(group)
        done.corrected += len(wrong)
        done.difference_nano += sum(one.difference_nano for one in wrong)
    if done.corrected:
        _leave_trail(actor, span, done)
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
    deployment = prices.deployment(known) if known else None
    if known is None or deployment is None or _as_told(known):
        return None
    price = prices.of(known, deployment)
    if price is None:
        return None
    fee = deployment.provider.quirks.request_fee
    try:
        cost = pricing.cost(msgspec.convert(known.usage, Usage), price, request_fee=fee)
    except pricing.UnpricedError:
        return None
    entry = EntryRow(
        kind="correction",
        seq=0,  # the ledger knows which is next
        unpriced=cost.unpriced,
        price_version_id=price.id,
        amount_nano=cost.total_nano,
        bucket_ids=tuple(entries[0].bucket_ids),
        lines=msgspec.to_builtins(cost.lines),
        **{name: getattr(known, name) for name in _COPIED},
    )
    return Correction(entry, sum(one.amount_nano for one in entries))


class _Prices:
    """All prices as they stand now; margins as they were, unless they are asked for too."""

    def __init__(self, *, margins: bool) -> None:
        self._margins = margins
        configuration = read_snapshot().configuration
        self._terms = configuration.terms
        self._deployments: dict[int, Deployment] = {
            one.id: one for named in configuration.models.values() for one in named
        }

    def deployment(self, entry: Entry) -> Deployment | None:
        return self._deployments.get(entry.deployment_id or 0)

    def of(self, entry: Entry, deployment: Deployment) -> Price | None:
        terms: Terms | None = self._terms.get(entry.tenant_id)
        if terms is not None and not self._margins and _by_list(entry, deployment):
            terms = replace(terms, margins=tuple(_paid_margin(entry)))
        return pricing.price_for(deployment, terms, _day(entry))


def _as_told(entry: Entry) -> bool:
    return any(line.get("unit") == pricing.TOLD for line in entry.lines)


def _by_list(entry: Entry, deployment: Deployment) -> bool:
    """Say whether an entry was reckoned with a list price, on which margins come."""
    return any(price.id == entry.price_version_id for price in deployment.prices)


def _paid_margin(entry: Entry) -> Iterator[Margin]:
    """Yield the margin of an entry by its own line; no line is no margin."""
    for line in entry.lines:
        if line.get("unit") == "margin":
            yield Margin(id=line.get("version") or 0, ppm=line["price_nano"], valid_from=date.min)


def _day(entry: Entry) -> date:
    """Return the day whose price holds: when the request began, which its id says (version 7)."""
    if entry.request_id.version == _UUID7:
        return datetime.fromtimestamp((entry.request_id.int >> 80) / 1000, UTC).date()
    return entry.created_at.astimezone(UTC).date()


def _leave_trail(actor: str, span: Span, done: Done) -> None:
    row = models.Model.objects.filter(name=span.model).first()
    if row is None:
        return
    after: dict[str, Any] = {
        "from": span.start.isoformat(),
        "to": span.end.isoformat(),
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
