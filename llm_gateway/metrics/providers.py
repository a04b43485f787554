"""Sum up a window of the request log by provider (R38).

Attempts are counted, not requests: a provider that fails is seen although a fallback answered.
The 95th percentile is an observed time: the least that 95 % of the attempts do not exceed.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections

from llm_gateway.models import RequestLog
from tenants.types import usd

_LOG = RequestLog._meta.db_table  # noqa: SLF001 - Django's public model API

# Each attempt of the window; tokens are those of the answer, so of the attempt that gave it.
_ATTEMPTS = """
    WITH attempts AS (
        SELECT {provider} AS provider, {category} AS category, {duration} AS duration,
               {cost} AS cost,
               CASE WHEN {category} = '' AND {provider} = log.provider
                    THEN log.input_tokens + log.output_tokens ELSE 0 END AS tokens
        FROM {log} log, {each} attempt
        WHERE log.created_at >= %s AND log.tenant_id = coalesce(%s, log.tenant_id)
    )
"""
_DIALECTS = {
    "postgresql": _ATTEMPTS.format(
        log=_LOG,
        each="jsonb_array_elements(log.decision->'attempts')",
        provider="attempt->>'provider'",
        category="attempt->>'category'",
        duration="(attempt->>'duration_ms')::float",
        cost="(attempt->>'cost_nano')::bigint",
    ),
    "sqlite": _ATTEMPTS.format(
        log=_LOG,
        each="json_each(log.decision, '$.attempts')",
        provider="json_extract(attempt.value, '$.provider')",
        category="json_extract(attempt.value, '$.category')",
        duration="json_extract(attempt.value, '$.duration_ms')",
        cost="json_extract(attempt.value, '$.cost_nano')",
    ),
}
_SUMS = """
    SELECT provider, category, count(*), sum(duration), sum(tokens), sum(cost)
    FROM attempts GROUP BY provider, category ORDER BY provider, category
"""
_P95 = """
    SELECT provider, min(duration) FROM (
        SELECT provider, duration,
               cume_dist() OVER (PARTITION BY provider ORDER BY duration) AS share
        FROM attempts) ranked
    WHERE share >= 0.95 GROUP BY provider
"""


def provider_metrics(
    window_s: float,
    provider: str | None = None,
    *,
    tenant_id: int | None = None,
    using: str = DEFAULT_DB_ALIAS,
) -> list[dict[str, Any]]:
    """Return a dict for each provider that was called in the last `window_s` seconds.

    `{provider, requests, success_rate, average_ms, p95_ms, tokens, cost_usd, errors}`, where
    `errors` counts by category. Of one tenant's requests, or of everybody's. Reads the database
    in the calling thread.
    """
    connection = connections[using]
    since = connection.ops.adapt_datetimefield_value(
        datetime.now(UTC) - timedelta(seconds=window_s)
    )
    attempts = _DIALECTS[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(attempts + _P95, [since, tenant_id])
        p95 = dict(cursor.fetchall())
        cursor.execute(attempts + _SUMS, [since, tenant_id])
        sums = cursor.fetchall()
    names = [provider] if provider is not None else sorted(p95)
    return [
        _summary(name, [line[1:] for line in sums if line[0] == name], p95[name])
        for name in names
        if name in p95
    ]


def _summary(name: str, lines: list[tuple[Any, ...]], p95_ms: float) -> dict[str, Any]:
    """Sum up lines of (category, count, duration, tokens, cost)."""
    errors = {category: count for category, count, *_ in lines if category}
    requests = sum(line[1] for line in lines)
    return {
        "provider": name,
        "requests": requests,
        "success_rate": round(1 - sum(errors.values()) / requests, 6),
        "average_ms": round(sum(line[2] for line in lines) / requests, 3),
        "p95_ms": round(p95_ms, 3),
        "tokens": int(sum(line[3] for line in lines)),
        "cost_usd": usd(int(sum(line[4] for line in lines))),
        "errors": errors,
    }
