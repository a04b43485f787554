"""A budget binds at every door: without money 402, and no provider is asked (M5)."""

import asyncio
import json
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from websockets.sync.client import connect

from llm_gateway.access import AUTHZ_MATRIX, Key
from tests.architecture.tree import PACKAGES, sources
from tests.fleet import doors
from tests.fleet.doors import BEHIND, FRAMES, FREE_CALLS, HTTP, PYTHON, TOOL_CALLS
from tests.fleet.fleet import Fleet
from tests.fleet.town import secret
from tests.harness.dialects import fetch
from tests.harness.processes import PROJECT

RICH, BROKE = "door-rich", "door-broke"
CODE = "insufficient_quota"
SPENDING = sorted(route for kind, _, route in doors.spending_routes() if kind == "http")
HTTP_DOORS = [route for route in SPENDING if route not in BEHIND]

pytestmark = pytest.mark.promise("M5")


def test_every_way_to_spend_is_written_down() -> None:
    doors.check_listed(doors.spending_routes())


def test_a_way_to_spend_that_nobody_wrote_down_is_red() -> None:
    """Control: one more route."""
    with pytest.raises(AssertionError):
        doors.check_listed({*doors.spending_routes(), ("http", "POST", "/v1/audio/speech")})


def test_only_what_no_provider_bills_is_sent_without_a_hold() -> None:
    """Tasks and console actions have no other way out: a socket for the rest wants a hold."""
    free = {
        str(path.relative_to(PROJECT))
        for path in sources(*PACKAGES)
        if ".free_call(" in path.read_text("utf-8")
    }
    assert free == FREE_CALLS
    assert not any(
        getattr(who, "spends", False)
        for (kind, _, _), who in AUTHZ_MATRIX.items()
        if kind in {"task", "action"}
    )


# --- over HTTP


@pytest.mark.parametrize("route", HTTP_DOORS)
def test_without_money_a_route_answers_402_and_asks_nobody(fleet: Fleet, route: str) -> None:
    told = HTTP[route].ask(fleet.gateway.url, route, secret(BROKE))
    assert (told.status, told.code) == (402, CODE), told.text
    assert told.headers["x-should-retry"] == "false"
    assert fleet.upstream.calls == []


@pytest.mark.parametrize("route", HTTP_DOORS)
def test_with_money_the_same_request_is_answered(fleet: Fleet, route: str) -> None:
    """Control: it is the money that was missing, and the provider would have been asked."""
    door = HTTP[route]
    told = door.ask(fleet.gateway.url, route, secret(RICH))
    assert told.status == 200, told.text
    assert 1 <= len(fleet.upstream.calls) <= door.calls
    for request_id in door.paid(told):
        assert "settled" in [entry["outcome"] for entry in fleet.books.terminal(request_id)]
    assert fleet.upstream.bill().total_nano_usd > 0
    # The fleet lives on: it would ask for these batches again and again beside other tests.
    fleet.sql("UPDATE llm_gateway_keptobject SET owed_by = NULL")


@pytest.mark.parametrize(
    ("method", "route"),
    sorted(
        (method, route)
        for (kind, method, route), who in AUTHZ_MATRIX.items()
        if kind == "http" and isinstance(who, Key) and not who.spends
    ),
)
def test_what_is_said_to_be_free_is(fleet: Fleet, method: str, route: str) -> None:
    before = len(fleet.books.entries())
    path = route.replace("{model}", "door").replace("{id}", "door").replace("{name}", "door")
    fetch(fleet.gateway.url, method, path, b"{}", {"x-api-key": secret(RICH)})
    assert fleet.upstream.bill().total_nano_usd == 0
    assert len(fleet.books.entries()) == before


# --- over the WebSocket


def said(fleet: Fleet, frame: Any, key: str) -> Any:
    """Return the last message of the stream that a frame begins."""
    url = f"ws://127.0.0.1:{fleet.gateway.port}/ws/v1/llm"
    headers = {"authorization": f"Bearer {secret(key)}"}
    with connect(url, additional_headers=headers, compression=None) as socket:
        socket.send(json.dumps(frame))
        while (message := json.loads(socket.recv(timeout=20)))["type"] == "chat.chunk":
            pass
    return message


@pytest.mark.parametrize("kind", [kind for kind, frame in FRAMES.items() if frame])
def test_frames_are_bound(fleet: Fleet, kind: str) -> None:
    refused = said(fleet, FRAMES[kind], BROKE)
    assert (refused["type"], refused["error"]["code"]) == ("error", CODE)
    assert fleet.upstream.calls == []
    assert said(fleet, FRAMES[kind], RICH)["type"] == "chat.done"
    assert len(fleet.upstream.calls) == 1


# --- over the tools of agents


def used(fleet: Fleet, name: str, key: str) -> Any:
    async def use() -> Any:
        headers = {"Authorization": f"Bearer {secret(key)}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=20) as http,
            Client(streamable_http_client(f"{fleet.gateway.url}/mcp", http_client=http)) as client,
        ):
            return await client.call_tool(name, TOOL_CALLS[name])

    return asyncio.run(use())


@pytest.mark.parametrize("name", [name for name, call in TOOL_CALLS.items() if call])
def test_tools_are_bound(fleet: Fleet, name: str) -> None:
    refused = used(fleet, name, BROKE)
    assert refused.is_error
    assert CODE in refused.model_dump_json()
    assert fleet.upstream.calls == []
    assert not used(fleet, name, RICH).is_error
    assert len(fleet.upstream.calls) == 1


# --- in Python, as tasks and commands call it

PROGRAM = """
import asyncio, json
from llm_gateway import gateway

async def drained(chunks):
    return [chunk async for chunk in chunks]

def told(call):
    try:
        call()
    except gateway.GatewayError as error:
        return [error.status, error.code]
    return [200, ""]

result = {{}}
for who in ({broke!r}, {rich!r}):
    result[who] = {{name: told(eval("lambda: " + call)) for name, call in {calls!r}.items()}}
gateway.sync.close()
print(json.dumps(result))
"""


def test_functions_are_bound(fleet: Fleet) -> None:
    calls = {name: call for name, call in PYTHON.items() if call}
    program = PROGRAM.format(broke=BROKE, rich=RICH, calls=calls)
    result = json.loads(fleet.gateway.managed("shell", "-c", program).splitlines()[-1])
    assert result == {
        BROKE: {name: [402, CODE] for name in calls},
        RICH: {name: [200, ""] for name in calls},
    }
    # Those with money alone reached the provider; a race does so twice at most.
    races = sum("race" in name for name in calls)
    assert len(calls) <= len(fleet.upstream.calls) <= len(calls) + races


# --- by the clock


def test_tasks_ask_nobody(fleet: Fleet) -> None:
    program = (
        "from llm_gateway.service.periodic import PERIODIC\n"
        "for job in PERIODIC: job.run()\n"
        "print(len(PERIODIC))"
    )
    said = fleet.gateway.managed("shell", "-c", program)
    tasks = [row for row in AUTHZ_MATRIX if row[0] == "task"]
    assert int(said.splitlines()[-1]) == len(tasks)
    assert fleet.upstream.calls == []
