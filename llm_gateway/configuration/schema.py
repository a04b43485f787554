"""Say what a configuration file may hold (contract §3); defaults are what leaving out means.

`enabled` left out keeps what the console set: a kill switch is not undone by the next apply.
"""

import re
from typing import Annotated
from zoneinfo import available_timezones

from msgspec import Struct

from llm_gateway.configuration.document import Scalar
from llm_gateway.configuration.scalars import (
    Count,
    CountOrNone,
    Day,
    Email,
    Flag,
    LongText,
    Margin,
    Moment,
    Money,
    Name,
    Per,
    Percent,
    Portion,
    Seconds,
    SecondsOrNone,
    Share,
    Text,
    Tokens,
    Weight,
    matching,
    number,
    one_of,
    whole_number,
)
from llm_gateway.guardrails.pii import ENTITIES
from llm_gateway.providers.catalog import CAPABILITIES, CATALOG
from llm_gateway.providers.row import REGION
from tenants.buckets import RUN_CEILING


def _read_zone(value: object) -> str:
    if not isinstance(value, str) or value not in available_timezones():
        raise ValueError(f"{value!r} is not a time zone such as Europe/Berlin")
    return value


_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")
Payloads = Annotated[str, one_of("none", "redacted", "full")]
Zone = Annotated[str, Scalar(_read_zone)]
Months = Annotated[int, whole_number(1, 1200)]
Days = Annotated[int, whole_number(1, 3650)]


class Settings(Struct, frozen=True):
    fallback_routes: tuple[Name, ...] = ()
    log_payloads: Payloads = "none"
    drain_seconds: CountOrNone = 120
    pre_stop_seconds: CountOrNone = 3
    caller_idle_seconds: Count = 60
    retention_months: Months = 13


class ProviderKey(Struct, frozen=True):
    name: Name = "main"
    value: LongText | None = None
    weight: Weight = 1
    enabled: Flag | None = None


class Timeouts(Struct, frozen=True):
    connect: Seconds = 2.0
    first_token: Seconds = 60.0
    idle: Seconds = 30.0
    total: Seconds = 600.0


class Retry(Struct, frozen=True):
    strategy: Annotated[str, one_of("exponential", "linear", "fibonacci", "adaptive")] = (
        "exponential"
    )
    max_attempts: Annotated[int, whole_number(1, 20)] = 3
    initial_delay: SecondsOrNone = 0.5
    max_delay: SecondsOrNone = 20.0
    base: Annotated[float, number(1, 100)] = 2.0
    jitter: Share = 0.25


class CircuitBreaker(Struct, frozen=True):
    failure_threshold: Count = 5
    recovery_timeout: Seconds = 5.0
    max_recovery_timeout: Seconds = 60.0
    success_threshold: Count = 2
    adaptive: Flag = False


class HealthCheck(Struct, frozen=True):
    """How often an idle provider is asked for its model list; 0 is never. Who pays for probes."""

    interval: SecondsOrNone = 60.0
    probe_as: Name | None = None  # a tenant with a hard budget
    probe_interval: Seconds = 300.0


class OwnTimeouts(Struct, frozen=True):
    """Those of a model that are not its provider's."""

    connect: Seconds | None = None
    first_token: Seconds | None = None
    idle: Seconds | None = None
    total: Seconds | None = None


class Waits(Struct, frozen=True):
    """The longest that requests of a route or key may wait, whatever answers them."""

    first_token: Seconds | None = None
    idle: Seconds | None = None
    total: Seconds | None = None


class Mock(Struct, frozen=True, rename={"delay_s": "delay", "word_delay_s": "word_delay"}):
    """How the mock provider answers: the same to all, or by model; late, or with errors."""

    answer: LongText | None = None
    answers: dict[str, LongText] = {}
    delay_s: SecondsOrNone = 0.0
    word_delay_s: SecondsOrNone = 0.0
    error_rate: Share = 0.0


