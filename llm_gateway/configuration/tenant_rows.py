"""Write tenants of a configuration and what hangs on them: projects, people, keys, rules."""

from collections.abc import Iterable

from django.utils import timezone
from msgspec import Struct

from llm_gateway.configuration import rows, schema
from llm_gateway.configuration.changes import Changes
from llm_gateway.configuration.document import ConfigurationError, Problem
from llm_gateway.configuration.secrets import Given
from llm_gateway.configuration.tenant_prices import write_terms
from llm_gateway.models import KeyTimeouts
from tenants.buckets import RUN_CEILING
from tenants.keys import issue, key_digest, with_digest
from tenants.models import ApiKey, Budget, Guardrail, Member, Project, RateLimit, Tenant


class Owner(Struct, frozen=True):
    """Who holds budgets and limits; `label` is how messages call it."""

    label: str
    tenant: Tenant
    project: Project | None = None
    api_key: ApiKey | None = None

    @property
    def fields(self) -> rows.Values:
        return {"tenant": self.tenant, "project": self.project, "api_key": self.api_key}


def write_tenants(
    changes: Changes, sections: Iterable[schema.Tenant], given: Given
) -> list[Tenant]:
    """Return the rows, in the order of the sections."""
    return [
        _write_tenant(changes, section, f"tenants[{place}]", given)
        for place, section in enumerate(sections)
    ]


def _write_tenant(changes: Changes, section: schema.Tenant, path: str, given: Given) -> Tenant:
    values = rows.tenant_values(section)
    row = Tenant.objects.filter(name=section.name).first()
    if row is None:
        row = Tenant(name=section.name, **values)
        changes.create(row, f"tenant {row}")
    else:
        current = rows.tenant_values(rows.tenant_section(row))
        changes.update(row, f"tenant {row}", values, {"active": row.active, **current})
    _write_tenant_rules(changes, section, Owner(row.name, row))
    write_terms(changes, row, section, timezone.now().date())
    projects = {one.name: _write_project(changes, row, one) for one in section.projects}
    members = {one.email: _write_member(changes, row, one) for one in section.members}
    for place, key in enumerate(section.keys):
        holder = members.get(key.holder or "")
        writer = _KeyWriter(changes, row, projects.get(key.project or ""), holder)
        writer.write(key, f"{path}.keys[{place}]", given)
    return row


def _write_project(changes: Changes, tenant: Tenant, section: schema.Project) -> Project:
    row = Project.objects.of(tenant).filter(name=section.name).first()
    if row is None:
        row = Project(tenant=tenant, name=section.name)
        changes.create(row, f"project {row}")
    else:
        changes.update(row, f"project {row}", {}, {})
    _write_rules(changes, section, Owner(f"{tenant.name}/project {row.name}", tenant, row))
    return row


def _write_member(changes: Changes, tenant: Tenant, section: schema.Member) -> Member:
    label = f"member {tenant}/{section.email}"
    row = Member.objects.of(tenant).filter(email=section.email).first()
    if row is None:
        row = Member(tenant=tenant, email=section.email, role=section.role)
        changes.create(row, label)
    else:
        changes.update(row, label, {"role": section.role}, {"role": row.role})
    return row


class _KeyWriter:
    """Writes one key of a tenant; its value is given, kept or made."""

    def __init__(
        self, changes: Changes, tenant: Tenant, project: Project | None, holder: Member | None
    ) -> None:
        self._changes, self._tenant = changes, tenant
        self._project, self._holder = project, holder

    def write(self, section: schema.Key, path: str, given: Given) -> None:
        value = None if section.value is None else given[section.value]
        row = ApiKey.objects.of(self._tenant).filter(name=section.name).first()
        if value is not None:
            self._check_unused(row, value, path)
        if row is None:
            row = self._create(section, value)
        else:
            self._update(row, section, value)
        owner = Owner(f"{self._tenant.name}/key {row.name}", self._tenant, None, row)
        _write_rules(self._changes, section, owner)
        _write_timeouts(self._changes, row, section.timeouts)

    def _create(self, section: schema.Key, value: str | None) -> ApiKey:
        values = {**rows.key_values(section, self._project), "holder": self._holder}
        row = ApiKey(tenant=self._tenant, name=section.name, **values)
        if section.enabled is False:
            row.revoked_at = timezone.now()
        shown = issue(row, value)
        self._changes.create(row, f"key {row}")
        if value is None:
            self._changes.report.keys[str(row)] = shown
        return row

    def _update(self, row: ApiKey, section: schema.Key, value: str | None) -> None:
        values = {**rows.key_values(section, self._project), "holder": self._holder}
        current = {**rows.key_values(rows.key_section(row), row.project), "holder": row.holder}
        if section.enabled is not None and section.enabled != (row.revoked_at is None):
            values["revoked_at"] = None if section.enabled else timezone.now()
            current["revoked_at"] = row.revoked_at
        changed = value is not None and row.digest != key_digest(value)

        def replace_value() -> None:
            issue(row, value)

        self._changes.update(row, f"key {row}", values, current, replace_value if changed else None)

    def _check_unused(self, row: ApiKey | None, value: str, path: str) -> None:
        holder = ApiKey.all_tenants_unsafe.filter(with_digest(key_digest(value))).first()
        if holder is not None and holder != row:
            raise ConfigurationError([Problem(f"{path}.value", "another key has this value")])


