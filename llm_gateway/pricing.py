"""Turn usage into money and sizes into upper bounds; a bound is never below the cost it bounds.

All amounts are whole nano-dollars. A missing line is never taken to be free: cache reads and
writes without a price cost what fresh input costs, reasoning without one is part of the output,
and anything else raises UnpricedError.
"""

from collections.abc import Iterable
from datetime import date
from functools import lru_cache

from msgspec import Struct
from msgspec.structs import replace

from llm_gateway.types import Price, Tier, Usage

PER = 1_000_000

# Allowances for what a provider adds to the bytes we send (money.md §4.2). A message or tool costs
# a few tokens of framing; tools add a hidden system prompt of up to 530 tokens (Anthropic's table
# "tool use system prompt token count"); an image costs up to 4,784 tokens there.
ITEM_TOKENS = 16
TOOLS_TOKENS = 600
IMAGE_TOKENS = 5_000


class UnpricedError(LookupError):
    """The price has no line for a `unit` that was used."""

    def __init__(self, unit: str) -> None:
        super().__init__(f"no price for {unit}")
        self.unit = unit


class Line(Struct, frozen=True, kw_only=True):
    """`units` at `price_nano` for each `per` of them."""

    unit: str
    units: int
    per: int
    price_nano: int
    amount_nano: int


class Cost(Struct, frozen=True):
    """What one answer costs: the sum of its lines."""

    total_nano: int
    lines: tuple[Line, ...] = ()


def cost(usage: Usage, price: Price) -> Cost:
    """Return the cost of one answer, each line rounded half-even.

    Raises UnpricedError when a kind of token was used that the price has no line for.
    """
    sheet = _sheet(price, usage.input)
    cached = usage.cache_read + usage.cache_write + usage.cache_write_1h
    apart = usage.reasoning if sheet.reasoning is not None else 0
    used = (
        ("input_token", max(0, usage.input - cached), sheet.input),
        ("cache_read_token", usage.cache_read, sheet.cache_read),
        ("cache_write_token", usage.cache_write, sheet.cache_write),
        ("cache_write_1h_token", usage.cache_write_1h, sheet.cache_write_1h),
        ("output_token", max(0, usage.output - apart), sheet.output),
        ("reasoning_token", apart, sheet.reasoning),
    )
    lines = [_line(unit, units, price_nano) for unit, units, price_nano in used if units]
    if sheet.request is not None:
        fee = sheet.request
        lines.append(Line(unit="request", units=1, per=1, price_nano=fee, amount_nano=fee))
    return Cost(sum(line.amount_nano for line in lines), tuple(lines))


def bound(price: Price, *, input_tokens: int, output_tokens: int) -> int:
    """Return nano-dollars that no answer within these bounds can cost more than.

    Raises UnpricedError when it could use something that the price has no line for.
    """
    sheets = [_sheet(price, 0)]
    if price.tiers:
        sheets += [_sheet(price, t.above_input_tokens + 1) for t in _reached(price, input_tokens)]
    fee = price.request or 0
    if input_tokens:
        fee += max(_side("input_token", input_tokens, _input_lines(sheet)) for sheet in sheets)
    if output_tokens:
        fee += max(_side("output_token", output_tokens, _output_lines(sheet)) for sheet in sheets)
    return fee


@lru_cache(maxsize=4096)
def is_free(price: Price) -> bool:
    """Say whether every line is an explicit 0, so that no budget binds (money.md §4.11)."""
    sheets = [_sheet(price, 0), *(_sheet(price, t.above_input_tokens + 1) for t in price.tiers)]
    return not price.request and all(
        line == 0 for sheet in sheets for line in (*_input_lines(sheet), *_output_lines(sheet))
    )


def price_at(prices: Iterable[Price], day: date) -> Price | None:
    """Return the version in force on a day: the latest that does not begin after it."""
    begun = [price for price in prices if price.valid_from <= day]
    return max(begun, key=lambda price: (price.valid_from, price.id), default=None)


def input_bound(
    size: int,
    *,
    items: int,
    tools: bool = False,
    images: int = 0,
    image_tokens: int = IMAGE_TOKENS,
) -> int:
    """Return tokens that a rendered request with `size` bytes of text cannot exceed.

    No tokenizer makes more tokens than there are bytes; what the provider adds is allowed for.
    Inline media is no text: leave its bytes out and count it in `images`.
    """
    return size + items * ITEM_TOKENS + tools * TOOLS_TOKENS + images * image_tokens


def _reached(price: Price, input_tokens: int) -> list[Tier]:
    return [tier for tier in price.tiers if input_tokens > tier.above_input_tokens]


def _sheet(price: Price, input_tokens: int) -> Price:
    """Return the price with the tier of this input laid over it and its gaps filled."""
    if not price.tiers:
        return _filled(price)
    reached = _reached(price, input_tokens)
    tier = max(reached, key=lambda tier: tier.above_input_tokens) if reached else None
    if tier is not None:
        price = replace(
            price,
            input=_first(tier.input, price.input),
            output=_first(tier.output, price.output),
            cache_read=_first(tier.cache_read, price.cache_read),
            cache_write=_first(tier.cache_write, price.cache_write),
            cache_write_1h=_first(tier.cache_write_1h, price.cache_write_1h),
            reasoning=_first(tier.reasoning, price.reasoning),
        )
    return _filled(price)


@lru_cache(maxsize=4096)
def _filled(price: Price) -> Price:
    """Return the price with its gaps filled; every request asks for the same few."""
    write = _first(price.cache_write, price.input)
    # A longer-lived entry is never cheaper than a short one or than plain input.
    known = [line for line in (write, price.input) if line is not None]
    return replace(
        price,
        cache_read=_first(price.cache_read, price.input),
        cache_write=write,
        cache_write_1h=_first(price.cache_write_1h, max(known, default=None)),
    )


def _first(line: int | None, otherwise: int | None) -> int | None:
    return otherwise if line is None else line


def _input_lines(sheet: Price) -> tuple[int | None, ...]:
    return sheet.input, sheet.cache_read, sheet.cache_write, sheet.cache_write_1h


def _output_lines(sheet: Price) -> tuple[int | None, ...]:
    return (sheet.output,) if sheet.reasoning is None else (sheet.output, sheet.reasoning)


def _line(unit: str, units: int, price_nano: int | None) -> Line:
    if price_nano is None:
        raise UnpricedError(unit)
    amount = _half_even(units * price_nano)
    return Line(unit=unit, units=units, per=PER, price_nano=price_nano, amount_nano=amount)


def _half_even(amount: int) -> int:
    whole, rest = divmod(amount, PER)
    return whole + (2 * rest > PER or (2 * rest == PER and whole % 2 == 1))


def _side(unit: str, units: int, lines: tuple[int | None, ...]) -> int:
    dearest, more = _dearest(unit, lines)
    return -(-units * dearest // PER) + more


@lru_cache(maxsize=4096)
def _dearest(unit: str, lines: tuple[int | None, ...]) -> tuple[int, int]:
    """Return the dearest line and what several roundings may add to it."""
    known = [line for line in lines if line is not None]
    if len(known) < len(lines):
        raise UnpricedError(unit)
    # The same tokens may be billed on several lines, and two lines of a half each may both be
    # rounded up: one more nano-dollar for each two lines that can have a fraction.
    return max(known), sum(line % PER != 0 for line in known) // 2
