"""Keep providers, their keys, models, prices and routes, and the log of requests."""

import zlib
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from typing_extensions import override

from llm_gateway.providers.addresses import AddressError
from llm_gateway.providers.catalog import CATALOG
from llm_gateway.providers.endpoint import check_reachable, origin_of
from llm_gateway.providers.row import address_of
from tenants.fields import NanoUsdField, WholeNumberField
from tenants.ids import new_id
from tenants.models import ApiKey, Configuration, Managed, Tenant, TenantOwned, name_field

WAITS_HELP = "Seconds at most: first_token, idle, total. Of all that are said the shortest holds."


class ChargeBy(models.TextChoices):
    PRICES = "prices"
    PROVIDER = "provider"


class OnDisconnect(models.TextChoices):
    DRAIN = "drain"
    ABORT = "abort"


class Provider(Managed):
    """Who answers: a row of the catalogue at an address. With `tenant`: that tenant's own."""

    tenant = models.ForeignKey(
        Tenant, models.CASCADE, null=True, blank=True, related_name="providers"
    )
    name = name_field()
    kind = models.CharField(max_length=32, help_text="A row of the provider catalogue.")
    base_url = models.CharField(
        max_length=500, blank=True, help_text="Empty: the catalogue's. A new origin wipes the keys."
    )
    allow_private_network = models.BooleanField(
        default=False, help_text="Off refuses loopback, private and link-local addresses."
    )
    enabled = models.BooleanField(default=True)
    timeouts = models.JSONField(
        default=dict, blank=True, help_text="Seconds: connect, first_token, idle, total."
    )
    max_concurrent_requests = models.PositiveIntegerField(default=100)
    charge_by = models.CharField(
        max_length=8,
        choices=ChargeBy,
        default=ChargeBy.PRICES,
        help_text="What an answer costs that says so itself: by our prices, or as it says.",
    )
    on_disconnect = models.CharField(
        max_length=8,
        choices=OnDisconnect,
        default=OnDisconnect.DRAIN,
        help_text="When a caller leaves: read on to what the provider bills, or cut it at once.",
    )
    retry = models.JSONField(default=dict, blank=True)
    circuit_breaker = models.JSONField(default=dict, blank=True)
    health_check = models.JSONField(
        default=dict,
        blank=True,
        help_text="How often an idle provider is asked for its model list: interval, in seconds.",
    )
    options = models.JSONField(default=dict, blank=True, help_text="Of the mock provider.")

    class Meta:
        ordering = ("name",)
        constraints = [
            models.UniqueConstraint(
                fields=("name",), condition=models.Q(tenant=None), name="provider_name"
            ),
            models.UniqueConstraint(fields=("tenant", "name"), name="provider_of_tenant"),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.tenant}/{self.name}" if self.tenant_id else self.name

    @property
    def address(self) -> str:
        """The base URL in force: the row's, else its kind's."""
        return address_of(CATALOG[self.kind], self.base_url, self.options)

    @property
    def origin(self) -> str:
        """Scheme, host and port of the address: what its secrets are bound to."""
        return origin_of(self.address)

    @override
    def clean(self) -> None:
        if self.kind not in CATALOG:
            raise ValidationError({"kind": f"{self.kind!r} is no kind of the provider catalogue."})
        try:
            check_reachable(self.kind, self.address, allow_private=self.allow_private_network)
        except AddressError as error:
            raise ValidationError({"base_url": f"{error}."}) from None

    @override
    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save, and wipe the secrets that were given for another origin, whoever moved it."""
        with transaction.atomic():
            super().save(*args, **kwargs)
            moved = self.keys.exclude(sealed=None).exclude(origin=self.origin)
            moved.update(sealed=None, origin="", last_four="", fingerprint="")


class ProviderKey(Managed):
    """A provider's secret, sealed and bound to tenant, row and origin (`llm_gateway.vault`)."""

    provider = models.ForeignKey(Provider, models.CASCADE, related_name="keys")
    name = name_field(default="main")
    sealed = models.BinaryField(null=True, editable=False)
    origin = models.CharField(max_length=300, blank=True, editable=False)
    last_four = models.CharField(max_length=4, blank=True, editable=False)
    fingerprint = models.CharField(max_length=12, blank=True, editable=False)
    weight = models.PositiveIntegerField(default=1)
    enabled = models.BooleanField(default=True)

    class Meta:
        ordering = ("provider", "name")
        constraints = [models.UniqueConstraint(fields=("provider", "name"), name="provider_key")]

    @override
    def __str__(self) -> str:
        return f"{self.provider}/{self.name} …{self.last_four}"


