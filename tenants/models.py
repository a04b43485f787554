"""Keep tenants, their people, keys, budgets and limits, and who changed what.

Every row of a tenant is reached through `objects.of(tenant)`; the unscoped manager says so in its
name. The ledger's own tables are in `tenants.money.models`.
"""

import secrets
from typing import Any, Self
from zoneinfo import available_timezones

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from typing_extensions import override

from tenants.buckets import MOST_BUCKETS, RUN_CEILING, most_at_once
from tenants.fields import NanoUsdField
from tenants.types import short_usd

NAME = RegexValidator(
    r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}$",
    "Use letters, digits and . _ : / @ -, starting with a letter or digit.",
)


def name_field(**kwargs: Any) -> models.CharField[str, str]:  # noqa: ANN401 - a field's own options
    return models.CharField(max_length=128, validators=[NAME], **kwargs)


def public_id() -> str:
    return secrets.token_hex(8)


def check_time_zone(name: str) -> None:
    if name not in available_timezones():
        raise ValidationError(f"{name!r} is not a time zone such as Europe/Berlin")


class TenantManager(models.Manager[Any]):
    """Refuses to list rows unless a tenant is named: `Model.objects.of(tenant)`."""

    def of(self, tenant: "Tenant | int") -> models.QuerySet[Any]:
        tenant_id = tenant if isinstance(tenant, int) else tenant.pk
        return super().get_queryset().filter(tenant_id=tenant_id)

    @override
    def get_queryset(self) -> models.QuerySet[Any]:
        raise TypeError(f"{self.model.__name__}.objects needs a tenant: call objects.of(tenant)")


class TenantOwned(models.Model):
    """A row that belongs to a tenant."""

    all_tenants_unsafe = models.Manager[Self]()
    objects = TenantManager()

    class Meta:
        abstract = True
        base_manager_name = "all_tenants_unsafe"
        default_manager_name = "all_tenants_unsafe"


class Configuration(models.Model):
    """A row whose change every process must hear of: triggers count up `ConfigVersion`."""

    is_configuration = True

    class Meta:
        abstract = True


class Managed(Configuration):
    """A row that a configuration file may own; `apply --prune` removes only such rows."""

    managed_by_file = models.BooleanField(default=False, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True


class Tenant(Managed):
    """A customer: everything below it is isolated from every other."""

    class Payloads(models.TextChoices):
        NONE = "none"
        REDACTED = "redacted"
        FULL = "full"

    name = name_field(unique=True)
    active = models.BooleanField(default=True, help_text="Off refuses every key of the tenant.")
    time_zone = models.CharField(max_length=64, default="UTC", validators=[check_time_zone])
    allowed_models = models.JSONField(
        null=True, blank=True, help_text="Names it may call; empty: everything."
    )
    log_payloads = models.CharField(
        max_length=8,
        choices=Payloads,
        default="",
        blank=True,
        help_text="What is kept of requests and answers themselves; empty: the setting.",
    )
    payload_days = models.PositiveSmallIntegerField(
        default=30,
        validators=[MinValueValidator(1), MaxValueValidator(3650)],
        help_text="Days for which that is kept, and no longer than its row of the request log.",
    )
    operators_read_payloads = models.BooleanField(
        default=False, help_text="Lets operators of the installation read it, not only admins."
    )
    retention_months = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(1200)],
        help_text="Whole months the request log keeps behind the running one; empty: the setting.",
    )
    cache = models.JSONField(default=dict, blank=True)
    cache_generation = models.PositiveIntegerField(default=0, editable=False)
    single_flight = models.BooleanField(default=False)
    runs = models.JSONField(default=dict, blank=True, help_text="Defaults of an agent run.")

    class Meta:
        ordering = ("name",)

    @override
    def __str__(self) -> str:
        return self.name


