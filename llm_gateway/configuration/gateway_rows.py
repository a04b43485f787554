"""Write settings, providers, models and routes of a configuration."""

from collections.abc import Iterable

from llm_gateway import models, vault
from llm_gateway.configuration import rows, schema
from llm_gateway.configuration.changes import Changes
from llm_gateway.configuration.prices import missing_versions, version_row, wanted_prices
from llm_gateway.configuration.secrets import Given
from tenants.models import Tenant


def write_settings(changes: Changes, section: schema.Settings) -> None:
    values = rows.settings_values(section)
    row = models.GatewaySettings.objects.first() or models.GatewaySettings()
    current = rows.settings_values(rows.settings_section(row))
    if row.pk is None and values != current:
        changes.create(models.GatewaySettings(**values), "settings")
    elif row.pk is not None:
        changes.update(row, "settings", values, current)


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
    secret = None if section.value is None else given[section.value]
    row = models.ProviderKey.objects.filter(provider=provider, name=section.name).first()
    if row is None:
        row = models.ProviderKey(provider=provider, name=section.name, **values)
        changes.create(row, label)
        if secret is not None:
            vault.put(row, secret)
    else:
        row.provider = provider
        changed = secret is not None and not vault.holds(row, secret)
        current = {"weight": row.weight, "enabled": row.enabled}
        changes.update(
            row,
            label,
            values,
            current,
            (lambda: vault.put(row, secret)) if changed else None,
        )
    if row.sealed is None:
        changes.report.warnings.append(f"{label} has no secret: give it a value")


def write_models(changes: Changes, sections: Iterable[schema.Model]) -> None:
    providers = {str(row): row for row in models.Provider.objects.select_related("tenant")}
    for section in sections:
        values = rows.model_values(section)
        provider = providers[section.provider]
        # The name is the default: a row that spells it out is the same deployment.
        upstream_names = {section.upstream_name or "", section.upstream_name or section.name}
        if section.upstream_name == section.name:
            upstream_names.add("")
        row = models.Model.objects.filter(
            provider=provider, name=section.name, upstream_name__in=upstream_names
        ).first()
        label = f"model {section.name} at {provider}"
        if section.upstream_name not in {None, section.name}:
            label += f" ({section.upstream_name})"
        if row is None:
            row = models.Model(
                provider=provider,
                name=section.name,
                upstream_name=section.upstream_name or "",
                **values,
            )
            changes.create(row, label)
        else:
            row.provider = provider
            current = rows.model_values(rows.model_section(row))
            changes.update(row, label, values, {"enabled": row.enabled, **current})
        _write_prices(changes, section, row, label)


def _write_prices(changes: Changes, section: schema.Model, row: models.Model, label: str) -> None:
    wanted, source = wanted_prices(section, row)
    for price in missing_versions(wanted, row.prices.all()):
        version = version_row(row, price, source)
        changes.create(version, f"price of {label} from {price.valid_from}")


def write_routes(changes: Changes, sections: Iterable[schema.Route]) -> None:
    for section in sections:
        label = f"route {section.name}"
        values = rows.route_values(section)
        row = models.Route.objects.filter(name=section.name).first()
        if row is None:
            row = models.Route(name=section.name, **values)
            changes.create(row, label)
            _replace_targets(row, section)
            continue
        current = rows.route_section(row)
        changes.update(
            row,
            label,
            values,
            {"enabled": row.enabled, **rows.route_values(current)},
            None if current.targets == section.targets else lambda: _replace_targets(row, section),
        )


def _replace_targets(row: models.Route, section: schema.Route) -> None:
    row.targets.all().delete()
    models.RouteTarget.objects.bulk_create(
        models.RouteTarget(route=row, position=position, **rows.target_values(target))
        for position, target in enumerate(section.targets)
    )