class Options(Struct, frozen=True):
    """What some kinds of provider have to be told beside their address (`Row.options`)."""

    api_version: Annotated[str, matching(_VERSION, "write it like 2024-10-21")] | None = None
    region: Annotated[str, matching(REGION, "write it like eu-central-1")] | None = None


class Provider(Struct, frozen=True):
    name: Name
    kind: Annotated[str, one_of(*CATALOG)]
    base_url: Text | None = None
    allow_private_network: Flag = False
    enabled: Flag | None = None
    keys: tuple[ProviderKey, ...] = ()
    timeouts: Timeouts = Timeouts()
    max_concurrent_requests: Count = 100
    charge_by: Annotated[str, one_of("prices", "provider")] = "prices"
    on_disconnect: Annotated[str, one_of("drain", "abort")] = "drain"
    retry: Retry | None = None
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    health_check: HealthCheck = HealthCheck()
    options: Options = Options()
    mock: Mock | None = None


class Tier(Struct, frozen=True):
    above_input_tokens: CountOrNone
    input: Money | None = None
    output: Money | None = None
    cache_read: Money | None = None
    cache_write: Money | None = None
    cache_write_1h: Money | None = None
    reasoning: Money | None = None
    request: Money | None = None
    audio_input: Money | None = None
    audio_output: Money | None = None
    image_input: Money | None = None
    image_output: Money | None = None
    image: Money | None = None
    audio_second: Money | None = None
    tool_call: Money | None = None


class Price(Struct, frozen=True, rename={"valid_from": "from"}):
    valid_from: Day
    input: Money | None = None
    output: Money | None = None
    cache_read: Money | None = None
    cache_write: Money | None = None
    cache_write_1h: Money | None = None
    reasoning: Money | None = None
    request: Money | None = None
    audio_input: Money | None = None
    audio_output: Money | None = None
    image_input: Money | None = None
    image_output: Money | None = None
    image: Money | None = None
    audio_second: Money | None = None
    tool_call: Money | None = None
    tiers: tuple[Tier, ...] = ()


class TenantPrice(Price, frozen=True, kw_only=True, rename={"valid_from": "from"}):
    """What one tenant pays for a public model name, in place of the list price."""

    model: Name


class RateLimits(Struct, frozen=True):
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    concurrency: Count | None = None


class Batching(Struct, frozen=True):
    """Small embeddings calls that come at once go as one: at so many inputs, or seconds."""

    inputs: Count = 10
    wait: Seconds = 0.1


class Model(Struct, frozen=True):
    """A deployment: `provider` is a provider of all, or `TENANT/NAME` for a tenant's own."""

    name: Name
    provider: Name
    upstream_name: Text | None = None
    context_window: Tokens | None = None
    max_output_tokens: Tokens | None = None
    image_tokens: Tokens | None = None
    capabilities: tuple[Annotated[str, one_of(*sorted(CAPABILITIES))], ...] | None = None
    quality: Percent | None = None
    weight: Weight = 1
    enabled: Flag | None = None
    rate_limits: RateLimits = RateLimits()
    timeouts: OwnTimeouts = OwnTimeouts()
    batching: Batching | None = None
    prices: tuple[Price, ...] | None = None


class When(Struct, frozen=True):
    max_input_tokens: Tokens | None = None
    tags: dict[str, Text] = {}
    budget_used_below: Share | None = None


class Target(Struct, frozen=True):
    model: Name
    weight: Weight = 1
    when: When = When()


class Route(Struct, frozen=True):
    name: Name
    targets: tuple[Target, ...]
    strategy: Annotated[
        str,
        one_of(
            *("fallback", "cheapest", "fastest", "best_quality"),
            *("weighted", "round_robin", "least_busy", "race"),
        ),
    ] = "fallback"
    when: When = When()
    on_context_length: tuple[Name, ...] = ()
    on_content_policy: tuple[Name, ...] = ()
    hedge: Flag = False
    affinity: Annotated[str, one_of("session", "prompt")] | None = None
    timeouts: Waits = Waits()
    enabled: Flag | None = None