class Project(Managed, TenantOwned):
    """A part of a tenant, with budgets and limits of its own."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="projects")
    name = name_field()

    class Meta(TenantOwned.Meta):
        abstract = False
        ordering = ("tenant", "name")
        constraints = [models.UniqueConstraint("tenant", "name", name="project_name")]

    @override
    def __str__(self) -> str:
        return f"{self.tenant}/{self.name}"


class Member(Managed, TenantOwned):
    """A person of a tenant and what they may do there."""

    class Role(models.TextChoices):
        OWNER = "owner"
        ADMIN = "admin"
        MEMBER = "member"
        VIEWER = "viewer"

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="members")
    email = models.EmailField()
    role = models.CharField(max_length=8, choices=Role, default=Role.VIEWER)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="memberships"
    )

    class Meta(TenantOwned.Meta):
        abstract = False
        ordering = ("tenant", "email")
        constraints = [models.UniqueConstraint("tenant", "email", name="member_email")]

    @override
    def __str__(self) -> str:
        return f"{self.email} ({self.role} of {self.tenant})"


def default_scopes() -> list[str]:
    return ["inference", "usage"]


class ApiKey(Managed, TenantOwned):
    """A credential of a tenant. Only its digest is kept; `prefix` and `public_id` are shown.

    `old_digest` is that of the secret before a rotation, good until `old_until`.
    """

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="keys")
    project = models.ForeignKey(
        Project, models.SET_NULL, null=True, blank=True, related_name="keys"
    )
    name = name_field()
    holder = models.ForeignKey(
        Member,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="keys",
        help_text="The person who uses it and may renew it; empty: the tenant's.",
    )
    public_id = models.CharField(max_length=16, unique=True, default=public_id, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    prefix = models.CharField(max_length=16, editable=False)
    old_digest = models.CharField(max_length=64, unique=True, null=True, blank=True, editable=False)
    old_until = models.DateTimeField(null=True, editable=False)
    scopes = models.JSONField(default=default_scopes)
    allowed_models = models.JSONField(
        null=True, blank=True, help_text="Names it may call; empty: what the tenant may."
    )
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta(TenantOwned.Meta):
        abstract = False
        ordering = ("tenant", "name")
        verbose_name = "API key"
        verbose_name_plural = "API keys"
        constraints = [models.UniqueConstraint("tenant", "name", name="api_key_name")]

    @override
    def __str__(self) -> str:
        return f"{self.tenant}/{self.name}"


class Owner(models.TextChoices):
    """What a budget or a limit hangs on."""

    TENANT = "tenant"
    PROJECT = "project"
    API_KEY = "api_key", "API key"


def unique_for_owner(name: str, *fields: str) -> list[models.BaseConstraint]:
    """Return one constraint per kind of owner: SQLite has no NULLS NOT DISTINCT."""
    owners = {
        "tenant": models.Q(project=None, api_key=None),
        "project": models.Q(project__isnull=False),
        "api_key": models.Q(api_key__isnull=False),
    }
    return [
        models.UniqueConstraint(fields=(owner, *fields), condition=holds, name=f"{name}_{owner}")
        for owner, holds in owners.items()
    ]


class Owned(TenantOwned):
    """A rule held by a tenant, a project or an api key."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    project = models.ForeignKey(Project, models.CASCADE, null=True, blank=True, related_name="+")
    api_key = models.ForeignKey(ApiKey, models.CASCADE, null=True, blank=True, related_name="+")

    class Meta(TenantOwned.Meta):
        abstract = True

    @property
    def scope(self) -> str:
        if self.api_key_id:
            return Owner.API_KEY.value
        return Owner.PROJECT.value if self.project_id else Owner.TENANT.value

    @property
    def owner_id(self) -> int:
        return self.api_key_id or self.project_id or self.tenant_id

    @override
    def clean(self) -> None:
        if self.project_id and self.api_key_id:
            raise ValidationError("A rule belongs to a project or to an API key, not to both.")
        for owner in (self.project, self.api_key):
            if owner and owner.tenant_id != self.tenant_id:
                raise ValidationError("The project or API key belongs to another tenant.")


