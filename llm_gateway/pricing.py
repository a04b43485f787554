"""Turn usage into money and sizes into upper bounds; a bound is never below the cost it bounds.

All amounts are whole nano-dollars. A missing line is never taken to be free: cache reads and
writes without a price cost what fresh input costs; reasoning, audio and images without one are part
of input and output; and tokens with no price at all raise UnpricedError. What a provider bills and
no line stands for, or only a cheaper one, is a line without a price: the cost says what is missing.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from functools import lru_cache

from msgspec import Struct
from msgspec.structs import replace

from llm_gateway.types import Deployment, Price, Terms, Tier, Usage

PER = 1_000_000

# Allowances for what a provider adds to the bytes we send (money.md §4.2). A message or tool costs
# a few tokens of framing; tools add a hidden system prompt of up to 530 tokens (Anthropic's table
# "tool use system prompt token count").
ITEM_TOKENS = 16
TOOLS_TOKENS = 600

# Names of all lines of a price: of tokens, and of one request, image, second of audio or tool call.
LINES = (
    *("input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning"),
    *("audio_input", "audio_output", "image_input", "image_output"),
    *("request", "image", "audio_second", "tool_call"),
)
# Units that may cost more than the line that stands in for one of their own, or that none stands in
# for: the lines that say what they cost, and the one that stands in.
UNITS: Mapping[str, tuple[tuple[str, ...], str | None]] = {
    "cache_write_token": (("cache_write",), "input"),
    "cache_write_1h_token": (("cache_write_1h",), "input"),
    "audio_input_token": (("audio_input", "audio_second"), "input"),
    "audio_output_token": (("audio_output",), "output"),
    "image_output_token": (("image_output",), "output"),
    "audio_second": (("audio_second", "audio_input"), "input"),
    "tool_call": (("tool_call",), None),
    "request": (("request",), None),
    "other_model_token": ((), None),
}
Used = tuple[str, int, int | None]


class UnpricedError(LookupError):
    """The price has no line for a `unit` that was used."""

    def __init__(self, unit: str) -> None:
        super().__init__(f"no price for {unit}")
        self.unit = unit


# The line of a cost that the provider told: nothing of it is reckoned by a price.
TOLD = "told"


class Line(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`units` at `price_nano` for each `per` of them.

    None is a price that nobody knows: another line has charged them, for less than they may cost,
    or none. `version` is the margin's.
    """

    unit: str
    units: int
    per: int
    price_nano: int | None
    amount_nano: int
    version: int | None = None


class Cost(Struct, frozen=True):
    """What one answer costs: the sum of its lines."""

    total_nano: int
    lines: tuple[Line, ...] = ()

    @property
    def unpriced(self) -> bool:
        """Say whether something was used that has no price."""
        return any(line.price_nano is None for line in self.lines)


def cost(usage: Usage, price: Price, *, request_fee: bool = False) -> Cost:
    """Return the cost of one answer, each line rounded half-even.

    `request_fee` says that the provider bills the request itself, so that a price has to know it.

    Raises UnpricedError when tokens were used that no line of the price could stand for.
    """
    tiered = _tiered(price, usage.input)
    sheet = _filled(tiered)
    used = (*_used_of_input(usage, sheet), *_used_of_output(usage, sheet))
    lines = [_line(unit, units, price_nano) for unit, units, price_nano in used if units]
    lines += [
        Line(unit=unit, units=units, per=1, price_nano=fee, amount_nano=units * fee)
        for unit, units, fee in (
            ("image", usage.images, sheet.image),
            ("audio_second", usage.audio_seconds, sheet.audio_second),
            ("tool_call", usage.tool_calls, sheet.tool_call),
            ("request", 1, sheet.request),
        )
        if units and fee is not None
    ]
    listed = sum(line.amount_nano for line in lines)
    if price.margin_ppm and listed:
        lines.append(_margin(listed, price))
    lines += [
        Line(unit=unit, units=units, per=1, price_nano=None, amount_nano=0)
        for unit, units in _beyond(usage, request_fee=request_fee)
        if units and not is_known(tiered, unit)
    ]
    return Cost(sum(line.amount_nano for line in lines), tuple(lines))


