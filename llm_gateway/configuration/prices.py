"""Keep a model's prices equal to what is wanted by adding versions; none is ever changed.

The newest row of a day holds from that day on. So a price that is not wanted any more is covered
by a newer row of the same day, and the ledger still finds the one it was reckoned with.
"""

from collections.abc import Iterable, Sequence
from datetime import date

from msgspec import structs

from llm_gateway import models
from llm_gateway.configuration import schema
from llm_gateway.configuration.rows import price_section, price_values
from llm_gateway.providers.catalog import CATALOG
from llm_gateway.providers.known_prices import known_prices, source
from llm_gateway.types import Price

FROM_FILE = "configuration file"


def wanted_prices(section: schema.Model, row: models.Model) -> tuple[tuple[schema.Price, ...], str]:
    """Return the prices a model should have and where they are from: the file or the catalogue."""
    if section.prices is not None:
        return section.prices, FROM_FILE
    return catalogue_prices(row), source()


def catalogue_prices(row: models.Model) -> tuple[schema.Price, ...]:
    provider = CATALOG[row.provider.kind].prices
    if provider is None:
        return ()
    found = known_prices(provider, row.upstream_name or row.name)
    return tuple(_section(price) for price in found)


def missing_versions(
    wanted: Iterable[schema.Price], rows: Iterable[models.Price]
) -> list[schema.Price]:
    """Return the versions to add so that on every day what is wanted holds."""
    wanted, held = _steps(wanted), _steps(in_force(rows))
    days = sorted({price.valid_from for price in (*wanted, *held)})
    missing = []
    for day in days:
        target = _at(wanted, day)
        if not _same(target, _at(held, day)):
            version = structs.replace(target, valid_from=day)
            missing.append(version)
            held = _steps((*(one for one in held if one.valid_from != day), version))
    return missing


def in_force(rows: Iterable[models.Price]) -> list[schema.Price]:
    """Return what holds from which day: the newest row of each, oldest day first."""
    newest = {row.valid_from: row for row in sorted(rows, key=lambda row: row.pk)}
    return [price_section(newest[day]) for day in sorted(newest)]


def shortest(prices: Sequence[schema.Price]) -> tuple[schema.Price, ...]:
    """Leave out the versions that change nothing."""
    kept: list[schema.Price] = []
    for price in _steps(prices):
        if not _same(price, kept[-1] if kept else _unpriced(price.valid_from)):
            kept.append(price)
    return tuple(kept)


def version_row(row: models.Model, price: schema.Price, origin: str) -> models.Price:
    """Return a version as a row to be saved."""
    return models.Price(model=row, source=origin, **price_values(price))


def from_catalogue(rows: Iterable[models.Price]) -> bool:
    """Say whether the newest version is the catalogue's own."""
    newest = max(rows, key=lambda row: row.pk, default=None)
    return newest is None or newest.source.startswith(source().partition(" ")[0])


def _steps(prices: Iterable[schema.Price]) -> list[schema.Price]:
    return sorted(prices, key=lambda price: price.valid_from)


def _at(steps: Sequence[schema.Price], day: date) -> schema.Price:
    begun = [price for price in steps if price.valid_from <= day]
    return begun[-1] if begun else _unpriced(day)


def _unpriced(day: date) -> schema.Price:
    """Return a version without lines, which prices nothing."""
    return schema.Price(valid_from=day)


def _same(one: schema.Price, other: schema.Price) -> bool:
    return structs.replace(one, valid_from=date.min) == structs.replace(other, valid_from=date.min)


def _section(price: Price) -> schema.Price:
    lines = {
        name: getattr(price, name) for name in schema.Price.__struct_fields__ if name != "tiers"
    }
    tiers = tuple(schema.Tier(**structs.asdict(tier)) for tier in price.tiers)
    return schema.Price(tiers=tiers, **lines)
