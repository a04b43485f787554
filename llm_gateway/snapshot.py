"""Hold all configuration as one immutable value, and hear of its changes.

Database triggers count up a version at every change, whoever made it; each process polls that one
row. A request takes `current` once and sees nothing change under it.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import cast

import msgspec
from django.db import Error
from msgspec import Struct

from llm_gateway import models
from llm_gateway.errors import Rejection
from llm_gateway.providers.catalog import CATALOG
from llm_gateway.providers.known_models import ModelFacts, model_facts
from llm_gateway.providers.known_prices import CATALOGUE
from llm_gateway.providers.row import models_path, speech_at
from llm_gateway.resilience.breaker import Action
from llm_gateway.types import (
    Affinity,
    Batching,
    BreakerSettings,
    Configuration,
    Deployment,
    HealthCheck,
    KeyConfig,
    Margin,
    Price,
    ProviderConfig,
    RetryPolicy,
    RouteConfig,
    RouteTarget,
    Settings,
    StrategyName,
    Terms,
    Tier,
    Timeouts,
    When,
)
from tenants.models import ConfigVersion
from tenants.reader import Reader
from tenants.types import Payloads, RateRule

POLL_S = 0.5

log = logging.getLogger(__name__)


class SealedKey(Struct, frozen=True):
    """A provider key as it lies in the database; only `vault` opens it."""

    sealed: bytes
    tenant_id: int | None
    row_id: int
    origin: str


class GivenOrder(Struct, frozen=True, kw_only=True):
    """What was decided by hand about a circuit; times are Unix seconds."""

    id: int
    action: Action
    by: str
    at: float
    until: float | None


class Snapshot(Struct, frozen=True, kw_only=True):
    """One version of all configuration. Deployments and orders are by the deployment's id."""

    version: int
    configuration: Configuration
    deployments: Mapping[int, Deployment]
    orders: Mapping[int, GivenOrder]
    providers: Mapping[int, ProviderConfig]
    sealed_keys: Mapping[int, SealedKey]


class SnapshotHolder:
    """The current snapshot of a process, and who wants to hear of the next."""

    current: Snapshot

    def __init__(self, reader: Reader, on_change: Iterable[Callable[[], None]] = ()) -> None:
        self._reader, self._on_change = reader, list(on_change)
        self.looks = 0  # how often somebody asked what runs now
        self.looked = asyncio.Event()
        self.answered_at = 0.0  # when the database last did (monotonic)

    async def load(self) -> None:
        """Read everything. Raises django.db.Error."""
        self.current = await self._reader.read(read_snapshot)
        self.answered_at = time.monotonic()

    async def watch(self) -> None:
        """Poll for ever; a database that is away leaves the last snapshot in force."""
        problem = ""
        while True:
            await asyncio.sleep(POLL_S)
            before, problem = problem, await self._refresh()
            if problem and problem != before:
                log.warning("The last configuration stays in force: %s", problem)
            elif before and not problem:
                log.warning("Configuration can be read again")

    async def _refresh(self) -> str:
        """Read what changed; return what stands in the way."""
        try:
            version, looks = await self._reader.read(read_version)
            self.answered_at = time.monotonic()
            if looks != self.looks:
                self.looks = looks
                self.looked.set()
            if version == self.current.version:
                return ""
            await self.load()
        except Error as error:
            return f"the database says {error}"
        except (msgspec.ValidationError, KeyError, TypeError) as error:
            # A row edited by hand must not end the watch: the next edit may mend it.
            return f"a row cannot be understood: {error}"
        for tell in self._on_change:
            tell()
        return ""


def read_version() -> tuple[int, int]:
    """Return the version, and how often somebody asked what runs now."""
    return ConfigVersion.objects.values_list("version", "looks").first() or (0, 0)


def read_snapshot() -> Snapshot:
    """Read all configuration. The version is read first: a change meanwhile is read again."""
    version, _ = read_version()
    providers = {row.pk: _provider(row) for row in _enabled_providers()}
    keys = [key for row in _enabled_providers() for key in row.keys.all() if key.sealed]
    deployments = _deployments(providers)
    return Snapshot(
        version=version,
        deployments={one.id: one for named in deployments.values() for one in named},
        orders=_orders(),
        configuration=Configuration(
            models=deployments,
            routes=_routes(),
            settings=_settings(),
            terms=read_terms(),
            key_waits=_key_waits(),
        ),
        providers=providers,
        sealed_keys={
            key.pk: SealedKey(bytes(key.sealed or b""), key.provider.tenant_id, key.pk, key.origin)
            for key in keys
        },
    )


def _enabled_providers() -> Iterable[models.Provider]:
    return models.Provider.objects.filter(enabled=True).prefetch_related("keys")


def _provider(row: models.Provider) -> ProviderConfig:
    speech = speech_at(CATALOG[row.kind], row.address, row.options)
    return ProviderConfig(
        id=row.pk,
        name=row.name,
        kind=row.kind,
        base_url=row.address,
        adapters=speech.adapters,
        tenant_id=row.tenant_id,
        allow_private_network=row.allow_private_network,
        keys=tuple(
            KeyConfig(id=key.pk, name=key.name, weight=key.weight)
            for key in row.keys.all()
            if key.enabled and key.sealed
        ),
        timeouts=_timeouts(row.timeouts),
        max_concurrent_requests=row.max_concurrent_requests,
        charge_by=row.charge_by,
        on_disconnect=row.on_disconnect,
        retry=msgspec.convert(row.retry, RetryPolicy) if row.retry else None,
        breaker=msgspec.convert(row.circuit_breaker, BreakerSettings),
        health_check=msgspec.convert(row.health_check, HealthCheck),
        models_path=models_path(CATALOG[row.kind], speech),
        quirks=speech.quirks,
        options=row.options,
    )


