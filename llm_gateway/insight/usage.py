"""Read usage from the roll-ups, grouped as asked, a page at a time by keyset.

Days are those of the tenant's zone. An hour counts to the day in which it begins, so in zones off
by half an hour or three quarters a day begins with its first full hour of UTC.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.db import DEFAULT_DB_ALIAS
from django.db.models import Case, F, Q, QuerySet, Sum, TextField, Value, When
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast, Coalesce, TruncDate
from msgspec import Struct

from llm_gateway.insight.rollup import SUMS
from llm_gateway.models import UsageHour

DAY, TAG = "day", "tag"
NAMED_TAG = f"{TAG}."
_ANSWERED = Case(When(model="", then=F("requested_model")), default=F("model"))
_COLUMNS: Mapping[str, Any] = {
    "model": _ANSWERED,
    "key": F("key_name"),
    "project": F("project_name"),
    "provider": F("provider"),
    TAG: Cast("tags", TextField()),
}
GROUPS = (DAY, *_COLUMNS)


class Question(Struct, frozen=True, kw_only=True):
    """Usage of one tenant from `start` to before `end`, by `groups` in this order."""

    tenant_id: int
    zone: str
    groups: tuple[str, ...]
    start: datetime
    end: datetime


class UsageRow(Struct, frozen=True, kw_only=True):
    """The sums of one group; `keys` are its values in the order of the groups, tags as JSON."""

    keys: tuple[Any, ...]
    requests: int
    errors: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost_nano: int
    cache_hits: int
    saved_nano: int


class CacheUsed(Struct, frozen=True, kw_only=True):
    """What answers given again did for a tenant."""

    requests: int
    hits: int
    saved_nano: int


def cache_used(tenant_id: int, since: datetime, *, using: str = DEFAULT_DB_ALIAS) -> CacheUsed:
    """Return it from the hour in which `since` lies until now."""
    begin = since.replace(minute=0, second=0, microsecond=0)
    rows = UsageHour.objects.of(tenant_id).using(using).filter(hour__gte=begin)
    sums = {
        "all": Sum("requests", default=0),
        "hits": Sum("cache_hits", default=0),
        "saved": Sum("saved_nano", default=0),
    }
    found = rows.aggregate(**sums)
    return CacheUsed(requests=found["all"], hits=found["hits"], saved_nano=found["saved"])


def is_group(name: str) -> bool:
    return name in GROUPS or (name.startswith(NAMED_TAG) and len(name) > len(NAMED_TAG))


def usage(
    question: Question,
    *,
    limit: int,
    after: Sequence[str] | None = None,
    using: str = DEFAULT_DB_ALIAS,
) -> list[UsageRow]:
    """Return up to `limit` groups in the order of their keys, those behind `after` alone.

    `after` is `cursor_of` the last row of the page before. Raises ValueError when it is none.
    """
    names = [f"group_{number}" for number in range(len(question.groups))]
    rows = _grouped(question, names, using)
    if after is not None:
        rows = rows.filter(_behind(names, _keys_of(question.groups, after)))
    sums = {f"sum_{name}": Sum(name) for name in SUMS}
    found = rows.values(*names).annotate(**sums).order_by(*names)[:limit]
    return [
        UsageRow(
            keys=tuple(row[name] for name in names),
            **{name: row[f"sum_{name}"] for name in SUMS},
        )
        for row in found
    ]


def cursor_of(row: UsageRow) -> list[str]:
    """Return what `usage` goes on behind."""
    return [str(key) for key in row.keys]


def _grouped(question: Question, names: Sequence[str], using: str) -> QuerySet[Any]:
    rows = UsageHour.objects.of(question.tenant_id).using(using)
    rows = rows.filter(hour__gte=question.start, hour__lt=question.end)
    zone = ZoneInfo(question.zone)
    found: QuerySet[Any] = rows.annotate(
        **{n: _expression(g, zone) for n, g in zip(names, question.groups, strict=True)}
    )
    return found


def _expression(group: str, zone: ZoneInfo) -> Any:  # noqa: ANN401 - Django's expressions
    if group == DAY:
        return TruncDate("hour", tzinfo=zone)
    if group.startswith(NAMED_TAG):
        named = KeyTextTransform(group.removeprefix(NAMED_TAG), "tags")
        return Coalesce(named, Value(""), output_field=TextField())
    return _COLUMNS[group]


def _keys_of(groups: Sequence[str], after: Sequence[str]) -> list[Any]:
    if len(after) != len(groups):
        raise ValueError("the cursor belongs to other groups")
    return [
        date.fromisoformat(key) if group == DAY else key
        for group, key in zip(groups, after, strict=True)
    ]


def _behind(names: Sequence[str], keys: Sequence[Any]) -> Q:
    """Return the condition that a row sorts behind these keys."""
    behind, same = Q(pk__in=[]), Q()
    for name, key in zip(names, keys, strict=True):
        behind |= same & Q((f"{name}__gt", key))
        same &= Q((name, key))
    return behind