class Model(Managed):
    """A model at a provider under a public name: a deployment. Several may share a name.

    What is empty comes from the model catalogue.
    """

    provider = models.ForeignKey(Provider, models.CASCADE, related_name="models")
    name = name_field(db_index=True)
    upstream_name = models.CharField(max_length=256, blank=True, help_text="Empty: the name.")
    context_window = models.PositiveIntegerField(null=True, blank=True)
    max_output_tokens = models.PositiveIntegerField(null=True, blank=True)
    image_tokens = models.PositiveIntegerField(
        null=True, blank=True, help_text="Of one image at most."
    )
    capabilities = models.JSONField(null=True, blank=True)
    quality = models.PositiveSmallIntegerField(
        null=True, blank=True, validators=[MaxValueValidator(100)]
    )
    weight = models.PositiveIntegerField(default=1)
    rate_limits = models.JSONField(default=dict, blank=True)
    timeouts = models.JSONField(
        default=dict, blank=True, help_text="Seconds, in place of the provider's."
    )
    batching = models.JSONField(
        default=dict, blank=True, help_text="Small embeddings calls sent as one: inputs, wait."
    )
    enabled = models.BooleanField(default=True)

    class Meta:
        ordering = ("name", "provider")
        constraints = [
            models.UniqueConstraint(fields=("provider", "name", "upstream_name"), name="deployment")
        ]

    @override
    def __str__(self) -> str:
        return f"{self.name} at {self.provider}"


class Price(Configuration):
    """One dated version of prices, in nano-dollars per million tokens; never changed.

    Of a model: the list price. Of a tenant: what it pays for the public name `model_name` instead.
    """

    model = models.ForeignKey(Model, models.CASCADE, null=True, blank=True, related_name="prices")
    tenant = models.ForeignKey(Tenant, models.CASCADE, null=True, blank=True, related_name="prices")
    model_name = models.CharField(max_length=128, blank=True)
    valid_from = models.DateField()
    input = NanoUsdField("input, USD per million", null=True, blank=True)
    output = NanoUsdField("output", null=True, blank=True)
    cache_read = NanoUsdField(null=True, blank=True)
    cache_write = NanoUsdField("cache write, 5 minutes", null=True, blank=True)
    cache_write_1h = NanoUsdField("cache write, 1 hour", null=True, blank=True)
    reasoning = NanoUsdField(null=True, blank=True, help_text="Empty: as output.")
    request = NanoUsdField("per request, USD", null=True, blank=True)
    audio_input = NanoUsdField("audio in", null=True, blank=True, help_text="Empty: as input.")
    audio_output = NanoUsdField("audio out", null=True, blank=True, help_text="Empty: as output.")
    image_input = NanoUsdField("images in", null=True, blank=True, help_text="Empty: as input.")
    image_output = NanoUsdField("images out", null=True, blank=True, help_text="Empty: as output.")
    image = NanoUsdField("per image in the request, USD", null=True, blank=True)
    audio_second = NanoUsdField("per second of audio, USD", null=True, blank=True)
    tool_call = NanoUsdField("per web search, USD", null=True, blank=True)
    tiers = models.JSONField(default=list, blank=True)
    source = models.CharField(max_length=128, default="console")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("model", "-valid_from", "-id")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(model__isnull=False, tenant=None, model_name="")
                | (models.Q(model=None, tenant__isnull=False) & ~models.Q(model_name="")),
                name="price_of_model_or_tenant",
            )
        ]

    @override
    def __str__(self) -> str:
        priced = self.model or f"{self.model_name} for {self.tenant}"
        return f"{priced} from {self.valid_from}"


