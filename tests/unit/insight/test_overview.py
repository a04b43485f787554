"""The overview is what the log says, over any range, of whom and by whatever it is broken down."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from llm_gateway.insight.histogram import ERROR
from llm_gateway.insight.overview import (
    DAY,
    DIMENSIONS,
    HOUR,
    MOST_STEPS,
    TOP,
    Asked,
    Totals,
    Window,
    last,
    overview,
)
from llm_gateway.models import RequestLog
from llm_gateway.recorder.journal import Journal
from llm_gateway.types import CallRecord
from tenants.models import Tenant
from tests.unit.request_log import call

NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
TENANTS = {1: "acme", 2: "globex"}
WINDOWS = {
    "24 hours": last(DAY, NOW),
    "7 days": last(7 * DAY, NOW),
    "30 days": last(30 * DAY, NOW),
    "a year": last(364 * DAY, NOW),
    "two days of their own": Window(
        datetime(2026, 11, 9, tzinfo=UTC), datetime(2026, 11, 11, tzinfo=UTC)
    ),
}
# What each dimension is called by, of one request.
NAMES: dict[str, Callable[[CallRecord], list[tuple[str, str]]]] = {
    "model": lambda one: [("", one.model)],
    "tenant": lambda one: [(one.tenant_name, one.tenant_name)],
    "project": lambda one: [(one.tenant_name, one.project_name)],
    "key": lambda one: [(one.tenant_name, one.key_name)],
    "provider": lambda one: [("", one.provider)],
    "tag": lambda one: [("", f"{n}={v}") for n, v in one.tags.items()] or [("", "")],
}


def made(count: int, seed: int) -> list[CallRecord]:
    rng = Random(seed)
    calls = []
    for _ in range(count):
        outcome = rng.choice(["ok", "ok", "failed", "refused", "cancelled"])
        ended_badly = outcome in {"failed", "refused"}
        tenant_id = rng.choice(list(TENANTS))
        calls.append(
            call(
                # Most of them lately, so that the shortest range has some too.
                created_at=NOW - DAY * 70 * rng.random() ** 4,
                tenant_id=tenant_id,
                tenant_name=TENANTS[tenant_id],
                project_name=rng.choice(["", "search", "support"]),
                key_name=rng.choice(["dev", "prod"]),
                model="" if outcome == "refused" else rng.choice(["gpt-4o", "gpt-4o-mini"]),
                provider="" if outcome == "refused" else rng.choice(["alpha", "beta"]),
                outcome=outcome,
                code=rng.choice(["timeout", "upstream_error"]) if ended_badly else "",
                tags=rng.choice([{}, {"team": "a"}, {"team": "b", "env": "x=y"}]),
                cost_nano=rng.randrange(10**7),
                cache=rng.choice(["off", "hit", "semantic-hit", "miss"]),
                saved_nano=rng.randrange(100),
                duration_ms=rng.lognormvariate(6, 1.5) + 1,
                first_token_ms=None if ended_badly else rng.lognormvariate(5, 1) + 1,
            )
        )
    return calls


@pytest.fixture
def calls(alias: str, journal: Journal) -> list[CallRecord]:
    for id_, name in TENANTS.items():
        Tenant.objects.using(alias).create(pk=id_, name=name)
    calls = made(600, seed=5)
    for start in range(0, len(calls), 50):
        journal.write(calls[start : start + 50])
    # Nothing of this is read from the log.
    RequestLog.objects.using(alias).all().delete()
    return calls


def within(calls: Iterable[CallRecord], window: Window) -> list[CallRecord]:
    return [one for one in calls if window.start <= one.created_at < window.end]


def assert_sums(found: Totals, calls: list[CallRecord]) -> None:
    assert [
        (found.requests, found.failed, found.cost_nano),
        (found.input_tokens, found.output_tokens),
        (found.cache_hits, found.saved_nano),
    ] == [
        (len(calls), sum(o.outcome == "failed" for o in calls), sum(o.cost_nano for o in calls)),
        (sum(one.input_tokens for one in calls), sum(one.output_tokens for one in calls)),
        (
            sum(one.cache in {"hit", "semantic-hit"} for one in calls),
            sum(one.saved_nano for one in calls),
        ),
    ]
    first = [one.first_token_ms for one in calls if one.first_token_ms is not None]
    for share in (0.5, 0.95):
        assert found.latency_ms(share) == near([one.duration_ms for one in calls], share)
        assert found.first_token_ms(share) == near(first, share)


def near(values: list[float], share: float) -> object:
    if not values:
        return None
    exact = sorted(values)[math.ceil(share * len(values)) - 1]
    return pytest.approx(exact, rel=ERROR * (1 + 1e-9))


@pytest.mark.parametrize("name", WINDOWS)
def test_every_number_is_what_the_requests_say(
    alias: str, calls: list[CallRecord], name: str
) -> None:
    window = WINDOWS[name]
    inside = within(calls, window)
    assert len(inside) > 3
    for by in DIMENSIONS:
        seen = overview(Asked(window=window, by=by), using=alias)
        assert_sums(seen.totals, inside)
        assert_sums(seen.before, within(calls, window.before))
        for start, totals in seen.steps:
            end = min(start + window.step, window.end)
            assert_sums(totals, within(calls, Window(start, end)))
        named = defaultdict(list)
        for one in inside:
            for key in NAMES[by](one):
                named[key].append(one)
        assert [(one.tenant, one.name) for one in seen.shares] == sorted(
            named, key=lambda key: (-len(named[key]), *order(by, key))
        )
        for share in seen.shares:
            assert_sums(share.totals, named[share.tenant, share.name])
        assert seen.others == (None if by == "tag" else Totals())
        assert {one.code: one.requests for one in seen.faults} == {
            code: sum(one.code == code for one in inside)
            for code in {one.code for one in inside} - {""}
        }


def order(by: str, key: tuple[str, str]) -> tuple[object, ...]:
    """Return how shares of equally many requests follow each other: by ids where there are some."""
    tenant, name = key
    ids = {name: id_ for id_, name in TENANTS.items()}
    return (ids[tenant], name) if by in {"tenant", "project", "key"} else (name,)


def test_one_tenant_alone_is_told_of(alias: str, calls: list[CallRecord]) -> None:
    window = WINDOWS["30 days"]
    own = within((one for one in calls if one.tenant_id == 2), window)
    for by in DIMENSIONS:
        seen = overview(Asked(window=window, tenant_id=2, by=by), using=alias)
        assert_sums(seen.totals, own)
        assert {one.tenant for one in seen.shares} <= {"", "globex"}
    nobody = overview(Asked(window=window, tenant_id=0), using=alias)
    assert (nobody.totals, nobody.before, nobody.shares) == (Totals(), Totals(), [])


@pytest.mark.parametrize(
    ("chosen", "value"),
    [
        ("project", "search"),
        ("key", "dev"),
        ("model", "gpt-4o"),
        ("provider", "beta"),
        ("tag", "team=a"),
        ("tag", "env=x=y"),
        ("tag", "team__contains=a"),
    ],
)
def test_it_is_narrowed_to_one_thing(
    alias: str, calls: list[CallRecord], chosen: str, value: str
) -> None:
    window = WINDOWS["7 days"]
    seen = overview(Asked(window=window, chosen={chosen: value}), using=alias)
    wanted = [one for one in calls if value in [name for _, name in NAMES[chosen](one)]]
    assert_sums(seen.totals, within(wanted, window))
    assert_sums(seen.before, within(wanted, window.before))


def test_beyond_the_largest_are_all_others(alias: str, journal: Journal) -> None:
    journal.write([
        call(created_at=NOW, model=f"model-{n:02}", cost_nano=n, duration_ms=100 * n + 100)
        for n in range(TOP + 3)
        for _ in range(n + 1)
    ])  # fmt: skip
    seen = overview(Asked(window=last(DAY, NOW)), using=alias)
    assert [one.name for one in seen.shares][:2] == ["model-12", "model-11"]
    assert (len(seen.shares), seen.others is not None) == (TOP, True)
    assert seen.others is not None
    assert (seen.others.requests, seen.others.cost_nano) == (1 + 2 + 3, 0 + 2 * 1 + 3 * 2)
    assert seen.others.latency_ms(1) == pytest.approx(300, rel=ERROR)


def test_the_sums_of_a_tenant_outlive_it(alias: str, journal: Journal) -> None:
    journal.write([call(created_at=NOW, tenant_id=77)])
    seen = overview(Asked(window=last(DAY, NOW), by="tenant"), using=alias)
    assert [(one.name, one.totals.requests) for one in seen.shares] == [("#77", 1)]


@pytest.mark.parametrize("days", [1, 2, 3, 7, 30, 90, 100, 400, 1098])
def test_no_range_has_too_many_steps(days: int) -> None:
    window = Window(NOW - days * DAY, NOW)
    assert (window.end - window.start) / window.step <= MOST_STEPS
    assert window.step % HOUR == timedelta(0)


@pytest.mark.parametrize("days", [1, 7, 30, 90])
def test_a_range_ends_with_the_step_that_now_lies_in(days: int) -> None:
    window = last(days * DAY, NOW)
    assert window.end - window.step <= NOW < window.end
    assert window.end - window.start == days * DAY
    assert (window.before.end, window.before.end - window.before.start) == (
        window.start,
        days * DAY,
    )
