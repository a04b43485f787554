"""Turn alerts and alarms into deliveries, once each; try each until it was taken or given up.

A delivery is claimed by moving its `next_at`, so that one process at a time sends it. A process
that dies in between leaves it to the next one: at least once, with an id that tells a repeat.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import product
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import F, Q
from msgspec import Struct

from tenants.alerts.messages import (
    Alarmed,
    Message,
    Reached,
    alarm_message,
    check_message,
    threshold_message,
)
from tenants.alerts.models import AlertDelivery, AlertSink
from tenants.alerts.sending import NotDeliveredError, Post, send
from tenants.ids import new_id
from tenants.models import Budget, Tenant
from tenants.money.models import Alert, LedgerAlarm
from tenants.raises import limit_in_force

# After each failed attempt; after the last one it is given up.
PAUSES = tuple(
    timedelta(seconds=seconds) for seconds in (10, 30, 120, 600, 1800, 7200, 21_600, 43_200)
)
# Longer than any attempt takes: until then nobody else tries.
CLAIM = timedelta(minutes=5)
AT_ONCE = 20

Now = Callable[[], datetime]

log = structlog.get_logger(__name__)


def deliver(post: Post, now: Now) -> int:
    """Do what is due; return how many attempts were made."""
    spread(now())
    due = AlertDelivery.objects.filter(next_at__lte=now(), sink__enabled=True)
    attempts = 0
    for delivery in due.select_related("sink__tenant").order_by("next_at")[:AT_ONCE]:
        if _claim(delivery, now()):
            attempt(delivery, post, now)
            attempts += 1
    return attempts


def spread(now: datetime) -> int:
    """Make the deliveries of every new alert and alarm, all or none of each; return how many."""
    alerts = Alert.objects.filter(sent_at=None).select_related("bucket").order_by("id")
    alarms = LedgerAlarm.all_tenants_unsafe.filter(sent_at=None).order_by("id")
    new: list[Alert | LedgerAlarm] = [*alerts[:AT_ONCE], *alarms[:AT_ONCE]]
    if not new:
        return 0
    with transaction.atomic():
        # Who comes second waits here, and then finds nothing left of these.
        mine = [_news(one, now) for one in new if _take(one, now)]
        return len(AlertDelivery.objects.bulk_create(_deliveries(mine, now)))


def try_sink(sink: AlertSink, post: Post, now: Now) -> AlertDelivery:
    """Send a test to a sink, once and at once; return its delivery."""
    message_id = new_id()
    delivery = AlertDelivery.objects.create(
        id=message_id,
        sink=sink,
        message=check_message(message_id, now(), str(sink)),
        created_at=now(),
        attempts=1,
    )
    attempt(delivery, post, now)
    return delivery


def attempt(delivery: AlertDelivery, post: Post, now: Now) -> None:
    """Send a claimed delivery and write down what came of it."""
    try:
        send(delivery.sink, delivery.message, post, now())
    except NotDeliveredError as error:
        delivery.error = str(error)[:300]
        delivery.next_at = _again_at(delivery, now())
        log.warning("alert.not_delivered", sink=str(delivery.sink), error=delivery.error)
    else:
        delivery.sent_at, delivery.next_at, delivery.error = now(), None, ""
    delivery.save(update_fields=["sent_at", "next_at", "error"])


def _again_at(delivery: AlertDelivery, now: datetime) -> datetime | None:
    """Return when a failed delivery is tried again; a test never is."""
    if delivery.is_test or delivery.attempts > len(PAUSES):
        return None
    return now + PAUSES[delivery.attempts - 1]


def _claim(delivery: AlertDelivery, now: datetime) -> bool:
    # Only one of those who read the same `next_at` finds it unchanged.
    unclaimed = AlertDelivery.objects.filter(pk=delivery.pk, next_at=delivery.next_at)
    claimed = unclaimed.update(next_at=now + CLAIM, attempts=F("attempts") + 1)
    delivery.attempts += claimed
    return bool(claimed)


class News(Struct, frozen=True):
    """An alert or an alarm to tell: whose it is, and what a message with some id says of it."""

    tenant_id: int
    told_of: Mapping[str, Alert | LedgerAlarm]
    message: Callable[[UUID], Message]


def _take(one: Alert | LedgerAlarm, now: datetime) -> bool:
    table = Alert.objects if isinstance(one, Alert) else LedgerAlarm.all_tenants_unsafe
    return bool(table.filter(pk=one.pk, sent_at=None).update(sent_at=now))


def _news(one: Alert | LedgerAlarm, now: datetime) -> News:
    if isinstance(one, LedgerAlarm):
        say = partial(alarm_message, at=one.created_at, alarmed=_alarmed(one))
        return News(one.tenant_id, {"alarm": one}, say)
    say = partial(threshold_message, at=one.created_at, reached=_reached(one, now))
    return News(one.bucket.tenant_id, {"alert": one}, say)


def _deliveries(news: Sequence[News], now: datetime) -> Iterable[AlertDelivery]:
    tenants = {one.tenant_id for one in news}
    sinks = AlertSink.objects.filter(Q(tenant=None) | Q(tenant__in=tenants), enabled=True)
    for one, sink in product(news, list(sinks)):
        if sink.tenant_id in {None, one.tenant_id}:
            message_id = new_id()
            yield AlertDelivery(
                id=message_id,
                **one.told_of,
                sink=sink,
                message=one.message(message_id),
                created_at=now,
                next_at=now,
            )


def _alarmed(alarm: LedgerAlarm) -> Alarmed:
    return Alarmed(
        tenant=_tenant_name(alarm.tenant_id),
        kind=alarm.kind,
        model=alarm.model,
        request_id=str(alarm.request_id),
        attempt=alarm.attempt_no,
        said=alarm.said,
    )


def _tenant_name(tenant_id: int) -> str:
    found = Tenant.objects.filter(pk=tenant_id).values_list("name", flat=True).first()
    return found or f"id {tenant_id}"


def _reached(alert: Alert, now: datetime) -> Reached:
    bucket = alert.bucket
    owners = ("tenant", "project", "api_key")
    budget = Budget.all_tenants_unsafe.filter(pk=bucket.budget_id).select_related(*owners).first()
    return Reached(
        tenant=_tenant_name(bucket.tenant_id),
        budget=budget.name if budget else f"id {bucket.budget_id}",
        scope=budget.scope if budget else "",
        owner=(budget.api_key or budget.project or budget.tenant).name if budget else "",
        period=bucket.period_key.partition(" ")[0],
        starts_at=bucket.starts_at,
        ends_at=bucket.ends_at,
        subject=bucket.subject,
        threshold_ppm=alert.threshold_ppm,
        used_nano=bucket.used_nano,
        limit_nano=limit_in_force(budget, now) if budget else None,
    )
