"""Write what a tenant pays other than the list price: its own prices and its margin, as versions.

What the file leaves out goes if an earlier file gave it, from today on; the console's stays.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from operator import attrgetter

from msgspec import structs

from llm_gateway import models
from llm_gateway.configuration import prices, schema
from llm_gateway.configuration.changes import Changes
from llm_gateway.configuration.rows import price_values
from tenants.models import Tenant

_LINES = tuple(
    name for name in schema.TenantPrice.__struct_fields__ if name not in {"model", "valid_from"}
)


def write_terms(changes: Changes, tenant: Tenant, section: schema.Tenant, today: date) -> None:
    """Make the tenant's prices and margin what the section says."""
    wanted = defaultdict(list)
    for price in section.prices:
        wanted[price.model].append(_line_of(price))
    held = _held(tenant)
    for name in [*wanted, *(name for name in held if name not in wanted)]:
        rows = held.get(name, [])
        versions = wanted.get(name) or _left_out(changes, rows, today)
        for version in prices.missing_versions(versions, rows):
            row = models.Price(
                tenant=tenant,
                model_name=name,
                source=prices.FROM_FILE,
                **price_values(version),
            )
            changes.create(row, f"price of {name} for {tenant.name} from {version.valid_from}")
    _write_margin(changes, tenant, section.margin, today)


def terms_section(tenant: Tenant, today: date) -> tuple[tuple[schema.TenantPrice, ...], int | None]:
    """Return prices and margin as a file says them; no margin where there never was one."""
    sections = tuple(
        schema.TenantPrice(model=name, **structs.asdict(price) | {"tiers": price.tiers})
        for name, rows in _held(tenant).items()
        for price in prices.shortest(prices.in_force(rows))
    )
    margin = margin_on(tenant.margins.all(), today)
    return sections, None if margin is None else margin.percent_ppm


def margin_on(rows: Iterable[models.TenantMargin], day: date) -> models.TenantMargin | None:
    """Return the version in force on a day: the newest of those that began last."""
    begun = [row for row in rows if row.valid_from <= day]
    return max(begun, key=attrgetter("valid_from", "pk"), default=None)


def _held(tenant: Tenant) -> dict[str, list[models.Price]]:
    held = defaultdict(list)
    for row in models.Price.objects.filter(tenant=tenant).order_by("pk"):
        held[row.model_name].append(row)
    return dict(held)


def _left_out(changes: Changes, rows: Sequence[models.Price], today: date) -> list[schema.Price]:
    """Return the versions without what holds from today on, if that goes."""
    steps = prices.in_force(rows)
    if not changes.goes(from_file=rows[-1].source == prices.FROM_FILE):
        return steps
    return [
        *(step for step in steps if step.valid_from < today),
        schema.Price(valid_from=today),
    ]


def _write_margin(changes: Changes, tenant: Tenant, wanted: int | None, today: date) -> None:
    held = margin_on(tenant.margins.all(), today)
    if wanted is None:
        if held is None or not changes.goes(from_file=held.source == prices.FROM_FILE):
            return
        wanted = 0
    if wanted != (held.percent_ppm if held else 0):
        row = models.TenantMargin(
            tenant=tenant, valid_from=today, percent_ppm=wanted, source=prices.FROM_FILE
        )
        changes.create(row, f"margin of {tenant.name} from {today}")


def _line_of(price: schema.TenantPrice) -> schema.Price:
    lines = {name: getattr(price, name) for name in _LINES}
    return schema.Price(valid_from=price.valid_from, **lines)
