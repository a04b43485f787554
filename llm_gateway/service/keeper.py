"""Know who keeps what: which provider, by which key, holds an object of a tenant under its id.

Rows are written in groups over a connection of their own. A request's end waits for its group, so
that the next request, on any process, finds what the caller was told.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import Error
from msgspec import Struct

from llm_gateway.models import KeptObject
from tenants.reader import Reader

# Providers keep a response for 30 days; a conversation lives as long as it is used.
KEPT_FOR = timedelta(days=30)
# Kinds of objects that are listed.
FILE, BATCH = "file", "batch"
_TOLD = ("parent_id", "provider_id", "key_id", "model", "tokens", "owed_by")
_SHOWN = ("kind", "about", "expires_at")
_UPDATED = (*_TOLD, *_SHOWN, "seen_at")


class Owner(Struct, frozen=True, kw_only=True):
    """Who keeps an object, and under which public model it came to be; fields as in KeptObject."""

    parent_id: str
    provider_id: int
    key_id: int | None
    model: str = ""
    tokens: int | None = None
    owed_by: UUID | None = None
    kind: str = ""
    about: Mapping[str, Any] | None = None
    expires_at: datetime | None = None


class Owing(Struct, frozen=True, kw_only=True):
    """A batch whose cost is not known yet, and when somebody looked at it last."""

    tenant_id: int
    object_id: str
    owner: Owner
    seen_at: datetime


class Page(Struct, frozen=True, kw_only=True):
    """Which files or batches are listed: so many after the one named."""

    kind: str
    limit: int
    after: str | None = None
    purpose: str | None = None
    oldest_first: bool = False


class Keeper:
    """One thread that reads and writes. Make it inside the running loop."""

    def __init__(self) -> None:
        self._reader = Reader()
        self._waiting: list[tuple[list[KeptObject], asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    def keep(self, tenant_id: int, owners: Iterable[tuple[str, Owner]]) -> asyncio.Future[None]:
        """Write who owns these ids; what returns is done once it is durable.

        It raises django.db.Error where that failed.
        """
        now = datetime.now(UTC)
        rows = [
            KeptObject(
                tenant_id=tenant_id,
                object_id=object_id,
                seen_at=now,
                **{field: getattr(owner, field) for field in (*_TOLD, *_SHOWN)},
            )
            for object_id, owner in owners
        ]
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((rows, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all(), name="kept objects")
        return done

    async def owners(self, tenant_id: int, object_ids: Sequence[str]) -> dict[str, Owner]:
        """Return who keeps which of these objects for a tenant. Raises django.db.Error."""
        return await self._reader.read(lambda: _found(tenant_id, object_ids))

    async def foreign(self, tenant_id: int, object_ids: Sequence[str]) -> set[str]:
        """Return which of these objects are other tenants' alone. Raises django.db.Error."""
        return await self._reader.read(lambda: _foreign(tenant_id, object_ids))

    async def listed(self, tenant_id: int, page: Page) -> list[tuple[str, Owner]]:
        """Return a tenant's files or batches, the newest first. Raises django.db.Error."""
        return await self._reader.read(lambda: _listed(tenant_id, page))

    async def owing(self) -> list[Owing]:
        """Return every batch whose cost is not known yet. Raises django.db.Error."""
        return await self._reader.read(_owing)

    async def look_at(self, owing: Owing) -> bool:
        """Take it on to look at a batch; only one process does. Raises django.db.Error."""
        rows = KeptObject.objects.of(owing.tenant_id).filter(
            object_id=owing.object_id, seen_at=owing.seen_at
        )
        return await self._reader.read(lambda: rows.update(seen_at=datetime.now(UTC))) == 1

    async def forget(self, tenant_id: int, object_id: str) -> None:
        """Let go of an object and of its items. Raises django.db.Error."""
        rows = KeptObject.objects.of(tenant_id).filter(parent_id=object_id)
        await self._reader.read(rows.delete)

    async def close(self) -> None:
        if self._writing is not None:
            await self._writing
        self._reader.close()

    async def _write_all(self) -> None:
        """Write what has gathered, group by group, until nothing waits."""
        while self._waiting:
            group, self._waiting = self._waiting, []
            # The same id twice in one statement is an error; the later one holds.
            rows = {(row.tenant_id, row.object_id): row for some, _ in group for row in some}
            error: Error | None = None
            try:
                await self._reader.read(lambda rows=rows: _write(list(rows.values())))  # type: ignore[misc]
            except Error as failed:
                error = failed
            for _, done in group:
                _tell(done, error)
        self._writing = None


def forget_old() -> None:
    """Forget what no provider keeps any more; a file is kept until it expires or is deleted."""
    rows, now = KeptObject.all_tenants_unsafe, datetime.now(UTC)
    rows.filter(seen_at__lt=now - KEPT_FOR, owed_by=None).exclude(kind=FILE).delete()
    rows.filter(expires_at__lt=now, kind=FILE).delete()


def _found(tenant_id: int, object_ids: Sequence[str]) -> dict[str, Owner]:
    rows = KeptObject.objects.of(tenant_id).filter(object_id__in=object_ids)
    return {row.object_id: _owner(row) for row in rows}


def _foreign(tenant_id: int, object_ids: Sequence[str]) -> set[str]:
    rows = KeptObject.all_tenants_unsafe.filter(object_id__in=object_ids)
    owned = set(rows.values_list("object_id", "tenant_id"))
    return {one for one, _ in owned} - {one for one, owner in owned if owner == tenant_id}


def _listed(tenant_id: int, page: Page) -> list[tuple[str, Owner]]:
    rows = KeptObject.objects.of(tenant_id).filter(kind=page.kind)
    rows = rows.exclude(expires_at__lt=datetime.now(UTC))
    if page.purpose is not None:
        rows = rows.filter(about__object__purpose=page.purpose)
    if page.after is not None:
        last = rows.filter(object_id=page.after).values_list("pk", flat=True).first()
        if last is None:
            return []
        rows = rows.filter(pk__gt=last) if page.oldest_first else rows.filter(pk__lt=last)
    rows = rows.order_by("pk" if page.oldest_first else "-pk")
    return [(row.object_id, _owner(row)) for row in rows[: page.limit]]


def _owing() -> list[Owing]:
    rows = KeptObject.all_tenants_unsafe.exclude(owed_by=None)
    return [
        Owing(
            tenant_id=row.tenant_id,
            object_id=row.object_id,
            owner=_owner(row),
            seen_at=row.seen_at,
        )
        for row in rows
    ]


def _owner(row: KeptObject) -> Owner:
    return Owner(**{field: getattr(row, field) for field in (*_TOLD, *_SHOWN)})


def _write(rows: list[KeptObject]) -> None:
    KeptObject.all_tenants_unsafe.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["tenant", "object_id"],
        update_fields=list(_UPDATED),
    )


def _tell(done: asyncio.Future[None], error: Error | None) -> None:
    if done.done():  # its request waits no longer
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
