"""Old rows of the request log go by whole months, on PostgreSQL with their partitions."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
from django.db import connections
from msgspec.structs import replace

from llm_gateway.insight.partitions import first_id, month_after
from llm_gateway.insight.retention import AT_ONCE, forget_payloads, months_kept, retain
from llm_gateway.models import GatewaySettings, RequestLog, RequestPayload, UsageHour
from llm_gateway.recorder.journal import Journal
from llm_gateway.service.periodic import retain_requests
from llm_gateway.types import CallRecord
from tenants.models import Tenant
from tests.unit.request_log import call

TODAY = date(2026, 11, 20)


def made_at(at: datetime, tenant_id: int = 1) -> CallRecord:
    known = 0x7000_8000_0000_0000_0000 | tenant_id
    return call(id=UUID(int=first_id(at).int | known), created_at=at, tenant_id=tenant_id)


def months(alias: str) -> list[str]:
    rows = RequestLog.objects.using(alias).order_by("id")
    return [f"{row.created_at:%Y-%m}" for row in rows]


def place(alias: str, one: CallRecord) -> str:
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT tableoid::regclass::text FROM llm_gateway_requestlog WHERE id = %s", [one.id]
        )
        return str(cursor.fetchone()[0])


@pytest.mark.parametrize(
    ("month", "on", "found"),
    [
        (date(2026, 11, 20), 1, date(2026, 12, 1)),
        (date(2026, 12, 31), 1, date(2027, 1, 1)),
        (date(2026, 1, 1), -1, date(2025, 12, 1)),
        (date(2026, 11, 20), -13, date(2025, 10, 1)),
    ],
)
def test_months_are_counted_over_the_year(month: date, on: int, found: date) -> None:
    assert month_after(month, on) == found


def test_this_month_and_those_before_it_stay_the_rest_goes(alias: str, journal: Journal) -> None:
    first_kept = datetime(2026, 9, 1, tzinfo=UTC)
    journal.write([
        made_at(first_kept - timedelta(days=400)),
        made_at(first_kept - timedelta(milliseconds=1)),
        made_at(first_kept),
        made_at(datetime(2026, 11, 20, tzinfo=UTC)),
    ])  # fmt: skip
    gone = retain(TODAY, 2, using=alias)
    assert (gone.before, gone.rows) == (date(2026, 9, 1), 2)
    assert months(alias) == ["2026-09", "2026-11"]
    assert UsageHour.all_tenants_unsafe.using(alias).count() == 4  # sums outlive the rows
    assert retain(TODAY, 2, using=alias).rows == 0


def test_thirteen_months_are_kept_unless_the_settings_say_otherwise(alias: str) -> None:
    assert months_kept(using=alias) == 13
    GatewaySettings.objects.using(alias).create(retention_months=3)
    assert months_kept(using=alias) == 3


def test_each_tenant_keeps_its_rows_as_long_as_it_says(alias: str, journal: Journal) -> None:
    for tenant, own in ((1, None), (2, 1), (3, 24)):
        Tenant.objects.using(alias).create(pk=tenant, name=f"t{tenant}", retention_months=own)
    month = [month_after(TODAY, -back) for back in (25, 24, 14, 13, 2, 1, 0)]
    instants = [datetime(day.year, day.month, 1, 12, tzinfo=UTC) for day in month]
    journal.write([made_at(at, tenant) for at in instants for tenant in (1, 2, 3, 4)])
    with_partitions = retain(TODAY, 13, using=alias)
    kept: dict[int | None, list[str]] = {}
    for row in RequestLog.objects.using(alias).order_by("id"):
        kept.setdefault(row.tenant_id, []).append(f"{row.created_at:%Y-%m}")
    names = [f"{day:%Y-%m}" for day in month]
    # The last one is of a tenant that is gone.
    assert kept == {1: names[3:], 2: names[5:], 3: names[1:], 4: names[3:]}
    assert (with_partitions.before, with_partitions.rows) == (month[1], 3 + 5 + 1 + 3)
    assert retain(TODAY, 13, using=alias).rows == 0
    assert UsageHour.all_tenants_unsafe.using(alias).count() == len(month) * 4


def test_many_rows_go_in_small_steps_past_those_that_stay(alias: str, journal: Journal) -> None:
    Tenant.objects.using(alias).create(pk=1, name="t1", retention_months=24)
    old = datetime(2025, 3, 1, tzinfo=UTC)
    journal.write([
        made_at(old + timedelta(seconds=n), 1 if n % 2 else 2) for n in range(2 * AT_ONCE + 20)
    ])  # fmt: skip
    assert retain(TODAY, 13, using=alias).rows == AT_ONCE + 10
    assert RequestLog.objects.using(alias).count() == AT_ONCE + 10


def test_payloads_are_kept_for_their_tenants_days_and_no_longer_than_their_rows(
    alias: str, journal: Journal
) -> None:
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    for tenant, days, own in ((1, 30, None), (2, 7, None), (3, 3650, 1)):
        fields = {"name": f"t{tenant}", "payload_days": days, "retention_months": own}
        Tenant.objects.using(alias).create(pk=tenant, **fields)
    ages = [timedelta(days=days, seconds=past) for days in (7, 30, 51) for past in (-1, 1)]
    made = [
        replace(made_at(now - age, tenant), payload=b"sealed")
        for age in ages
        for tenant in (1, 2, 3, 4)
    ]
    journal.write(made)
    assert payloads(alias) == {1: 6, 2: 6, 3: 6, 4: 6}
    # The fourth is gone, the third keeps its rows from the first of October on.
    assert forget_payloads(now, 13, using=alias) == 3 + 5 + 2 + 6
    assert payloads(alias) == {1: 3, 2: 1, 3: 4}
    assert forget_payloads(now, 13, using=alias) == 0
    assert RequestLog.objects.using(alias).count() == len(made)


def test_payloads_go_with_their_tenant(alias: str, journal: Journal) -> None:
    tenants = [Tenant.objects.using(alias).create(name=name) for name in ("goes", "stays")]
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    journal.write([replace(made_at(now, one.pk), payload=b"sealed") for one in tenants])
    tenants[0].delete()
    assert payloads(alias) == {tenants[1].pk: 1}


def payloads(alias: str) -> dict[int, int]:
    """Return how many a tenant has."""
    rows = RequestPayload.all_tenants_unsafe.using(alias)
    return Counter(rows.values_list("tenant_id", flat=True))


@pytest.mark.parametrize("database_backend", ["postgres"], indirect=True)
def test_a_partition_stays_while_one_tenant_keeps_its_month(alias: str, journal: Journal) -> None:
    tenant = Tenant.objects.using(alias).create(pk=1, name="t1", retention_months=24)
    then = date(2026, 3, 1)
    retain(then, 13, using=alias)  # as it ran month after month since
    journal.write([made_at(datetime(2026, 3, 2, tzinfo=UTC), tenant) for tenant in (1, 2)])
    gone = retain(date(2027, 11, 1), 13, using=alias)
    assert (gone.dropped, gone.rows) == ([], 1)
    tenant.retention_months = None
    tenant.save()
    gone = retain(date(2027, 11, 1), 13, using=alias)
    assert ("llm_gateway_requestlog_2026_03" in gone.dropped, gone.rows) == (True, 0)
    assert months(alias) == []


@pytest.mark.parametrize("database_backend", ["postgres"], indirect=True)
def test_rows_of_a_month_move_to_its_partition_and_go_with_it(alias: str, journal: Journal) -> None:
    early = made_at(datetime(2026, 11, 2, tzinfo=UTC))
    journal.write([early])
    assert place(alias, early) == "llm_gateway_requestlog_rest"
    gone = retain(TODAY, 13, using=alias)
    assert gone.made[0] == "llm_gateway_requestlog_2026_11"
    assert len(gone.made) == 4
    late = made_at(datetime(2026, 12, 31, 23, 59, tzinfo=UTC))
    far = made_at(datetime(2027, 12, 1, tzinfo=UTC))
    journal.write([late, far, early])
    assert [place(alias, one) for one in (early, late, far)] == [
        "llm_gateway_requestlog_2026_11",
        "llm_gateway_requestlog_2026_12",
        "llm_gateway_requestlog_rest",
    ]
    assert months(alias) == ["2026-11", "2026-12", "2027-12"]
    gone = retain(date(2027, 1, 5), 0, using=alias)
    assert gone.dropped == ["llm_gateway_requestlog_2026_11", "llm_gateway_requestlog_2026_12"]
    assert (gone.rows, months(alias)) == (0, ["2027-12"])


@pytest.mark.django_db(transaction=True)
def test_the_periodic_job_does_what_the_command_does() -> None:
    old = made_at(datetime.now(UTC) - timedelta(days=500))
    journal = Journal()
    journal.write([old, call()])
    journal.close()
    retain_requests()
    assert RequestLog.objects.count() == 1
