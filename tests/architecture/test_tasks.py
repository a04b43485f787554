"""What beat schedules exists as a task, and does what its name says."""

import pytest
from structlog.testing import capture_logs

from mobius.celery import app
from tenants.models import Tenant
from tenants.money.models import Bucket
from tenants.tasks import verify_ledger


def test_everything_that_is_scheduled_is_a_task() -> None:
    app.loader.import_default_modules()
    scheduled = {row["task"] for row in app.conf.beat_schedule.values()}
    ours = {name for name in app.tasks if not name.startswith("celery.")}
    assert scheduled == ours


@pytest.mark.django_db(transaction=True)
def test_a_ledger_that_adds_up_is_said_to() -> None:
    with capture_logs() as logs:
        assert verify_ledger() is True
    assert [line["event"] for line in logs] == ["ledger.verified"]


@pytest.mark.django_db(transaction=True)
def test_a_counter_that_is_no_sum_is_an_error_in_the_log() -> None:
    tenant = Tenant.objects.create(name="acme")
    Bucket.all_tenants_unsafe.create(
        tenant=tenant,
        budget_id=1,
        subject="",
        period_key="total",
        starts_at="1970-01-01T00:00:00Z",
        used_nano=5,
    )
    with capture_logs() as logs:
        assert verify_ledger() is False
    assert [line["log_level"] for line in logs] == ["error", "info"]
