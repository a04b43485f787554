"""Write down who changed what; fields that hold secrets or digests are never part of it."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from django.db import models

from tenants.fields import NanoUsdField
from tenants.models import AuditEvent, Tenant
from tenants.types import short_usd

# Who reads the audit learns what changed, not what opens a door; times are the event's own.
_LEFT_OUT = frozenset(
    {"sealed", "digest", "old_digest", "password", "created_at", "updated_at", "last_used_at"}
    | {"managed_by_file"}
)


def fields_of(obj: models.Model) -> dict[str, Any]:
    """Return the fields of a row that may be read by anyone who may read the audit."""
    return {
        field.name: _plain(field, field.value_from_object(obj))
        for field in obj._meta.concrete_fields  # noqa: SLF001 - Django's public model API
        if field.name not in _LEFT_OUT
    }


def record(
    actor: str,
    action: str,
    obj: models.Model,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Write one event: `before` and `after` are what `fields_of` returned, None where it was not.

    `actor` is a login, "apply FILE" or a public key id; `action` created, updated, removed, ….
    """
    tenant = obj if isinstance(obj, Tenant) else getattr(obj, "tenant", None)
    AuditEvent.objects.create(
        actor=actor[:254],
        tenant_id=tenant.pk if tenant else None,
        tenant_name=tenant.name if tenant else "",
        action=action,
        object_type=obj._meta.model_name or "",  # noqa: SLF001 - Django's public model API
        object_id=str(obj.pk),
        object_name=str(obj)[:300],
        changes=_changes(before or {}, after or {}),
    )


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Any]]:
    names = [*before, *(name for name in after if name not in before)]
    return {
        name: [before.get(name), after.get(name)]
        for name in names
        if name not in _LEFT_OUT and before.get(name) != after.get(name)
    }


def _plain(field: models.Field[Any, Any], value: object) -> object:
    if isinstance(field, NanoUsdField) and isinstance(value, int):
        return short_usd(value)
    if isinstance(value, date | datetime):
        return value.isoformat()
    return value
