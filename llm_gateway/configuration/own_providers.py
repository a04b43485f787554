"""Let a tenant have providers of its own: where they are, and the key that it pays them by.

What an operator allows a provider, such as an address that is not public, is not a tenant's to
say: it holds for the origin it was allowed for and no other (security.md §5).
"""

from typing import Annotated, Any

from django.db.models import QuerySet
from msgspec import Struct, structs
from typing_extensions import override

from llm_gateway import models, vault
from llm_gateway.configuration import rows, schema
from llm_gateway.configuration.managed import Kind, Manager, Wire, check_whole_tenant
from llm_gateway.configuration.rows import Values
from llm_gateway.configuration.scalars import Count, Flag, LongText, Name, Text, one_of
from llm_gateway.errors import InvalidRequestError
from llm_gateway.providers.addresses import AddressError
from llm_gateway.providers.auth import is_header_value
from llm_gateway.providers.catalog import CATALOG
from tenants.models import Tenant

# The one key that a tenant gives; an operator may have given it others.
KEY = "main"


class Provider(Struct, frozen=True, kw_only=True):
    """A provider as a tenant says it: a part of what a configuration file does.

    `key` is the secret itself. It is never told again; left out, it stays as it is.
    """

    name: Name
    kind: Annotated[str, one_of(*CATALOG)]
    base_url: Text | None = None
    key: LongText | None = None
    enabled: Flag = True
    timeouts: schema.Timeouts = schema.Timeouts()
    max_concurrent_requests: Count = 100
    on_disconnect: Annotated[str, one_of("drain", "abort")] = "drain"
    retry: schema.Retry | None = None
    circuit_breaker: schema.CircuitBreaker = schema.CircuitBreaker()
    health_check: schema.HealthCheck = schema.HealthCheck()
    options: schema.Options = schema.Options()


_SHARED = tuple(name for name in Provider.__struct_fields__ if name not in {"key", "enabled"})
_COLUMNS = {*_SHARED, "enabled"} - {"name"}


class Providers(Kind[models.Provider, Provider]):
    noun = "provider"
    model, shape = models.Provider, Provider

    @override
    def rows(self, who: Manager) -> QuerySet[models.Provider]:
        check_whole_tenant(who)
        found = models.Provider.objects.filter(tenant_id=who.tenant_id)
        return found.prefetch_related("keys")

    @override
    def section(self, row: models.Provider) -> Provider:
        known = rows.provider_section(row)
        return Provider(**{name: getattr(known, name) for name in _SHARED}, enabled=row.enabled)

    @override
    def values(self, who: Manager, section: Provider) -> Values:
        check_whole_tenant(who)
        if section.key is not None and not is_header_value(section.key):
            raise InvalidRequestError("'key' holds what no header can carry.", param="key")
        for name, value in structs.asdict(section.options).items():
            if value is not None and name not in CATALOG[section.kind].options:
                raise InvalidRequestError(
                    f"A {section.kind} provider has no {name!r}.", param=f"options.{name}"
                )
        _check_payer(who, section.health_check.probe_as)
        shared = {name: getattr(section, name) for name in _SHARED}
        said = rows.provider_values(schema.Provider(**shared, enabled=section.enabled))
        # A kind without options may keep some of an operator's: how a mock answers.
        columns = _COLUMNS if CATALOG[section.kind].options else _COLUMNS - {"options"}
        return {"name": section.name, **{name: said[name] for name in columns}}

    @override
    def moved(self, row: models.Provider, values: Values) -> None:
        if values["kind"] != row.kind:
            raise InvalidRequestError("A provider stays of its kind: make another.", param="kind")
        said = models.Provider(
            kind=row.kind,
            base_url=values["base_url"],
            options=values.get("options", row.options),
        )
        if not _same_origin(said, row):
            row.allow_private_network = False

    @override
    def put(self, row: models.Provider, section: Provider) -> None:
        if section.key is None:
            return
        key, _ = models.ProviderKey.objects.get_or_create(provider=row, name=KEY)
        key.provider = row
        vault.put(key, section.key)

    @override
    def told(self, row: models.Provider) -> Wire:
        key: Any = models.ProviderKey.objects.filter(provider=row, name=KEY).exclude(sealed=None)
        last_four = key.values_list("last_four", flat=True).first()
        return {
            "id": row.pk,
            "key": None if last_four is None else f"…{last_four}",
            "allow_private_network": row.allow_private_network,
            "managed_by_file": row.managed_by_file,
        }

    @override
    def removed(self, row: models.Provider) -> str:
        if row.models.exists():
            # They are the operator's, with their prices, and would go with it.
            raise InvalidRequestError(
                "The provider has models, which an operator removes; 'enabled' switches it off."
            )
        return super().removed(row)


def _check_payer(who: Manager, name: str | None) -> None:
    if name is not None and not Tenant.objects.filter(pk=who.tenant_id, name=name).exists():
        raise InvalidRequestError(
            "Probes of a tenant's provider are the tenant's to pay.", param="health_check.probe_as"
        )


def _same_origin(one: models.Provider, other: models.Provider) -> bool:
    try:
        return one.origin == other.origin
    except AddressError:  # which saving tells
        return False
