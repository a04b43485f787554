"""Tell operators at a glance what of the money waits for them, each with the page that shows it."""

from datetime import datetime, timedelta
from urllib.parse import urlencode

from django.urls import reverse
from django.utils.html import format_html
from msgspec import Struct

from llm_gateway.insight.drift import TOLERANCE
from llm_gateway.insight.invoices import cost_drift, last_days, stating
from llm_gateway.price_book import feed
from llm_gateway.price_book.unpriced import without_price
from tenants.admin.columns import ago
from tenants.admin.integrity import LATE_S
from tenants.models import RaiseRequest
from tenants.money.checks import LedgerCheck
from tenants.money.models import LedgerAlarm

INVOICE_DAYS = 31
ALARM_DAYS = 7


class State(Struct, frozen=True, kw_only=True):
    """One thing: its state in a word or a figure, what that means, and whether it is well."""

    title: str
    value: str
    told: str
    good: bool
    href: str


def states(now: datetime) -> list[State]:
    """Return them all. Reads no request, and of the ledger its checks and alarms alone."""
    return [_raises(), *_prices(now), _invoices(now), _integrity(now), _alarms(now)]


def _raises() -> State:
    waiting = RaiseRequest.all_tenants_unsafe.filter(state=RaiseRequest.State.OPEN)
    oldest = waiting.order_by("created_at").first()
    listed = reverse("admin:tenants_raiserequest_changelist")
    return State(
        title="Raises asked for",
        value=f"{waiting.count()} waiting",
        told=format_html("the first {}", ago(oldest.created_at)) if oldest else "nobody waits",
        good=oldest is None,
        href=f"{listed}?{urlencode({'state__exact': RaiseRequest.State.OPEN.value})}",
    )


def _prices(now: datetime) -> list[State]:
    missing, proposals = without_price(now.date()), len(feed.from_catalogue(now.date()))
    return [
        State(
            title="Price inbox",
            value=f"{missing} without a price",
            told="refused under a hard budget" if missing else "every model has one",
            good=not missing,
            href=reverse("admin:llm_gateway_price_unpriced_page"),
        ),
        State(
            title="Price list",
            value=f"{proposals} differ",
            told="from the installed list" if proposals else "as the installed list has them",
            good=not proposals,
            href=reverse("admin:llm_gateway_price_feed_page"),
        ),
    ]


def _invoices(now: datetime) -> State:
    """Tell of the provider whose invoice is furthest from what was booked."""
    drifts = []
    for provider in stating():
        _, end = last_days(1, min(provider.last, now.date()))
        start = max(provider.first, end - timedelta(days=INVOICE_DAYS))
        share = cost_drift(provider, start, end)
        if share is not None:
            drifts.append((abs(share), f"{share:+.2%}", f"{provider.name}, until {provider.last}"))
    furthest, value, told = max(drifts, default=(0.0, "none", "no cost was imported"))
    return State(
        title="Invoice drift",
        value=value,
        told=told,
        good=furthest <= TOLERANCE,
        href=reverse("admin:llm_gateway_invoiceline_changelist"),
    )


def _integrity(now: datetime) -> State:
    last = LedgerCheck.objects.first()
    late = last is None or (now - last.at).total_seconds() > LATE_S
    if last is None:
        value = "not checked"
    else:
        value = "adds up" if last.ok else f"{last.difference_count} differ"
    return State(
        title="Ledger",
        value=value,
        told=format_html("checked {}", ago(last.at)) if last else "a check runs every hour",
        good=last is not None and last.ok and not late,
        href=reverse("admin:tenants_ledgercheck_changelist"),
    )


def _alarms(now: datetime) -> State:
    since = now - timedelta(days=ALARM_DAYS)
    count = LedgerAlarm.all_tenants_unsafe.filter(created_at__gt=since).count()
    return State(
        title="Alarms",
        value=f"{count} in {ALARM_DAYS} days",
        told="charges that cannot be right" if count else "nothing was charged oddly",
        good=not count,
        href=reverse("admin:tenants_ledgercheck_changelist"),
    )
