"""Make a tenant that has a row of everything and somebody of every role, and remove it again.

It spends nothing: the ledger, which nobody can take anything out of, never hears of it.
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from importlib import import_module
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib import auth
from django.contrib.auth.models import User
from django.db import models as orm
from django.db import transaction
from django.utils import timezone
from django.utils.http import urlsafe_base64_encode
from msgspec import Struct

from llm_gateway import models, vault
from llm_gateway.insight.payloads import Payload, Side, sealed
from llm_gateway.service import conversations
from tenants import keys
from tenants.ids import new_id
from tenants.models import (
    ApiKey,
    Budget,
    Guardrail,
    Member,
    Project,
    RaiseRequest,
    RateLimit,
    Tenant,
)
from tenants.rights import ROLES

NANO = 10**9
# What a person of an ordinary tenant cannot have: nobody signs in by it.
DOMAIN = "isolation.invalid"
SCOPES = {"full": ["inference", "usage", "manage"], "plain": ["inference"]}
# Written behind the requests, by the processes that serve.
LOGGED: tuple[type[orm.Model], ...] = (models.RequestLog, models.UsageHour)


class Town(Struct, frozen=True, kw_only=True):
    """A tenant to ask about or to ask as.

    `ids` are what its things are called by, under the part of a path that they follow; `mark` is in
    each of its names and texts. `keys` are values by name, `sessions` ids of sessions by role.
    """

    tenant: Tenant
    mark: str
    ids: Mapping[str, str]
    keys: Mapping[str, str]
    sessions: Mapping[str, str]
    pages: Mapping[str, int]  # a row of each model that the console shows, by the model's name


@transaction.atomic
def make(mark: str) -> Town:
    """Make a tenant. `mark` is what no other tenant's names hold."""
    tenant = Tenant.objects.create(name=mark)
    people = {role: _person(tenant, mark, role) for role in ROLES}
    project = Project.all_tenants_unsafe.create(tenant=tenant, name=f"{mark}-project")
    made = {name: _key(tenant, f"{mark}-{name}", SCOPES[name]) for name in SCOPES}
    key = made["full"][0]
    rules = _rules(tenant, project, mark)
    provider, model = _provider(tenant, mark)
    logged = _traffic(tenant, key, mark)
    kept = {kind: _kept(tenant, provider, f"{kind}_{mark}", kind) for kind in ("file", "batch")}
    conversation = conversations.create(tenant.pk, f"{mark}-title")
    conversations.append(conversation, [{"role": "user", "content": f"{mark}-said"}], None)
    ids = {
        "tenant": str(tenant.pk),
        "tenant name": mark,
        "email": people["owner"][1].email,
        "projects": project.name,
        "keys": key.public_id,
        "key name": key.name,
        "members": str(people["member"][1].pk),
        "budgets": str(rules["Budget"].pk),
        "limits": str(rules["RateLimit"].pk),
        "guardrails": str(rules["Guardrail"].pk),
        "providers": str(provider.pk),
        "provider name": provider.name,
        "models": model.name,
        "circuits": str(model.pk),
        "prompts": _prompt(tenant, mark),
        "conversations": _kept(tenant, provider, str(conversation.pk), ""),
        "requests": str(logged.pk),
        "inflight": str(logged.pk),
        "responses": _kept(tenant, provider, f"resp_{mark}", ""),
        "items": _kept(tenant, provider, f"msg_{mark}", ""),
        "files": kept["file"],
        "batches": kept["batch"],
        **dict.fromkeys(
            ("invitation", "reset"),
            urlsafe_base64_encode(str(people["owner"][0].pk).encode()),
        ),
        "{uidb64}": "no-token",
    }
    rows: dict[str, orm.Model] = {
        "Tenant": tenant,
        "Project": project,
        "ApiKey": key,
        "Member": people["viewer"][1],
    }
    rows |= {**rules, "Provider": provider, "Model": model}
    return Town(
        tenant=tenant,
        mark=mark,
        ids=ids,
        keys={name: value for name, (_, value) in made.items()},
        sessions={role: _session(user) for role, (user, _) in people.items()},
        pages={name: row.pk for name, row in rows.items()},
    )


