"""Show values as people read them: money in dollars, times as distances, states in colour."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from tenants.types import NANO, short_usd

NOTHING = "–"  # noqa: RUF001 - a dash, meant so

F = TypeVar("F", bound=Callable[..., Any])

_UNITS = (("y", 31_536_000), ("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def column(
    description: str, *, order: str | None = None, labels: Mapping[str, str] | bool = False
) -> Callable[[F], F]:
    """Name a list column; `labels` maps its text to a colour: success, danger, warning, info."""

    def mark(method: F) -> F:
        method.short_description = description  # type: ignore[attr-defined] # the admin reads it
        method.admin_order_field = order  # type: ignore[attr-defined] # the admin reads it
        if labels:
            method.label = labels  # type: ignore[attr-defined] # the theme reads it
        return method

    return mark


def money(nano: int | None) -> str:
    """Return nano-dollars for reading: cents above a dollar, three significant digits below."""
    if nano is None:
        return NOTHING
    if abs(nano) >= NANO or nano == 0:
        return f"${nano / NANO:,.2f}"
    # Three digits of what is below a dollar, never fewer decimals than cents have.
    digits = len(str(abs(nano)))
    return f"${short_usd(round(nano, 3 - digits) if digits > 3 else nano)}"  # noqa: PLR2004 - see above


def duration(milliseconds: float | None) -> str:
    """Return a time span for reading: '840 ms', '12.3 s'."""
    if milliseconds is None:
        return NOTHING
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.2f} s"  # noqa: PLR2004 - a second


def ago(moment: datetime | None, *, now: datetime | None = None) -> SafeString | str:
    """Return how long ago, or how soon, with the exact time under the pointer."""
    if moment is None:
        return NOTHING
    seconds = ((now or timezone.now()) - moment).total_seconds()
    text = distance(abs(seconds))
    return format_html(
        '<time datetime="{}" title="{}" class="whitespace-nowrap">{}</time>',
        moment.isoformat(),
        moment.strftime("%Y-%m-%d %H:%M:%S %Z"),
        f"{text} ago" if seconds >= 0 else f"in {text}",
    )


def distance(seconds: float) -> str:
    """Return the largest unit that fits: '3 h', '12 d'."""
    for name, size in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {name}"
    return "0 s"


def facts_table(rows: Iterable[Mapping[str, Any]]) -> SafeString | str:
    """Return records as a table: a column for every name that occurs, money in dollars."""
    records = list(rows)
    names = list(dict.fromkeys(name for record in records for name in record))
    if not names:
        return NOTHING
    return format_html(
        '<table class="facts records"><thead><tr>{}</tr></thead><tbody>{}</tbody></table>',
        format_html_join("", "<th>{}</th>", ((_heading(name),) for name in names)),
        format_html_join(
            "",
            "<tr>{}</tr>",
            (
                (format_html_join("", "<td>{}</td>", ((fact(n, r.get(n)),) for n in names)),)
                for r in records
            ),
        ),
    )


def fact(name: str, value: Any) -> str:
    """Return one value of a record as text; the name tells its unit."""
    if value is None or value == "":
        return NOTHING
    match value:
        case bool():
            text = "yes" if value else "no"
        case int() | float():
            text = _number(name, value)
        case Mapping():
            text = ", ".join(f"{_heading(key)} {fact(key, item)}" for key, item in value.items())
        case list():
            text = ", ".join(fact(name, item) for item in value)
        case _:
            text = str(value)
    return text


def _number(name: str, value: float) -> str:
    if name.endswith("_nano"):
        return money(int(value))
    if name.endswith("_ms"):
        return duration(value)
    return f"{value:,}"


def _heading(name: str) -> str:
    return name.removesuffix("_nano").removesuffix("_ms").replace("_", " ")
