"""Seal and open what is kept of requests and answers; who reads it, and that the audit says so."""

import zlib
from typing import Any
from uuid import UUID

import msgspec
from django.db import DEFAULT_DB_ALIAS
from msgspec import Struct

from llm_gateway.models import RequestPayload
from tenants import audit, secrets
from tenants.models import Tenant
from tenants.rights import field_of
from tenants.seats import Seat

READ = "payload read"  # what the audit calls a look at one
_KIND = "request_payload"


class Side(Struct, frozen=True):
    """A body as it is kept, how many bytes it had, and whether something of it was cut."""

    body: Any
    size: int
    cut: bool = False


class Payload(Struct, frozen=True, kw_only=True):
    """What a request said and what it was told, None where there was no answer."""

    level: str
    dialect: str
    request: Side
    answer: Side | None


def sealed(payload: Payload, tenant_id: int, request_id: UUID) -> bytes:
    """Return a payload that opens for this request of this tenant alone."""
    packed = zlib.compress(msgspec.json.encode(payload), level=3)
    return secrets.seal(packed, tenant_id, _KIND, request_id)


def opened(row: RequestPayload) -> Payload:
    """Return what a row holds. Raises SecretError where its master key is gone."""
    packed = secrets.unseal(bytes(row.sealed), row.tenant_id, _KIND, row.request_id)
    return msgspec.json.decode(zlib.decompress(packed), type=Payload)


def may_read(seat: Seat, tenant: Tenant) -> bool:
    """Say whether who is signed in reads what a tenant's people and models said.

    To run an installation nobody has to: an operator reads it where the tenant says so.
    """
    if seat.operator:
        return tenant.operators_read_payloads
    return seat.tenant_id == tenant.pk and seat.reaches(field_of("RequestLog", "payload").read)


def read(tenant_id: int, request_id: UUID, actor: str) -> Payload | None:
    """Return what is kept of a tenant's request, and have the audit say who looked.

    None where nothing is kept. Raises SecretError where its master key is gone.
    """
    rows = RequestPayload.objects.of(tenant_id).select_related("tenant")
    row = rows.filter(pk=request_id).first()
    if row is None:
        return None
    audit.record(actor, READ, row)
    return opened(row)


def rewrap_all(*, using: str = DEFAULT_DB_ALIAS) -> int:
    """Wrap every row anew under the first master key; return how many. Raises SecretError."""
    rows = RequestPayload.all_tenants_unsafe.using(using).order_by("pk")
    for row in rows.iterator(chunk_size=100):
        bound = (row.tenant_id, _KIND, row.request_id)
        row.sealed = secrets.rewrap(bytes(row.sealed), *bound)
        row.save(update_fields=["sealed"])
    return rows.count()
