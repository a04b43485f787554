"""Write the database as a configuration file, without secrets; applied again it changes nothing."""

from collections.abc import Iterable

import yaml
from django.utils import timezone
from msgspec import structs

from llm_gateway import models
from llm_gateway.configuration import prices, rows, schema
from llm_gateway.configuration.document import plain
from llm_gateway.configuration.tenant_prices import terms_section
from tenants.models import ApiKey, Budget, Member, Project, RateLimit, Tenant


def export() -> str:
    """Return the configuration in YAML."""
    document = {"version": 1, **plain(read_database())}
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


def read_database() -> schema.File:
    """Return the configuration in force. Raises ConfigurationError for a row no file could say."""
    settings = models.GatewaySettings.objects.first()
    return schema.File(
        settings=rows.settings_section(settings) if settings else schema.Settings(),
        providers=_providers(None),
        models=tuple(
            _model(row)
            for row in models.Model.objects.select_related("provider__tenant")
            .prefetch_related("prices")
            .order_by("pk")
        ),
        routes=tuple(
            rows.route_section(row)
            for row in models.Route.objects.prefetch_related("targets").order_by("pk")
        ),
        tenants=tuple(_tenant(row) for row in Tenant.objects.order_by("pk")),
    )


def _providers(tenant: Tenant | None) -> tuple[schema.Provider, ...]:
    found = models.Provider.objects.filter(tenant=tenant).prefetch_related("keys")
    return tuple(rows.provider_section(row) for row in found.order_by("pk"))


def _model(row: models.Model) -> schema.Model:
    """Leave prices to the catalogue where they are what it says."""
    held = prices.shortest(prices.in_force(row.prices.all()))
    if prices.from_catalogue(row.prices.all()) and held == prices.shortest(
        prices.catalogue_prices(row)
    ):
        return rows.model_section(row)
    return structs.replace(rows.model_section(row), prices=held)


def _tenant(row: Tenant) -> schema.Tenant:
    own_prices, margin = terms_section(row, timezone.now().date())
    return structs.replace(
        rows.tenant_section(row),
        prices=own_prices,
        margin=margin,
        rate_limits=_rate_limits(RateLimit.objects.of(row).filter(project=None, api_key=None)),
        budgets=_budgets(Budget.objects.of(row).filter(project=None, api_key=None)),
        providers=_providers(row),
        projects=tuple(_project(one) for one in Project.objects.of(row).order_by("pk")),
        members=tuple(
            schema.Member(one.email, one.role) for one in Member.objects.of(row).order_by("pk")
        ),
        keys=tuple(
            _key(one) for one in ApiKey.objects.of(row).select_related("project").order_by("pk")
        ),
    )


def _project(row: Project) -> schema.Project:
    return schema.Project(
        name=row.name,
        budgets=_budgets(Budget.objects.of(row.tenant_id).filter(project=row)),
        rate_limits=_rate_limits(RateLimit.objects.of(row.tenant_id).filter(project=row)),
    )


def _key(row: ApiKey) -> schema.Key:
    return structs.replace(
        rows.key_section(row),
        budgets=_budgets(Budget.objects.of(row.tenant_id).filter(api_key=row)),
        rate_limits=_rate_limits(RateLimit.objects.of(row.tenant_id).filter(api_key=row)),
    )


def _budgets(found: Iterable[Budget]) -> tuple[schema.Budget, ...]:
    return tuple(rows.budget_section(row) for row in sorted(found, key=lambda row: row.pk))


def _rate_limits(found: Iterable[RateLimit]) -> schema.RateLimits:
    return rows.rate_limits_section(next(iter(found), None))