def _deployments(
    providers: Mapping[int, ProviderConfig],
) -> dict[str, tuple[Deployment, ...]]:
    named: defaultdict[str, list[Deployment]] = defaultdict(list)
    rows = models.Model.objects.filter(enabled=True, provider__in=providers)
    for row in rows.prefetch_related("prices").order_by("pk"):
        named[row.name].append(_deployment(row, providers[row.provider_id]))
    return {name: tuple(deployments) for name, deployments in named.items()}


def _deployment(row: models.Model, provider: ProviderConfig) -> Deployment:
    upstream_name = row.upstream_name or row.name
    known: ModelFacts = model_facts(provider.kind, upstream_name)
    capabilities = known.capabilities if row.capabilities is None else row.capabilities
    return Deployment(
        id=row.pk,
        name=row.name,
        provider=provider,
        upstream_name=upstream_name,
        context_window=row.context_window or known.context_window,
        max_output_tokens=row.max_output_tokens or known.max_output_tokens,
        image_tokens=row.image_tokens or known.image_tokens,
        capabilities=None if capabilities is None else frozenset(capabilities),
        quality=row.quality,
        weight=row.weight,
        prices=tuple(price_value(price) for price in row.prices.all()),
        rates=RateRule(scope="model", owner_id=row.pk, **row.rate_limits)
        if row.rate_limits
        else None,
        batching=msgspec.convert(row.batching, Batching) if row.batching else None,
        own_timeouts=_timeouts(row.provider.timeouts | row.timeouts) if row.timeouts else None,
    )


def _timeouts(given: Mapping[str, float]) -> Timeouts:
    return msgspec.convert({**given, "whole": given.get("first_token")}, Timeouts)


def price_value(row: models.Price) -> Price:
    """Return one dated price of the database as the plain half knows it."""
    return Price(
        id=row.pk,
        input=row.input,
        output=row.output,
        cache_read=row.cache_read,
        cache_write=row.cache_write,
        cache_write_1h=row.cache_write_1h,
        reasoning=row.reasoning,
        request=row.request,
        audio_input=row.audio_input,
        audio_output=row.audio_output,
        image_input=row.image_input,
        image_output=row.image_output,
        image=row.image,
        audio_second=row.audio_second,
        tool_call=row.tool_call,
        tiers=msgspec.convert(row.tiers, tuple[Tier, ...]),
        valid_from=row.valid_from,
        source=row.source,
        reviewed=row.source.startswith(CATALOGUE),
    )


def read_terms() -> dict[int, Terms]:
    """Return what tenants pay other than the list price, by their ids."""
    prices: defaultdict[int, defaultdict[str, list[Price]]] = defaultdict(lambda: defaultdict(list))
    for row in models.Price.objects.exclude(tenant=None):
        prices[cast("int", row.tenant_id)][row.model_name].append(price_value(row))
    margins: defaultdict[int, list[Margin]] = defaultdict(list)
    for margin in models.TenantMargin.objects.all():
        margins[margin.tenant_id].append(
            Margin(id=margin.pk, ppm=margin.percent_ppm, valid_from=margin.valid_from)
        )
    return {
        tenant_id: Terms(
            prices={name: tuple(versions) for name, versions in prices[tenant_id].items()},
            margins=tuple(margins[tenant_id]),
        )
        for tenant_id in {*prices, *margins}
    }


def _routes() -> dict[str, RouteConfig]:
    rows = models.Route.objects.filter(enabled=True).prefetch_related("targets")
    return {
        row.name: RouteConfig(
            name=row.name,
            strategy=cast("StrategyName", row.strategy),
            targets=tuple(
                RouteTarget(model=target.model, weight=target.weight, when=_when(target.when))
                for target in row.targets.all()
            ),
            when=_when(row.when),
            instead=_instead(row),
            hedge=row.hedge,
            affinity=cast("Affinity", row.affinity) if row.affinity else None,
            waits=row.timeouts,
        )
        for row in rows
    }


def _instead(row: models.Route) -> dict[Rejection, tuple[str, ...]]:
    named: dict[Rejection, list[str]] = {
        "context_length": row.on_context_length,
        "content_policy": row.on_content_policy,
    }
    return {why: tuple(names) for why, names in named.items() if names}


def _key_waits() -> dict[int, dict[str, float]]:
    return dict(models.KeyTimeouts.objects.values_list("api_key_id", "timeouts"))


def _orders() -> dict[int, GivenOrder]:
    return {
        row.model_id: GivenOrder(
            id=row.pk,
            action=cast("Action", row.action),
            by=row.given_by,
            at=row.given_at.timestamp(),
            until=row.until.timestamp() if row.until else None,
        )
        for row in models.CircuitOrder.objects.all()
    }


def _when(conditions: dict[str, object]) -> When | None:
    return msgspec.convert(conditions, When) if conditions else None


def _settings() -> Settings:
    row = models.GatewaySettings.objects.first() or models.GatewaySettings()
    return Settings(
        fallback_routes=tuple(row.fallback_routes),
        log_payloads=cast("Payloads", row.log_payloads),
        drain_seconds=float(row.drain_seconds),
        pre_stop_seconds=float(row.pre_stop_seconds),
        caller_idle_seconds=float(row.caller_idle_seconds),
    )
