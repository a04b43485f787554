"""Finished calls reach the request log of either database, and never stand in a request's way."""

import asyncio
import json
import logging
import os
import threading
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError, connections
from typing_extensions import override

from llm_gateway.models import RequestLog
from llm_gateway.recorder import Contents, Recorder, log_line
from llm_gateway.recorder.journal import Journal
from llm_gateway.recorder.lines import write_json
from llm_gateway.recorder.recorder import PAYLOADS_BYTES
from llm_gateway.types import CallRecord
from tenants.models import ApiKey, ConfigVersion, Tenant
from tests.harness.database import Databases
from tests.legs import Figure
from tests.unit.request_log import attempt, call, connected


@pytest.fixture
def alias(databases: Databases, tmp_path: Path, django_db_blocker: Any) -> Iterator[str]:
    url = databases.create(tmp_path)
    with django_db_blocker.unblock(), connected(url) as alias:
        yield alias
    databases.drop(url)


def kept(alias: str) -> list[RequestLog]:
    return list(RequestLog.objects.using(alias).order_by("id"))


def record(recorder: Recorder, *calls: CallRecord) -> None:
    """Record them and wait until they are written."""
    for one in calls:
        recorder.record(one)
    asyncio.run(recorder.flush())
    assert recorder.waiting == 0


@pytest.fixture
def recorder(alias: str) -> Iterator[Recorder]:
    recorder = Recorder(journal=Journal(alias))
    yield recorder
    asyncio.run(recorder.close())


