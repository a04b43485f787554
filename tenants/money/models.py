"""Keep the ledger: buckets and holds are projections, entries are the truth and never change.

Only the writer writes these tables (`tenants.money.writer`). Ids of what was spent on are copied
without constraints: a row outlives the project, key or budget it names.
"""

from django.db import models
from typing_extensions import override

from tenants.models import Tenant, TenantOwned


class LedgerRow(TenantOwned):
    """A row of the ledger, kept when its tenant is gone."""

    tenant = models.ForeignKey(
        Tenant, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )

    class Meta(TenantOwned.Meta):
        abstract = True


class Bucket(LedgerRow):
    """One budget in one period for one subject.

    The limit is not copied here: the guard reads it from the budget, so that a change binds every
    process with its commit and locks nothing. `alerted_ppm` is the highest soft threshold, in
    millionths of the limit, that was announced.
    """

    budget_id = models.BigIntegerField()
    subject = models.CharField(max_length=256, blank=True)
    period_key = models.CharField(max_length=96)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True)
    alerted_ppm = models.BigIntegerField(default=0)
    used_nano = models.BigIntegerField(default=0)
    held_nano = models.BigIntegerField(default=0)

    class Meta(LedgerRow.Meta):
        abstract = False
        db_table = "ledger_bucket"
        constraints = [
            models.UniqueConstraint(
                fields=("budget_id", "subject", "period_key"), name="ledger_bucket_key"
            ),
            models.CheckConstraint(condition=models.Q(held_nano__gte=0), name="ledger_bucket_held"),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.period_key} {self.subject}".strip()


class Spent(LedgerRow):
    """Who spends on what: the columns a hold hands on to its entry."""

    request_id = models.UUIDField()
    attempt_no = models.SmallIntegerField()
    project_id = models.BigIntegerField(null=True)
    api_key_id = models.BigIntegerField(null=True)
    end_user = models.CharField(max_length=256, blank=True)
    tags = models.JSONField(default=dict)
    deployment_id = models.BigIntegerField(null=True)
    model = models.CharField(max_length=128)
    price_version_id = models.BigIntegerField(null=True)
    unpriced = models.BooleanField(default=False)
    bucket_ids = models.JSONField(default=list)
    writer_id = models.BigIntegerField()
    created_at = models.DateTimeField()

    class Meta(LedgerRow.Meta):
        abstract = True


class Hold(Spent):
    """Money set aside for one attempt. What is needed to price it at expiry stands beside it."""

    class State(models.TextChoices):
        OPEN = "open"
        UNCERTAIN = "uncertain"

    id = models.UUIDField(primary_key=True)
    state = models.CharField(max_length=9, choices=State, default=State.OPEN)
    amount_nano = models.BigIntegerField()
    input_estimate = models.BigIntegerField(default=0)
    input_nano = models.BigIntegerField(default=0)
    output_nano_per_million = models.BigIntegerField(default=0)
    seen_output = models.BigIntegerField(default=0)
    deadline_at = models.DateTimeField(db_index=True)

    class Meta(Spent.Meta):
        abstract = False
        db_table = "ledger_hold"
        indexes = [models.Index(fields=("writer_id",), name="ledger_hold_writer")]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(amount_nano__gte=0), name="ledger_hold_amount"
            )
        ]

    @override
    def __str__(self) -> str:
        return str(self.id)


class Entry(Spent):
    """What one attempt cost, append-only and chained by hash to the writer's entry before it."""

    class Kind(models.TextChoices):
        ATTEMPT = "attempt"
        CORRECTION = "correction"
        CACHE_HIT = "cache_hit"
        ADJUSTMENT = "adjustment"
        CARRY = "carry"

    kind = models.CharField(max_length=10, choices=Kind)
    seq = models.SmallIntegerField()
    outcome = models.CharField(max_length=9)
    estimated = models.BooleanField()
    user_id = models.BigIntegerField(null=True)
    amount_nano = models.BigIntegerField()
    hold_nano = models.BigIntegerField()
    provider_cost_nano = models.BigIntegerField(null=True)
    usage = models.JSONField(default=dict)
    lines = models.JSONField(default=list)
    body_ref = models.CharField(max_length=200, null=True)  # noqa: DJ001 - null is no body, in the hash too
    writer_seq = models.BigIntegerField()
    prev_hash = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)

    class Meta(Spent.Meta):
        abstract = False
        db_table = "ledger_entry"
        verbose_name_plural = "entries"
        constraints = [
            models.UniqueConstraint(
                fields=("request_id", "attempt_no", "kind", "seq"), name="ledger_entry_key"
            ),
            models.UniqueConstraint(fields=("writer_id", "writer_seq"), name="ledger_entry_chain"),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.request_id}/{self.attempt_no} {self.kind} {self.seq}"


