"""Follow advice by a change of configuration that one click takes back.

Only what changes no answer for the worse is followed: answers given again, and keys that nobody
uses. What was done is in the audit, as what it changed; it is taken back by putting that back,
unless somebody has changed the same since. The history of the configuration can do so as well.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from django.db import models, transaction
from msgspec import Struct

from llm_gateway.configuration.states import keep_state
from llm_gateway.insight.observed import unused_keys
from tenants import audit
from tenants.models import ApiKey, AuditEvent, Tenant
from tenants.rights import field_of
from tenants.seats import Seat

FOLLOWED, TAKEN_BACK = "followed advice", "took advice back"
HOUR_S = 3600
MOST = 20


class FollowError(Exception):
    """What is asked for cannot be done any more: a sentence."""


class Followed(Struct, frozen=True, kw_only=True):
    """Advice that was followed. `stands`: what it changed is as it was left then."""

    id: int
    what: str
    actor: str
    at: datetime
    stands: bool


class Way(Struct, frozen=True):
    """How one kind is followed: `find` locks the row that `field` of becomes `value`."""

    model: str
    field: str
    does: str
    find: Callable[[Tenant, str, datetime], Any]
    value: Callable[[Any, datetime], Any]


def may_follow(seat: Seat, kind: str) -> bool:
    """Say whether somebody may change what following this kind of advice changes."""
    way = WAYS.get(kind)
    return way is not None and seat.reaches(field_of(way.model, way.field).write)


def follow(tenant: Tenant, kind: str, subject: str, *, actor: str, now: datetime) -> None:
    """Do what the advice says; the state before is kept. Raises FollowError."""
    way = WAYS[kind]
    keep_state()
    with transaction.atomic():
        row = way.find(tenant, subject, now)
        _set(row, way.field, way.value(row, now), actor, FOLLOWED)


def followed(tenant: Tenant) -> list[Followed]:
    """Return what was followed, the latest first; each until it was taken back."""
    events = AuditEvent.objects.filter(tenant_id=tenant.pk, action=FOLLOWED).order_by("-pk")[:MOST]
    return [
        Followed(
            id=event.pk,
            what=f"{_WAY_OF[event.object_type].does}: {event.object_name}",
            actor=event.actor,
            at=event.created_at,
            stands=_stands(event, _row(event)),
        )
        for event in events
    ]


def kind_of(tenant: Tenant, event_id: int) -> str:
    """Return which kind of advice was followed. Raises FollowError where that is not known."""
    return next(
        kind for kind, way in WAYS.items() if way is _WAY_OF[_event(tenant, event_id).object_type]
    )


def take_back(tenant: Tenant, event_id: int, *, actor: str) -> None:
    """Put back what following it changed; the state before is kept. Raises FollowError."""
    event = _event(tenant, event_id)
    keep_state()
    with transaction.atomic():
        row = _row(event, lock=True)
        if not _stands(event, row):
            raise FollowError(f"{event.object_name} was changed since: look at it yourself.")
        ((name, (before, _)),) = event.changes.items()
        value = row._meta.get_field(name).to_python(before)  # noqa: SLF001 - Django's public model API
        _set(row, name, value, actor, TAKEN_BACK)


def _event(tenant: Tenant, event_id: int) -> AuditEvent:
    event = AuditEvent.objects.filter(tenant_id=tenant.pk, action=FOLLOWED, pk=event_id).first()
    if event is None:
        raise FollowError("No such advice was followed.")
    return event


def _row(event: AuditEvent, *, lock: bool = False) -> Any:  # noqa: ANN401 - of either model
    rows: models.QuerySet[Any] = _ROWS[event.object_type]()
    return (rows.select_for_update() if lock else rows).filter(pk=event.object_id).first()


def _stands(event: AuditEvent, row: Any) -> bool:  # noqa: ANN401 - likewise
    if row is None:
        return False
    known = audit.fields_of(row)
    return all(known[name] == after for name, (_, after) in event.changes.items())


def _set(row: Any, name: str, value: object, actor: str, action: str) -> None:  # noqa: ANN401 - likewise
    before = audit.fields_of(row)
    setattr(row, name, value)
    row.save(update_fields=[name, "updated_at"])
    audit.record(actor, action, row, before, audit.fields_of(row))


def _cold(tenant: Tenant, subject: str, now: datetime) -> Tenant:
    del subject, now
    row = Tenant.objects.select_for_update().get(pk=tenant.pk)
    if row.cache.get("enabled"):
        raise FollowError("The cache is on already.")
    return row


def _unused(tenant: Tenant, subject: str, now: datetime) -> ApiKey:
    keys = unused_keys(ApiKey.objects.of(tenant).select_for_update(), now)
    key: ApiKey | None = keys.filter(name=subject).first()
    if key is None:
        raise FollowError("There is no such key, or it is used again.")
    return key


# By the kind of advice.
WAYS: Mapping[str, Way] = {
    "cache_answers": Way(
        "Tenant",
        "cache",
        "Answers are given again",
        _cold,
        lambda tenant, _: {**tenant.cache, "enabled": True, "ttl": HOUR_S},
    ),
    "unused_key": Way("ApiKey", "expires_at", "The key ended", _unused, lambda _, now: now),
}
_WAY_OF = {way.model.lower(): way for way in WAYS.values()}
_ROWS: Mapping[str, Callable[[], models.QuerySet[Any]]] = {
    "tenant": Tenant.objects.all,
    "apikey": ApiKey.all_tenants_unsafe.all,
}
