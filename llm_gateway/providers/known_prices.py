"""Read genai-prices' reviewed data, offline: what a provider's model costs, and since when.

The library is 2,330 models: it is loaded when something is looked up, never on import.
"""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib.metadata import version
from typing import TYPE_CHECKING

from msgspec import structs

from llm_gateway.types import Price, Tier

if TYPE_CHECKING:
    from collections.abc import Iterable

    from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

CATALOGUE = "genai-prices"
ALWAYS = date(1970, 1, 1)
_NANO_PER_USD = 1_000_000_000

# Our line → theirs, all per million tokens. Their input, like ours, includes cached tokens.
_LINES = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "reasoning": "output_reasoning_mtok",
    "audio_input": "input_audio_mtok",
    "audio_output": "output_audio_mtok",
    "image_input": "input_image_mtok",
    "image_output": "output_image_mtok",
}
# What is billed by the piece: our line → theirs, and how many pieces theirs is for.
_PIECES = {
    "request": ("requests_kcount", 1000),
    "tool_call": ("web_searches_kcount", 1000),
    "audio_second": ("input_audio_hours", 3600),
}


def source() -> str:
    """Return where the prices are from, as it is written into every price row."""
    return f"{CATALOGUE} {version(CATALOGUE)}"


def known_prices(provider: str, upstream_name: str) -> tuple[Price, ...]:
    """Return the dated prices of a model, oldest first; () where none is known.

    `provider` is its id in genai-prices. Ids are 0: these are values for rows to come.
    """
    model = _find(provider, upstream_name)
    if model is None:
        return ()
    dated = (_price(_at(model, day), day) for day in _days(model))
    return tuple(price for price in dated if price is not None)


def catalogue_entry(provider: str, upstream_name: str) -> str | None:
    """Return the catalogue's own name of a model's row, such as `openai/gpt-4o`."""
    model = _find(provider, upstream_name)
    return f"{provider}/{model.id}" if model else None


def known_context_window(provider: str, upstream_name: str) -> int | None:
    model = _find(provider, upstream_name)
    return model.context_window if model else None


def _find(provider: str, upstream_name: str) -> "ModelInfo | None":
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - 0.3 s, on first use

    name = upstream_name.removeprefix("models/")
    for candidate in get_snapshot().providers:
        if candidate.id == provider:
            return candidate.find_model(name)
    return None


def _days(model: "ModelInfo") -> list[date]:
    """Return the days on which a price of the model begins."""
    if not isinstance(model.prices, list):
        return [ALWAYS]
    starts = (getattr(one.constraint, "start_date", ALWAYS) for one in model.prices)
    return sorted({ALWAYS, *starts})


def _at(model: "ModelInfo", day: date) -> "list[ModelPrice]":
    """Return the prices that hold on a day: several where they depend on the hour."""
    if not isinstance(model.prices, list):
        return [model.prices]
    hours = (datetime.combine(day, time(hour), UTC) for hour in range(24))
    return [model.get_prices(hour) for hour in hours]


def _price(prices: "list[ModelPrice]", day: date) -> Price | None:
    lines = {line: _dearest(prices, theirs) for line, theirs in _LINES.items()}
    if lines["input"] is None and lines["output"] is None:
        return None  # priced by the second, picture or page: nothing here that we count
    lines |= {line: _fee(prices, *theirs) for line, theirs in _PIECES.items()}
    named = Price(id=0, tiers=_tiers(prices), valid_from=day, source=source())
    return structs.replace(named, **lines)


def _dearest(prices: "Iterable[ModelPrice]", theirs: str, bound: int = 0) -> int | None:
    """Return the line in nano-dollars; of hours with different prices the dearest one."""
    found = [
        _nano(_above(price, bound))
        for one in prices
        if (price := getattr(one, theirs, None)) is not None
    ]
    return max(found, default=None)


def _fee(prices: "Iterable[ModelPrice]", theirs: str, pieces: int) -> int | None:
    """Return the price of one piece, half a nano-dollar rounded up."""
    price = _dearest(prices, theirs)
    return None if price is None else -(-price // pieces)


def _tiers(prices: "list[ModelPrice]") -> tuple[Tier, ...]:
    bounds = {
        tier.start
        for one in prices
        for theirs in _LINES.values()
        for tier in getattr(getattr(one, theirs, None), "tiers", ())
    }
    return tuple(
        Tier(
            above_input_tokens=bound,
            **{line: _dearest(prices, theirs, bound) for line, theirs in _LINES.items()},
        )
        for bound in sorted(bounds)
    )


def _above(price: "Decimal | TieredPrices", bound: int) -> Decimal:
    """Return what holds above a bound: the highest tier that begins at or below it."""
    amount = _base(price)
    for tier in getattr(price, "tiers", ()):
        if tier.start <= bound:
            amount = tier.price
    return amount


def _base(price: "Decimal | TieredPrices") -> Decimal:
    return price if isinstance(price, Decimal) else Decimal(price.base)


def _nano(usd: Decimal) -> int:
    return int((usd * _NANO_PER_USD).to_integral_value())