def nobody() -> Mapping[str, str]:
    """Return ids of the same shapes that nothing is called by."""
    mark = f"nobody-{new_id().hex[-12:]}"
    names = ("tenant name", "projects", "key name", "provider name", "models", "prompts")
    numbers = ("tenant", "members", "budgets", "limits", "guardrails", "providers", "circuits")
    kept = ("responses", "items", "files", "batches")
    return {
        **{name: f"{mark}-{place}" for place, name in enumerate(names)},
        **{name: f"{name}_{mark}" for name in kept},
        **{name: str(10**11 + place) for place, name in enumerate(numbers)},
        **{name: str(new_id()) for name in ("conversations", "requests", "inflight")},
        "keys": new_id().hex[-16:],
        "email": f"{mark}@{DOMAIN}",
        **dict.fromkeys(("invitation", "reset"), "MTAwMDAwMDAwMDAw"),
        "{uidb64}": "no-token",
    }


# --- rows of each kind --------------------------------------------------------------------------


def _person(tenant: Tenant, mark: str, role: str) -> tuple[User, Member]:
    email = f"{mark}-{role}@{DOMAIN}"
    user = User.objects.create_user(email, email)
    member = Member.all_tenants_unsafe.create(tenant=tenant, email=email, role=role, user=user)
    return user, member


