"""Work of the tenancy side that nobody waits for; each task may safely run twice."""

import structlog
from celery import shared_task
from django.db import connection

from tenants.install import install_secret
from tenants.money.verify import verify

log = structlog.get_logger(__name__)


@shared_task(name="tenants.verify_ledger")  # type: ignore[untyped-decorator] # celery has no types
def verify_ledger() -> bool:
    """Check the ledger as `manage.py verify_ledger` does; what differs is an error in the log."""
    report = verify(connection, install_secret("ledger_key"))
    for difference in report.differences:
        log.error("ledger.differs", line=difference.line)
    log.info("ledger.verified", ok=report.ok, entries=report.entries, holds=report.holds)
    return report.ok
