"""Without their guards the promises about hostile peers are broken, and their tests see it."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from llm_gateway.edge import protocols
from tests.harness.config import API_KEY, configuration, model, openai_provider
from tests.harness.database import SqliteDatabases
from tests.harness.dialects import OPENAI
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.hostile import MIB, Scales, answered, ask, connected, head
from tests.harness.trap import Trap
from tests.integration.besieged import CHAT, WELL
from tests.integration.cancelling import answers, asked, foreign, said_by_call, tenants
from tests.integration.test_hostile_sizes import CAP, image, together
from tests.upstream.client import Upstream
from tests.upstream.scripts import Script, paced, poured, words

LENGTH = f"Content-Length: {len(WELL)}"


@pytest.fixture(scope="module")
def trap() -> Iterator[Trap]:
    with Trap() as trap:
        yield trap


@pytest.fixture(scope="module")
def gateway(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    trap: Trap,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    """Return one that has no guard against hostile peers."""
    wanted = configuration(upstream_process.base_url)
    wanted["tenants"] += tenants()
    url = upstream_process.base_url
    wanted["providers"] += [
        openai_provider(url, "careless", on_disconnect="abort"),
        openai_provider(f"http://127.0.0.1:{trap.port}", "trapped"),
        openai_provider(url, "bomber", retry={"max_attempts": 1}),
    ]
    wanted["models"] += [
        model("trapped", "trapped"),
        model("bomb", "bomber"),
        model("left", "careless"),
    ]
    forbid = (
        "from llm_gateway.models import Provider;"
        " Provider.objects.filter(name='trapped').update(allow_private_network=False)"
    )
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(wanted)
        gateway.managed("shell", "-c", forbid)
        yield gateway.serve(mutant="defenceless+unbroken")


@pytest.mark.promise("S4")
def test_without_its_guard_an_address_goes_red(gateway: GatewayProcess, trap: Trap) -> None:
    assert OPENAI.ask(gateway.url, "trapped").status >= 500
    assert trap.connections > 0


@pytest.mark.promise("S9")
def test_without_its_guard_a_cancelled_call_goes_red(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    upstream.script("left", words(40) + paced(2))
    chats = [one._replace(dialect=OPENAI, model="left", stream=True) for one in asked(400)]
    # What is mixed up may never end.
    askings = [one._replace(leave_after_s=one.leave_after_s or 3.0) for one in chats]
    told = answers(gateway, askings)
    found = foreign(askings, told, said_by_call(upstream))
    assert any(not name.startswith("without") for name in found)


@pytest.mark.promise("S10")
def test_without_its_guard_memory_goes_red(gateway: GatewayProcess) -> None:
    assert gateway.process is not None
    scales = Scales(gateway.process.pid)
    assert 200 in together(gateway.port, image(25 * MIB), 7)
    assert scales.grown > CAP * 1.25


@pytest.mark.promise("S10")
def test_a_head_that_does_not_come_is_waited_for(gateway: GatewayProcess) -> None:
    """For ten seconds; this gateway alone has half of one, so that nobody waits here."""
    assert protocols.HEAD_S == 10
    with connected(gateway.port) as line:
        line.sendall(head(CHAT)[:40])
        told = answered(line, time.monotonic())
    assert (told.status, told.closed) == (408, True)
    assert 0.4 < told.after_s < 9


@pytest.mark.promise("S11")
def test_without_its_guard_a_bomb_goes_red(gateway: GatewayProcess, upstream: Upstream) -> None:
    assert gateway.process is not None
    scales = Scales(gateway.process.pid)
    kind = Script(steps=({"header": ["Content-Type", "application/json"]},))
    upstream.script("bomb", kind + poured(b"x" * 65536, 80 * MIB))
    OPENAI.ask(gateway.url, "bomb")
    assert scales.grown > 32 * MIB


@pytest.mark.promise("S12")
def test_without_its_guard_a_flood_of_fragments_goes_red(gateway: GatewayProcess) -> None:
    url = f"ws://127.0.0.1:{gateway.port}/ws/v1/llm"
    given = {"authorization": f"Bearer {API_KEY}"}
    with connect(url, additional_headers=given, compression=None) as socket:
        with suppress(ConnectionClosed):
            socket.send("x" for _ in range(2_000))
        # It is read to its end, and answered as what it is: no JSON.
        assert json.loads(socket.recv(timeout=10))["type"] == "error"


@pytest.mark.promise("S14")
def test_without_its_guard_a_second_reading_goes_red(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    two = head(CHAT, "Host: evil.test", "X-Mobius-Run: a", "X-Mobius-Run: b", LENGTH) + WELL
    assert ask(gateway.port, two).status == 200
    # A trailer is a header then: who has no key brings one where nobody in front looks.
    trailer = f"0\r\nX-Api-Key: {API_KEY}\r\n\r\n".encode()
    chunk = b"%x\r\n" % len(WELL) + WELL + b"\r\n"
    first = head(CHAT, "Transfer-Encoding: chunked", key=None)
    assert ask(gateway.port, first + chunk + trailer).status == 200
    assert len(upstream.calls) == 2
