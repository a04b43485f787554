"""What runs now is told from any process, to its tenant or the operator, and stopped there."""

import re
import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.harness.books import Books
from tests.harness.config import API_KEY, budget, configuration, key, models, nano_prices, tenant
from tests.harness.database import SqliteDatabases
from tests.harness.dialects import ANTHROPIC, OPENAI, Dialect, Told, fetch
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.people import make_operator, operator_of
from tests.harness.together import in_time, until
from tests.upstream.client import Upstream
from tests.upstream.scripts import gated, throttled

pytestmark = pytest.mark.timed

WITHIN_S = 2.0
AUDITED = "request stopped"
OTHER_KEY, MANAGER, OTHER_MANAGER = (f"{API_KEY}-{n}" for n in ("other", "boss", "chief"))
Row = dict[str, Any]


def serve(gateway: GatewayProcess, upstream: Upstream) -> Books:
    def of(name: str, inference: str, manager: str) -> Row:
        keys = [key("dev", inference), key("boss", manager, scopes=["manage"])]
        return tenant(name, budgets=[budget("9")], keys=keys)

    upstream.prices(**nano_prices(models()))
    upstream.script("open", gated("go", 3))
    upstream.script("mute", gated("go"))
    upstream.script("busy", throttled(retry_after_s=8))
    acme, globex = of("acme", API_KEY, MANAGER), of("globex", OTHER_KEY, OTHER_MANAGER)
    gateway.apply(configuration(upstream.base_url, tenants=[acme, globex]))
    gateway.serve(workers=2 if gateway.environment["REDIS_URL"] else 1)
    books = Books(gateway)
    books.until_serving()
    return books


def admitted(dialect: Dialect, url: str, **fields: Any) -> Told:
    """Ask until it is taken: a machine that others load makes a process refuse."""
    while (told := dialect.ask(url, "alpha", **fields)).code == "overloaded":
        time.sleep(0.2)
    return told


def listed(gateway: GatewayProcess, manager: str = MANAGER) -> list[Row]:
    told = fetch(gateway.url, "GET", "/api/v1/inflight", headers=bearer(manager))
    assert told.status == 200, told.text
    assert (told.json["silent"], told.json["left_off"]) == ([], 0)
    rows: list[Row] = told.json["data"]
    return rows


def stop(gateway: GatewayProcess, request_id: str, manager: str = MANAGER) -> int:
    path = f"/api/v1/inflight/{request_id}"
    return fetch(gateway.url, "DELETE", path, headers=bearer(manager)).status


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def soon(told: Future[Told]) -> Told:
    """Return what a caller heard, which has to be now."""
    return told.result(WITHIN_S)


def uploading(gateway: GatewayProcess) -> socket.socket:
    """Begin a request whose body never comes whole."""
    line = socket.create_connection(("127.0.0.1", gateway.port), timeout=20)
    head = f"POST {OPENAI.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {API_KEY}\r\n"
    line.sendall(f"{head}Content-Length: 1000\r\n\r\n{{".encode())
    return line


