"""Write the database as a configuration file, without secrets; applied again it changes nothing."""

from collections import defaultdict
from collections.abc import Iterable
from typing import TypeVar

import yaml
from django.db.models import QuerySet
from django.utils import timezone
from msgspec import structs

from llm_gateway import models
from llm_gateway.configuration import prices, rows, schema
from llm_gateway.configuration.document import plain
from llm_gateway.configuration.tenant_prices import terms_section
from tenants.models import ApiKey, Budget, Guardrail, Member, Owned, Project, RateLimit, Tenant

Rule = TypeVar("Rule", bound=Owned)
_Owner = tuple[int | None, int | None]
_WHOLE: _Owner = (None, None)  # the tenant itself


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
    section = rows.tenant_section(row)
    rules = _Rules(row)
    budgets = rules.budgets[_WHOLE]
    ceiling = next((one for one in budgets if one.is_run_ceiling), None)
    return structs.replace(
        section,
        runs=structs.replace(section.runs, budget=ceiling.limit_nano if ceiling else None),
        prices=own_prices,
        margin=margin,
        rate_limits=_rate_limits(rules.limits[_WHOLE]),
        budgets=_budgets(one for one in budgets if one is not ceiling),
        providers=_providers(row),
        guardrails=tuple(
            rows.guardrail_section(one) for one in Guardrail.objects.of(row).order_by("pk")
        ),
        projects=tuple(_project(one, rules) for one in Project.objects.of(row).order_by("pk")),
        members=tuple(
            schema.Member(one.email, one.role) for one in Member.objects.of(row).order_by("pk")
        ),
        keys=tuple(
            _key(one, rules)
            for one in ApiKey.objects.of(row)
            .select_related("project", "holder", "own_timeouts")
            .order_by("pk")
        ),
    )


class _Rules:
    """The budgets and limits of a tenant by (project, key): read at once, since keys are many."""

    def __init__(self, tenant: Tenant) -> None:
        self.budgets = _by_owner(Budget.objects.of(tenant))
        self.limits = _by_owner(RateLimit.objects.of(tenant))


def _by_owner(found: QuerySet[Rule]) -> defaultdict[_Owner, list[Rule]]:
    by_owner: defaultdict[_Owner, list[Rule]] = defaultdict(list)
    for row in found.order_by("pk"):
        by_owner[row.project_id, row.api_key_id].append(row)
    return by_owner


def _project(row: Project, rules: _Rules) -> schema.Project:
    owner = (row.pk, None)
    return schema.Project(
        name=row.name,
        budgets=_budgets(rules.budgets[owner]),
        rate_limits=_rate_limits(rules.limits[owner]),
    )


def _key(row: ApiKey, rules: _Rules) -> schema.Key:
    owner = (None, row.pk)
    return structs.replace(
        rows.key_section(row),
        budgets=_budgets(rules.budgets[owner]),
        rate_limits=_rate_limits(rules.limits[owner]),
        timeouts=rows.key_timeouts_section(getattr(row, "own_timeouts", None)),
    )


def _budgets(found: Iterable[Budget]) -> tuple[schema.Budget, ...]:
    return tuple(rows.budget_section(row) for row in found)


def _rate_limits(found: Iterable[RateLimit]) -> schema.RateLimits:
    return rows.rate_limits_section(next(iter(found), None))