class Idempotency(LedgerRow):
    """An idempotency key of an api key: claimed by a request, then what it was answered.

    `body` is sealed and bound to tenant and request. Nothing is owed by a row: it may go any time.
    """

    class State(models.TextChoices):
        RUNNING = "running"
        DONE = "done"
        UNREPLAYABLE = "unreplayable"

    api_key_id = models.BigIntegerField()
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    state = models.CharField(max_length=12, choices=State)
    writer_id = models.BigIntegerField()
    request_id = models.UUIDField()
    status = models.SmallIntegerField()
    headers = models.JSONField()
    body = models.BinaryField(null=True)
    expires_at = models.DateTimeField(db_index=True)

    class Meta(LedgerRow.Meta):
        abstract = False
        db_table = "ledger_idempotency"
        constraints = [
            models.UniqueConstraint(fields=("api_key_id", "key"), name="ledger_idempotency_key")
        ]

    @override
    def __str__(self) -> str:
        return f"{self.api_key_id} {self.key}"


class Run(LedgerRow):
    """An agent run: how many requests named it since the first, and whether it was stopped."""

    name = models.CharField(max_length=128)
    steps = models.BigIntegerField(default=0)
    started_at = models.DateTimeField()
    stopped_at = models.DateTimeField(null=True)

    class Meta(LedgerRow.Meta):
        abstract = False
        db_table = "ledger_run"
        constraints = [models.UniqueConstraint(fields=("tenant", "name"), name="ledger_run_name")]

    @override
    def __str__(self) -> str:
        return self.name


class Writer(models.Model):
    """A process that writes the ledger: its lease, and the head of its chain."""

    host = models.CharField(max_length=255)
    pid = models.IntegerField()
    started_at = models.DateTimeField()
    heartbeat_at = models.DateTimeField()
    stopped_at = models.DateTimeField(null=True)
    last_seq = models.BigIntegerField(default=0)
    last_hash = models.CharField(max_length=64, blank=True)

    class Meta:
        db_table = "ledger_writer"

    @override
    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"


class Alert(models.Model):
    """A soft threshold that spend reached, waiting to be told."""

    bucket = models.ForeignKey(Bucket, models.CASCADE, related_name="alerts")
    threshold_ppm = models.BigIntegerField()
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "ledger_alert"
        constraints = [
            models.UniqueConstraint(fields=("bucket", "threshold_ppm"), name="ledger_alert_once")
        ]

    @override
    def __str__(self) -> str:
        return f"{self.threshold_ppm / 10_000:g} % of {self.bucket}"


class LedgerAlarm(LedgerRow):
    """Something wrong with how a model's attempts are charged, waiting to be told.

    The first of a day stands for all of its kind; `request_id` names it. Every one of them is
    counted and logged, and its entry holds what was seen.
    """

    kind = models.CharField(max_length=16)
    model = models.CharField(max_length=128)
    day = models.DateField()
    request_id = models.UUIDField()
    attempt_no = models.SmallIntegerField()
    said = models.CharField(max_length=300)
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)

    class Meta(LedgerRow.Meta):
        abstract = False
        db_table = "ledger_alarm"
        constraints = [
            models.UniqueConstraint(
                fields=("tenant", "model", "kind", "day"), name="ledger_alarm_once"
            )
        ]

    @override
    def __str__(self) -> str:
        return f"{self.kind} of {self.model}"