class TenantMargin(Configuration):
    """One dated version of what a tenant pays over the list price; never changed."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="margins")
    valid_from = models.DateField()
    percent_ppm = models.IntegerField(
        validators=[MinValueValidator(-1_000_000), MaxValueValidator(100_000_000)],
        help_text="In millionths of the price: 125000 is 12.5 %.",
    )
    source = models.CharField(max_length=128, default="console")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("tenant", "-valid_from", "-id")

    @override
    def __str__(self) -> str:
        return f"{self.tenant} {self.percent_ppm / 10_000:g} % from {self.valid_from}"


class Route(Managed):
    """A name clients may call, over several models."""

    class Strategy(models.TextChoices):
        FALLBACK = "fallback"
        CHEAPEST = "cheapest"
        FASTEST = "fastest"
        BEST_QUALITY = "best_quality"
        WEIGHTED = "weighted"
        ROUND_ROBIN = "round_robin"
        LEAST_BUSY = "least_busy"
        RACE = "race"

    class Affinity(models.TextChoices):
        SESSION = "session"
        PROMPT = "prompt"

    name = name_field(unique=True)
    strategy = models.CharField(max_length=16, choices=Strategy, default=Strategy.FALLBACK)
    when = models.JSONField(default=dict, blank=True)
    on_context_length = models.JSONField(default=list, blank=True)
    on_content_policy = models.JSONField(default=list, blank=True)
    hedge = models.BooleanField(
        default=False, help_text="Ask a second target too when the first is late."
    )
    affinity = models.CharField(
        max_length=8,
        choices=Affinity,
        blank=True,
        default="",
        help_text="Keep with one deployment what belongs together.",
    )
    timeouts = models.JSONField(default=dict, blank=True, help_text=WAITS_HELP)
    enabled = models.BooleanField(default=True)

    class Meta:
        ordering = ("name",)

    @override
    def __str__(self) -> str:
        return self.name


class KeyTimeouts(Managed):
    """How long requests of an api key may wait, whatever answers them. Not all keys have a row."""

    api_key = models.OneToOneField(ApiKey, models.CASCADE, related_name="own_timeouts")
    timeouts = models.JSONField(default=dict, blank=True, help_text=WAITS_HELP)

    class Meta:
        verbose_name = "timeouts of API key"
        verbose_name_plural = "timeouts of API keys"

    @override
    def __str__(self) -> str:
        return f"{self.api_key}"


class RouteTarget(Configuration):
    """A model name on a route, in order."""

    route = models.ForeignKey(Route, models.CASCADE, related_name="targets")
    position = models.PositiveSmallIntegerField(default=0)
    model = models.CharField(max_length=128, help_text="The public name of a model.")
    weight = models.PositiveIntegerField(default=1)
    when = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering = ("route", "position", "id")

    @override
    def __str__(self) -> str:
        return f"{self.route} → {self.model}"


class CircuitOrder(Configuration):
    """What somebody decided by hand about a model's circuit; of each model the last one counts."""

    class Action(models.TextChoices):
        RESET = "reset"
        FORCE_OPEN = "force_open"
        FORCE_CLOSED = "force_closed"

    model = models.ForeignKey(Model, models.CASCADE, related_name="circuit_orders")
    action = models.CharField(max_length=12, choices=Action)
    until = models.DateTimeField(null=True, blank=True, help_text="When a forced state ends.")
    given_by = models.CharField(max_length=254)
    given_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("id",)

    @override
    def __str__(self) -> str:
        return f"{self.action} of {self.model}"


