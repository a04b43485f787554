"""Draw series over time with the theme's chart library, and tell the same numbers in one table."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import Struct

from tenants.admin.columns import NOTHING

BLUE, RED, AMBER, GREEN = "var(--color-primary-600)", "#ef4444", "#f59e0b", "#10b981"
_GREY = "#9ca3af"


class Series(Struct, frozen=True, kw_only=True):
    """One line or bar of a chart, with how its numbers are read in the table."""

    label: str
    values: list[float | None]
    colour: str
    show: Callable[[float], str]


class Chart(Struct, frozen=True, kw_only=True):
    """What the theme draws: a bar or line chart, its data and options as JSON."""

    title: str
    kind: str
    data: str
    options: str
    series: Sequence[Series]


def series(
    label: str, values: Iterable[float | None], colour: str, show: Callable[[float], str]
) -> Series:
    return Series(label=label, values=list(values), colour=colour, show=show)


def chart(title: str, kind: str, labels: list[str], *shown: Series) -> Chart:
    return Chart(
        title=title,
        kind=kind,
        data=json.dumps({"labels": labels, "datasets": [_dataset(one, kind) for one in shown]}),
        options=json.dumps(_options(kind, legend=len(shown) > 1)),
        series=shown,
    )


def table(labels: list[str], charts: Iterable[Chart]) -> dict[str, Any]:
    """Return the numbers of all charts, the latest first, but for times of which there are none."""
    columns = [(each, one) for each in charts for one in each.series]
    rows = [
        [label, *(NOTHING if (v := one.values[i]) is None else one.show(v) for _, one in columns)]
        for i, label in enumerate(labels)
        if any(one.values[i] for _, one in columns)
    ]
    names = (f"{each.title}, {one.label}" for each, one in columns)
    return {"headers": ["from (UTC)", *names], "rows": rows[::-1]}


def _dataset(one: Series, kind: str) -> dict[str, Any]:
    rounded = [None if value is None else round(value, 6) for value in one.values]
    look: dict[str, Any] = {"backgroundColor": one.colour, "borderColor": one.colour}
    if kind == "line":
        look |= {"borderWidth": 2, "pointRadius": 1.5, "tension": 0.3, "spanGaps": True}
    return {"label": one.label, "data": rounded, **look}


def _options(kind: str, *, legend: bool) -> dict[str, Any]:
    stacked = kind == "bar"
    ticks = {"color": _GREY, "maxTicksLimit": 8, "maxRotation": 0}
    return {
        "animation": False,
        "responsive": True,
        "maintainAspectRatio": False,
        "interaction": {"mode": "index", "intersect": False},
        "plugins": {
            "legend": {
                "display": legend,
                "align": "end",
                "labels": {"boxWidth": 10, "boxHeight": 10, "color": _GREY},
            }
        },
        "scales": {
            "x": {"stacked": stacked, "grid": {"display": False}, "ticks": ticks},
            "y": {
                "stacked": stacked,
                "beginAtZero": True,
                "border": {"display": False},
                "grid": {"color": "rgba(128, 128, 128, 0.2)"},
                "ticks": ticks | {"maxTicksLimit": 5},
            },
        },
    }