class Budget(Managed, Owned):
    """A rule on spend: this much in each period. Its buckets are rows of the ledger."""

    class Period(models.TextChoices):
        HOUR = "hour"
        DAY = "day"
        WEEK = "week"
        MONTH = "month"
        QUARTER = "quarter"
        YEAR = "year"
        TOTAL = "total"

    class Mode(models.TextChoices):
        STRICT = "strict"
        CLAMP = "clamp"

    name = name_field()
    limit_nano = NanoUsdField(
        "limit in USD",
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text="Empty: spend is only counted.",
    )
    period = models.CharField(max_length=8, choices=Period, default=Period.MONTH)
    hard = models.BooleanField(default=True, help_text="Refuse what does not fit.")
    mode = models.CharField(max_length=8, choices=Mode, default=Mode.STRICT)
    thresholds = models.JSONField("soft thresholds", default=list, blank=True)
    model_filter = models.CharField("only this model", max_length=128, blank=True)
    per = models.CharField(
        "a bucket for each", max_length=64, blank=True, help_text="end_user, run or tag.NAME"
    )
    raise_nano = NanoUsdField("temporary raise in USD", default=0, blank=True)
    raise_until = models.DateTimeField(null=True, blank=True)

    class Meta(Owned.Meta):
        abstract = False
        db_table = "ledger_budget"
        ordering = ("tenant", "name")
        constraints = unique_for_owner("budget_name", "name")

    @override
    def __str__(self) -> str:
        return f"{self.tenant}/{self.name}"

    @override
    def clean(self) -> None:
        super().clean()
        if self.per not in {"", "end_user", "run"} and not self.per.startswith("tag."):
            raise ValidationError({"per": "Use end_user, run or tag.NAME."})
        if self.name == RUN_CEILING and not self.is_run_ceiling:
            raise ValidationError(
                f"{RUN_CEILING} is the ceiling of each agent run: a hard limit of the whole tenant,"
                " strict, of the period total, for each run, and nothing else."
            )
        if self.tenant_id and (buckets := self._most_at_once()) > MOST_BUCKETS:
            raise ValidationError(
                f"{buckets} budgets of tenant, project and key would bind one call;"
                f" {MOST_BUCKETS} may."
            )

    @property
    def is_run_ceiling(self) -> bool:
        """Say whether it is what a configuration file calls the budget of `runs`."""
        plain = not (self.project_id or self.api_key_id or self.model_filter or self.thresholds)
        said = (self.name, self.per, self.period, self.mode)
        wanted = (RUN_CEILING, "run", self.Period.TOTAL, self.Mode.STRICT)
        return plain and said == wanted and self.hard and self.limit_nano is not None

    def _most_at_once(self) -> int:
        """Return how many budgets, this one among them, a call by any key of the tenant meets."""
        others = [one for one in Budget.objects.of(self.tenant_id) if one.pk != self.pk]
        keys = ApiKey.objects.of(self.tenant_id).values_list("pk", "project_id")
        # Owners without a key count too: one may be issued at any time.
        projects = Project.objects.of(self.tenant_id).values_list("pk", flat=True)
        callers = (*keys, *((None, project) for project in projects), (None, None))
        return max(
            (
                most_at_once(one.model_filter for one in (self, *others) if one.binds(*caller))
                for caller in callers
                if self.binds(*caller)
            ),
            default=0,
        )

    def binds(self, key_id: int | None, project_id: int | None) -> bool:
        """Say whether it binds this key, which is of this project."""
        if self.api_key_id:
            return self.api_key_id == key_id
        return self.project_id in {None, project_id}


class RateLimit(Managed, Owned):
    """Requests and tokens a minute and concurrency of a tenant, project or api key."""

    requests_per_minute = models.PositiveIntegerField(null=True, blank=True)
    tokens_per_minute = models.PositiveBigIntegerField(null=True, blank=True)
    concurrency = models.PositiveIntegerField(null=True, blank=True)

    class Meta(Owned.Meta):
        abstract = False
        constraints = unique_for_owner("rate_limit_owner")

    @override
    def __str__(self) -> str:
        return f"{self.api_key or self.project or self.tenant}"


