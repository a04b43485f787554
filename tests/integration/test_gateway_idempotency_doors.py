"""A caller's retries are charged once over the WebSocket and from Python too (M7)."""

import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from textwrap import dedent
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.harness.books import Books
from tests.harness.config import API_KEY, budget, configuration, key, models, nano_prices, tenant
from tests.harness.gateway import GatewayProcess
from tests.upstream.client import Upstream
from tests.upstream.scripts import answer, delayed, failing, gated

AT_ONCE = 20
OTHER_KEY, GLOBEX_KEY = API_KEY + "-other", API_KEY + "-globex"

pytestmark = pytest.mark.promise("M7")


def configured(gateway: GatewayProcess, upstream: Upstream) -> Books:
    acme = tenant(
        budgets=[budget("9")],
        rate_limits={"concurrency": AT_ONCE + 10},
        keys=[key(), key("other", OTHER_KEY)],
    )
    globex = tenant("globex", budgets=[budget("9")], keys=[key("main", GLOBEX_KEY)])
    upstream.prices(**nano_prices(models()))
    gateway.apply(configuration(upstream.base_url, tenants=[acme, globex]))
    return Books(gateway)


def opened(gateway: GatewayProcess, api_key: str = API_KEY) -> ClientConnection:
    url = f"ws://127.0.0.1:{gateway.port}/ws/v1/llm"
    return connect(url, additional_headers={"authorization": f"Bearer {api_key}"}, open_timeout=10)


def create(socket: ClientConnection, name: Any, content: str = "hi", model: str = "alpha") -> None:
    request = {"model": model, "messages": [{"role": "user", "content": content}]}
    message = {"type": "chat.create", "id": "1", "request": request, "idempotency_key": name}
    socket.send(json.dumps(message))


def heard(socket: ClientConnection) -> tuple[list[Any], Any]:
    """Return the chunks of a stream and its last message."""
    chunks = []
    while (said := json.loads(socket.recv(timeout=20)))["type"] == "chat.chunk":
        chunks.append(said["chunk"])
    return chunks, said


def test_streams_of_many_connections_are_one_call_one_entry_and_one_answer(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    books = configured(gateway, upstream)
    gateway.serve(workers=2 if gateway.environment["REDIS_URL"] else 1)
    check_many_at_once(gateway, upstream)
    assert (len(upstream.calls), len(books.entries())) == (1, 1)
    with opened(gateway) as socket:
        check_refusals(socket, upstream)
    for other in (OTHER_KEY, GLOBEX_KEY):
        with opened(gateway, other) as socket:
            create(socket, "many")
            assert "replayed" not in heard(socket)[1]
    assert (len(upstream.calls), len(books.entries())) == (4, 4)
    audit = books.audit()
    assert (audit.ok, audit.holds) == (True, 0)


def check_many_at_once(gateway: GatewayProcess, upstream: Upstream) -> None:
    upstream.script("alpha", gated("go") + answer("only once"))
    with ExitStack() as stack, ThreadPoolExecutor(AT_ONCE) as threads:
        sockets = [stack.enter_context(opened(gateway)) for _ in range(AT_ONCE)]
        list(threads.map(lambda socket: create(socket, "many"), sockets))
        asked = [threads.submit(heard, socket) for socket in sockets]
        upstream.wait_seen(1)
        while sum(each.done() for each in asked) < AT_ONCE - 1:
            time.sleep(0.01)
        upstream.open_gate("go")
        told = [each.result() for each in asked]
        codes = Counter(last.get("error", {}).get("code") for _, last in told)
        assert codes == {None: 1, "idempotency_in_progress": AT_ONCE - 1}
        chunks, done = next(each for each in told if each[1]["type"] == "chat.done")
        assert "replayed" not in done
        list(threads.map(lambda socket: create(socket, "many"), sockets))
        for again in threads.map(heard, sockets):
            assert again == (chunks, done | {"replayed": True})


def check_refusals(socket: ClientConnection, upstream: Upstream) -> None:
    create(socket, "many", "another question")
    assert heard(socket)[1]["error"]["code"] == "idempotency_mismatch"
    for name in ("spaced out", "", 7, "x" * 256):
        create(socket, name)
        error = heard(socket)[1]["error"]
        assert (error["code"], error["param"]) == ("invalid_request_error", "idempotency_key")
    upstream.script("beta", failing(400, "no such field"))
    told = []
    for _ in range(2):
        create(socket, "refused", model="beta")
        told.append(heard(socket)[1])
    assert told[0]["error"]["message"] == told[1]["error"]["message"]
    assert [each.get("replayed") for each in told] == [None, True]


PROGRAM = """
import json
from concurrent.futures import ThreadPoolExecutor
from msgspec import to_builtins
from llm_gateway import gateway
from tenants.models import ApiKey, Tenant

sync = gateway.sync
dev = ApiKey.objects.of(Tenant.objects.get(name="acme")).get(name="dev")
once = {"model": "alpha", "idempotency_key": "once"}

def told(call):
    try:
        return to_builtins(call())
    except gateway.GatewayError as error:
        return error.code

with ThreadPoolExecutor(8) as threads:
    many = list(threads.map(lambda _: told(lambda: sync.complete(dev, "hi", **once)), range(8)))
result = {
    "many": many,
    "again": told(lambda: sync.complete(dev, "hi", **once)),
    "streamed": [
        told(lambda: list(sync.stream("acme", "hi", **once))) for _ in range(2)
    ],
    "embedded": [
        told(lambda: sync.embed("acme", ["one"], "embed", idempotency_key="e")) for _ in range(2)
    ],
    "of another tenant": told(lambda: list(sync.stream("globex", "hi", **once))),
    "refused": [
        told(lambda: sync.complete(dev, "bye", **once)),
        told(lambda: sync.complete("acme", "hi", **once)),
        told(lambda: sync.complete(dev, "hi", model="alpha", idempotency_key="not one")),
        told(lambda: sync.complete(dev, "hi", model="alpha", run="not one")),
    ],
}
sync.close()
print(json.dumps(result))
"""


def test_calls_from_python_run_once_for_a_key_and_for_a_tenant_without_one(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    books = configured(gateway, upstream)
    upstream.script("alpha", delayed(700) + answer("only once"))
    said = gateway.managed("shell", "-c", dedent(PROGRAM))
    told = json.loads(said.splitlines()[-1])
    assert Counter(one if isinstance(one, str) else "answered" for one in told["many"]) == {
        "answered": 1,
        "idempotency_in_progress": 7,
    }
    (first,) = (one for one in told["many"] if not isinstance(one, str))
    timeless = {"response_time_ms": 0}
    assert told["again"] | timeless == first | timeless
    assert first["content"] == "only once"
    for one, again in (told["streamed"], told["embedded"]):
        assert one == again
    assert told["of another tenant"] == told["streamed"][0]
    assert told["refused"] == [
        *("idempotency_mismatch", "idempotency_mismatch"),
        *("invalid_request_error", "invalid_request_error"),
    ]
    assert len(upstream.calls) == len(books.entries()) == 4
    audit = books.audit()
    assert (audit.ok, audit.holds) == (True, 0)
