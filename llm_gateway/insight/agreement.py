"""Set what the ledger charged each day against what the request log says, request by request.

Both are cut by the time in the request's id, so no attempt lies on two days, and read by its index.
"""

from datetime import UTC, datetime, timedelta

from django.db.models import Exists, OuterRef, Q, Sum

from llm_gateway.insight.partitions import first_id
from llm_gateway.models import RequestLog
from tenants.money.checks import DayBooks
from tenants.money.models import Entry

_GUESSED = Q(outcome__in=("orphan", "uncertain"))
_KNOWN_SINCE = Exists(
    Entry.all_tenants_unsafe.filter(
        request_id=OuterRef("request_id"), attempt_no=OuterRef("attempt_no"), kind="correction"
    ).exclude(_GUESSED)
)
# Entries of a sweep or a person, who came when the request had its row in the log: not those of an
# attempt that came back after it was swept.
_LATER = Q(kind__in=("adjustment", "carry")) | (_GUESSED & Q(~_KNOWN_SINCE))


def days_of_both(now: datetime, days: int) -> list[DayBooks]:
    """Return the last `days` UTC days, the running one first; days without spend are left out."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    rows = [_day(today - timedelta(days=back)) for back in range(days)]
    return [row for row in rows if row.log_nano or row.settled_nano or row.later_nano]


def _day(start: datetime) -> DayBooks:
    first, last = first_id(start), first_id(start + timedelta(days=1))
    logged = RequestLog.objects.filter(pk__gte=first, pk__lt=last).aggregate(nano=Sum("cost_nano"))
    entries = Entry.all_tenants_unsafe.filter(request_id__gte=first, request_id__lt=last)
    charged = entries.aggregate(
        settled=Sum("amount_nano", filter=~_LATER), later=Sum("amount_nano", filter=_LATER)
    )
    return DayBooks(
        day=start.date(),
        log_nano=logged["nano"] or 0,
        settled_nano=charged["settled"] or 0,
        later_nano=charged["later"] or 0,
    )
