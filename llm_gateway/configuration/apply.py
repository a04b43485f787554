"""Make the database equal to a configuration file: check all of it, then one transaction.

What the file does not name stays; with `prune`, rows that an earlier file made are removed; where
it is the `whole` configuration, all are. What was there before and what is now are kept as states.
"""

from pathlib import Path

from django.db import transaction

from llm_gateway import models
from llm_gateway.configuration import gateway_rows, references, schema, tenant_rows
from llm_gateway.configuration.changes import Changes, Report
from llm_gateway.configuration.document import ConfigurationError, Problem
from llm_gateway.configuration.secrets import given_secrets
from llm_gateway.configuration.states import keep_state
from tenants import models as tenancy
from tenants.keys import pepper
from tenants.models import ConfigVersion, Managed

# Children first: what hangs on a removed row is named, not swept away with it.
_PRUNED: tuple[type[Managed], ...] = (
    models.KeyTimeouts,
    tenancy.Guardrail,
    tenancy.RateLimit,
    tenancy.Budget,
    tenancy.Member,
    tenancy.ApiKey,
    tenancy.Project,
    models.Route,
    models.Model,
    models.ProviderKey,
    models.Provider,
    tenancy.Tenant,
)


def apply(
    file: schema.File,
    *,
    folder: Path,
    actor: str,
    prune: bool = False,
    whole: bool = False,
    plan: bool = False,
) -> Report:
    """Make the database equal to the file and return what was done; `plan` undoes it again.

    `folder` is where `value: file:PATH` begins. Raises ConfigurationError, having changed nothing.
    """
    given = given_secrets(file, folder)
    with transaction.atomic():
        # One apply at a time: two would each find the same rows missing.
        ConfigVersion.objects.select_for_update().first()
        if not plan:
            keep_state()
        known = references.Known() if whole else _known(prune=prune)
        if problems := references.check(file, known):
            raise ConfigurationError(problems)
        pepper()
        changes = Changes(actor, whole=whole)
        gateway_rows.write_settings(changes, file.settings)
        gateway_rows.write_providers(changes, file.providers, None, given)
        tenants = tenant_rows.write_tenants(changes, file.tenants, given)
        for section, tenant in zip(file.tenants, tenants, strict=True):
            gateway_rows.write_providers(changes, section.providers, tenant, given)
        gateway_rows.write_models(changes, file.models)
        gateway_rows.write_routes(changes, file.routes)
        _left_over(changes, prune=prune or whole)
        changes.report.warnings += _warnings(file, known)
        if not plan:
            keep_state()
        transaction.set_rollback(plan)
    if plan:
        changes.report.keys.clear()
    return changes.report


def _known(*, prune: bool) -> references.Known:
    """Return the names in the database that will still be there."""
    staying = {"managed_by_file": False} if prune else {}
    providers = models.Provider.objects.filter(**staying).select_related("tenant")
    return references.Known(
        providers=frozenset(map(str, providers)),
        models=frozenset(models.Model.objects.filter(**staying).values_list("name", flat=True)),
        routes=frozenset(models.Route.objects.filter(**staying).values_list("name", flat=True)),
        tenants=frozenset(tenancy.Tenant.objects.filter(**staying).values_list("name", flat=True)),
    )


def _left_over(changes: Changes, *, prune: bool) -> None:
    for model in _PRUNED:
        for row in changes.left_over(model):
            label = f"{model._meta.verbose_name} {row}"  # noqa: SLF001 - Django's public model API
            if prune:
                changes.remove(row, label)
            else:
                changes.report.left.append(label)


def _warnings(file: schema.File, known: references.Known) -> list[str]:
    problems = [*references.unknown_in_allow_lists(file, known), *_not_in_force(file)]
    return list(map(str, problems))


def _not_in_force(file: schema.File) -> list[Problem]:
    """Name what is kept for a later version: it is stored and exported, nothing more."""
    text = "is stored, but not in force in this version"
    found: list[Problem] = []
    for place, tenant in enumerate(file.tenants):
        if tenant.cache.semantic:
            found.append(Problem(f"tenants[{place}].cache.semantic", text))
    return found
