"""`make bench-pages`: fill the request log, then measure the console's pages over it.

`--rows` (10,000,000) lie over `--days` (90); each page is asked for `--times` (20), one by one, and
opened once by a Chromium that has nothing of it yet.
"""

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
from msgspec import Struct
from playwright.sync_api import Browser as Windows
from playwright.sync_api import StorageState

from tests.browser import actions, chromium
from tests.browser.conftest import opened
from tests.browser.paint import first_paint_ms, sent_bytes
from tests.browser.town import give_past
from tests.harness.database import PostgresDatabases
from tests.harness.gateway import GatewayProcess, installed, migrate_into
from tests.harness.people import Browser, make_members, make_operator
from tests.harness.services import postgres
from tests.load.filling import fill, sum_up

BAR_S, PAINTED_BAR_MS, WEIGHT_BAR = 1.0, 1_500, 600 * 1024
_COPIED_A_DAY = 40
_ADMIN, _MEMBER = "/admin", "olga@acme.test"
_LOG = f"{_ADMIN}/llm_gateway/requestlog/"


class Timed(Struct, frozen=True, kw_only=True):
    """One page: how long it takes, when it is seen, how heavy it is with all that it loads."""

    title: str
    median_s: float
    p95_s: float
    painted_ms: float | None  # None for what is no page
    sent_bytes: int

    @property
    def holds(self) -> bool:
        seen = self.painted_ms is None or self.painted_ms < PAINTED_BAR_MS
        return seen and self.p95_s < BAR_S and self.sent_bytes < WEIGHT_BAR


def pages(now: datetime) -> dict[str, str]:
    """Return an operator's pages whose time may depend on how long the log is."""
    begin, half, end = (f"{now - timedelta(days=days):%Y-%m-%d}" for days in (30, 55, 10))
    return {
        **{f"overview, {span}": f"{_ADMIN}/?range={span}" for span in ("24h", "7d", "30d", "90d")},
        "overview, 46 days that are over, by tag": f"{_ADMIN}/?from={half}&to={end}&by=tag",
        "overview, 30d of one tenant, by key": f"{_ADMIN}/?range=30d&tenant=acme&by=key",
        "requests, first page": _LOG,
        "requests, second page": f"{_LOG}?p=2",
        "requests of one tenant": f"{_LOG}?tenant_name=acme",
        "requests that failed, 30 days": f"{_LOG}?outcome=failed&created_at_from_0={begin}",
        "budgets": f"{_ADMIN}/tenants/budget/",
        "one budget": f"{_ADMIN}/tenants/budget/1/change/",
        "buckets": f"{_ADMIN}/tenants/bucket/",
        "tenants": f"{_ADMIN}/tenants/tenant/",
        "money": f"{_ADMIN}/money/",
        "money of one tenant": f"{_ADMIN}/money/?tenant=acme",
        "advice for one tenant": f"{_ADMIN}/money/advice/?tenant=acme",
    }


def own_pages(now: datetime) -> dict[str, str]:
    """Return what somebody of a tenant looks at to see what they used."""
    usage = f"/api/v1/usage?from={now - timedelta(days=85):%Y-%m-%d}&group_by"
    return {
        "their overview, 30d": f"{_ADMIN}/?range=30d",
        "portal": "/",
        "their money": f"{_ADMIN}/money/",
        "usage, 85 days by day and model": f"{usage}=day,model&limit=1000",
        "usage, 85 days by key and tag": f"{usage}=key,tag&limit=1000",
    }


@contextmanager
def filled(rows: int, days: int) -> Iterator[GatewayProcess]:
    """Yield a gateway that serves over so many rows; nothing of it is left afterwards."""
    with tempfile.TemporaryDirectory(prefix="mobius-pages-") as name, postgres(Path(name)) as url:
        home, output = Path(name, "home"), Path(name, "output")
        home.mkdir()
        output.mkdir()
        databases = PostgresDatabases(url, home, migrate_into(output))
        try:
            with installed(databases, home, output) as gateway:
                prepare(gateway, rows, days)
                yield gateway.serve()
        finally:
            databases.close()


