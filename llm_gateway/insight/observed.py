"""Count in a tenant's recent requests what advice rests on; the database does the sums."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import DEFAULT_DB_ALIAS
from django.db.models import Count, F, Max, Q, QuerySet, Sum
from django.db.models.functions import ExtractMinute, Floor, Greatest, TruncHour
from msgspec import Struct

from llm_gateway.insight.partitions import first_id
from llm_gateway.models import RequestLog
from tenants.models import ApiKey

WINDOW = timedelta(days=7)
UNUSED_FOR = timedelta(days=30)
SHORT_ANSWER = 256
CACHEABLE = 1024  # the least prompt that any provider caches
BURST_MINUTES = 5  # how long providers keep a prompt that nobody asks for again


class ShortAnswers(Struct, frozen=True, kw_only=True):
    """Requests to one deployment that were answered in up to SHORT_ANSWER tokens, summed up."""

    model: str
    provider: str
    requests: int
    input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost_nano: int
    largest_input: int
    largest_total: int


class Repeated(Struct, kw_only=True):
    """Identical requests within one hour of the clock, the dearest of each hour left out."""

    model: str
    requests: int = 0
    cost_nano: int = 0


class Prompts(Struct, kw_only=True):
    """Beginnings of prompts that came again within five minutes and were billed as fresh input.

    `first_tokens` are those of one request of each five minutes, `again_tokens` of all others.
    """

    model: str
    provider: str
    requests: int = 0
    first_tokens: int = 0
    again_tokens: int = 0


class UnusedKey(Struct, frozen=True, kw_only=True):
    name: str
    last_used_at: datetime | None


class Observed(Struct, frozen=True, kw_only=True):
    """What a tenant's requests of the window show."""

    since: datetime
    until: datetime
    short_answers: list[ShortAnswers]
    repeated: list[Repeated]
    prompts: list[Prompts]
    unused_keys: list[UnusedKey]


def observe(tenant_id: int, now: datetime, *, using: str = DEFAULT_DB_ALIAS) -> Observed:
    """Read the request log of the window. Reads the database in the calling thread."""
    since = now - WINDOW
    log = RequestLog.objects.using(using).order_by().filter(tenant_id=tenant_id, outcome="ok")
    rows = log.filter(pk__gte=first_id(since), pk__lt=first_id(now), cache__in=("off", "miss"))
    keys = ApiKey.objects.of(tenant_id).using(using)
    return Observed(
        since=since,
        until=now,
        short_answers=_short_answers(rows),
        repeated=_repeated(rows),
        prompts=_prompts(rows),
        unused_keys=[
            UnusedKey(name=one.name, last_used_at=one.last_used_at)
            for one in unused_keys(keys, now)
        ],
    )


def _short_answers(rows: QuerySet[RequestLog]) -> list[ShortAnswers]:
    short = rows.filter(output_tokens__gt=0, output_tokens__lte=SHORT_ANSWER)
    found = short.values("model", "provider").annotate(
        n=Count("pk"),
        sum_input=Sum("input_tokens"),
        sum_output=Sum("output_tokens"),
        sum_reasoning=Sum("reasoning_tokens"),
        cost=Sum("cost_nano"),
        largest=Max("input_tokens"),
        largest_total=Max(F("input_tokens") + F("output_tokens")),
    )
    return [
        ShortAnswers(
            model=row["model"],
            provider=row["provider"],
            requests=row["n"],
            input_tokens=row["sum_input"],
            output_tokens=row["sum_output"],
            reasoning_tokens=row["sum_reasoning"],
            cost_nano=row["cost"],
            largest_input=row["largest"],
            largest_total=row["largest_total"],
        )
        for row in found.order_by("model", "provider")
    ]


def _repeated(rows: QuerySet[RequestLog]) -> list[Repeated]:
    hours = rows.exclude(digest="").annotate(at=TruncHour("created_at", tzinfo=UTC))
    groups = hours.values("digest", "at", "model").annotate(
        n=Count("pk"), cost=Sum("cost_nano"), dearest=Max("cost_nano")
    )
    found: dict[str, Repeated] = {}
    for row in groups.filter(n__gt=1).iterator():
        one = found.setdefault(row["model"], Repeated(model=row["model"]))
        one.requests += row["n"] - 1
        one.cost_nano += row["cost"] - row["dearest"]
    return sorted(found.values(), key=lambda one: one.model)


def _prompts(rows: QuerySet[RequestLog]) -> list[Prompts]:
    fresh = Greatest(F("prefix_tokens") - F("cached_tokens"), 0)
    bursts = rows.filter(prefix_tokens__gte=CACHEABLE).annotate(
        at=TruncHour("created_at", tzinfo=UTC),
        five=Floor(ExtractMinute("created_at", tzinfo=UTC) / float(BURST_MINUTES)),
    )
    groups = bursts.values("prefix_digest", "at", "five", "model", "provider").annotate(
        n=Count("pk"), tokens=Sum(fresh), largest=Max(fresh)
    )
    found: dict[tuple[str, str], Prompts] = {}
    for row in groups.filter(n__gt=1).iterator():
        place = (row["model"], row["provider"])
        one = found.setdefault(place, Prompts(model=place[0], provider=place[1]))
        one.requests += row["n"]
        one.first_tokens += row["largest"]
        one.again_tokens += row["tokens"] - row["largest"]
    return [found[place] for place in sorted(found)]


def unused_keys(keys: QuerySet[ApiKey], now: datetime) -> QuerySet[Any]:
    """Return those of the keys that are in force and that nobody used for long, by name."""
    long_ago = now - UNUSED_FOR
    never = Q(last_used_at=None, created_at__lt=long_ago)
    rows: Any = keys.filter(never | Q(last_used_at__lt=long_ago), revoked_at=None)
    valid: QuerySet[Any] = rows.filter(Q(expires_at=None) | Q(expires_at__gt=now))
    return valid.order_by("name")