def as_told(cost_nano: int, price: Price | None) -> Cost:
    """Return the cost of an answer by what its provider says, with the margin of the price."""
    told = Line(unit=TOLD, units=1, per=1, price_nano=cost_nano, amount_nano=cost_nano)
    if price is None or not price.margin_ppm or not cost_nano:
        return Cost(cost_nano, (told,))
    margin = _margin(cost_nano, price)
    return Cost(cost_nano + margin.amount_nano, (told, margin))


def is_known(price: Price, unit: str) -> bool:
    """Say whether a price tells what a unit costs: by a line of its own, or all of it is free.

    Who reviews prices names what costs more than the line that stands in for it.
    """
    own, other = UNITS[unit]
    if any(getattr(price, line) is not None for line in own):
        return True
    return other is not None and (price.reviewed or getattr(price, other) == 0)


def bound(
    price: Price,
    *,
    input_tokens: int,
    output_tokens: int,
    images: int = 0,
    audio_seconds: int = 0,
    tool_calls: int = 0,
) -> int:
    """Return nano-dollars that no answer within these bounds can cost more than.

    Without images and sound all of the input is text, which may be cheaper. Raises UnpricedError
    when it could use tokens that the price has no line for.
    """
    media = bool(images or audio_seconds)
    sheets = [_sheet(price, 0)]
    if price.tiers:
        sheets += [_sheet(price, t.above_input_tokens + 1) for t in _reached(price, input_tokens)]
    fee = max(
        (sheet.request or 0)
        + images * (sheet.image or 0)
        + audio_seconds * (sheet.audio_second or 0)
        + tool_calls * (sheet.tool_call or 0)
        for sheet in sheets
    )
    if input_tokens:
        fee += max(
            _side("input_token", input_tokens, _input_lines(sheet, media)) for sheet in sheets
        )
    if output_tokens:
        fee += max(_side("output_token", output_tokens, _output_lines(sheet)) for sheet in sheets)
    # Grows with what it is laid on, whatever its sign: a margin of a bound bounds the margin.
    return fee + _margin(fee, price).amount_nano if price.margin_ppm else fee


def saved_when_warm(price: Price, tokens: int) -> int:
    """Return by how much `bound` is too high where so many tokens come from a provider's cache."""
    sheet = _sheet(price, tokens)
    if price.cache_read is None or sheet.cache_read is None:
        return 0
    dearest = max(line for line in _input_lines(sheet, False) if line is not None)
    return tokens * (dearest - sheet.cache_read) // PER


@lru_cache(maxsize=4096)
def is_free(price: Price) -> bool:
    """Say whether every line is an explicit 0, so that no budget binds (money.md §4.11)."""
    sheets = [_sheet(price, 0), *(_sheet(price, t.above_input_tokens + 1) for t in price.tiers)]
    return all(
        line == 0
        for sheet in sheets
        for line in (
            *(*_input_lines(sheet, True), *_output_lines(sheet)),
            *(fee or 0 for fee in (sheet.request, sheet.image, sheet.audio_second)),
            sheet.tool_call or 0,
        )
    )


def price_at(prices: Iterable[Price], day: date) -> Price | None:
    """Return the version in force on a day: the latest that does not begin after it."""
    begun = [price for price in prices if price.valid_from <= day]
    return max(begun, key=lambda price: (price.valid_from, price.id), default=None)


def price_for(deployment: Deployment, terms: Terms | None, day: date) -> Price | None:
    """Return what a call costs on a day: the tenant's own price, else the list's with its margin.

    A tenant that brings its own provider pays it itself: no margin comes on top.
    """
    if terms is None:
        return price_at(deployment.prices, day)
    own = price_at(terms.prices.get(deployment.name, ()), day)
    if own is not None and has_lines(own):
        return own
    listed = price_at(deployment.prices, day)
    if listed is None or deployment.provider.tenant_id is not None:
        return listed
    begun = [margin for margin in terms.margins if margin.valid_from <= day]
    margin = max(begun, key=lambda margin: (margin.valid_from, margin.id), default=None)
    return replace(listed, margin_ppm=margin.ppm, margin_id=margin.id) if margin else listed


def has_lines(price: Price) -> bool:
    """Say whether a version prices anything: one without lines is how a price is taken away."""
    return any(getattr(price, name) is not None for name in LINES)


