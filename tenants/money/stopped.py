"""Stop agent runs, and say which are; a stop is heard of like a change of configuration."""

from collections.abc import Collection
from datetime import datetime

from django.db.models import F

from tenants.models import ConfigVersion, Tenant
from tenants.money.models import Run
from tenants.money.runs import RunKey


def stopped_runs(named: Collection[RunKey]) -> set[RunKey]:
    """Return those of the runs that were stopped."""
    names = {name for _, name in named if name}
    if not names:
        return set()
    rows = Run.all_tenants_unsafe.filter(name__in=names).exclude(stopped_at=None)
    return {*rows.values_list("tenant_id", "name")} & {*named}


def switch_run(tenant: Tenant, name: str, *, on: bool, now: datetime) -> Run:
    """Stop a run, also one that nobody has begun yet, or let it go on."""
    row, _ = Run.all_tenants_unsafe.get_or_create(
        tenant=tenant, name=name, defaults={"started_at": now}
    )
    row.stopped_at = None if on else now
    row.save(update_fields=["stopped_at"])
    ConfigVersion.objects.update(version=F("version") + 1)
    return row
