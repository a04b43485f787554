"""Make configurations: one that says a bit of everything, and any that fits together."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any, TypeVar

from hypothesis import strategies as st

from llm_gateway.configuration import schema
from llm_gateway.providers.catalog import CAPABILITIES

API_KEY = "a-key-given-by-the-operator"

EVERYTHING = f"""
version: 1
settings: {{fallback_routes: [smart], log_payloads: redacted, drain_seconds: 60}}
providers:
  - name: openai
    kind: openai
    base_url: http://127.0.0.1:8900/v1
    allow_private_network: true
    keys:
      - {{name: main, value: sk-fake-000000000001}}
      - {{name: spare, value: sk-fake-2, weight: 2}}
    timeouts: {{connect: 1.5}}
    max_concurrent_requests: 10
    charge_by: provider
    on_disconnect: abort
    retry: {{strategy: linear}}
    circuit_breaker: {{failure_threshold: 3}}
    health_check: {{interval: 15}}
  - name: mock
    kind: mock
    mock: {{answer: Hello, answers: {{m: Hi}}, delay: 0.5, word_delay: 0.1}}
models:
  - {{name: gpt-4o, provider: openai, upstream_name: gpt-4o-2024-08-06}}
  - name: gpt-4o
    provider: mock
    context_window: 1000
    max_output_tokens: 100
    capabilities: [chat, stream]
    quality: 80
    weight: 2
    rate_limits: {{requests_per_minute: 1000}}
    timeouts: {{first_token: 300}}
    prices:
      - from: 2024-08-06
        input: "2.50"
        output: "10.00"
        cache_read: "1.25"
        tiers: [{{above_input_tokens: 200000, input: "5.00", output: "15.00"}}]
  - {{name: own, provider: acme/own-openai}}
routes:
  - name: smart
    strategy: weighted
    targets: [{{model: gpt-4o, weight: 3}}, {{model: own, when: {{max_input_tokens: 10}}}}]
    when: {{tags: {{team: research}}, budget_used_below: 0.8}}
    on_context_length: [gpt-4o]
    on_content_policy: [own, gpt-4o]
    hedge: true
    affinity: session
    timeouts: {{first_token: 20, total: 90}}
tenants:
  - name: acme
    time_zone: Europe/Berlin
    models: [gpt-4o, smart]
    log_payloads: full
    payload_days: 7
    operators_read_payloads: true
    retention_months: 3
    rate_limits: {{requests_per_minute: 600, tokens_per_minute: 200000, concurrency: 20}}
    budgets:
      - {{name: monthly, limit: "100.00", period: month, soft: [0.5, 0.8], mode: clamp}}
      - {{name: each, limit: 5, period: day, model: gpt-4o, per: end_user, hard: false}}
    providers: [{{name: own-openai, kind: openai, keys: [{{name: main, value: sk-fake-own-001}}]}}]
    projects:
      - {{name: search, budgets: [{{name: p, limit: "1"}}], rate_limits: {{concurrency: 2}}}}
    members: [{{email: owner@acme.test, role: owner}}]
    keys:
      - name: dev
        value: {API_KEY}
        project: search
        models: [gpt-4o]
        budgets: [{{name: k, limit: "0.5"}}]
        rate_limits: {{requests_per_minute: 5}}
        timeouts: {{idle: 10}}
        expires: 2027-01-01
        scopes: [inference]
      - {{name: made}}
