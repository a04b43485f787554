"""Read a provider's own export of usage or cost: CSV, by day and model, in its own columns.

Accepted are OpenAI's exports of usage (completions or embeddings, grouped by model) and of cost
(grouped by line item), and Anthropic's of tokens and of cost. Which one it is, is seen by its
columns; a file that is none of them is refused by the column it lacks.
"""

import csv
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

from msgspec import Struct
from msgspec.structs import replace

from tenants.types import NANO

MOST_ROWS = 200_000
_MOST_TOKENS = 2**53
_MOST_USD = 10**9

Cells = Mapping[str, str]


class InvoiceFileError(ValueError):
    """The file is none that can be read; the message says which line or column."""


class Stated(Struct, frozen=True, kw_only=True):
    """What a provider states of one model on one UTC day; None is what the file does not tell."""

    day: date
    model: str
    requests: int | None = None
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    cost_nano: int | None = None
    keys: frozenset[str] = frozenset()


class Shape(Struct, frozen=True):
    """One kind of export: the columns it is known by, and how a line of it is read."""

    name: str
    columns: tuple[str, ...]
    read: Callable[[Cells], Stated | None]


def read_export(lines: Iterable[str]) -> list[Stated]:
    """Return what the file states, a row for each day and model. Raises InvoiceFileError."""
    reader = csv.DictReader(lines, strict=True)
    found: dict[tuple[date, str], Stated] = {}
    try:
        shape = _shape([name.strip().lstrip("\ufeff") for name in reader.fieldnames or ()])
        for number, cells in enumerate(reader, 2):
            if number > MOST_ROWS:
                raise InvoiceFileError(f"The file has more than {MOST_ROWS} lines.")
            stated = _line(shape, number, cells)
            if stated is not None:
                place = (stated.day, stated.model)
                found[place] = _sum(found[place], stated) if place in found else stated
    except csv.Error as error:
        raise InvoiceFileError(f"Line {reader.line_num} is not CSV: {error}.") from None
    return [found[place] for place in sorted(found)]


def _shape(columns: Iterable[str]) -> Shape:
    known = frozenset(columns)
    missing = {shape: [name for name in shape.columns if name not in known] for shape in SHAPES}
    best = min(SHAPES, key=lambda shape: len(missing[shape]) / len(shape.columns))
    if missing[best]:
        lacks = ", ".join(missing[best])
        raise InvoiceFileError(f"Nearest to {best.name}, the file lacks the column {lacks}.")
    return best


def _line(shape: Shape, number: int, cells: dict[str, str]) -> Stated | None:
    if None in cells or None in cells.values():
        raise InvoiceFileError(f"Line {number} has other columns than the first.")
    try:
        return shape.read({name.strip().lstrip("\ufeff"): text for name, text in cells.items()})
    except InvoiceFileError as error:
        raise InvoiceFileError(f"Line {number}: {error}") from None


def _sum(one: Stated, other: Stated) -> Stated:
    return replace(
        one,
        requests=_plus(one.requests, other.requests),
        input_tokens=_plus(one.input_tokens, other.input_tokens),
        cached_tokens=_plus(one.cached_tokens, other.cached_tokens),
        output_tokens=_plus(one.output_tokens, other.output_tokens),
        cost_nano=_plus(one.cost_nano, other.cost_nano),
        keys=one.keys | other.keys,
    )


