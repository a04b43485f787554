"""Two tenants with a row of every kind and somebody of every role, to see who sees what."""

from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import uuid4

from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Model as Row
from django.test import Client
from django.utils import timezone

from llm_gateway.insight.rollup import READ, add, hours_of
from llm_gateway.models import Model as Deployment
from llm_gateway.models import Provider, RequestLog
from tenants import audit
from tenants.models import (
    ApiKey,
    AuditEvent,
    Budget,
    Guardrail,
    Member,
    Project,
    RaiseRequest,
    RateLimit,
    Tenant,
)
from tenants.money.models import Alert, Bucket, Entry, Hold
from tenants.rights import ROLES

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
USD = 10**9


def canary(tenant: str) -> str:
    """Return what stands in each row of a tenant, and must be seen by nobody of another."""
    return f"CANARY-of-{tenant}"


def sum_up_log() -> None:
    """Make the roll-ups of the request log's rows, as the recorder does of those it writes."""
    with connection.cursor() as cursor:
        add(connection, cursor, hours_of(RequestLog.objects.values(*READ)))


Kept = TypeVar("Kept", bound=Row)


class Town:
    """One tenant: its rows by the name of their model, its people by role."""

    def __init__(self, name: str) -> None:
        self.name, self.mark = name, canary(name)
        self.tenant = Tenant.objects.create(name=self.mark)
        self.people: dict[str, User] = {role: self._person(role) for role in ROLES}
        self.rows: dict[str, Row] = {"Tenant": self.tenant}
        self._make_rules()
        self._make_traffic()

    def client(self, role: str) -> Client:
        client = Client()
        client.force_login(self.people[role])
        return client

    def stored(self, name: str) -> dict[str, Any]:
        """Return what the database holds of a row."""
        row = self.rows[name]
        return dict(type(row)._base_manager.values().get(pk=row.pk))

    def _person(self, role: str) -> User:
        email = f"{role}@{self.name}.test"
        user = User.objects.create_user(email, email)
        Member.all_tenants_unsafe.create(tenant=self.tenant, email=email, role=role, user=user)
        return user

    def _keep(self, row: Kept) -> Kept:
        self.rows[type(row).__name__] = row
        return row

    def _make_rules(self) -> None:
        own: Any = {"tenant": self.tenant}
        self._keep(Member.all_tenants_unsafe.create(email=f"{self.mark}@x.test", **own))
        project = self._keep(Project.all_tenants_unsafe.create(name=self.mark, **own))
        key = self._keep(
            ApiKey.all_tenants_unsafe.create(
                name=self.mark, digest=uuid4().hex, prefix="mob_abcd", project=project, **own
            )
        )
        rule = Budget.all_tenants_unsafe.create
        budget = self._keep(rule(name=self.mark, limit_nano=USD, project=project, **own))
        self.whole = rule(name=f"{self.mark}-whole", limit_nano=USD, **own)
        self._keep(RateLimit.all_tenants_unsafe.create(api_key=key, requests_per_minute=5, **own))
        self._keep(
            Guardrail.all_tenants_unsafe.create(
                name=self.mark, kind="words", action="flag", words=[self.mark], **own
            )
        )
        self._keep(
            RaiseRequest.all_tenants_unsafe.create(
                budget=budget,
                asked_by=self.mark,
                amount_nano=USD,
                until=NOW,
                reason=self.mark,
                created_at=NOW,
                **own,
            )
        )
        audit.record(self.mark, "created", project)
        self._keep(AuditEvent.objects.latest("pk"))

    def _make_traffic(self) -> None:
        own: Any = {"tenant": self.tenant}
        budget: Any = self.rows["Budget"]
        bucket = Bucket.all_tenants_unsafe.create(
            budget_id=budget.pk, subject=self.mark, period_key=self.mark, starts_at=NOW, **own
        )
        self._keep(bucket)
        self._keep(Alert.objects.create(bucket=bucket, threshold_ppm=500_000, created_at=NOW))
        self._keep(Hold.all_tenants_unsafe.create(id=uuid4(), deadline_at=NOW, **self._spent()))
        self._keep(
            Entry.all_tenants_unsafe.create(
                kind="attempt",
                seq=0,
                outcome="ok",
                estimated=False,
                hold_nano=1,
                writer_seq=self.tenant.pk,
                **self._spent(),
            )
        )
        provider = Provider.objects.create(name=self.mark, kind="mock", tenant=self.tenant)
        Deployment.objects.create(provider=provider, name=self.mark)
        self._keep(
            RequestLog.objects.create(
                id=uuid4(),
                created_at=timezone.now(),
                tenant_name=self.tenant.name,
                end_user=self.mark,
                endpoint="/v1/chat/completions",
                dialect="openai",
                requested_model=self.mark,
                model=self.mark,
                provider=self.mark,
                stream=False,
                status=200,
                outcome="ok",
                **own,
            )
        )

    def _spent(self) -> dict[str, Any]:
        return {
            "request_id": uuid4(),
            "attempt_no": 1,
            "model": self.mark,
            "amount_nano": 1,
            "writer_id": 1,
            "created_at": NOW,
            "tenant": self.tenant,
        }