class CircuitChange(models.Model):
    """One change of a circuit's state. Ids and names are no references: it outlives its model."""

    at = models.DateTimeField(db_index=True)
    deployment_id = models.BigIntegerField()
    provider = models.CharField(max_length=128)
    model = models.CharField(max_length=128)
    before = models.CharField(max_length=16)
    after = models.CharField(max_length=16)
    reason = models.CharField(max_length=300)
    error = models.CharField(max_length=32, blank=True)
    source = models.CharField(
        max_length=8, blank=True, help_text="What decided it: traffic, probe (a model list)."
    )
    process = models.CharField(max_length=128)

    class Meta:
        verbose_name_plural = "circuits"
        ordering = ("-at", "-id")
        indexes = [models.Index(fields=("deployment_id", "-at"), name="circuit_changes")]

    @override
    def __str__(self) -> str:
        return f"{self.provider}/{self.model}: {self.before} → {self.after}"


class GatewaySettings(Configuration):
    """The `settings` section of the configuration: one row."""

    fallback_routes = models.JSONField(default=list, blank=True)
    log_payloads = models.CharField(
        max_length=8, choices=Tenant.Payloads, default=Tenant.Payloads.NONE
    )
    drain_seconds = models.PositiveIntegerField(default=120)
    pre_stop_seconds = models.PositiveIntegerField(
        default=3,
        help_text="How long a process that leaves still accepts, for balancers to notice.",
    )
    caller_idle_seconds = models.PositiveIntegerField(
        default=60, help_text="A caller that takes nothing of its answer for so long is cut."
    )
    retention_months = models.PositiveSmallIntegerField(
        default=13,
        validators=[MinValueValidator(1), MaxValueValidator(1200)],
        help_text="Whole months the request log keeps behind the running one.",
    )

    class Meta:
        verbose_name_plural = "gateway settings"

    @override
    def __str__(self) -> str:
        return "Settings"


class Prompt(TenantOwned):
    """A tenant's prompt under a name; what it says is in its versions."""

    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="prompts")
    name = name_field()
    description = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta(TenantOwned.Meta):
        abstract = False
        ordering = ("name",)
        constraints = [models.UniqueConstraint(fields=("tenant", "name"), name="prompt_of_tenant")]

    @override
    def __str__(self) -> str:
        return self.name


