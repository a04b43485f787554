"""Turn a credential into a `Caller`, from memory; nothing else ever touches the raw key.

Misses go to the database once; `forget()` is called when configuration changed anywhere.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, TypedDict, cast

from django.db import OperationalError
from django.db.models import Q, QuerySet
from msgspec import Struct, structs

from tenants.keys import key_digest, with_digest
from tenants.models import ApiKey, Budget, Guardrail, Owned, RateLimit, Tenant
from tenants.reader import Reader
from tenants.rights import Role, reaches
from tenants.seats import Seat
from tenants.types import (
    BudgetRule,
    Caller,
    GuardrailAction,
    GuardrailKind,
    GuardrailRule,
    GuardrailSide,
    Payloads,
    Period,
    RateRule,
)

CARRIERS = (b"x-api-key", b"api-key", b"x-goog-api-key")
# What a key would be let do for somebody who is signed in, by the least role.
SCOPES_OF: tuple[tuple[Role, str], ...] = (
    ("viewer", "usage"),
    ("member", "inference"),
    ("admin", "manage"),
)
ANSWER_S = 0.8  # of the second in which a caller is told that nobody can tell
BAD_KEYS_KEPT, BAD_KEY_LIFE_S = 10_000, 5.0
BAD_PER_MINUTE, MINUTE_S = 20, 60.0


class CredentialProblem(Exception):  # noqa: N818 - said to the caller, not a fault of ours
    """Why a credential is refused; `throttled` when its address sent too many wrong ones."""

    throttled = False


class Throttled(CredentialProblem):
    throttled = True


def brings_credential(headers: Mapping[bytes, bytes]) -> bool:
    """Say whether a request has any place for a key filled in."""
    return b"authorization" in headers or any(name in headers for name in CARRIERS)


def credential(headers: Mapping[bytes, bytes]) -> str:
    """Return the key a request carries. Raises CredentialProblem for none or two that differ."""
    found = {headers[name] for name in CARRIERS if name in headers}
    if (authorization := headers.get(b"authorization")) is not None:
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() != b"bearer":
            raise CredentialProblem("Send the key as `Authorization: Bearer mob_…`.")
        found.add(token.strip())
    if len(found) > 1:
        raise CredentialProblem("Two different keys were sent; send one.")
    if not found or not (key := found.pop()):
        raise CredentialProblem(
            "No API key. Send `Authorization: Bearer mob_…` or `x-api-key: mob_…`."
        )
    try:
        return key.decode("ascii")
    except UnicodeDecodeError:
        raise CredentialProblem("The API key holds characters that no key has.") from None


class Authenticator:
    """Callers by the digest of their key, for one process."""

    def __init__(
        self, reader: Reader, clock: Callable[[], float], wall_clock: Callable[[], float]
    ) -> None:
        self._reader, self._clock, self._wall_clock = reader, clock, wall_clock
        self._callers: dict[str, Caller] = {}
        self._unknown: dict[str, float] = {}
        self._loading: dict[str, asyncio.Future[Caller | None]] = {}
        self._wrong: dict[str, _Wrong] = {}
        self._generation = 0

    async def authenticate(self, headers: Mapping[bytes, bytes], address: str) -> Caller:
        """Return the caller. Raises CredentialProblem; django.db.Error when nobody can tell."""
        try:
            return await self._caller(key_digest(credential(headers)))
        except CredentialProblem:
            self._count_wrong(address)
            raise

    def forget(self) -> None:
        """Drop all that was read: it may have changed."""
        self._generation += 1
        self._callers.clear()
        self._unknown.clear()

    async def _caller(self, digest: str) -> Caller:
        caller = self._callers.get(digest) or await self._miss(digest)
        if caller.expires_at is not None and caller.expires_at <= self._wall_clock():
            raise CredentialProblem("The API key has expired.")
        return caller

    async def _miss(self, digest: str) -> Caller:
        if self._unknown.get(digest, 0.0) > self._clock():
            raise CredentialProblem("The API key is not known.")
        generation = self._generation
        caller = await self._load(digest)
        if caller is None:
            if len(self._unknown) >= BAD_KEYS_KEPT:
                self._unknown.clear()
            self._unknown[digest] = self._clock() + BAD_KEY_LIFE_S
            raise CredentialProblem("The API key is not known.")
        # A change that came while we read would be missed if the old row were kept now.
        if generation == self._generation:
            self._callers[digest] = caller
        return caller

    async def _load(self, digest: str) -> Caller | None:
        """Read one key; requests that miss it together share the query."""
        if digest not in self._loading:
            task = asyncio.ensure_future(self._reader.read(lambda: load_caller(digest)))
            task.add_done_callback(lambda _: self._loading.pop(digest, None))
            self._loading[digest] = task
        try:
            async with asyncio.timeout(ANSWER_S):
                return await asyncio.shield(self._loading[digest])
        except TimeoutError:
            raise OperationalError("the database does not answer") from None

    def _count_wrong(self, address: str) -> None:
        now = self._clock()
        wrong = self._wrong.get(address)
        if wrong is None or wrong.until <= now:
            if len(self._wrong) >= BAD_KEYS_KEPT:
                self._wrong.clear()
            wrong = self._wrong[address] = _Wrong(now + MINUTE_S)
        wrong.count += 1
        if wrong.count > BAD_PER_MINUTE:
            raise Throttled("Too many wrong API keys from this address; try again in a minute.")


class _Wrong(Struct):
    until: float
    count: int = 0


def load_caller(digest: str) -> Caller | None:
    """Read the caller behind a digest; None for an unknown, revoked or switched-off one."""
    key = (
        ApiKey.all_tenants_unsafe.select_related("tenant", "project")
        .filter(with_digest(digest), revoked_at=None, tenant__active=True)
        .first()
    )
    if key is None:
        return None
    caller = caller_of(key)
    return caller if key.digest == digest else _by_old_value(caller, key)


def _by_old_value(caller: Caller, key: ApiKey) -> Caller:
    """Return the caller that sent the value before a rotation: it ends when its grace does."""
    ends = (key.old_until, key.expires_at)
    return structs.replace(caller, expires_at=min(end.timestamp() for end in ends if end))


def load_caller_of(who: str | Tenant | ApiKey) -> Caller | None:
    """Read the caller that code of this process speaks for: a tenant, by name too, or a key.

    None for an unknown, revoked or switched-off one. A tenant is bound by its own rules alone.
    """
    if isinstance(who, ApiKey):
        return load_caller(who.digest)
    named = {"name": who} if isinstance(who, str) else {"pk": who.pk}
    tenant = Tenant.objects.filter(active=True, **named).first()
    return caller_of(ApiKey(tenant=tenant, public_id="")) if tenant else None


def load_caller_of_seat(seat: Seat) -> Caller | None:
    """Read the caller that somebody of a tenant is who is signed in: no key, named by themselves.

    None where the tenant is switched off, and for operators: they have no tenant.
    """
    if seat.tenant_id is None:
        return None
    tenant = Tenant.objects.filter(active=True, pk=seat.tenant_id).first()
    if tenant is None:
        return None
    scopes = [scope for least, scope in SCOPES_OF if reaches(seat.role, least)]
    return caller_of(ApiKey(tenant=tenant, name=seat.person, public_id="", scopes=scopes))


def keys_of_seat(seat: Seat) -> QuerySet[ApiKey]:
    """Return the keys in force that somebody may try out: those they hold, an admin the tenant's.

    An operator may try any.
    """
    found = ApiKey.all_tenants_unsafe.filter(revoked_at=None, tenant__active=True)
    if seat.operator:
        return found
    own = found.filter(tenant=seat.tenant_id)
    if seat.reaches("admin"):
        return own
    return own.filter(holder_id=seat.member_id) if seat.reaches("member") else own.none()


def load_caller_of_held(seat: Seat, key_public_id: str) -> Caller | None:
    """Read the caller behind a key that somebody may try out without knowing its value."""
    found = keys_of_seat(seat).select_related("tenant", "project")
    key = found.filter(public_id=key_public_id).first()
    return caller_of(key) if key else None


def in_force(key_ids: set[int], tenant_ids: set[int]) -> tuple[set[int], set[int]]:
    """Return those of the keys and of the tenants that may still call."""
    keys = ApiKey.all_tenants_unsafe.filter(pk__in=key_ids, revoked_at=None)
    tenants = Tenant.objects.filter(pk__in=tenant_ids, active=True)
    return set(keys.values_list("pk", flat=True)), set(tenants.values_list("pk", flat=True))


def caller_of(key: ApiKey) -> Caller:
    """Return a key with everything that binds it."""
    tenant, project = key.tenant, key.project
    return Caller(
        tenant_id=tenant.pk,
        tenant=tenant.name,
        key_id=key.pk,
        key=key.name,
        key_public_id=key.public_id,
        project_id=project.pk if project else None,
        project=project.name if project else None,
        scopes=frozenset(key.scopes),
        models=_allowed(tenant.allowed_models, key.allowed_models),
        budgets=tuple(_budgets(key)),
        rates=tuple(_rates(key)),
        guardrails=tuple(_guardrails(tenant)),
        log_payloads=cast("Payloads | None", tenant.log_payloads or None),
        time_zone=tenant.time_zone,
        cache_seconds=tenant.cache.get("ttl", 3600) if tenant.cache.get("enabled") else 0,
        cache_generation=tenant.cache_generation,
        single_flight=tenant.single_flight,
        run_steps=tenant.runs.get("max_steps"),
        run_seconds=tenant.runs.get("max_seconds"),
        expires_at=key.expires_at.timestamp() if key.expires_at else None,
    )


def _allowed(*lists: list[str] | None) -> frozenset[str] | None:
    given = [frozenset(names) for names in lists if names is not None]
    return frozenset.intersection(*given) if given else None


def _binding(key: ApiKey) -> Q:
    """Return which rules bind a key: its own, its project's, its tenant's."""
    binding = Q(project=None, api_key=None)
    if key.pk is not None:
        binding |= Q(api_key=key)
    return binding | Q(project=key.project) if key.project_id else binding


class _Held(TypedDict):
    scope: str
    owner_id: int


def _held_by(rule: Owned) -> _Held:
    return {"scope": rule.scope, "owner_id": rule.owner_id}


def _budgets(key: ApiKey) -> Iterable[BudgetRule]:
    for budget in Budget.objects.of(key.tenant_id).filter(_binding(key)):
        yield rule_of(budget, key.tenant)


def rule_of(budget: Budget, tenant: Tenant) -> BudgetRule:
    """Return a tenant's budget as the rule it is."""
    return BudgetRule(
        id=budget.pk,
        name=budget.name,
        period=cast("Period", budget.period),
        zone=tenant.time_zone,
        limit_nano=budget.limit_nano,
        hard=budget.hard,
        mode=cast('Literal["strict", "clamp"]', budget.mode),
        model=budget.model_filter or None,
        per=budget.per,
        **_held_by(budget),
    )


def _rates(key: ApiKey) -> Iterable[RateRule]:
    for limit in RateLimit.objects.of(key.tenant_id).filter(_binding(key)):
        yield RateRule(
            requests_per_minute=limit.requests_per_minute,
            tokens_per_minute=limit.tokens_per_minute,
            concurrency=limit.concurrency,
            **_held_by(limit),
        )


def _guardrails(tenant: Tenant) -> Iterable[GuardrailRule]:
    for row in Guardrail.objects.of(tenant).order_by("pk"):
        yield guardrail_rule(row)


def guardrail_rule(row: Guardrail) -> GuardrailRule:
    """Return a tenant's guardrail as the rule it is."""
    return GuardrailRule(
        name=row.name,
        kind=cast("GuardrailKind", row.kind),
        action=cast("GuardrailAction", row.action),
        on=cast("GuardrailSide", row.side),
        entities=tuple(row.entities),
        patterns=tuple(row.patterns),
        words=tuple(row.words),
    )