def input_bound(
    size: int, *, items: int, tools: int = 0, images: int = 0, image_tokens: int = 0
) -> int:
    """Return tokens that a rendered request with `size` bytes of text cannot exceed.

    No tokenizer makes more tokens than there are bytes; what the provider adds is allowed for.
    Inline media is no text: leave its bytes out and count it in `images`, each of `image_tokens`.
    `tools` is how many of its requests may call tools.
    """
    return size + items * ITEM_TOKENS + tools * TOOLS_TOKENS + images * image_tokens


def _reached(price: Price, input_tokens: int) -> list[Tier]:
    return [tier for tier in price.tiers if input_tokens > tier.above_input_tokens]


def _sheet(price: Price, input_tokens: int) -> Price:
    """Return the price with the tier of this input laid over it and its gaps filled."""
    return _filled(_tiered(price, input_tokens))


def _tiered(price: Price, input_tokens: int) -> Price:
    if not price.tiers:
        return price
    reached = _reached(price, input_tokens)
    if not reached:
        return price
    tier = max(reached, key=lambda tier: tier.above_input_tokens)
    laid = {name: line for name in LINES if (line := getattr(tier, name)) is not None}
    return replace(price, **laid)


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


def _used_of_input(usage: Usage, sheet: Price) -> tuple[Used, ...]:
    """Split the input. Audio and images that came from the cache are billed as cached."""
    cached = usage.cache_read + usage.cache_write + usage.cache_write_1h
    fresh = max(0, usage.input - cached)
    audio = min(usage.audio_input, fresh) if sheet.audio_input is not None else 0
    image = min(usage.image_input, fresh - audio) if sheet.image_input is not None else 0
    return (
        ("input_token", fresh - audio - image, sheet.input),
        ("cache_read_token", usage.cache_read, sheet.cache_read),
        ("cache_write_token", usage.cache_write, sheet.cache_write),
        ("cache_write_1h_token", usage.cache_write_1h, sheet.cache_write_1h),
        ("audio_input_token", audio, sheet.audio_input),
        ("image_input_token", image, sheet.image_input),
    )


def _used_of_output(usage: Usage, sheet: Price) -> tuple[Used, ...]:
    reasoning = usage.reasoning if sheet.reasoning is not None else 0
    rest = max(0, usage.output - reasoning)
    audio = min(usage.audio_output, rest) if sheet.audio_output is not None else 0
    image = min(usage.image_output, rest - audio) if sheet.image_output is not None else 0
    return (
        ("output_token", rest - audio - image, sheet.output),
        ("reasoning_token", reasoning, sheet.reasoning),
        ("audio_output_token", audio, sheet.audio_output),
        ("image_output_token", image, sheet.image_output),
    )


def _beyond(usage: Usage, *, request_fee: bool) -> tuple[tuple[str, int], ...]:
    """Return how many of each unit were used that `UNITS` names.

    Who bills the request bills searches by that.
    """
    return (
        ("request", int(request_fee)),
        ("cache_write_token", usage.cache_write),
        ("cache_write_1h_token", usage.cache_write_1h),
        ("audio_input_token", usage.audio_input),
        ("audio_output_token", usage.audio_output),
        ("image_output_token", usage.image_output),
        ("audio_second", usage.audio_seconds),
        ("tool_call", 0 if request_fee else usage.tool_calls),
        ("other_model_token", usage.other_model),
    )


def _input_lines(sheet: Price, media: bool) -> tuple[int | None, ...]:
    apart = (sheet.audio_input, sheet.image_input) if media else ()
    return (
        *(sheet.input, sheet.cache_read, sheet.cache_write, sheet.cache_write_1h),
        *(line for line in apart if line is not None),
    )


def _output_lines(sheet: Price) -> tuple[int | None, ...]:
    apart = (sheet.reasoning, sheet.audio_output, sheet.image_output)
    return (sheet.output, *(line for line in apart if line is not None))


def _margin(listed: int, price: Price) -> Line:
    ppm = price.margin_ppm
    return Line(
        unit="margin",
        units=listed,
        per=PER,
        price_nano=ppm,
        amount_nano=_half_even(listed * ppm),
        version=price.margin_id,
    )


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