def prepare(gateway: GatewayProcess, rows: int, days: int) -> None:
    gateway.environment["MOBIUS_LOG_LEVEL"] = "INFO"
    give_past(gateway, days, _COPIED_A_DAY)  # also makes the partitions of those months
    make_operator(gateway)
    make_members(gateway)
    url, started = gateway.environment["DATABASE_URL"], time.monotonic()
    for count in fill(url, rows, days):
        _say(f"{count:,} rows after {time.monotonic() - started:.0f} s")
    sum_up(url)
    _say(f"summed up after {time.monotonic() - started:.0f} s")


def measure(gateway: GatewayProcess, times: int) -> list[Timed]:
    """Ask for each page; the first answer, which finds nothing in memory, is not counted."""
    now = datetime.now(UTC)
    with chromium.started() as windows:
        return [
            *_measured(windows, gateway, ("root", "Overview"), pages(now), times),
            *_measured(windows, gateway, (_MEMBER, "Console"), own_pages(now), times),
        ]


def _measured(
    windows: Windows,
    gateway: GatewayProcess,
    who: tuple[str, str],
    asked: Mapping[str, str],
    times: int,
) -> Iterator[Timed]:
    """Measure the pages of somebody, told by name and by where their sign-in leads."""
    people = Browser(gateway.url)
    people.password(who[0])
    with closing(people.client) as client, opened(windows, gateway) as tab:
        client.timeout = 120
        actions.sign_in(tab, *who)
        state = tab.page.context.storage_state()
        for title, path in asked.items():
            seconds, sent = _asked(client, path, times)
            painted = None
            if not path.startswith("/api/"):
                painted, sent = _seen(windows, gateway, state, path)
            yield _timed(title, seconds, painted, sent)


def _asked(client: httpx2.Client, path: str, times: int) -> tuple[list[float], int]:
    """Return the seconds of each answer, in order, and its bytes as they are sent."""
    took, sent = [], 0
    for _ in range(times + 1):
        started = time.perf_counter()
        answer = client.get(path)
        took.append(time.perf_counter() - started)
        answer.raise_for_status()
        sent = answer.num_bytes_downloaded
    return sorted(took[1:]), sent


def _seen(
    windows: Windows, gateway: GatewayProcess, state: StorageState, path: str
) -> tuple[float, int]:
    """Return when somebody who opens it for the first time sees something, and what it weighs."""
    with opened(windows, gateway, state) as tab:
        tab.open(path)
        return first_paint_ms(tab.page), sent_bytes(tab.page)


def _timed(title: str, seconds: Sequence[float], painted: float | None, sent: int) -> Timed:
    return Timed(
        title=title,
        median_s=seconds[len(seconds) // 2],
        p95_s=seconds[math.ceil(0.95 * len(seconds)) - 1],
        painted_ms=painted,
        sent_bytes=sent,
    )


def shown(found: Sequence[Timed]) -> str:
    lines = ["| page | median | p95 | first paint | sent |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {one.title} | {one.median_s * 1000:.0f} ms | {one.p95_s * 1000:.0f} ms"
        f" | {'' if one.painted_ms is None else f'{one.painted_ms:.0f} ms'}"
        f" | {one.sent_bytes / 1024:.0f} KB |"
        for one in found
    ]
    return "\n".join(lines)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """Return 1 where a page takes longer or is heavier than the bars."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("rows", 10_000_000), ("days", 90), ("times", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    chosen = parser.parse_args(arguments)
    with filled(chosen.rows, chosen.days) as gateway:
        found = measure(gateway, chosen.times)
    _say(shown(found))
    over = [one.title for one in found if not one.holds]
    bars = f"{BAR_S:.0f} s at p95, {PAINTED_BAR_MS} ms to the first paint, {WEIGHT_BAR // 1024} KB"
    _say(f"Over {bars}: {', '.join(over) or 'none'}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
