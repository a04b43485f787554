"""Read the leaves of a configuration strictly: nothing is turned from one type into another."""

import re
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Annotated

from llm_gateway.configuration.document import Scalar, closest
from tenants.types import parse_usd, short_usd

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}")
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}")
_PER = re.compile(r"end_user|run|tag\.[A-Za-z0-9_-]{1,58}")
_PERCENT = re.compile(r"-?\d{1,5}(\.\d{1,4})?")
_WHOLE_PPM = 1_000_000
_LARGEST = 2**31 - 1


def text(longest: int) -> Scalar:
    def read(value: object) -> str:
        if not isinstance(value, str):
            raise ValueError("text is expected here; put it in quotes")  # noqa: TRY004 - one error for every fault
        if not 0 < len(value) <= longest:
            raise ValueError(f"give 1 to {longest} characters")
        if "\x00" in value:
            raise ValueError("the text holds a NUL character")
        return value

    return Scalar(read)


def matching(pattern: re.Pattern[str], hint: str) -> Scalar:
    whole = text(255)

    def read(value: object) -> object:
        content = whole.read(value)
        if not pattern.fullmatch(str(content)):
            raise ValueError(f"{content!r} cannot be used; {hint}")
        return content

    return Scalar(read)


def whole_number(low: int, high: int = _LARGEST) -> Scalar:
    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high} is expected, not {value!r}")
        return value

    return Scalar(read)


def number(low: float, high: float, *, above: bool = False) -> Scalar:
    """Read a number from `low` to `high`; with `above`, `low` itself is refused."""

    def read(value: object) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            fits = low < value <= high if above else low <= value <= high
            if fits:
                return float(value)
        bound = "above" if above else "from"
        raise ValueError(f"a number {bound} {low:g} up to {high:g} is expected, not {value!r}")

    return Scalar(read, lambda value: int(value) if value == int(value) else value)


def one_of(*words: str) -> Scalar:
    def read(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            hint = closest(str(value), words) or f"; use one of {', '.join(words)}"
            raise ValueError(f"{_shown(value)} is not known{hint}")
        return value

    return Scalar(read)


def _read_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"true or false is expected, not {_shown(value)}")  # noqa: TRY004 - one error for every fault
    return value


def _read_money(value: object) -> int:
    if isinstance(value, float):
        raise ValueError('write it as a quoted string, such as "2.50"')  # noqa: TRY004 - one error for every fault
    return parse_usd(value)


def parse_percent(value: object) -> int:
    """Read a percentage as millionths: "12.5" is 125000."""
    if isinstance(value, float) or not _PERCENT.fullmatch(str(value)):
        raise ValueError('write percent as a quoted number, such as "12.5"')
    ppm = int(Decimal(str(value)) * 10_000)
    if not -_WHOLE_PPM <= ppm <= 100 * _WHOLE_PPM:
        raise ValueError(f"{_shown(value)} is not between -100 and 10000 percent")
    return ppm


def percent(ppm: int) -> str:
    """Write millionths as a percentage: 125000 is "12.5"."""
    return f"{Decimal(ppm).scaleb(-4).normalize():f}"


def _read_day(value: object) -> date:
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise ValueError(f"{_shown(value)} is not a date such as 2027-01-31") from None


def _read_moment(value: object) -> datetime:
    """Read a date, its first moment in UTC, or a time with an offset."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError(f"{_shown(value)} is not a date such as 2027-01-31") from None
    if "T" not in str(value) and " " not in str(value):
        return moment.replace(tzinfo=UTC)
    if moment.tzinfo is None:
        raise ValueError(f"{_shown(value)} needs an offset, such as 2027-01-31T12:00:00+01:00")
    return moment.astimezone(UTC)


def _write_moment(value: datetime) -> str:
    utc = value.astimezone(UTC)
    return utc.date().isoformat() if utc.timetz() == time(tzinfo=UTC) else utc.isoformat()


def _shown(value: object) -> str:
    """Repeat a wrong value, unless it is long: it may be a secret in the wrong place."""
    return repr(value) if len(repr(value)) <= 40 else "this"  # noqa: PLR2004 - a line's worth


def _iso(value: date) -> str:
    return value.isoformat()


Flag = Annotated[bool, Scalar(_read_flag)]
Money = Annotated[int, Scalar(_read_money, short_usd)]
Margin = Annotated[int, Scalar(parse_percent, percent)]
Day = Annotated[date, Scalar(_read_day, _iso)]
Moment = Annotated[datetime, Scalar(_read_moment, _write_moment)]
Name = Annotated[
    str,
    matching(NAME, "use letters, digits and . _ : / @ -, starting with a letter or digit"),
]
Email = Annotated[str, matching(_EMAIL, "give an address such as ada@example.org")]
Per = Annotated[str, matching(_PER, "use end_user, run or tag.NAME")]
Text = Annotated[str, text(500)]
LongText = Annotated[str, text(100_000)]
Tokens = Annotated[int, whole_number(1)]
Count = Annotated[int, whole_number(1)]
CountOrNone = Annotated[int, whole_number(0)]
Weight = Annotated[int, whole_number(0, 1_000_000)]
Percent = Annotated[int, whole_number(0, 100)]
Seconds = Annotated[float, number(0, 86_400, above=True)]
SecondsOrNone = Annotated[float, number(0, 86_400)]
Share = Annotated[float, number(0, 1)]
Portion = Annotated[float, number(0, 1, above=True)]