def _session(user: User) -> str:
    store = import_module(settings.SESSION_ENGINE).SessionStore()
    store[auth.SESSION_KEY] = str(user.pk)
    store[auth.BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    store[auth.HASH_SESSION_KEY] = user.get_session_auth_hash()
    store.create()
    return str(store.session_key)


def _key(tenant: Tenant, name: str, scopes: list[str]) -> tuple[ApiKey, str]:
    row = ApiKey(tenant=tenant, name=name, scopes=scopes)
    value = keys.issue(row)
    row.save()
    return row, value


def _rules(tenant: Tenant, project: Project, mark: str) -> dict[str, orm.Model]:
    budget = Budget.all_tenants_unsafe.create(
        tenant=tenant, project=project, name=f"{mark}-budget", limit_nano=NANO
    )
    limit = RateLimit.all_tenants_unsafe.create(
        tenant=tenant, project=project, requests_per_minute=10**6
    )
    asked = RaiseRequest.all_tenants_unsafe.create(
        tenant=tenant,
        budget=budget,
        asked_by=f"{mark}-asker",
        amount_nano=NANO,
        until=timezone.now() + timedelta(days=1),
        reason=f"{mark}-reason",
        created_at=timezone.now(),
    )
    guardrail = Guardrail.all_tenants_unsafe.create(
        tenant=tenant, name=f"{mark}-guardrail", kind="words", action="flag", words=[f"{mark}-word"]
    )
    return {
        "Budget": budget,
        "RateLimit": limit,
        "RaiseRequest": asked,
        "Guardrail": guardrail,
    }


def _provider(tenant: Tenant, mark: str) -> tuple[models.Provider, models.Model]:
    """Make one that is played in the process; whoever reaches its model reads the mark."""
    provider = models.Provider.objects.create(
        tenant=tenant,
        name=f"{mark}-provider",
        kind="mock",
        options={"answer": f"{mark}-answer"},
        health_check={"interval": 0},
    )
    secret = models.ProviderKey.objects.create(provider=provider, name="main")
    vault.put(secret, f"{mark}-secret")
    model = models.Model.objects.create(
        provider=provider, name=f"{mark}-model", capabilities=["chat", "stream", "embeddings"]
    )
    return provider, model


def _prompt(tenant: Tenant, mark: str) -> str:
    row = models.Prompt.all_tenants_unsafe.create(
        tenant=tenant, name=f"{mark}-prompt", description=f"{mark}-about"
    )
    said = [{"role": "user", "content": f"{mark}-text"}]
    models.PromptVersion.objects.create(prompt=row, number=1, messages=said)
    return row.name


def _kept(tenant: Tenant, provider: models.Provider, object_id: str, kind: str) -> str:
    models.KeptObject.all_tenants_unsafe.create(
        tenant=tenant,
        object_id=object_id,
        parent_id=object_id,
        provider_id=provider.pk,
        kind=kind,
        about={"id": object_id, "object": kind} if kind else None,
        seen_at=timezone.now(),
    )
    return object_id


def _traffic(tenant: Tenant, key: ApiKey, mark: str) -> models.RequestLog:
    """Write down a request that was never asked."""
    now = timezone.now()
    known: dict[str, Any] = {
        "tenant": tenant,
        "key_name": key.name,
        "requested_model": f"{mark}-model",
        "model": f"{mark}-model",
        "provider": f"{mark}-provider",
    }
    models.UsageHour.all_tenants_unsafe.create(
        hour=now.replace(minute=0, second=0, microsecond=0),
        dims=new_id().hex,
        api_key_id=key.pk,
        requests=1,
        **known,
    )
    log = models.RequestLog.objects.create(
        id=new_id(),
        created_at=now,
        tenant_name=tenant.name,
        api_key=key,
        end_user=f"{mark}-user",
        endpoint="/v1/chat/completions",
        dialect="openai_chat",
        stream=False,
        status=200,
        outcome="ok",
        decision={"attempts": []},
        **known,
    )
    said = Side({"messages": [{"role": "user", "content": mark}]}, size=len(mark))
    payload = Payload(level="full", dialect=log.dialect, request=said, answer=said)
    models.RequestPayload.all_tenants_unsafe.create(
        request=log, tenant=tenant, sealed=sealed(payload, tenant.pk, log.pk)
    )
    return log


# --- all of it ----------------------------------------------------------------------------------


def stored(town: Town) -> dict[str, list[tuple[object, ...]]]:
    """Return every row that hangs on a tenant, by its table: what nobody else may change."""
    found = {}
    for model, place in _tables():
        rows = model._base_manager.filter(**{place: town.tenant.pk}).order_by("pk")  # noqa: SLF001 - Django's public model API
        lasting = [name.attname for name in model._meta.concrete_fields if name.name not in _MOVING]  # noqa: SLF001
        found[model.__name__] = [_comparable(row) for row in rows.values_list(*lasting)]
    return found


# When a key was used is written by the processes that serve.
_MOVING = {"last_used_at", "updated_at"}


def _comparable(row: tuple[Any, ...]) -> tuple[object, ...]:
    return tuple(bytes(one) if isinstance(one, memoryview) else one for one in row)


def _tables() -> Iterator[tuple[type[orm.Model], str]]:
    """Yield every model whose rows are a tenant's, with how it leads there."""
    yield Tenant, "pk"
    owned = [one for one in apps.get_models() if _leads_to(one, Tenant)]
    for model in owned:
        yield model, "tenant_id"
        for other in apps.get_models():
            field = _leads_to(other, model)
            if field and other not in owned:
                yield other, f"{field}__tenant_id"


def _leads_to(model: type[orm.Model], other: type[orm.Model]) -> str | None:
    """Return the field by which a row belongs to one of another model."""
    for field in model._meta.concrete_fields:  # noqa: SLF001 - Django's public model API
        if field.related_model is other and (other is not Tenant or field.name == "tenant"):
            return field.name
    return None


@transaction.atomic
def remove(town: Town) -> None:
    """Remove a tenant with everything of it but what the audit says."""
    User.objects.filter(memberships__tenant=town.tenant).delete()
    store = import_module(settings.SESSION_ENGINE).SessionStore
    for session in town.sessions.values():
        store(session).delete()
    models.KeptObject.objects.of(town.tenant.pk).delete()
    remove_logged(town)
    Tenant.objects.filter(pk=town.tenant.pk).delete()


def remove_logged(town: Town) -> int:
    """Remove what was logged of a tenant; return how many rows that were."""
    return sum(
        model._base_manager.filter(tenant_id=town.tenant.pk).delete()[0]  # noqa: SLF001 - Django's public model API
        for model in LOGGED
    )
