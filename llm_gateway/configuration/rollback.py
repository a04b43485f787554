"""Make the configuration what a kept state says, by `apply` itself; say before what stays lost.

A state names all there was: what it does not name goes, also what the console made. The ledger and
the request log are no configuration; they stay as they are.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from django.db import transaction
from msgspec import Struct, structs

from llm_gateway import models
from llm_gateway.configuration import schema
from llm_gateway.configuration.apply import apply
from llm_gateway.configuration.changes import Report
from llm_gateway.configuration.load import parse
from llm_gateway.configuration.states import counted
from llm_gateway.models import ConfigurationState
from tenants import audit
from tenants.database import configuration_models
from tenants.models import ApiKey, ConfigVersion, Managed, Tenant

Switched = TypeVar("Switched", schema.Provider, schema.ProviderKey, schema.Model, schema.Route)
_NOWHERE = Path()  # a state names no secret, so there is no file to look for
_ALWAYS = (
    "The ledger, the request log and what was charged stay as they are.",
    "Prices that were in force stay as versions; those of then hold again by newer versions.",
    "Secrets stay those of today: a state holds none.",
)


class RollBackPlan(Struct, frozen=True):
    """What a roll back would do and, in sentences, what it would not; true of one `version`."""

    report: Report
    notes: tuple[str, ...]
    version: int


class StalePlanError(Exception):
    """The configuration was changed after the plan was made."""


def plan_roll_back(state: ConfigurationState) -> RollBackPlan:
    """Return what `roll_back` would do, having changed nothing. Raises ConfigurationError."""
    version, file = counted(), _file(state)
    report = apply(file, folder=_NOWHERE, actor="", whole=True, plan=True)
    return RollBackPlan(report, (*_notes(file, report), *report.warnings), version)


def roll_back(state: ConfigurationState, *, actor: str, version: int) -> Report:
    """Make the configuration that of the state, all of it or nothing; return what was done.

    `version` is that of the plan. Raises StalePlanError, and ConfigurationError.
    """
    file = _file(state)
    with transaction.atomic():
        ConfigVersion.objects.select_for_update().first()
        if counted() != version:
            raise StalePlanError("The configuration was changed meanwhile: look at the plan again.")
        audit.record(actor, "rolled back", state)
        return apply(file, folder=_NOWHERE, actor=actor, whole=True)


def _file(state: ConfigurationState) -> schema.File:
    """Return the state with its switches spelled out: left out, one stays as it is.

    Not those of API keys: what was revoked since then stays revoked.
    """
    file = parse(state.text)
    return structs.replace(
        file,
        providers=_providers(file.providers),
        models=_switched(file.models),
        routes=_switched(file.routes),
        tenants=tuple(
            structs.replace(
                tenant,
                enabled=tenant.enabled is not False,
                providers=_providers(tenant.providers),
            )
            for tenant in file.tenants
        ),
    )


def _providers(sections: Iterable[schema.Provider]) -> tuple[schema.Provider, ...]:
    return _switched(structs.replace(one, keys=_switched(one.keys)) for one in sections)


def _switched(sections: Iterable[Switched]) -> tuple[Switched, ...]:
    return tuple(structs.replace(one, enabled=one.enabled is not False) for one in sections)


def _notes(file: schema.File, report: Report) -> Sequence[str]:
    if not report.differs:
        return ()
    return [
        *_ALWAYS,
        *_of_names(report),
        *_of_keys(file),
        *_of_removed(file),
        *_of_files(),
    ]


def _of_names(report: Report) -> Iterable[str]:
    if report.created and report.removed:
        yield "A state knows things by name: what was renamed since then is removed and made anew."
    if any(label.startswith("budget ") for label in report.created):
        yield (
            "A budget that was removed comes back with nothing used: what it had counted is in the"
            " ledger alone."
        )


def _of_keys(file: schema.File) -> Iterable[str]:
    rows = ApiKey.all_tenants_unsafe.values_list("tenant__name", "name", "revoked_at")
    revoked = {(tenant, name): revoked_at for tenant, name, revoked_at in rows}
    for tenant in file.tenants:
        for key in tenant.keys:
            label = f"API key {tenant.name}/{key.name}"
            if (tenant.name, key.name) not in revoked:
                yield f"{label} was removed. It comes back with a new secret, shown once."
            elif revoked[tenant.name, key.name] and key.enabled is None:
                yield f"{label} was revoked since then and stays revoked."


def _of_removed(file: schema.File) -> Iterable[str]:
    tenants = {tenant.name for tenant in file.tenants}
    for name in Tenant.objects.exclude(name__in=tenants).values_list("name", flat=True):
        yield (
            f"Tenant {name} is removed, and with it for good its secrets, prompts, conversations"
            " and alert sinks."
        )
    providers = {one.name for one in file.providers}
    providers |= {
        f"{tenant.name}/{one.name}" for tenant in file.tenants for one in tenant.providers
    }
    for row in models.Provider.objects.select_related("tenant"):
        if str(row) not in providers:
            yield f"Provider {row} is removed, and with it for good its secrets and invoice lines."


def _of_files() -> Iterable[str]:
    managed = [model for model in configuration_models() if issubclass(model, Managed)]
    if any(model._default_manager.filter(managed_by_file=True).exists() for model in managed):  # noqa: SLF001 - Django's public model API
        yield (
            "Some of it comes from a configuration file: the next `manage.py apply` of that file"
            " makes it what the file says. Change the file, too."
        )