class Budget(Struct, frozen=True):
    """`limit: null` only counts."""

    name: Name
    limit: Money | None
    period: Annotated[str, one_of("hour", "day", "week", "month", "quarter", "year", "total")] = (
        "month"
    )
    soft: tuple[Portion, ...] = ()
    hard: Flag = True
    mode: Annotated[str, one_of("strict", "clamp")] = "strict"
    model: Name | None = None
    per: Per | None = None


class Cache(Struct, frozen=True):
    enabled: Flag = False
    ttl: Count = 3600
    semantic: Flag = False
    threshold: Share = 0.95


class Runs(Struct, frozen=True):
    """Bounds of an agent run; `budget` is kept as a budget of that name, `runs.budget`."""

    budget: Money | None = None
    max_steps: Count | None = None
    max_seconds: Count | None = None


class Guardrail(Struct, frozen=True, kw_only=True):
    """What is not let through. Its name is its kind, unless it is said."""

    name: Name | None = None
    kind: Annotated[str, one_of("secrets", "pii", "pattern", "words")]
    action: Annotated[str, one_of("redact", "block", "flag")] = "block"
    on: Annotated[str, one_of("request", "answer", "both")] = "both"
    entities: tuple[Annotated[str, one_of(*ENTITIES)], ...] = ()
    patterns: tuple[Text, ...] = ()
    words: tuple[Text, ...] = ()


class Project(Struct, frozen=True):
    name: Name
    budgets: tuple[Budget, ...] = ()
    rate_limits: RateLimits = RateLimits()


class Member(Struct, frozen=True):
    email: Email
    role: Annotated[str, one_of("owner", "admin", "member", "viewer")] = "viewer"


class Key(Struct, frozen=True):
    name: Name
    value: LongText | None = None
    project: Name | None = None
    models: tuple[Name, ...] | None = None
    scopes: tuple[Annotated[str, one_of("inference", "usage", "manage")], ...] = (
        "inference",
        "usage",
    )
    expires: Moment | None = None
    enabled: Flag | None = None
    holder: Email | None = None  # one of the tenant's members
    budgets: tuple[Budget, ...] = ()
    rate_limits: RateLimits = RateLimits()
    timeouts: Waits = Waits()


class Tenant(Struct, frozen=True):
    name: Name
    enabled: Flag | None = None
    time_zone: Zone = "UTC"
    models: tuple[Name, ...] | None = None
    log_payloads: Payloads | None = None
    payload_days: Days = 30
    operators_read_payloads: Flag = False
    retention_months: Months | None = None
    cache: Cache = Cache()
    single_flight: Flag = False
    rate_limits: RateLimits = RateLimits()
    budgets: tuple[Budget, ...] = ()
    prices: tuple[TenantPrice, ...] = ()
    margin: Margin | None = None
    runs: Runs = Runs()
    providers: tuple[Provider, ...] = ()
    guardrails: tuple[Guardrail, ...] = ()
    projects: tuple[Project, ...] = ()
    members: tuple[Member, ...] = ()
    keys: tuple[Key, ...] = ()


def budgets_of(tenant: Tenant) -> tuple[Budget, ...]:
    """Return a tenant's budgets, the ceiling of its agent runs among them."""
    limit = tenant.runs.budget
    if limit is None:
        return tenant.budgets
    return (*tenant.budgets, Budget(RUN_CEILING, limit, "total", per="run"))


class File(Struct, frozen=True):
    version: Annotated[int, whole_number(1, 1)] = 1
    settings: Settings = Settings()
    providers: tuple[Provider, ...] = ()
    models: tuple[Model, ...] = ()
    routes: tuple[Route, ...] = ()
    tenants: tuple[Tenant, ...] = ()