def test_what_runs_is_told_to_its_tenant_and_stopped_by_it_alone(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    books = serve(gateway, upstream)
    assert books.rows("llm_gateway_runningnow") == []  # nobody has looked
    with ThreadPoolExecutor(8) as threads, uploading(gateway) as line:

        def ask(dialect: Dialect, script: str, **fields: Any) -> Future[Told]:
            said = f"[[script:{script}]]"
            return threads.submit(admitted, dialect, gateway.url, content=said, **fields)

        own = [
            ask(OPENAI, "open", stream=True),
            ask(ANTHROPIC, "open", stream=True),
            ask(OPENAI, "mute"),
        ]
        foreign = ask(OPENAI, "open", stream=True, key=OTHER_KEY)
        upstream.wait_seen(4, 30)
        own.append(ask(OPENAI, "busy"))  # after which nobody is asked for a while
        until(lambda: shapes(listed(gateway)) == RUNNING, 10)
        rows = listed(gateway)
        check_rows(rows, gateway)
        check_isolated(gateway, rows[0]["id"])
        assert not foreign.done()
        for row in rows:
            began = time.monotonic()
            assert stop(gateway, row["id"]) == 200
            in_time(time.monotonic() - began, WITHIN_S)
        check_heard([soon(each) for each in own], line.recv(65536))
        assert listed(gateway) == []
        assert stop(gateway, rows[0]["id"]) == 404
        upstream.open_gate("go")
        assert OPENAI.end in foreign.result(20).text
    check_settled(books)


# Dialect, state, whether streamed, whether it has said something.
RUNNING = sorted(
    [
        ("", "arriving", None, False),
        ("anthropic_messages", "answering", True, True),
        ("openai_chat", "answering", True, True),
        ("openai_chat", "waiting", False, False),  # for the provider's answer
        ("openai_chat", "waiting", False, False),  # until the provider may be asked again
    ],
    key=str,
)


def shapes(rows: list[Row]) -> list[tuple[Any, ...]]:
    told = [(row["dialect"], row["state"], row["stream"], row["output_tokens"] > 0) for row in rows]
    return sorted(told, key=str)


def check_rows(rows: list[Row], gateway: GatewayProcess) -> None:
    assert [row["age_s"] for row in rows] == sorted((row["age_s"] for row in rows), reverse=True)
    assert {(row["tenant"], row["key"]) for row in rows} == {("acme", "dev")}
    pids = {int(row["process"].rpartition(":")[2]) for row in rows}
    assert pids <= set(gateway.workers)
    asked = [row for row in rows if row["state"] != "arriving"]
    assert {(row["model"], row["provider"], row["attempt"]) for row in asked} == {
        ("alpha", "openai", 1)
    }
    assert all(float(row["cost_usd"]) > 0 for row in rows if row["state"] == "answering")


def check_isolated(gateway: GatewayProcess, own: str) -> None:
    """Nobody stops what is another's, and nobody hears whether it is there."""
    (theirs,) = listed(gateway, OTHER_MANAGER)
    assert stop(gateway, theirs["id"]) == 404
    assert stop(gateway, own, OTHER_MANAGER) == 404
    assert fetch(gateway.url, "GET", "/api/v1/inflight", headers=bearer(API_KEY)).status == 403


def check_heard(told: list[Told], uploaded: bytes) -> None:
    openai, anthropic, whole, resting = told
    assert "was stopped" in OPENAI.stream_error(openai)["message"]
    assert "was stopped" in ANTHROPIC.stream_error(anthropic)["message"]
    assert [whole.code, resting.code] == ["permission_denied"] * 2
    assert b" 403 " in uploaded


def check_settled(books: Books) -> None:
    outcomes = sorted(entry["outcome"] for entry in books.until_settled(5, 5))
    assert outcomes == ["cancelled", "cancelled", "cancelled", "failed", "settled"]
    check_audited(books, ["acme"] * len(RUNNING))
    assert books.rows("llm_gateway_stopasked") == []
    assert books.audit().ok


def check_audited(books: Books, tenants: list[str]) -> None:
    events = [row for row in books.rows("tenants_auditevent") if row["action"] == AUDITED]
    assert sorted(row["tenant_name"] for row in events) == tenants


def test_the_operator_sees_and_stops_all_in_the_console(
    sqlite_databases: SqliteDatabases, upstream: Upstream, tmp_path: Path, output: Path
) -> None:
    with installed(sqlite_databases, tmp_path, output) as alone:
        watch_and_stop(alone, upstream)


def watch_and_stop(alone: GatewayProcess, upstream: Upstream) -> None:
    books = serve(alone, upstream)
    make_operator(alone)
    page = "/admin/llm_gateway/runningnow/"
    browser = operator_of(alone)
    with ThreadPoolExecutor(2) as threads, closing(browser.client):
        told = [
            threads.submit(
                admitted, OPENAI, alone.url, stream=True, content="[[script:open]]", key=one
            )
            for one in (API_KEY, OTHER_KEY)
        ]
        upstream.wait_seen(2, 20)
        seen = browser.get(page).text
        assert "hx-trigger" in seen
        stops = re.findall(rf'action="({page}stop/[^"]+)"', seen)
        assert len(stops) == 2
        part = browser.get(page, headers={"HX-Request": "true"}).text
        assert "<html" not in part
        assert all(one in part for one in stops)
        for one in stops:
            assert browser.post(one, page=page).status_code == 302
        for each in told:
            assert "was stopped" in OPENAI.stream_error(soon(each))["message"]
        assert "Nothing runs now." in browser.get(page).text
        run = alone.manage("stop", "request", stops[0].split("/")[-2])
        assert (run.code, "that runs" in run.stderr) == (1, True)
    check_audited(books, ["acme", "globex"])