class StuckJournal(Journal):
    """A database that answers only while `open` is set; keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.asked = threading.Event(), threading.Event()
        self.written: list[CallRecord] = []
        self.away = False

    @override
    def write(self, calls: Sequence[CallRecord]) -> None:
        self.asked.set()
        self.open.wait(10)
        if self.away:
            raise OperationalError("the database is away")
        self.written += calls


def test_every_column_is_kept_as_it_was_recorded(alias: str, recorder: Recorder) -> None:
    made = call(
        project_id=5,
        project_name="search",
        stream=True,
        error="the provider said no",
        code="upstream_error",
        category="server",
        finish_reason="stop",
        end_user="u-1",
        tags={"team": "research", "word": "ünï"},
        cached_tokens=7,
        reasoning_tokens=3,
        estimated=True,
        lines=({"unit": "input_token", "units": 100, "amount_nano": 1},),
        first_token_ms=45.5,
        decision={"limits": [{"scope": "tenant", "limit": 5}], "candidates": []},
        payload=b"\x00\xffsealed",
        attempts=(attempt(category="server", status=500), attempt(number=2, provider="beta")),
    )
    record(recorder, made)
    (row,) = kept(alias)
    same = set(CallRecord.__struct_fields__) - {
        *("lines", "decision", "attempts", "payload", "category", "request_bytes", "answer_bytes"),
        *("fallback", "hedged"),  # counted, and told in the decision
    }
    assert {name: getattr(row, name) for name in same} == {
        name: getattr(made, name) for name in same
    }
    assert bytes(row.payload.sealed) == made.payload
    assert row.lines == [{"unit": "input_token", "units": 100, "amount_nano": 1}]
    assert row.decision["limits"] == [{"scope": "tenant", "limit": 5}]
    assert [(a["provider"], a["status"]) for a in row.decision["attempts"]] == [
        ("alpha", 500),
        ("beta", None),
    ]
    assert row.attempt_count == 2


def test_a_lone_record_is_there_soon_without_a_flush(alias: str, recorder: Recorder) -> None:
    record(recorder, call())  # connected from here on
    recorder.record(call())
    deadline = time.monotonic() + 5
    while recorder.waiting and time.monotonic() < deadline:
        time.sleep(0.005)
    assert len(kept(alias)) == 2


def test_many_records_are_kept_in_few_batches(alias: str, recorder: Recorder) -> None:
    made = [call() for _ in range(1200)]
    record(recorder, *made)
    assert [row.pk for row in kept(alias)] == [one.id for one in made]
    assert recorder.dropped == 0


def test_a_record_written_twice_is_there_once(alias: str) -> None:
    journal, one = Journal(alias), call()
    journal.write([one])
    journal.write([one])
    journal.close()
    assert len(kept(alias)) == 1


def test_what_callers_hide_in_text_loses_no_record(alias: str, recorder: Recorder) -> None:
    record(
        recorder,
        call(requested_model="a" * 5000, error="e" * 5000, end_user="x\0y"),
        call(requested_model="half \ud800 pair", tags={"a\0": "b\0"}),
        call(attempts=(attempt(reason="nul \0 here", provider="\udfff"),)),
    )
    rows = kept(alias)
    assert [len(rows), len(rows[0].requested_model), len(rows[0].error)] == [3, 128, 500]
    assert rows[0].end_user == "xy"
    assert rows[1].tags == {"a": "b"}
    assert rows[2].decision["attempts"][0]["reason"] == "nul  here"
    assert recorder.dropped == 0


def test_a_record_no_database_takes_takes_no_other_with_it(alias: str, recorder: Recorder) -> None:
    made = [call(), call(input_tokens=2**70), call()]
    record(recorder, *made)
    assert [row.pk for row in kept(alias)] == [made[0].id, made[2].id]
    assert recorder.dropped == 1


def test_a_key_is_marked_as_used_without_a_change_of_configuration(
    alias: str, recorder: Recorder
) -> None:
    tenant = Tenant.objects.using(alias).create(name="acme")
    keys = [
        ApiKey.all_tenants_unsafe.using(alias).create(
            tenant=tenant, name=name, digest=name, prefix=name
        )
        for name in ("dev", "idle")
    ]
    before = ConfigVersion.objects.using(alias).get().version
    first, second = call(api_key_id=keys[0].pk), call(api_key_id=keys[0].pk)
    record(recorder, first)
    record(recorder, second)
    used = {key.name: key.last_used_at for key in ApiKey.all_tenants_unsafe.using(alias)}
    assert used == {"dev": first.created_at, "idle": None}  # the second came within a minute
    assert ConfigVersion.objects.using(alias).get().version == before


@pytest.mark.parametrize("database_backend", ["sqlite"], indirect=True)
def test_a_locked_database_delays_and_loses_nothing(alias: str, recorder: Recorder) -> None:
    connections[alias].settings_dict["OPTIONS"]["timeout"] = 0.05
    record(recorder, call())
    with connections[alias].cursor() as cursor:
        cursor.execute("BEGIN IMMEDIATE")
        recorder.record(call())
        asyncio.run(recorder.flush(timeout_s=0.5))
        assert recorder.waiting
        cursor.execute("ROLLBACK")
    asyncio.run(recorder.flush())
    assert len(kept(alias)) == 2


@pytest.mark.parametrize("database_backend", ["postgres"], indirect=True)
def test_a_cut_connection_loses_nothing(alias: str, recorder: Recorder) -> None:
    record(recorder, call())
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    record(recorder, call())
    assert len(kept(alias)) == 2


async def test_nobody_waits_for_a_stuck_database_and_the_excess_is_counted() -> None:
    journal = StuckJournal()
    recorder = Recorder(journal=journal, capacity=10)
    recorder.record(call())
    await asyncio.to_thread(journal.asked.wait, 5)
    started = time.perf_counter()
    for _ in range(25):
        recorder.record(call())
    assert time.perf_counter() - started < 0.5
    assert recorder.dropped == 15
    journal.open.set()
    await recorder.close()
    assert len(journal.written) == 11


async def test_with_the_database_away_the_newest_are_kept_and_sinks_hear_all() -> None:
    heard: list[CallRecord] = []
    journal = StuckJournal()
    journal.away = True
    journal.open.set()
    recorder = Recorder([heard.append], journal, capacity=10)
    made = [call() for _ in range(30)]
    for one in made:
        recorder.record(one)
        await recorder.flush(timeout_s=0.02)
    assert heard == made
    journal.away = False
    await recorder.close()
    assert journal.written == made[-len(journal.written) :]
    assert recorder.dropped + len(journal.written) == 30
    assert len(journal.written) == 10


@pytest.mark.promise("D4")
@pytest.mark.parametrize("tags", [0, 16])
@pytest.mark.parametrize("away", [False, True], ids=["stuck", "away"])
async def test_what_waits_is_bounded_in_bytes_whatever_callers_write(
    figure: Figure, tags: int, away: bool
) -> None:
    """A stuck thread leaves records in front of it, one whose database is away behind it."""
    journal = StuckJournal()
    if away:
        journal.away = True
        journal.open.set()
    recorder = Recorder(journal=journal)
    recorder.record(call())
    assert await asyncio.to_thread(journal.asked.wait, 30)
    tracemalloc.start()
    try:
        for n in range(12_000):
            recorder.record(fat(n, tags))
            if away and n % 1000 == 0:
                await recorder.flush(timeout_s=0.01)
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    figure("request log: memory of what waits, MiB", kept / 2**20, "≤ 64")
    assert kept <= 64 * 2**20
    assert recorder.dropped + recorder.waiting >= 12_000
    journal.away = False
    journal.open.set()
    await recorder.close()
    assert recorder.dropped + len(journal.written) == 12_001
    assert recorder.dropped > 0


def fat(n: int, tags: int) -> CallRecord:
    """Return a record with as much as a caller can make it hold, none of it shared."""
    return call(
        requested_model=f"{n}".ljust(128),
        end_user=f"{n}".ljust(256),
        error=f"{n}".ljust(500),
        tags={f"{n}-{tag}": f"{n}".ljust(480) for tag in range(tags)},
        lines=[{"unit": f"u{n}", "units": n, "amount_nano": n * 7} for _ in range(4)],
        attempts=tuple(attempt(reason=f"{n}-{one}".ljust(300)) for one in range(3)),
        decision={"candidates": [f"{n}-{one}" for one in range(4)], "steps": [{"n": n}]},
    )


async def test_contents_are_left_out_before_a_record_is() -> None:
    heard: list[CallRecord] = []
    journal = StuckJournal()
    recorder = Recorder([heard.append], journal)
    recorder.record(call())
    assert await asyncio.to_thread(journal.asked.wait, 30)
    large = [{"text": os.urandom(700).hex()} for _ in range(200)]
    for _ in range(400):
        told = Contents(level="full", dialect="openai_chat", asked={"messages": large})
        told.hear(os.urandom(130_000).hex(" ", 50).encode())
        recorder.record(call(), told)
    stuck = recorder.left_out
    assert 0 < stuck < 400
    journal.open.set()
    await recorder.flush(timeout_s=60)
    await recorder.close()
    assert recorder.dropped == 0
    assert len(journal.written) == 401
    kept = [one.payload for one in journal.written if one.payload is not None]
    assert len(kept) == 400 - recorder.left_out
    assert sum(map(len, kept)) <= PAYLOADS_BYTES
    assert {one.payload for one in heard} == {None}  # no sink is told


async def test_contents_that_cannot_be_read_lose_no_record() -> None:
    journal = StuckJournal()
    journal.open.set()
    recorder = Recorder(journal=journal)
    told = Contents(level="full", dialect="no such dialect", asked={"odd": object()}, streamed=True)
    recorder.record(one := call(), told)
    await recorder.close()
    assert (journal.written, recorder.left_out, recorder.dropped) == ([one], 1, 0)


async def test_a_failing_sink_spoils_nothing() -> None:
    heard: list[CallRecord] = []
    journal = StuckJournal()
    journal.open.set()

    def failing(_: CallRecord) -> None:
        raise ValueError("a sink's own fault")

    recorder = Recorder([failing, heard.append], journal)
    recorder.record(one := call())
    await recorder.close()
    assert (heard, journal.written) == ([one], [one])


async def test_a_recorder_that_recorded_nothing_closes_at_once() -> None:
    recorder = Recorder()
    await recorder.flush()
    await recorder.close()


def test_a_line_tells_of_a_request_without_its_contents(caplog: pytest.LogCaptureFixture) -> None:
    assert settings.LOGGING["format"] == "console"
    with caplog.at_level(logging.INFO):
        log_line(call(requested_model="sk-ant-nobody-may-see-this", tags={"a": "tag"}))
    (message,) = caplog.messages
    assert "status=200" in message
    assert "cost_usd=0.001100000" in message
    assert "nobody-may-see" not in message
    assert "tag" not in message


def test_a_line_in_json_can_be_read_again(capfd: pytest.CaptureFixture[str]) -> None:
    one = call(first_token_ms=12.34, request_bytes=500, requested_model="half \ud800 pair")
    write_json(one)
    line = json.loads(capfd.readouterr().err)
    assert line["request_id"] == str(one.id)
    assert (line["event"], line["request_bytes"], line["first_token_ms"]) == ("request", 500, 12.3)
