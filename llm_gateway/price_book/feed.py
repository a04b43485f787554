"""Set a price list against the prices in force; what a person picks is added as new versions.

Nothing is applied by itself. A line that the list leaves out stays as it is.
"""

from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path

from msgspec import Struct, structs

from llm_gateway import models
from llm_gateway.configuration import schema
from llm_gateway.configuration.load import load_as
from llm_gateway.configuration.prices import catalogue_prices, in_force, version_row
from llm_gateway.configuration.rows import PRICE_LINES
from llm_gateway.configuration.scalars import Name, Text
from llm_gateway.providers.known_prices import source
from tenants import audit
from tenants.types import short_usd


class FeedPrice(schema.Price, frozen=True, kw_only=True, rename={"valid_from": "from"}):
    """A price of a public model name; with `provider`, of its deployments there alone."""

    model: Name
    provider: Name | None = None


class Feed(Struct, frozen=True):
    """A price list: in YAML or JSON."""

    prices: tuple[FeedPrice, ...]
    source: Text | None = None


class Difference(Struct, frozen=True):
    """One line that would change; amounts in US dollars, '' where there is none."""

    line: str
    old: str
    new: str


class Proposal(Struct, frozen=True):
    """A version that the list asks for, and what of it differs from what holds on its day."""

    model: models.Model
    price: schema.Price
    source: str
    differences: tuple[Difference, ...]

    @property
    def id(self) -> str:
        """Name the proposal in a form: it is the same as long as nothing changed."""
        new = ",".join(f"{one.line}={one.new}" for one in self.differences)
        return f"{self.model.pk}@{self.price.valid_from}:{new}"


def from_catalogue(today: date) -> list[Proposal]:
    """Compare with the installed genai-prices: what it says of today and later."""
    proposals: list[Proposal] = []
    for model in _models():
        known = catalogue_prices(model)
        begun = [price for price in known if price.valid_from <= today]
        later = [price for price in known if price.valid_from > today]
        now = [structs.replace(begun[-1], valid_from=today)] if begun else []
        proposals += _proposals(model, [*now, *later], source())
    return proposals


def from_file(path: Path) -> list[Proposal]:
    """Compare with a file. Raises ConfigurationError that names what is wrong with it."""
    feed = load_as(Feed, path)
    proposals: list[Proposal] = []
    for model in _models():
        said = [
            price
            for price in feed.prices
            if price.model == model.name and price.provider in {None, str(model.provider)}
        ]
        proposals += _proposals(model, said, feed.source or path.name)
    return proposals


def apply(proposals: Iterable[Proposal], *, actor: str) -> int:
    """Add the versions, each with its event in the audit log; return how many."""
    count = 0
    for proposal in proposals:
        row = version_row(proposal.model, proposal.price, proposal.source[:128])
        row.save()
        audit.record(actor, "created", row, None, audit.fields_of(row))
        count += 1
    return count


def _models() -> Iterable[models.Model]:
    return models.Model.objects.select_related("provider__tenant").prefetch_related("prices")


def _proposals(
    model: models.Model, said: Iterable[schema.Price], origin: str
) -> Iterator[Proposal]:
    steps = in_force(model.prices.all())
    for price in sorted(said, key=lambda price: price.valid_from):
        day = price.valid_from
        begun = [step for step in steps if step.valid_from <= day]
        old = begun[-1] if begun else schema.Price(valid_from=day)
        new = _over(old, price)
        if differences := tuple(_differences(old, new)):
            yield Proposal(model, new, origin, differences)
            steps = [*begun, new, *(step for step in steps if step.valid_from > day)]


def _over(old: schema.Price, said: schema.Price) -> schema.Price:
    lines = {name: line for name in PRICE_LINES if (line := getattr(said, name)) is not None}
    return structs.replace(old, valid_from=said.valid_from, tiers=said.tiers or old.tiers, **lines)


def _differences(old: schema.Price, new: schema.Price) -> Iterator[Difference]:
    for name in PRICE_LINES:
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            yield Difference(name, _usd(before), _usd(after))
    if old.tiers != new.tiers:
        yield Difference("tiers", _tiers(old), _tiers(new))


def _usd(nano: int | None) -> str:
    return "" if nano is None else short_usd(nano)


def _tiers(price: schema.Price) -> str:
    return "; ".join(
        f"above {tier.above_input_tokens}: {_usd(tier.input)} / {_usd(tier.output)}"
        for tier in price.tiers
    )