def _plus(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


# --- the shapes -----------------------------------------------------------------------------------


def _openai_usage(cells: Cells) -> Stated | None:
    if not cells["model"]:
        _check_empty(cells, "num_model_requests", "Group the export by model.")
        return None
    return Stated(
        day=_unix_day(cells, "start_time"),
        model=cells["model"],
        requests=_count(cells, "num_model_requests"),
        input_tokens=_count(cells, "input_tokens"),
        cached_tokens=_count(cells, "input_cached_tokens"),
        output_tokens=_count(cells, "output_tokens"),
        keys=_keys(cells, "api_key_id"),
    )


def _openai_cost(cells: Cells) -> Stated | None:
    if not cells["line_item"]:
        _check_empty(cells, "amount_value", "Group the export by line item.")
        return None
    if cells["amount_currency"].lower() != "usd":
        raise InvoiceFileError(f"amount_currency is {cells['amount_currency']!r}, not usd.")
    return Stated(
        day=_unix_day(cells, "start_time"),
        # "gpt-4o-2024-08-06, cached input"
        model=cells["line_item"].partition(",")[0].strip(),
        cost_nano=_nano(cells, "amount_value"),
    )


def _anthropic_tokens(cells: Cells) -> Stated:
    fresh, written_5m, written_1h, cached = (
        _count(cells, f"usage_input_tokens_{kind}")
        for kind in ("no_cache", "cache_write_5m", "cache_write_1h", "cache_read")
    )
    return Stated(
        day=_day(cells, "usage_date_utc"),
        model=cells["model_version"],
        input_tokens=fresh + written_5m + written_1h + cached,
        cached_tokens=cached,
        output_tokens=_count(cells, "usage_output_tokens"),
        keys=_keys(cells, "api_key"),
    )


def _anthropic_cost(cells: Cells) -> Stated:
    return Stated(
        day=_day(cells, "usage_date_utc"),
        model=cells["model"],
        cost_nano=_nano(cells, "cost_usd"),
        keys=_keys(cells, "api_key"),
    )


SHAPES = (
    Shape(
        "OpenAI's usage export",
        (
            *("start_time", "model", "num_model_requests"),
            *("input_tokens", "output_tokens", "input_cached_tokens"),
        ),
        _openai_usage,
    ),
    Shape(
        "OpenAI's cost export",
        ("start_time", "amount_value", "amount_currency", "line_item"),
        _openai_cost,
    ),
    Shape(
        "Anthropic's token export",
        (
            *("usage_date_utc", "model_version", "usage_input_tokens_no_cache"),
            *("usage_input_tokens_cache_write_5m", "usage_input_tokens_cache_write_1h"),
            *("usage_input_tokens_cache_read", "usage_output_tokens"),
        ),
        _anthropic_tokens,
    ),
    Shape(
        "Anthropic's cost export",
        ("usage_date_utc", "model", "token_type", "cost_usd"),
        _anthropic_cost,
    ),
)


# --- cells ----------------------------------------------------------------------------------------


def _check_empty(cells: Cells, amount: str, otherwise: str) -> None:
    """Raise InvoiceFileError unless the line is that of a day on which nothing was used."""
    if cells[amount].strip() not in {"", "0"}:
        raise InvoiceFileError(otherwise)


def _count(cells: Cells, name: str) -> int:
    text = cells[name].strip() or "0"
    if not (text.isascii() and text.isdecimal()) or int(text[:20]) > _MOST_TOKENS:
        raise InvoiceFileError(f"{name} is {text[:40]!r}, no whole number.")
    return int(text)


def _nano(cells: Cells, name: str) -> int:
    text = cells[name].strip() or "0"
    try:
        amount = Decimal(text[:64])
    except InvalidOperation:
        raise InvoiceFileError(f"{name} is {text[:40]!r}, no amount.") from None
    if not amount.is_finite() or abs(amount) > _MOST_USD:
        raise InvoiceFileError(f"{name} is {text[:40]!r}, no amount.")
    return int((amount * NANO).to_integral_value(ROUND_HALF_EVEN))


def _unix_day(cells: Cells, name: str) -> date:
    seconds = _count(cells, name)
    try:
        return datetime.fromtimestamp(seconds, UTC).date()
    except (ValueError, OverflowError):
        raise InvoiceFileError(f"{name} is {seconds}, no time in seconds.") from None


def _day(cells: Cells, name: str) -> date:
    try:
        return date.fromisoformat(cells[name].strip()[:10])
    except ValueError:
        raise InvoiceFileError(f"{name} is {cells[name][:40]!r}, no date.") from None


def _keys(cells: Cells, name: str) -> frozenset[str]:
    key = cells.get(name, "").strip()
    return frozenset({key} if key else ())
