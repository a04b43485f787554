"""The roll-ups by hour are the sum of the request log, however it was written."""

import threading
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from llm_gateway.insight.histogram import counts, one
from llm_gateway.insight.rebuild import rebuild
from llm_gateway.insight.rollup import SUMS, dims_of
from llm_gateway.models import RequestLog, UsageHour
from llm_gateway.recorder.journal import Journal
from llm_gateway.types import CallRecord
from tests.unit.request_log import call

NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)


def kept(alias: str) -> list[dict[str, Any]]:
    rows = UsageHour.all_tenants_unsafe.using(alias).order_by("tenant_id", "hour", "dims")
    return [{k: v for k, v in row.items() if k != "id"} for row in rows.values()]


def assorted(count: int, seed: int) -> list[CallRecord]:
    rng = Random(seed)
    return [
        call(
            created_at=NOW - timedelta(minutes=rng.randrange(5 * 24 * 60)),
            tenant_id=rng.choice([1, 2]),
            project_id=rng.choice([None, 3]),
            api_key_id=rng.choice([None, 7]),
            model=rng.choice(["gpt-4o", "gpt-4o-mini", ""]),
            outcome=rng.choice(["ok", "failed", "refused", "cancelled"]),
            tags=rng.choice([{}, {"a": "1", "b": "ünï"}, {"b": "ünï", "a": "1"}, {"nul": "x\0y"}]),
            cached_tokens=rng.randrange(50),
            cost_nano=rng.randrange(10**7),
            cache=rng.choice(["off", "hit", "miss"]),
            saved_nano=rng.randrange(100),
            code=rng.choice(["", "", "upstream_error"]),
            duration_ms=rng.lognormvariate(6, 2),
            first_token_ms=rng.choice([None, rng.lognormvariate(5, 1)]),
        )
        for _ in range(count)
    ]


def test_requests_of_one_hour_and_kind_are_one_row(alias: str, journal: Journal) -> None:
    at = NOW.replace(minute=0)
    journal.write([
        call(created_at=at, tags={"team": "a", "env": "x"}, cost_nano=5, cache="hit", saved_nano=9),
        call(created_at=at + timedelta(minutes=59), tags={"env": "x", "team": "a"}, cost_nano=7),
        call(created_at=at, tags={"team": "a", "env": "x"}, outcome="failed", cost_nano=0),
    ])  # fmt: skip
    (row,) = kept(alias)
    assert (row["hour"], row["tags"]) == (at, {"team": "a", "env": "x"})
    assert [row[name] for name in SUMS] == [3, 1, 300, 60, 0, 0, 12, 1, 9]


def test_each_request_counts_once_in_the_histograms(alias: str, journal: Journal) -> None:
    at = NOW.replace(minute=0)
    for duration_ms, first_token_ms in ((0.2, None), (500, 40.0), (500.1, 41.0), (10**9, None)):
        journal.write([call(created_at=at, duration_ms=duration_ms, first_token_ms=first_token_ms)])
    (row,) = kept(alias)
    assert row["latency"] == one(0.2) + 2 * one(500) + one(10**9)
    assert row["first_token"] == 2 * one(40)
    assert (sum(counts(row["latency"])), sum(counts(row["first_token"]))) == (4, 2)


def test_what_failed_is_told_from_what_was_refused(alias: str, journal: Journal) -> None:
    ended = {"failed": "upstream_error", "refused": "insufficient_quota", "cancelled": "", "ok": ""}
    journal.write(
        [call(created_at=NOW, outcome=ending, code=code) for ending, code in ended.items()]
    )
    found = {row["code"]: (row["requests"], row["errors"], row["failed"]) for row in kept(alias)}
    assert found == {"": (2, 0, 0), "upstream_error": (1, 1, 1), "insufficient_quota": (1, 1, 0)}


def test_another_hour_key_model_or_tag_is_another_row(alias: str, journal: Journal) -> None:
    at = NOW.replace(minute=0)
    journal.write([
        call(created_at=at),
        call(created_at=at - timedelta(microseconds=1)),
        call(created_at=at, key_name="other"),
        call(created_at=at, model="gpt-4o-mini"),
        call(created_at=at, tags={"team": "a"}),
        call(created_at=at, tenant_id=2),
    ])  # fmt: skip
    assert [row["requests"] for row in kept(alias)] == [1] * 6


def test_a_batch_that_is_written_again_counts_once(alias: str, journal: Journal) -> None:
    batch = assorted(20, seed=1)
    journal.write(batch[:10])
    once = kept(alias)
    journal.write(batch[:10])
    assert kept(alias) == once
    journal.write(batch)  # half of it is there
    journal.write([batch[0], batch[0]])
    assert sum(row["requests"] for row in kept(alias)) == 20
    assert RequestLog.objects.using(alias).count() == 20


def test_a_row_the_database_refuses_is_in_no_sum(alias: str, journal: Journal) -> None:
    journal.write([call(created_at=NOW), call(created_at=NOW, input_tokens=2**70)])
    assert [row["requests"] for row in kept(alias)] == [1]


def test_rebuilt_roll_ups_equal_the_recorded_ones(alias: str, journal: Journal) -> None:
    batch = assorted(400, seed=2)
    for start in range(0, 400, 37):
        journal.write(batch[start : start + 37])
    recorded = kept(alias)
    assert sum(row["requests"] for row in recorded) == 400
    assert rebuild(NOW, using=alias) == len(recorded)
    assert kept(alias) == recorded
    UsageHour.all_tenants_unsafe.using(alias).update(cost_nano=1, requests=9)
    rebuild(NOW, using=alias)
    assert kept(alias) == recorded


def test_a_rebuild_leaves_hours_whose_log_has_gone(alias: str, journal: Journal) -> None:
    old, new = NOW - timedelta(days=400), NOW
    journal.write([call(created_at=old), call(created_at=new)])
    recorded = kept(alias)
    RequestLog.objects.using(alias).filter(created_at=old).delete()
    rebuild(NOW, using=alias)
    assert kept(alias) == recorded


def test_without_a_log_there_is_nothing_to_rebuild(alias: str) -> None:
    assert rebuild(NOW, using=alias) == 0


@pytest.mark.parametrize("database_backend", ["postgres"], indirect=True)
def test_recorders_of_several_processes_and_a_rebuild_lose_nothing(alias: str) -> None:
    batches = [assorted(300, seed) for seed in (3, 4, 5)]

    def record(batch: list[CallRecord]) -> None:
        journal = Journal(alias)
        for start in range(0, len(batch), 20):
            journal.write(batch[start : start + 20])
        journal.close()

    threads = [threading.Thread(target=record, args=(batch,)) for batch in batches]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        rebuild(NOW, using=alias)
    for thread in threads:
        thread.join()
    recorded = kept(alias)
    assert sum(row["requests"] for row in recorded) == 900
    rebuild(NOW, using=alias)
    assert kept(alias) == recorded


def test_the_order_of_tags_makes_no_other_digest() -> None:
    values: dict[str, Any] = dict.fromkeys(
        ("project_id", "project_name", "api_key_id", "key_name", "requested_model", "model"), "x"
    )
    values |= {"provider": "p", "code": ""}
    first = {**values, "tags": {"a": "1", "b": "2"}}
    same = {**values, "tags": {"b": "2", "a": "1"}}
    other = {**values, "tags": {"a": "1", "b": "3"}}
    assert dims_of(first) == dims_of(same) != dims_of(other)
