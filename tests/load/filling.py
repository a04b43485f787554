"""Fill a PostgreSQL request log with millions of rows like those it has, and sum them up by hour.

The rows that are there are copied, each under an id and a time of its own, evenly over the days.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

import psycopg

from llm_gateway.insight.histogram import BOUNDS_MS, ONES

LOG, HOURS = "llm_gateway_requestlog", "llm_gateway_usagehour"
STEP = 500_000
_OWN = ("id", "created_at")
_NEW_ID = """(lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0')
    || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid"""
_TEMPLATES = f"""CREATE TEMPORARY TABLE template AS
    SELECT row_number() OVER () - 1 AS place, * FROM {LOG} WHERE tenant_id IS NOT NULL"""  # noqa: S608 - our own names
_GROUPS = """tenant_id, date_trunc('hour', created_at), project_id, project_name, api_key_id,
    key_name, requested_model, model, provider, code, tags"""
# As `histogram.one` of every row, added up.
_HISTOGRAM = "coalesce(sum((%(ones)s::numeric[])[1 + width_bucket({}, %(bounds)s::float8[])]), 0)"
_SUM = f"""INSERT INTO {HOURS} (tenant_id, hour, dims, project_id, project_name, api_key_id,
        key_name, requested_model, model, provider, code, tags, requests, errors, failed,
        input_tokens, output_tokens, cached_tokens, reasoning_tokens, cost_nano, cache_hits,
        saved_nano, latency, first_token)
    SELECT tenant_id, date_trunc('hour', created_at),
        md5(concat_ws('/', project_id, api_key_id, requested_model, model, provider, code, tags)),
        project_id, project_name, api_key_id, key_name, requested_model, model, provider, code,
        tags, count(*), count(*) FILTER (WHERE outcome IN ('failed', 'refused')),
        count(*) FILTER (WHERE outcome = 'failed'),
        sum(input_tokens), sum(output_tokens), sum(cached_tokens), sum(reasoning_tokens),
        sum(cost_nano), count(*) FILTER (WHERE cache IN ('hit', 'semantic-hit')), sum(saved_nano),
        {_HISTOGRAM.format("duration_ms")}, {_HISTOGRAM.format("first_token_ms")}
    FROM {LOG} WHERE tenant_id IS NOT NULL GROUP BY {_GROUPS}"""  # noqa: S608 - likewise


def fill(url: str, rows: int, days: int) -> Iterator[int]:
    """Add rows up to now, yielding how many there are; the months' partitions have to exist."""
    with _connected(url) as connection:
        connection.execute(_TEMPLATES)
        found = connection.execute("SELECT count(*) FROM template").fetchone()
        assert found is not None
        assert found[0] > 0, "there is no row to copy"
        insert = _insert(connection, rows, days, found[0])
        for begin in range(0, rows, STEP):
            connection.execute(insert, (begin, min(begin + STEP, rows) - 1))
            yield min(begin + STEP, rows)


def sum_up(url: str) -> None:
    """Make the roll-ups the sums of the log, and tell the planner what there is."""
    with _connected(url) as connection:
        connection.execute(f"TRUNCATE {HOURS}")
        connection.execute(_SUM, {"ones": list(map(Decimal, ONES)), "bounds": list(BOUNDS_MS)})
        for table in (LOG, HOURS):
            connection.execute(f"VACUUM ANALYZE {table}")


def _insert(connection: psycopg.Connection, rows: int, days: int, templates: int) -> str:
    copied = [
        column.name
        for column in connection.execute(f"SELECT * FROM {LOG} LIMIT 0").description or ()  # noqa: S608 - likewise
        if column.name not in _OWN
    ]
    names = ", ".join(copied)
    return f"""INSERT INTO {LOG} (id, created_at, {names}) SELECT {_NEW_ID}, at, {names}
        FROM (SELECT n, now() - make_interval(secs => {days * 86_400 / rows} * ({rows} - n)) AS at
              FROM generate_series(%s::bigint, %s::bigint) AS n) AS new
        JOIN template ON place = n %% {templates}"""  # noqa: S608 - likewise


@contextmanager
def _connected(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET work_mem = '256MB'")
        yield connection