class Guardrail(Managed, TenantOwned):
    """Something that a tenant does not let through, in what is asked or in what is answered.

    `entities` are those of kind pii, none is all; patterns and words belong to the kinds so called.
    """

    class Kind(models.TextChoices):
        SECRETS = "secrets", "secrets: keys, tokens, passwords"
        PII = "pii", "pii: what identifies people"
        PATTERN = "pattern", "pattern: RE2 patterns of your own"
        WORDS = "words", "words: words of your own"

    class Action(models.TextChoices):
        BLOCK = "block", "block: refuse it"
        REDACT = "redact", "redact: take it out"
        FLAG = "flag", "flag: note it"

    class Side(models.TextChoices):
        BOTH = "both", "requests and answers"
        REQUEST = "request", "requests"
        ANSWER = "answer", "answers"

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="guardrails")
    name = name_field(help_text="Refusals and records name it.")
    kind = models.CharField(max_length=8, choices=Kind)
    action = models.CharField(max_length=6, choices=Action, default=Action.BLOCK)
    side = models.CharField("looks at", max_length=7, choices=Side, default=Side.BOTH)
    entities = models.JSONField(default=list, blank=True)
    patterns = models.JSONField(default=list, blank=True)
    words = models.JSONField(default=list, blank=True)

    class Meta(TenantOwned.Meta):
        abstract = False
        ordering = ("tenant", "pk")
        constraints = [models.UniqueConstraint("tenant", "name", name="guardrail_name")]

    @override
    def __str__(self) -> str:
        return f"{self.tenant}/{self.name}"


class RaiseRequest(TenantOwned):
    """Somebody asks for more money for a while; a decision is made once."""

    class State(models.TextChoices):
        OPEN = "open"
        APPROVED = "approved"
        REFUSED = "refused"

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="raise_requests")
    budget = models.ForeignKey(Budget, models.CASCADE, related_name="raise_requests")
    member = models.ForeignKey(Member, models.SET_NULL, null=True, related_name="+")
    asked_by = models.CharField(max_length=254)
    amount_nano = NanoUsdField("more in USD", validators=[MinValueValidator(1)])
    until = models.DateTimeField()
    reason = models.CharField(max_length=500)
    state = models.CharField(max_length=8, choices=State, default=State.OPEN)
    created_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True)
    decided_by = models.CharField(max_length=254, blank=True)

    class Meta(TenantOwned.Meta):
        abstract = False
        ordering = ("-id",)

    @override
    def __str__(self) -> str:
        return f"{self.amount} USD more for {self.budget}, asked by {self.asked_by}"

    @property
    def amount(self) -> str:
        return short_usd(self.amount_nano)


class AuditEvent(models.Model):
    """Who changed what, append-only: before and after of fields that are no secret."""

    created_at = models.DateTimeField(auto_now_add=True, db_index=True)
    actor = models.CharField(max_length=254)
    # Another tenant may have the name once this one is gone: by its id it is known whose this is.
    tenant_id = models.BigIntegerField(null=True, db_index=True)
    tenant_name = models.CharField(max_length=128, blank=True, db_index=True)
    action = models.CharField(max_length=32)
    object_type = models.CharField(max_length=64)
    object_id = models.CharField(max_length=64, blank=True)
    object_name = models.CharField(max_length=300, blank=True)
    changes = models.JSONField(default=dict)

    class Meta:
        ordering = ("-id",)

    @override
    def __str__(self) -> str:
        return f"{self.actor} {self.action} {self.object_type} {self.object_name}"


class InstallSecret(models.Model):
    """A random secret of this installation, wrapped by the master key: pepper, ledger key."""

    name = models.CharField(max_length=32, unique=True)
    sealed = models.BinaryField()

    @override
    def __str__(self) -> str:
        return self.name


class ConfigVersion(models.Model):
    """One row, counted up by database triggers at every change of configuration.

    `looks` counts how often somebody asked what runs now: who polls the one sees the other.
    """

    version = models.BigIntegerField(default=0)
    looks = models.BigIntegerField(default=0, db_default=0)

    @override
    def __str__(self) -> str:
        return str(self.version)
