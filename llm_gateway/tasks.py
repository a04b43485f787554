"""Work of the gateway that nobody waits for; each task may safely run twice."""

import structlog
from celery import shared_task
from django.utils import timezone

from llm_gateway.insight.retention import months_kept, retain

log = structlog.get_logger(__name__)


@shared_task(name="llm_gateway.retention")  # type: ignore[untyped-decorator] # celery has no types
def retention() -> int:
    """Let old rows of the request log go, as `manage.py retention` does; return how many."""
    gone = retain(timezone.now().date(), months_kept())
    log.info(
        "retention.done",
        before=str(gone.before),
        rows=gone.rows,
        dropped=gone.dropped,
        made=gone.made,
    )
    return gone.rows
