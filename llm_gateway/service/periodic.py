"""List what runs every so often: the ticker of a process and Celery's beat both read this."""

from time import monotonic

from django.utils import timezone

from llm_gateway.configuration.states import keep_state
from llm_gateway.insight.agreement import days_of_both
from llm_gateway.insight.retention import forget_payloads, months_kept, retain
from llm_gateway.service.circuit_log import forget_changes
from llm_gateway.service.keeper import forget_old
from llm_gateway.service.webhooks import post_webhook
from tenants.alerts.delivery import deliver
from tenants.money.checks import LedgerCheck, check_if_due, check_ledger
from tenants.ticker import Job

MINUTE, HOUR = 60.0, 3600.0


def verify_ledger() -> LedgerCheck:
    """Check the ledger now, and set its days against the request log's."""
    return check_ledger(timezone.now(), monotonic, days_of_both)


def verify_hourly() -> None:
    check_if_due(timezone.now(), monotonic, days_of_both, every_s=HOUR)


def deliver_alerts() -> None:
    deliver(post_webhook, timezone.now)


def retain_requests() -> None:
    """Let old rows of the request log go, what they held sooner; make room for months to come."""
    now, months = timezone.now(), months_kept()
    retain(now.date(), months)
    forget_payloads(now, months)
    forget_changes(now, months)


PERIODIC = (
    Job(name="llm_gateway.forget_kept_objects", run=forget_old, every_s=HOUR, first_s=2 * MINUTE),
    Job(name="llm_gateway.keep_configuration", run=keep_state, every_s=10, first_s=3),
    Job(name="tenants.deliver_alerts", run=deliver_alerts, every_s=10, first_s=5),
    # Looks often whether an hour has gone by, so that restarts neither skip a check nor add one.
    Job(name="tenants.verify_ledger", run=verify_hourly, every_s=5 * MINUTE, first_s=MINUTE),
    Job(name="llm_gateway.retain_requests", run=retain_requests, every_s=HOUR, first_s=MINUTE),
)
