"""Say what a section is as a row and what a row is as a section; each pair undoes the other.

Two rows are equal when their values are, so a row that the console wrote with its defaults spelled
out is no difference. A value that the file leaves to the console is not among them.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import structs

from llm_gateway import models
from llm_gateway.configuration import schema
from llm_gateway.configuration.document import plain, read
from llm_gateway.providers.catalog import CATALOG
from tenants import models as tenancy

Values = dict[str, Any]

NO_LIMITS = schema.RateLimits()


def settings_values(section: schema.Settings) -> Values:
    return {**structs.asdict(section), "fallback_routes": list(section.fallback_routes)}


def settings_section(row: models.GatewaySettings) -> schema.Settings:
    return schema.Settings(
        fallback_routes=tuple(row.fallback_routes),
        log_payloads=row.log_payloads,
        drain_seconds=row.drain_seconds,
        pre_stop_seconds=row.pre_stop_seconds,
        caller_idle_seconds=row.caller_idle_seconds,
        retention_months=row.retention_months,
    )


def provider_values(section: schema.Provider) -> Values:
    return _without_unset(
        kind=section.kind,
        base_url=section.base_url or "",
        allow_private_network=section.allow_private_network,
        enabled=section.enabled,
        timeouts=plain(section.timeouts),
        max_concurrent_requests=section.max_concurrent_requests,
        charge_by=section.charge_by,
        on_disconnect=section.on_disconnect,
        # Stored in full: {} is "no retry section", and a section may hold only defaults.
        retry=structs.asdict(section.retry) if section.retry else {},
        circuit_breaker=plain(section.circuit_breaker),
        health_check=plain(section.health_check),
        options=_mock_options(section.mock) if section.mock else plain(section.options),
    )


def provider_section(row: models.Provider) -> schema.Provider:
    return schema.Provider(
        name=row.name,
        kind=row.kind,
        base_url=row.base_url or None,
        allow_private_network=row.allow_private_network,
        enabled=None if row.enabled else False,
        keys=tuple(provider_key_section(key) for key in row.keys.all()),
        timeouts=read(schema.Timeouts, row.timeouts),
        max_concurrent_requests=row.max_concurrent_requests,
        charge_by=row.charge_by,
        on_disconnect=row.on_disconnect,
        retry=read(schema.Retry, row.retry) if row.retry else None,
        circuit_breaker=read(schema.CircuitBreaker, row.circuit_breaker),
        health_check=read(schema.HealthCheck, row.health_check),
        **_options(row),
    )


def provider_key_values(section: schema.ProviderKey) -> Values:
    return _without_unset(weight=section.weight, enabled=section.enabled)


def provider_key_section(row: models.ProviderKey) -> schema.ProviderKey:
    return schema.ProviderKey(
        name=row.name, weight=row.weight, enabled=None if row.enabled else False
    )


def model_values(section: schema.Model) -> Values:
    capabilities = section.capabilities
    return _without_unset(
        context_window=section.context_window,
        max_output_tokens=section.max_output_tokens,
        image_tokens=section.image_tokens,
        capabilities=None if capabilities is None else sorted(set(capabilities)),
        quality=section.quality,
        weight=section.weight,
        enabled=section.enabled,
        rate_limits=plain(section.rate_limits),
        timeouts=plain(section.timeouts),
        # In full, as a provider's retry is: {} is none.
        batching=structs.asdict(section.batching) if section.batching else {},
        keep=("context_window", "max_output_tokens", "image_tokens", "capabilities", "quality"),
    )


def upstream_name(section: schema.Model) -> str:
    """Return what the column holds: nothing where it is the name."""
    return "" if section.upstream_name in {None, section.name} else section.upstream_name or ""


def model_section(row: models.Model) -> schema.Model:
    return schema.Model(
        name=row.name,
        provider=str(row.provider),
        upstream_name=None if row.upstream_name in {"", row.name} else row.upstream_name,
        context_window=row.context_window,
        max_output_tokens=row.max_output_tokens,
        image_tokens=row.image_tokens,
        capabilities=None if row.capabilities is None else tuple(row.capabilities),
        quality=row.quality,
        weight=row.weight,
        enabled=None if row.enabled else False,
        rate_limits=read(schema.RateLimits, row.rate_limits),
        timeouts=read(schema.OwnTimeouts, row.timeouts),
        batching=read(schema.Batching, row.batching) if row.batching else None,
    )


def route_values(section: schema.Route) -> Values:
    return _without_unset(
        strategy=section.strategy,
        when=plain(section.when),
        on_context_length=list(section.on_context_length),
        on_content_policy=list(section.on_content_policy),
        hedge=section.hedge,
        affinity=section.affinity or "",
        timeouts=plain(section.timeouts),
        enabled=section.enabled,
    )


def route_section(row: models.Route) -> schema.Route:
    return schema.Route(
        name=row.name,
        strategy=row.strategy,
        when=read(schema.When, row.when),
        on_context_length=tuple(row.on_context_length),
        on_content_policy=tuple(row.on_content_policy),
        hedge=row.hedge,
        affinity=row.affinity or None,
        timeouts=read(schema.Waits, row.timeouts),
        enabled=None if row.enabled else False,
        targets=tuple(
            schema.Target(target.model, target.weight, read(schema.When, target.when))
            for target in row.targets.all()
        ),
    )


def target_values(section: schema.Target) -> Values:
    return {"model": section.model, "weight": section.weight, "when": plain(section.when)}


def tenant_values(section: schema.Tenant) -> Values:
    return _without_unset(
        active=section.enabled,
        time_zone=section.time_zone,
        allowed_models=_names(section.models),
        log_payloads=section.log_payloads or "",
        payload_days=section.payload_days,
        operators_read_payloads=section.operators_read_payloads,
        retention_months=section.retention_months,
        cache=plain(section.cache),
        single_flight=section.single_flight,
        runs=plain(structs.replace(section.runs, budget=None)),
        keep=("allowed_models", "retention_months"),
    )


def tenant_section(row: tenancy.Tenant) -> schema.Tenant:
    """Return a tenant's own fields; what hangs on it is the caller's to add."""
    return schema.Tenant(
        name=row.name,
        enabled=None if row.active else False,
        time_zone=row.time_zone,
        models=_tuple(row.allowed_models),
        log_payloads=row.log_payloads or None,
        payload_days=row.payload_days,
        operators_read_payloads=row.operators_read_payloads,
        retention_months=row.retention_months,
        cache=read(schema.Cache, row.cache),
        single_flight=row.single_flight,
        runs=read(schema.Runs, row.runs),
    )


def key_values(section: schema.Key, project: tenancy.Project | None) -> Values:
    return {
        "project": project,
        "allowed_models": _names(section.models),
        "scopes": sorted(set(section.scopes)),
        "expires_at": section.expires,
    }


def key_section(row: tenancy.ApiKey) -> schema.Key:
    return schema.Key(
        name=row.name,
        project=row.project.name if row.project else None,
        models=_tuple(row.allowed_models),
        scopes=tuple(row.scopes),
        expires=row.expires_at,
        enabled=None if row.revoked_at is None else False,
        holder=row.holder.email if row.holder else None,
    )


def budget_values(section: schema.Budget) -> Values:
    return {
        "limit_nano": section.limit,
        "period": section.period,
        "hard": section.hard,
        "mode": section.mode,
        "thresholds": sorted(set(section.soft)),
        "model_filter": section.model or "",
        "per": section.per or "",
    }


def budget_section(row: tenancy.Budget) -> schema.Budget:
    return schema.Budget(
        name=row.name,
        limit=row.limit_nano,
        period=row.period,
        soft=tuple(float(share) for share in row.thresholds),
        hard=row.hard,
        mode=row.mode,
        model=row.model_filter or None,
        per=row.per or None,
    )


def guardrail_values(section: schema.Guardrail) -> Values:
    return {
        "kind": section.kind,
        "action": section.action,
        "side": section.on,
        "entities": sorted(set(section.entities)),
        "patterns": list(section.patterns),
        "words": list(section.words),
    }


def guardrail_name(section: schema.Guardrail) -> str:
    """Return what a guardrail is called: what it is, unless it is said."""
    return section.name or section.kind


def guardrail_section(row: tenancy.Guardrail) -> schema.Guardrail:
    return schema.Guardrail(
        name=None if row.name == row.kind else row.name,
        kind=row.kind,
        action=row.action,
        on=row.side,
        entities=tuple(row.entities),
        patterns=tuple(row.patterns),
        words=tuple(row.words),
    )


def rate_limits_values(section: schema.RateLimits) -> Values:
    return structs.asdict(section)


def rate_limits_section(row: tenancy.RateLimit | None) -> schema.RateLimits:
    if row is None:
        return NO_LIMITS
    return schema.RateLimits(row.requests_per_minute, row.tokens_per_minute, row.concurrency)


def key_timeouts_values(section: schema.Waits) -> Values:
    return {"timeouts": plain(section)}


def key_timeouts_section(row: models.KeyTimeouts | None) -> schema.Waits:
    return schema.Waits() if row is None else read(schema.Waits, row.timeouts)


def price_values(section: schema.Price) -> Values:
    tiers = [
        {name: line for name, line in structs.asdict(tier).items() if line is not None}
        for tier in section.tiers
    ]
    return {**structs.asdict(section), "tiers": tiers}


def price_section(row: models.Price) -> schema.Price:
    lines = {name: getattr(row, name) for name in PRICE_LINES}
    tiers = msgspec.convert(row.tiers, tuple[schema.Tier, ...])
    return schema.Price(valid_from=row.valid_from, tiers=tiers, **lines)


PRICE_LINES = tuple(
    name for name in schema.Price.__struct_fields__ if name not in {"valid_from", "tiers"}
)


def _options(row: models.Provider) -> dict[str, Any]:
    """Return the section of a row's options: the mock's are a section of their own."""
    if not row.options:
        return {}
    if CATALOG[row.kind].options:
        return {"options": read(schema.Options, row.options)}
    return {"mock": _mock(row.options)}


_MOCK_NAMES = {field.name: field.encode_name for field in structs.fields(schema.Mock)}


def _mock_options(section: schema.Mock) -> Values:
    """Return what the mock adapter reads: its own names, and only what differs."""
    shortest = plain(section)
    return {name: shortest[given] for name, given in _MOCK_NAMES.items() if given in shortest}


def _mock(options: Mapping[str, object]) -> schema.Mock:
    return read(schema.Mock, {_MOCK_NAMES.get(name, name): options[name] for name in options})


def _without_unset(keep: Iterable[str] = (), **values: object) -> Values:
    """Leave out what the file does not say, but for the names to keep: None is their value."""
    return {name: value for name, value in values.items() if value is not None or name in keep}


def _names(names: tuple[str, ...] | None) -> list[str] | None:
    return None if names is None else list(names)


def _tuple(names: list[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)