def _write_tenant_rules(changes: Changes, section: schema.Tenant, owner: Owner) -> None:
    """Write them all; the ceiling of runs is a field: left out, that of an earlier file goes."""
    for budget in schema.budgets_of(section):
        _write_budget(changes, owner, budget)
    if section.runs.budget is None:
        held = Budget.objects.of(owner.tenant).filter(**owner.fields, name=RUN_CEILING).first()
        if held is not None and changes.goes(from_file=held.managed_by_file):
            changes.remove(held, _budget_label(owner, RUN_CEILING))
    _write_rate_limits(changes, owner, section.rate_limits)
    for guardrail in section.guardrails:
        _write_guardrail(changes, owner.tenant, guardrail)


def _write_rules(changes: Changes, section: schema.Project | schema.Key, owner: Owner) -> None:
    for budget in section.budgets:
        _write_budget(changes, owner, budget)
    _write_rate_limits(changes, owner, section.rate_limits)


def _write_budget(changes: Changes, owner: Owner, section: schema.Budget) -> None:
    label = _budget_label(owner, section.name)
    values = rows.budget_values(section)
    row = Budget.objects.of(owner.tenant).filter(**owner.fields, name=section.name).first()
    if row is None:
        changes.create(Budget(**owner.fields, name=section.name, **values), label)
    else:
        changes.update(row, label, values, rows.budget_values(rows.budget_section(row)))


def _budget_label(owner: Owner, name: str) -> str:
    return f"budget {owner.label}/{name}"


def _write_guardrail(changes: Changes, tenant: Tenant, section: schema.Guardrail) -> None:
    name, values = rows.guardrail_name(section), rows.guardrail_values(section)
    label = f"guardrail {tenant.name}/{name}"
    row = Guardrail.objects.of(tenant).filter(name=name).first()
    if row is None:
        changes.create(Guardrail(tenant=tenant, name=name, **values), label)
    else:
        changes.update(row, label, values, rows.guardrail_values(rows.guardrail_section(row)))


def _write_rate_limits(changes: Changes, owner: Owner, section: schema.RateLimits) -> None:
    """Write an owner's limits; left out, those of an earlier file go, the console's stay."""
    label = f"rate limits {owner.label}"
    values = rows.rate_limits_values(section)
    row = RateLimit.objects.of(owner.tenant).filter(**owner.fields).first()
    if section == rows.NO_LIMITS:
        if row is not None and changes.goes(from_file=row.managed_by_file):
            changes.remove(row, label)
    elif row is None:
        changes.create(RateLimit(**owner.fields, **values), label)
    else:
        current = rows.rate_limits_values(rows.rate_limits_section(row))
        changes.update(row, label, values, current)


def _write_timeouts(changes: Changes, key: ApiKey, section: schema.Waits) -> None:
    """Write a key's timeouts; left out, those of an earlier file go, the console's stay."""
    label = f"timeouts {key.tenant.name}/key {key.name}"
    values = rows.key_timeouts_values(section)
    row = KeyTimeouts.objects.filter(api_key=key).first()
    if section == schema.Waits():
        if row is not None and changes.goes(from_file=row.managed_by_file):
            changes.remove(row, label)
    elif row is None:
        changes.create(KeyTimeouts(api_key=key, **values), label)
    else:
        current = rows.key_timeouts_values(rows.key_timeouts_section(row))
        changes.update(row, label, values, current)
