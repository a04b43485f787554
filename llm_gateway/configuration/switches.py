"""Stop and resume a tenant, key, model or agent run: in force everywhere within two seconds.

A stop is a change of configuration like any other, so everyone who polls that hears of it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from django.db import models, transaction
from django.utils import timezone

from llm_gateway.models import Model
from tenants import audit
from tenants.models import ApiKey, Tenant
from tenants.money.stopped import switch_run

RUN = "run"


class NoSuchError(Exception):
    """There is nothing of that kind and name."""


def switch(kind: str, name: str, *, on: bool, actor: str) -> int:
    """Stop what is named, or let it go on; return how many rows that changed.

    A key is named TENANT/KEY, a run TENANT/RUN, a model by its public name: all its deployments.
    Raises NoSuchError.
    """
    if kind == RUN:
        return _switch_run(name, on=on, actor=actor)
    rows, values = _KINDS[kind](name, on)
    with transaction.atomic():
        found = list(rows.select_for_update(of=("self",)))
        if not found:
            raise NoSuchError(f"There is no {kind} {name}.")
        changed = [row for row in found if _is_on(row, values) != on]
        for row in changed:
            before = audit.fields_of(row)
            for field, value in values.items():
                setattr(row, field, value)
            row.save(update_fields=[*values])
            action = "resumed" if on else "stopped"
            audit.record(actor, action, row, before, audit.fields_of(row))
    return len(changed)


def _switch_run(name: str, *, on: bool, actor: str) -> int:
    tenant, _, run = name.partition("/")
    owner = Tenant.objects.filter(name=tenant).first()
    if owner is None or not run:
        raise NoSuchError(f"There is no tenant {tenant}.")
    with transaction.atomic():
        row = switch_run(owner, run, on=on, now=timezone.now())
        audit.record(actor, "resumed" if on else "stopped", row)
    return 1


def _is_on(row: models.Model, values: Mapping[str, Any]) -> bool:
    (field,) = values
    value = getattr(row, field)
    return value is None if field == "revoked_at" else bool(value)


def _tenant(name: str, on: bool) -> tuple[models.QuerySet[Any], Mapping[str, Any]]:
    return Tenant.objects.filter(name=name), {"active": on}


def _key(name: str, on: bool) -> tuple[models.QuerySet[Any], Mapping[str, Any]]:
    tenant, _, key = name.partition("/")
    rows = ApiKey.all_tenants_unsafe.filter(tenant__name=tenant, name=key)
    return rows, {"revoked_at": None if on else timezone.now()}


def _model(name: str, on: bool) -> tuple[models.QuerySet[Any], Mapping[str, Any]]:
    return Model.objects.filter(name=name), {"enabled": on}


_KINDS: Mapping[str, Callable[[str, bool], tuple[models.QuerySet[Any], Mapping[str, Any]]]] = {
    "tenant": _tenant,
    "key": _key,
    "model": _model,
}
KINDS = (*_KINDS, RUN)
