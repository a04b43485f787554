"""Check the ledger and keep what was found: the integrity page shows the last check's row."""

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import msgspec
import structlog
from django.db import connection, models
from msgspec import Struct
from typing_extensions import override

from tenants.install import install_secret
from tenants.money.verify import verify

DAYS = 31
KEPT = timedelta(days=90)
# A difference that repeats a thousand times is told as well by its first hundred.
_MOST_DIFFERENCES = 100

log = structlog.get_logger(__name__)


class DayBooks(Struct, frozen=True, kw_only=True):
    """One UTC day in both books.

    `settled_nano` is what ended with its request, as corrected since, which the request log holds
    too; `later_nano` came after it: orphans, uncertain attempts, adjustments.
    """

    day: date
    log_nano: int
    settled_nano: int
    later_nano: int

    @property
    def differs_nano(self) -> int:
        return self.log_nano - self.settled_nano


Compare = Callable[[datetime, int], Sequence[DayBooks]]


class LedgerCheck(models.Model):
    """What one check of the whole ledger found."""

    at = models.DateTimeField()
    ok = models.BooleanField()
    entries = models.BigIntegerField()
    holds = models.BigIntegerField()
    differences = models.JSONField(default=list)
    difference_count = models.BigIntegerField(default=0)
    days = models.JSONField(default=list)
    took_s = models.FloatField()

    class Meta:
        db_table = "ledger_check"
        ordering = ("-id",)

    @override
    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {'ok' if self.ok else 'differs'}"

    @property
    def books(self) -> list[DayBooks]:
        return msgspec.convert(self.days, list[DayBooks])


def check_ledger(
    now: datetime, clock: Callable[[], float], compare: Compare | None = None
) -> LedgerCheck:
    """Check as `manage.py verify_ledger` does; what differs is an error in the log and in the row.

    `clock` counts seconds; `compare` sets the ledger's days against the request log's.
    """
    began = clock()
    report = verify(connection, install_secret("ledger_key"))
    days = compare(now, DAYS) if compare else ()
    for difference in report.differences[:_MOST_DIFFERENCES]:
        log.error("ledger.differs", line=difference.line)
    log.info("ledger.verified", ok=report.ok, entries=report.entries, holds=report.holds)
    LedgerCheck.objects.filter(at__lt=now - KEPT).delete()
    return LedgerCheck.objects.create(
        at=now,
        ok=report.ok,
        entries=report.entries,
        holds=report.holds,
        differences=_plain(report.differences[:_MOST_DIFFERENCES]),
        difference_count=len(report.differences),
        days=_plain(days),
        took_s=round(clock() - began, 3),
    )


def check_if_due(
    now: datetime,
    clock: Callable[[], float],
    compare: Compare | None = None,
    *,
    every_s: float,
) -> LedgerCheck | None:
    """Check unless somebody did within that time: the row is the fleet's memory of when."""
    if LedgerCheck.objects.filter(at__gt=now - timedelta(seconds=every_s)).exists():
        return None
    return check_ledger(now, clock, compare)


def _plain(rows: Any) -> list[Any]:  # noqa: ANN401 - whatever msgspec writes
    built: list[Any] = msgspec.to_builtins(rows)
    return built