"""

Item = TypeVar("Item")

names = st.from_regex(r"[a-z][a-z0-9.-]{0,6}", fullmatch=True)
money = st.integers(0, 10**15)
counts = st.integers(1, 2**31 - 1)
maybe_count = st.none() | counts
shares = st.floats(0, 1).map(lambda value: round(value, 6))
seconds = st.floats(0.001, 86_400).map(lambda value: round(value, 3))
waits = st.builds(schema.Waits, first_token=st.none() | seconds, total=st.none() | seconds)
enabled = st.sampled_from([None, False])
rate_limits = st.builds(schema.RateLimits, maybe_count, maybe_count, maybe_count)
lines = {
    name: st.none() | money
    for name in ("input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning")
}
tiers = st.builds(schema.Tier, above_input_tokens=st.integers(0, 10**6), **lines)


def several(items: st.SearchStrategy[Item], identity: Any) -> st.SearchStrategy[tuple[Item, ...]]:
    return st.lists(items, max_size=2, unique_by=identity).map(tuple)


def by_name(items: st.SearchStrategy[Item]) -> st.SearchStrategy[tuple[Item, ...]]:
    return several(items, lambda item: item.name)


prices = st.builds(
    schema.Price,
    valid_from=st.dates(date(2000, 1, 1), date(2030, 1, 1)),
    tiers=several(tiers, lambda tier: tier.above_input_tokens),
    request=st.none() | money,
    **lines,
)
provider_keys = st.builds(
    schema.ProviderKey, name=names, value=st.none(), weight=st.integers(0, 9), enabled=enabled
)
mocks = st.builds(
    schema.Mock,
    answer=st.none() | names,
    answers=st.dictionaries(names, names, max_size=2),
    delay_s=shares,
    word_delay_s=shares,
    error_rate=shares,
)
retries = st.builds(
    schema.Retry,
    strategy=st.sampled_from(["exponential", "linear", "fibonacci", "adaptive"]),
    max_attempts=st.integers(1, 20),
    initial_delay=shares,
    jitter=shares,
)
providers = st.builds(
    schema.Provider,
    name=names,
    kind=st.sampled_from(["openai", "anthropic", "ollama"]),
    base_url=st.sampled_from([None, "http://127.0.0.1:8900/v1", "https://llm.test"]),
    allow_private_network=st.just(True),
    enabled=enabled,
    keys=by_name(provider_keys),
    timeouts=st.builds(schema.Timeouts, connect=seconds, total=seconds),
    max_concurrent_requests=counts,
    retry=st.none() | retries,
    circuit_breaker=st.builds(schema.CircuitBreaker, failure_threshold=counts),
    health_check=st.builds(
        schema.HealthCheck, interval=st.just(0) | seconds, probe_interval=seconds
    ),
) | st.builds(schema.Provider, name=names, kind=st.just("mock"), mock=st.none() | mocks)
budgets = st.builds(
    schema.Budget,
    name=names,
    limit=st.none() | money,
    period=st.sampled_from(["hour", "day", "week", "month", "quarter", "year", "total"]),
    soft=st.lists(shares.filter(bool), max_size=3, unique=True).map(sorted).map(tuple),
    hard=st.booleans(),
    mode=st.sampled_from(["strict", "clamp"]),
    model=st.none(),
    per=st.sampled_from([None, "end_user", "run", "tag.team"]),
)
projects = st.builds(schema.Project, names, by_name(budgets), rate_limits)
whens = st.builds(
    schema.When, maybe_count, st.dictionaries(names, names, max_size=2), st.none() | shares
)
members = several(
    st.builds(
        schema.Member,
        names.map(lambda name: f"{name}@acme.test"),
        st.sampled_from(["owner", "admin", "member", "viewer"]),
    ),
    lambda member: member.email,
)


def models_at(providers: Sequence[str]) -> st.SearchStrategy[schema.Model]:
    return st.builds(
        schema.Model,
        name=names | st.just("gpt-4o"),
        provider=st.sampled_from(providers),
        upstream_name=st.none() | names | st.just("Org/Model:Tag"),
        context_window=maybe_count,
        max_output_tokens=maybe_count,
        capabilities=st.none()
        | st.sets(st.sampled_from(sorted(CAPABILITIES))).map(sorted).map(tuple),
        quality=st.none() | st.integers(0, 100),
        weight=st.integers(0, 10),
        enabled=enabled,
        rate_limits=rate_limits,
        timeouts=st.builds(schema.OwnTimeouts, first_token=st.none() | st.floats(0.1, 900)),
        prices=st.none() | several(prices, lambda price: price.valid_from),
    )


def routes_over(models: Sequence[str]) -> st.SearchStrategy[schema.Route]:
    target = st.builds(schema.Target, st.sampled_from(models), st.integers(0, 9), whens)
    return st.builds(
        schema.Route,
        name=names,
        targets=st.lists(target, min_size=1, max_size=3).map(tuple),
        strategy=st.sampled_from(["fallback", "cheapest", "weighted", "race"]),
        when=whens,
        on_context_length=st.lists(st.sampled_from(models), max_size=2).map(tuple),
        on_content_policy=st.lists(st.sampled_from(models), max_size=2).map(tuple),
        hedge=st.booleans(),
        affinity=st.sampled_from([None, "session", "prompt"]),
        timeouts=waits,
        enabled=enabled,
    )


_of_guardrail = {
    "action": st.sampled_from(["redact", "block", "flag"]),
    "on": st.sampled_from(["request", "answer", "both"]),
}
guardrails = st.one_of(
    st.builds(schema.Guardrail, kind=st.just("secrets"), **_of_guardrail),
    st.builds(
        schema.Guardrail,
        name=names,
        kind=st.just("pii"),
        entities=st.sampled_from([(), ("card", "iban")]),
        **_of_guardrail,
    ),
    st.builds(
        schema.Guardrail,
        name=names,
        kind=st.just("words"),
        words=st.just(("falcon", "blue falcon")),
        **_of_guardrail,
    ),
)


@st.composite
def tenants(draw: st.DrawFn) -> schema.Tenant:
    of_tenant = draw(by_name(projects))
    key = st.builds(
        schema.Key,
        name=names,
        value=st.none(),
        project=st.sampled_from([None, *(project.name for project in of_tenant)]),
        models=st.none() | st.lists(names, max_size=2).map(tuple),
        scopes=st.sets(st.sampled_from(["inference", "usage", "manage"])).map(sorted).map(tuple),
        expires=st.none() | st.datetimes(datetime(2026, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - a bound
        enabled=enabled,
        budgets=by_name(budgets),
        rate_limits=rate_limits,
        timeouts=waits,
    )
    return schema.Tenant(
        name=draw(names),
        enabled=draw(enabled),
        time_zone=draw(st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"])),
        models=draw(st.none() | st.lists(names, max_size=2).map(tuple)),
        log_payloads=draw(st.sampled_from([None, "none", "redacted", "full"])),
        payload_days=draw(st.integers(1, 3650)),
        operators_read_payloads=draw(st.booleans()),
        retention_months=draw(st.none() | st.integers(1, 1200)),
        cache=draw(st.builds(schema.Cache, st.booleans(), counts, st.booleans(), shares)),
        single_flight=draw(st.booleans()),
        rate_limits=draw(rate_limits),
        budgets=draw(by_name(budgets)),
        runs=draw(st.builds(schema.Runs, st.none() | money, maybe_count, maybe_count)),
        providers=draw(by_name(providers)),
        guardrails=draw(several(guardrails, lambda one: one.name or one.kind)),
        projects=of_tenant,
        members=draw(members),
        keys=draw(by_name(key)),
    )


@st.composite
def files(draw: st.DrawFn) -> schema.File:
    """Draw a configuration whose references hold."""
    of_all, of_tenants = draw(by_name(providers)), draw(by_name(tenants()))
    callable_at = [one.name for one in of_all]
    callable_at += [
        f"{tenant.name}/{one.name}" for tenant in of_tenants for one in tenant.providers
    ]
    identity = lambda model: (model.name, model.provider, model.upstream_name or model.name)  # noqa: E731 - one use
    models = draw(several(models_at(callable_at), identity)) if callable_at else ()
    called = [model.name for model in models]
    routes = draw(by_name(routes_over(called))) if called else ()
    return schema.File(
        settings=schema.Settings(fallback_routes=tuple(route.name for route in routes[:1])),
        providers=of_all,
        models=models,
        routes=routes,
        tenants=of_tenants,
    )
