"""Write settings, providers, models and routes of a configuration."""

from collections.abc import Callable, Iterable

from llm_gateway import models, vault
from llm_gateway.configuration import rows, schema
from llm_gateway.configuration.changes import Changes, Parts
from llm_gateway.configuration.prices import missing_versions, version_row, wanted_prices
from llm_gateway.configuration.secrets import Given
from tenants.models import Tenant


def write_settings(changes: Changes, section: schema.Settings) -> None:
    values = rows.settings_values(section)
    row = models.GatewaySettings.objects.first()
    if row is not None:
        changes.update(row, "settings", values, rows.settings_values(rows.settings_section(row)))
    elif section != schema.Settings():
        changes.create(models.GatewaySettings(**values), "settings")


def write_providers(
    changes: Changes, sections: Iterable[schema.Provider], tenant: Tenant | None, given: Given
) -> None:
    for section in sections:
        values = rows.provider_values(section)
        row = models.Provider.objects.filter(tenant=tenant, name=section.name).first()
        if row is None:
            row = models.Provider(tenant=tenant, name=section.name, **values)
            changes.create(row, f"provider {row}")
        else:
            current = rows.provider_values(rows.provider_section(row))
            changes.update(row, f"provider {row}", values, {"enabled": row.enabled, **current})
        for key in section.keys:
            _write_provider_key(changes, row, key, given)


def _write_provider_key(
    changes: Changes, provider: models.Provider, section: schema.ProviderKey, given: Given
) -> None:
    label = f"provider key {provider}/{section.name}"
    values = rows.provider_key_values(section)
    row = models.ProviderKey.objects.filter(provider=provider, name=section.name).first()
    if row is None:
        row = models.ProviderKey(provider=provider, name=section.name, **values)
        changes.create(row, label)
        if section.value is not None:
            vault.put(row, given[section.value])
    else:
        row.provider = provider
        current = {"weight": row.weight, "enabled": row.enabled}
        changes.update(row, label, values, current, _put_new(row, section, given))
    if row.sealed is None:
        changes.report.warnings.append(f"{label} has no secret: give it a value")


def _put_new(
    row: models.ProviderKey, section: schema.ProviderKey, given: Given
) -> Callable[[], None] | None:
    """Return how the secret is put in; None when none is given or it is there already."""
    if section.value is None or vault.holds(row, secret := given[section.value]):
        return None
    return lambda: vault.put(row, secret)


def write_models(changes: Changes, sections: Iterable[schema.Model]) -> None:
    providers = {str(row): row for row in models.Provider.objects.select_related("tenant")}
    for section in sections:
        _write_model(changes, section, providers[section.provider])


def _write_model(changes: Changes, section: schema.Model, provider: models.Provider) -> None:
    values = rows.model_values(section)
    # A row that spells out that it is called like its name is the same deployment.
    spelled = {"", section.name} if rows.upstream_name(section) == "" else {section.upstream_name}
    row = models.Model.objects.filter(
        provider=provider, name=section.name, upstream_name__in=spelled
    ).first()
    if row is None:
        row = models.Model(provider=provider, name=section.name, **values)
        row.upstream_name = rows.upstream_name(section)
        label = _model_label(row)
        changes.create(row, label)
    else:
        row.provider = provider
        label = _model_label(row)
        current = rows.model_values(rows.model_section(row))
        changes.update(row, label, values, {"enabled": row.enabled, **current})
    wanted, source = wanted_prices(section, row)
    for price in missing_versions(wanted, row.prices.all()):
        version = version_row(row, price, source)
        changes.create(version, f"price of {label} from {price.valid_from}")


def _model_label(row: models.Model) -> str:
    upstream_name = "" if row.upstream_name in {"", row.name} else f" ({row.upstream_name})"
    return f"model {row}{upstream_name}"


def write_routes(changes: Changes, sections: Iterable[schema.Route]) -> None:
    for section in sections:
        row = models.Route.objects.filter(name=section.name).first()
        if row is None:
            row = models.Route(name=section.name, **rows.route_values(section))
            changes.create(row, f"route {row}", targets=_target_values(section))
            _write_targets(row, section)
        else:
            _update_route(changes, row, section)


def _update_route(changes: Changes, row: models.Route, section: schema.Route) -> None:
    current = rows.route_section(row)

    def replace_targets() -> Parts:
        row.targets.all().delete()
        _write_targets(row, section)
        return {"targets": _target_values(current)}, {"targets": _target_values(section)}

    changes.update(
        row,
        f"route {row}",
        rows.route_values(section),
        {"enabled": row.enabled, **rows.route_values(current)},
        None if current.targets == section.targets else replace_targets,
    )


def _write_targets(row: models.Route, section: schema.Route) -> None:
    models.RouteTarget.objects.bulk_create(
        models.RouteTarget(route=row, position=position, **values)
        for position, values in enumerate(_target_values(section))
    )


def _target_values(section: schema.Route) -> list[rows.Values]:
    return [rows.target_values(target) for target in section.targets]
