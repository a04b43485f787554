"""The WebSocket door over a real server: streams side by side, bounded, revocable and settled."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.harness.canary import canary
from tests.harness.config import (
    API_KEY,
    budget,
    configuration,
    key,
    models,
    nano_prices,
    tenant,
)
from tests.harness.database import SqliteDatabases
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.hostile import MIB, Scales, ask, head
from tests.harness.together import in_time
from tests.legs import Figure
from tests.upstream.client import Upstream
from tests.upstream.scripts import answer, cut, failing, gated, stream

pytestmark = pytest.mark.timed

POOR_KEY, STOPPED_KEY, USAGE_KEY, CROWD_KEY = (canary(f"api-key-{n}") for n in "abcd")
MESSAGES = [{"role": "user", "content": "count, please"}]
Headers = dict[str, str]


def tenants(*, stopped: bool = False) -> list[dict[str, Any]]:
    keys = [key(), key("usage", USAGE_KEY, scopes=["usage"]), key("crowd", CROWD_KEY)]
    if not stopped:
        keys.append(key("stopped", STOPPED_KEY))
    poor = tenant("poor", keys=[key("main", POOR_KEY)], budgets=[budget("0.000001")])
    return [tenant(keys=keys), poor]


@pytest.fixture(scope="module")
def ws_gateway(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(configuration(upstream_process.base_url, tenants=tenants()))
        yield gateway.serve()


@pytest.fixture
def scripted(upstream: Upstream) -> Upstream:
    upstream.prices(**nano_prices(models()))
    return upstream


def opened(gateway: GatewayProcess, headers: Headers | None = None) -> ClientConnection:
    url = f"ws://127.0.0.1:{gateway.port}/ws/v1/llm"
    given = {"authorization": f"Bearer {API_KEY}"} if headers is None else headers
    return connect(url, additional_headers=given, compression=None, open_timeout=10)


def say(socket: ClientConnection, **message: Any) -> None:
    socket.send(json.dumps(message))


def create(socket: ClientConnection, stream_id: str = "1", **body: Any) -> None:
    request = {"model": "alpha", "messages": MESSAGES, **body}
    say(socket, type="chat.create", id=stream_id, request=request)


def hear(socket: ClientConnection) -> Any:
    return json.loads(socket.recv(timeout=10))


def hear_all(socket: ClientConnection, *stream_ids: str) -> dict[str, list[Any]]:
    """Return what was said of each stream, to its last message."""
    heard: dict[str, list[Any]] = {stream_id: [] for stream_id in stream_ids}
    while not all(said and said[-1]["type"] != "chat.chunk" for said in heard.values()):
        message = hear(socket)
        heard[message["id"]].append(message)
    return heard


def text_of(messages: list[Any]) -> str:
    chunks = [message["chunk"] for message in messages if message["type"] == "chat.chunk"]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)


def done(socket: ClientConnection, stream_id: str) -> list[Any]:
    """Return what was said of a stream that has to come to its end."""
    said = hear_all(socket, stream_id)[stream_id]
    assert said[-1]["type"] == "chat.done", said
    return said


def closed_with(socket: ClientConnection) -> int | None:
    """Return the code the server closes with; what it still says is passed over."""
    with suppress(ConnectionClosed):
        while True:
            socket.recv(timeout=10)
    return socket.close_code


def record(gateway: GatewayProcess, request_id: str) -> Any:
    headers = {"authorization": f"Bearer {API_KEY}"}
    with httpx2.Client(base_url=gateway.url, headers=headers) as client:
        for _ in range(200):
            response = client.get(f"/api/v1/requests/{request_id}")
            if response.status_code == 200:
                return response.json()
    raise AssertionError(f"{request_id} was not logged")


def check_cancelled(gateway: GatewayProcess, cost_nano: int) -> None:
    """See that the newest request that was cancelled cost what the upstream bills."""
    headers = {"authorization": f"Bearer {API_KEY}"}
    with httpx2.Client(base_url=gateway.url, headers=headers) as client:
        for _ in range(500):
            rows = client.get("/api/v1/requests", params={"limit": 3}).json()["data"]
            costs = [Decimal(row["cost_usd"]) for row in rows if row["outcome"] == "cancelled"]
            if costs:
                assert costs[0] * 10**9 == cost_nano
                return
    raise AssertionError("no request was logged as cancelled")


# --- streams -------------------------------------------------------------------------------------


def test_a_stream_is_chunks_and_then_its_usage_and_cost(
    ws_gateway: GatewayProcess, scripted: Upstream
) -> None:
    scripted.script("alpha", stream("Hel", "lo"))
    with opened(ws_gateway) as socket:
        create(socket)
        said = hear_all(socket, "1")["1"]
    assert text_of(said) == "Hello"
    chunk = said[0]["chunk"]
    assert (chunk["object"], chunk["model"]) == ("chat.completion.chunk", "alpha")
    done = said[-1]
    assert done.keys() == {"type", "id", "usage", "cost_usd", "request_id"}
    assert (done["type"], done["usage"]["completion_tokens"]) == ("chat.done", 2)
    assert Decimal(done["cost_usd"]) * 10**9 == scripted.bill().total_nano_usd
    logged = record(ws_gateway, done["request_id"])
    assert (logged["endpoint"], logged["outcome"]) == ("/ws/v1/llm", "ok")
    assert logged["cost_usd"] == done["cost_usd"]


def test_another_dialect_and_a_fallback_arrive_as_openai_chunks(
    ws_gateway: GatewayProcess, scripted: Upstream
) -> None:
    scripted.script("alpha", failing(500))
    with opened(ws_gateway) as socket:
        create(socket, "a", model="claude", max_tokens=3)
        create(socket, "b", model="alpha-then-beta", max_tokens=2)
        heard = hear_all(socket, "a", "b")
    assert text_of(heard["a"]) == "w1 w2 w3"
    assert (text_of(heard["b"]), heard["b"][-1]["type"]) == ("w1 w2", "chat.done")
    assert heard["b"][0]["chunk"]["model"] == "beta"


def test_streams_share_a_connection_and_none_waits_for_another(
    ws_gateway: GatewayProcess, scripted: Upstream
) -> None:
    scripted.script("alpha", gated("go") + answer("slow"))
    scripted.script("beta", answer("fast"))
    with opened(ws_gateway) as socket:
        create(socket, "slow")
        scripted.wait_seen(1)
        create(socket, "fast", model="beta")
        assert text_of(hear_all(socket, "fast")["fast"]) == "fast"
        scripted.open_gate("go")
        assert text_of(hear_all(socket, "slow")["slow"]) == "slow"


def test_a_cancelled_stream_says_no_more_and_is_settled(
    ws_gateway: GatewayProcess, scripted: Upstream
) -> None:
    scripted.script("alpha", gated("go") + answer("never heard"))
    with opened(ws_gateway) as socket:
        create(socket, "1")
        scripted.wait_seen(1)
        say(socket, type="chat.cancel", id="1")
        assert hear(socket) == {"type": "chat.cancelled", "id": "1"}
        scripted.open_gate("go")
        scripted.wait_ended(1)
        create(socket, "1", model="beta", max_tokens=1)
        assert text_of(hear_all(socket, "1")["1"]) == "w1"
    check_cancelled(ws_gateway, scripted.bill().rows[0].cost_nano_usd)


def test_a_close_settles_what_was_running(ws_gateway: GatewayProcess, scripted: Upstream) -> None:
    scripted.script("alpha", gated("go") + answer("one two three four"))
    with opened(ws_gateway) as socket:
        create(socket, "1")
        create(socket, "2")
        scripted.wait_seen(2)
    scripted.open_gate("go")
    scripted.wait_ended(2)
    check_cancelled(ws_gateway, scripted.bill().rows[0].cost_nano_usd)


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("scripted")
def test_what_cannot_be_understood_is_an_error_and_the_connection_goes_on(
    ws_gateway: GatewayProcess,
) -> None:
    with opened(ws_gateway) as socket:
        for text in ("{", "[]", '{"type": "x", "type": "y"}', '{"type": "chat.create"}'):
            socket.send(text)
            said = hear(socket)
            assert (said["type"], said["id"]) == ("error", None)
            assert said["error"]["code"] == "invalid_request_error"
        for message in (
            {"type": "chat.destroy", "id": "7"},
            {"type": "chat.create", "id": "7", "request": "hi"},
            {"type": "chat.create", "id": "7", "request": {"model": "alpha"}},
        ):
            say(socket, **message)
            said = hear(socket)
            assert (said["type"], said["id"]) == ("error", "7")
        create(socket, "8", model="none")
        assert hear(socket)["error"]["code"] == "model_not_found"
        create(socket, "9", max_tokens=1)
        assert text_of(done(socket, "9")) == "w1"


def test_an_id_that_is_running_is_refused(ws_gateway: GatewayProcess, scripted: Upstream) -> None:
    scripted.script("alpha", gated("go") + answer("hi"))
    with opened(ws_gateway) as socket:
        create(socket, "1")
        create(socket, "1")
        said = hear(socket)
        assert (said["type"], said["id"], said["error"]["param"]) == ("error", "1", "id")
        scripted.open_gate("go")
        assert text_of(hear_all(socket, "1")["1"]) == "hi"
    assert len(scripted.calls) == 1


def test_a_hard_budget_refuses_before_the_upstream_is_asked(
    ws_gateway: GatewayProcess, scripted: Upstream
) -> None:
    with opened(ws_gateway, {"x-api-key": POOR_KEY}) as socket:
        create(socket)
        said = hear(socket)
    assert (said["type"], said["error"]["code"]) == ("error", "insufficient_quota")
    assert scripted.calls == []


def test_a_stream_that_breaks_is_an_error_of_its_own(
    ws_gateway: GatewayProcess, scripted: Upstream
) -> None:

    scripted.script("alpha", cut(at_event=2))
    with opened(ws_gateway) as socket:
        create(socket, "1")
        assert hear_all(socket, "1")["1"][-1]["type"] == "error"
        create(socket, "2", model="beta", max_tokens=1)
        assert text_of(done(socket, "2")) == "w1"


# --- who may -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("scripted")
def test_the_key_may_come_in_the_first_message(ws_gateway: GatewayProcess) -> None:
    with opened(ws_gateway, {}) as socket:
        say(socket, type="auth", key=API_KEY)
        create(socket, max_tokens=1)
        assert text_of(done(socket, "1")) == "w1"


@pytest.mark.promise("S12")
@pytest.mark.parametrize(
    "first",
    [
        {"type": "auth", "key": "mob_nobodys-key-at-all"},
        {"type": "auth", "key": ""},
        {"type": "auth"},
        {"type": "chat.create", "id": "1", "request": {"model": "alpha", "messages": MESSAGES}},
    ],
    ids=["wrong", "empty", "none", "something else"],
)
def test_nothing_is_read_before_a_good_key(
    ws_gateway: GatewayProcess, scripted: Upstream, first: dict[str, Any]
) -> None:
    with opened(ws_gateway, {}) as socket:
        say(socket, **first)
        assert hear(socket)["error"]["code"] == "invalid_api_key"
        assert closed_with(socket) == 4401
    assert scripted.calls == []


def test_who_says_nothing_is_closed_after_five_seconds(ws_gateway: GatewayProcess) -> None:
    with opened(ws_gateway, {}) as socket:
        assert closed_with(socket) == 4401


@pytest.mark.promise("S12")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": "Bearer mob_nobodys-key-at-all"}, 401),
        ({"authorization": f"Bearer {API_KEY}", "x-api-key": POOR_KEY}, 401),
        ({"x-api-key": USAGE_KEY}, 403),
        ({"cookie": "sessionid=x", "origin": "https://evil.test"}, 403),
        ({"cookie": "sessionid=x", "origin": "null"}, 403),
        ({"cookie": "sessionid=x"}, 403),
    ],
    ids=["wrong", "two", "scope", "foreign origin", "null origin", "no origin"],
)
def test_the_handshake_is_refused(
    ws_gateway: GatewayProcess, headers: Headers, status: int
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        opened(ws_gateway, headers)
    assert refused.value.response.status_code == status
    assert json.loads(refused.value.response.body or b"")["error"]["request_id"]


@pytest.mark.promise("S12")
def test_a_revoked_key_ends_its_connections_and_streams(
    ws_gateway: GatewayProcess, scripted: Upstream, figure: Figure
) -> None:
    scripted.script("alpha", gated("never") + answer("hi"))
    with opened(ws_gateway, {"x-api-key": STOPPED_KEY}) as socket, opened(ws_gateway) as other:
        create(socket)
        scripted.wait_seen(1)
        wanted = configuration(scripted.base_url, tenants=tenants(stopped=True))
        ws_gateway.apply(wanted, "--prune")
        began = time.monotonic()
        assert closed_with(socket) == 4401
        after_s = time.monotonic() - began
        in_time(after_s, 5)
        figure("a revoked key's connection is closed after, s", round(after_s, 1), "≤ 5")
        create(other, model="beta", max_tokens=1)
        assert text_of(done(other, "1")) == "w1"
    scripted.open_gate("never")


@pytest.mark.promise("S12")
def test_a_key_in_the_url_is_never_accepted(ws_gateway: GatewayProcess) -> None:
    url = f"ws://127.0.0.1:{ws_gateway.port}/ws/v1/llm?key={STOPPED_KEY}"
    with pytest.raises(InvalidStatus) as refused:
        connect(url, compression=None)
    assert refused.value.response.status_code == 401


# --- bounds --------------------------------------------------------------------------------------


@pytest.mark.promise("S12")
@pytest.mark.parametrize("size", [MIB + 1, 2 * MIB], ids=["1 MiB and a byte", "2 MiB"])
def test_a_message_over_a_mebibyte_is_closed_with_1009(
    ws_gateway: GatewayProcess, size: int
) -> None:
    with opened(ws_gateway) as socket:
        with suppress(ConnectionClosed):
            socket.send("x" * size)
        assert closed_with(socket) == 1009


@pytest.mark.promise("S12")
@pytest.mark.parametrize("headers", [None, {}], ids=["with a key", "before its key"])
def test_a_flood_is_closed_with_1008(ws_gateway: GatewayProcess, headers: Headers | None) -> None:
    with opened(ws_gateway) as socket:
        with suppress(ConnectionClosed):
            for _ in range(1_000):
                say(socket, type="chat.cancel", id="none")
        assert closed_with(socket) == 1008
    with opened(ws_gateway, headers) as socket:
        with suppress(ConnectionClosed):
            for _ in range(1_000):
                socket.ping()
        assert closed_with(socket) == 1008


@pytest.mark.promise("S12")
def test_a_hundred_thousand_fragments_are_closed_with_1008(
    ws_gateway: GatewayProcess, scripted: Upstream, figure: Figure
) -> None:
    scripted.script("beta", answer("w1"))
    assert ws_gateway.process is not None
    scales = Scales(ws_gateway.process.pid)
    with opened(ws_gateway) as socket:
        with suppress(ConnectionClosed):
            socket.send("x" for _ in range(100_000))
        assert closed_with(socket) == 1008
    with opened(ws_gateway) as socket:
        socket.send(iter(json.dumps({"type": "chat.cancel", "id": "1" * 100})))
        create(socket, model="beta", max_tokens=1)
        assert text_of(done(socket, "1")) == "w1"
    figure("memory of 100,000 fragments, MiB", scales.grown // MIB, "≤ 64")
    assert scales.grown <= 64 * MIB


@pytest.mark.promise("S12")
@pytest.mark.parametrize(
    ("path", "host", "status"),
    [
        ("/ws/v1/nothing", "127.0.0.1", 404),
        ("/", "127.0.0.1", 404),
        ("/ws/v1/llm", "evil.test", 400),
        ("/ws//v1/llm", "127.0.0.1", 400),
    ],
)
def test_a_handshake_leads_to_one_place(
    ws_gateway: GatewayProcess, path: str, host: str, status: int
) -> None:
    lines = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    first = head(
        path, *lines, "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", method="GET", host=host
    )
    assert ask(ws_gateway.port, first).status == status


@pytest.mark.promise("S12")
@pytest.mark.usefixtures("scripted")
def test_a_session_of_the_console_is_no_key(ws_gateway: GatewayProcess) -> None:
    """From our own page it is let in, and is asked for a key like anybody."""
    ours = {"cookie": "sessionid=x", "origin": f"http://127.0.0.1:{ws_gateway.port}"}
    with opened(ws_gateway, ours) as socket:
        create(socket)
        assert hear(socket)["error"]["code"] == "invalid_api_key"
        assert closed_with(socket) == 4401


@pytest.mark.promise("S12")
def test_a_key_has_a_hundred_connections_and_gets_them_back(ws_gateway: GatewayProcess) -> None:
    crowd = {"x-api-key": CROWD_KEY}
    with ExitStack() as sockets:
        for _ in range(100):
            sockets.enter_context(opened(ws_gateway, crowd))
        with pytest.raises(InvalidStatus) as refused:
            opened(ws_gateway, crowd)
        assert refused.value.response.status_code == 403
        with opened(ws_gateway, {}) as late:
            say(late, type="auth", key=CROWD_KEY)
            assert hear(late)["error"]["code"] == "permission_denied"
            assert closed_with(late) == 1008
        with opened(ws_gateway) as other:
            other.ping().wait(5)
    for _ in range(100):  # the server hears of a close a moment after the client
        with suppress(InvalidStatus), opened(ws_gateway, crowd):
            return
    raise AssertionError("no connection was given back")