class PromptVersion(models.Model):
    """What a prompt said from some time on; never changed. Places for values are `{{name}}`."""

    prompt = models.ForeignKey(Prompt, models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    messages = models.JSONField(help_text="Role and content of each message.")
    defaults = models.JSONField(default=dict, blank=True, help_text="Values by name.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("prompt", "-number")
        constraints = [models.UniqueConstraint(fields=("prompt", "number"), name="prompt_version")]

    @override
    def __str__(self) -> str:
        return f"{self.prompt} {self.number}"


class Conversation(TenantOwned):
    """What a tenant's people and models said to each other; kept until it is removed."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="conversations")
    title = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta(TenantOwned.Meta):
        abstract = False
        ordering = ("-id",)

    @override
    def __str__(self) -> str:
        return self.title or str(self.pk)


class ConversationMessage(models.Model):
    """One message of a conversation; `sealed` opens for its tenant, conversation and place."""

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="messages")
    position = models.PositiveIntegerField()
    role = models.CharField(max_length=16)
    sealed = models.BinaryField(editable=False)
    request_id = models.UUIDField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("conversation", "position")
        constraints = [
            models.UniqueConstraint(
                fields=("conversation", "position"), name="place_in_conversation"
            )
        ]

    @override
    def __str__(self) -> str:
        return f"{self.conversation_id} {self.position}"


class KeptObject(TenantOwned):
    """What a provider keeps for a tenant under an id: a response, an item of one, a conversation.

    `parent_id` is the response of an item, else the object itself. `tokens` is how much of a later
    request's input it can be; None where nobody knows. Ids of providers and keys are no references:
    what a provider keeps does not end with our configuration. `owed_by` is the request that was
    charged all that a batch may cost, until its results tell what it did. Of a `file` or a `batch`,
    which are listed, `about` holds what is shown, and of a batch's input what it asks for.
    """

    tenant = models.ForeignKey(
        Tenant, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    object_id = models.CharField(max_length=128)
    parent_id = models.CharField(max_length=128)
    provider_id = models.BigIntegerField()
    key_id = models.BigIntegerField(null=True)
    model = models.CharField(max_length=128, blank=True)
    tokens = models.BigIntegerField(null=True)
    owed_by = models.UUIDField(null=True)
    kind = models.CharField(max_length=8, blank=True, db_default="")
    about = models.JSONField(null=True)
    expires_at = models.DateTimeField(null=True)
    seen_at = models.DateTimeField(db_index=True)

    class Meta(TenantOwned.Meta):
        abstract = False
        constraints = [
            models.UniqueConstraint(fields=("tenant", "object_id"), name="kept_object_of_tenant")
        ]
        indexes = [
            models.Index(fields=("tenant", "parent_id"), name="kept_object_parent"),
            models.Index(
                fields=("owed_by",),
                name="kept_object_owed",
                condition=models.Q(owed_by__isnull=False),
            ),
        ]

    @override
    def __str__(self) -> str:
        return self.object_id


class RequestLog(models.Model):
    """One client request as it ended. Written in batches behind the answer; names are copied in."""

    id = models.UUIDField(primary_key=True, editable=False)
    created_at = models.DateTimeField(db_index=True)
    tenant = models.ForeignKey(
        Tenant, models.DO_NOTHING, null=True, db_constraint=False, related_name="+"
    )
    api_key = models.ForeignKey(
        ApiKey, models.DO_NOTHING, null=True, db_constraint=False, db_index=False, related_name="+"
    )
    project_id = models.BigIntegerField(null=True)
    tenant_name = models.CharField(max_length=128)
    project_name = models.CharField(max_length=128, blank=True)
    key_name = models.CharField(max_length=128, blank=True)
    endpoint = models.CharField(max_length=64)
    dialect = models.CharField(max_length=32)
    requested_model = models.CharField(max_length=128)
    model = models.CharField(max_length=128, blank=True)
    provider = models.CharField(max_length=128, blank=True)
    stream = models.BooleanField()
    status = models.PositiveSmallIntegerField()
    outcome = models.CharField(max_length=16)  # ok, refused, failed, cancelled
    code = models.CharField(max_length=32, blank=True)
    error = models.CharField(max_length=500, blank=True)
    finish_reason = models.CharField(max_length=32, blank=True)
    end_user = models.CharField(max_length=256, blank=True)
    tags = models.JSONField(default=dict)
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    cached_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0)
    estimated = models.BooleanField(default=False)
    cost_nano = models.BigIntegerField(default=0)
    lines = models.JSONField(default=list)
    cache = models.CharField(max_length=12, default="off")
    saved_nano = models.BigIntegerField(default=0)
    digest = models.CharField(max_length=32, blank=True)  # of the whole request
    prefix_digest = models.CharField(max_length=32, blank=True)  # of instructions and tools
    prefix_tokens = models.BigIntegerField(default=0)
    duration_ms = models.FloatField(default=0)
    first_token_ms = models.FloatField(null=True)
    attempt_count = models.PositiveSmallIntegerField(default=0)
    decision = models.JSONField(default=dict)  # limits, candidates, attempts

    class Meta:
        ordering = ("-id",)
        indexes = [models.Index(fields=("tenant", "-id"), name="request_of_tenant")]

    @override
    def __str__(self) -> str:
        return str(self.pk)


class RequestPayload(TenantOwned):
    """What a request said and was told, sealed: only of tenants that keep contents.

    Apart from its row of the log, which is read often and kept for longer.
    """

    request = models.OneToOneField(
        RequestLog,
        models.DO_NOTHING,
        primary_key=True,
        db_constraint=False,
        related_name="payload",
    )
    tenant = models.ForeignKey(
        Tenant, models.CASCADE, db_constraint=False, db_index=False, related_name="+"
    )
    sealed = models.BinaryField()

    class Meta(TenantOwned.Meta):
        abstract = False
        indexes = [models.Index(fields=("tenant", "request"), name="payload_of_tenant")]

    @override
    def __str__(self) -> str:
        return str(self.request_id)


class UsageHour(TenantOwned):
    """The request log summed up by hour and by everything usage is grouped by.

    Written in the transaction of the log's rows, so it is their sum at any time; it outlives them.
    `dims` is the digest of all that is grouped by: one narrow unique key for many columns.
    `errors` are requests that failed or were refused. `latency` and `first_token` are histograms
    (`insight.histogram`).
    """

    tenant = models.ForeignKey(
        Tenant, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    hour = models.DateTimeField()
    dims = models.CharField(max_length=32)
    project_id = models.BigIntegerField(null=True)
    project_name = models.CharField(max_length=128, blank=True)
    api_key_id = models.BigIntegerField(null=True)
    key_name = models.CharField(max_length=128, blank=True)
    requested_model = models.CharField(max_length=128, blank=True)
    model = models.CharField(max_length=128, blank=True)
    provider = models.CharField(max_length=128, blank=True)
    code = models.CharField(max_length=32, blank=True, db_default="")
    tags = models.JSONField(default=dict)
    requests = models.BigIntegerField(default=0)
    errors = models.BigIntegerField(default=0)
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    cached_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0)
    cost_nano = models.BigIntegerField(default=0)
    cache_hits = models.BigIntegerField(default=0)
    saved_nano = models.BigIntegerField(default=0)
    failed = models.BigIntegerField(default=0, db_default=0)
    latency = WholeNumberField(default=0, db_default=0)
    first_token = WholeNumberField(default=0, db_default=0)

    class Meta(TenantOwned.Meta):
        abstract = False
        constraints = [
            models.UniqueConstraint(fields=("tenant", "hour", "dims"), name="usage_hour_key")
        ]
        # For operators, who look at all tenants at once.
        indexes = [models.Index(fields=("hour",), name="usage_hour")]

    @override
    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H}h {self.model}"


class RunningNow(models.Model):
    """What runs in one process, as it said when it was last asked (`ConfigVersion.looks`)."""

    process = models.CharField(max_length=300, primary_key=True)
    look = models.BigIntegerField()
    requests = models.JSONField(default=list)
    left_off = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name_plural = "live"

    @override
    def __str__(self) -> str:
        return self.process


class StopAsked(models.Model):
    """A request that somebody wants ended; without `tenant_id` whoever it belongs to."""

    request_id = models.UUIDField()
    tenant_id = models.BigIntegerField(null=True)
    ended = models.BooleanField(default=False)

    @override
    def __str__(self) -> str:
        return str(self.request_id)


class InvoiceLine(models.Model):
    """What a provider says of one of its models on one UTC day; None is what it did not say.

    Its exports of usage and of cost are two files: each fills in its own columns.
    """

    provider = models.ForeignKey(Provider, models.CASCADE, related_name="invoice_lines")
    day = models.DateField()
    model = models.CharField(max_length=128)
    requests = models.BigIntegerField(null=True)
    input_tokens = models.BigIntegerField(null=True)
    cached_tokens = models.BigIntegerField(null=True)
    output_tokens = models.BigIntegerField(null=True)
    cost_nano = NanoUsdField(null=True)
    keys = models.JSONField(default=list)
    imported_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("-day", "model")
        constraints = [
            models.UniqueConstraint(fields=("provider", "day", "model"), name="invoice_line")
        ]

    @override
    def __str__(self) -> str:
        return f"{self.day} {self.model}"


class ConfigurationState(models.Model):
    """What the configuration was from some time on: its export, compressed, without secrets.

    `made_by` are who the audit names since the state before, `last_event` is the last it says.
    `version` is the `ConfigVersion` at which this was last found to be what is in force.
    """

    number = models.BigIntegerField(primary_key=True)
    at = models.DateTimeField()
    made_by = models.CharField(max_length=254, blank=True)
    last_event = models.BigIntegerField()
    version = models.BigIntegerField()
    document = models.BinaryField()

    class Meta:
        ordering = ("-number",)
        verbose_name = "configuration"
        verbose_name_plural = "configuration history"

    @override
    def __str__(self) -> str:
        return f"configuration {self.number}"

    @property
    def text(self) -> str:
        """Return the file it was."""
        return zlib.decompress(self.document).decode()
