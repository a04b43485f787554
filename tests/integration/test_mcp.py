"""The gateway's tools, used by the official client of the Model Context Protocol."""

import asyncio
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.harness.books import Books
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
from tests.harness.dialects import fetch
from tests.harness.gateway import GatewayProcess, installed
from tests.upstream.client import Upstream
from tests.upstream.scripts import answer

POOR_KEY, ASKING_KEY = canary("api-key-without-money"), canary("api-key-inference-only")


@pytest.fixture(scope="module")
def gateway(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    acme = tenant(
        keys=[
            key(),
            key("poor", POOR_KEY, budgets=[budget("0.000001")]),
            key("asking", ASKING_KEY, scopes=["inference"]),
        ],
        budgets=[budget("5.00", name="all")],
    )
    wanted = configuration(upstream_process.base_url, tenants=[acme])
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(wanted)
        yield gateway.serve()


@pytest.fixture
def scripted(upstream: Upstream) -> Upstream:
    upstream.prices(**nano_prices(models()))
    return upstream


def used(gateway: GatewayProcess, *calls: tuple[str, dict[str, Any]], key: str = API_KEY) -> Any:
    """Return the names of the tools and the results of calls, one after the other."""

    async def use() -> Any:
        headers = {"Authorization": f"Bearer {key}", "x-mobius-tags": "agent=one"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=20) as http,
            Client(streamable_http_client(f"{gateway.url}/mcp", http_client=http)) as client,
        ):
            tools = await client.list_tools()
            results = [await client.call_tool(name, given) for name, given in calls]
            return [tool.name for tool in tools.tools], results

    return asyncio.run(use())


def test_an_agent_asks_embeds_lists_and_sees_what_it_spent(
    gateway: GatewayProcess, scripted: Upstream
) -> None:
    scripted.script("alpha", answer("one two"), answer('{"a":1}'))
    shape = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    names, results = used(
        gateway,
        ("complete", {"prompt": "count", "model": "alpha", "max_tokens": 9}),
        ("complete", {"prompt": "give", "model": "alpha", "response_schema": shape}),
        ("embed", {"texts": ["a", "b"], "model": "embed"}),
        ("list_models", {"capability": "embeddings"}),
        ("usage", {"days": 1}),
    )
    assert names == ["complete", "embed", "list_models", "usage"]
    assert not any(result.is_error for result in results), results
    said, shaped, vectors, listed, spent = results
    assert said.content[0].text == "one two"
    assert shaped.structured_content["object"] == {"a": 1}
    assert len(vectors.structured_content["embeddings"]) == 2
    assert [one["model"] for one in listed.structured_content["data"]] == ["embed"]
    assert spent.structured_content["budgets"][0]["name"] == "all"
    costs = [one.structured_content["cost_usd"] for one in (said, shaped, vectors)]
    assert sum(map(Decimal, costs)) * 10**9 == scripted.bill().total_nano_usd
    entries = Books(gateway).terminal(said.structured_content["request_id"])
    assert [json.loads(entry["tags"]) for entry in entries] == [{"agent": "one"}]
    assert json.loads(gateway.managed("verify_ledger", "--json"))["ok"]


def test_what_a_tool_is_refused_is_its_result(gateway: GatewayProcess, scripted: Upstream) -> None:
    names, (poor,) = used(gateway, ("complete", {"prompt": "hi", "model": "alpha"}), key=POOR_KEY)
    assert poor.is_error
    assert poor.structured_content["code"] == "insufficient_quota"
    assert "budget" in poor.content[0].text
    names, results = used(
        gateway,
        ("usage", {}),
        ("complete", {"prompt": "hi", "colour": "red"}),
        ("embed", {"texts": "a"}),
        ("complete", {"prompt": "hi", "model": "nobody"}),
        key=ASKING_KEY,
    )
    assert names == ["complete", "embed", "list_models"]
    assert [one.structured_content["code"] for one in results] == [
        "not_found",
        "invalid_request_error",
        "invalid_request_error",
        "model_not_found",
    ]
    assert all(one.is_error for one in results)
    assert scripted.calls == []


def test_nobody_without_a_key_or_from_another_site_gets_in(gateway: GatewayProcess) -> None:
    asked = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).encode()
    headers = {"Accept": "application/json, text/event-stream"}
    key = {"Authorization": f"Bearer {API_KEY}"}
    for sent, status in (
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({**key, "Origin": "https://evil.example"}, 403),
        ({**key, "Origin": gateway.url}, 200),
    ):
        told = fetch(gateway.url, "POST", "/mcp", asked, {**headers, **sent})
        assert told.status == status, told.text
    listed = fetch(gateway.url, "POST", "/mcp", asked, {**headers, **key})
    assert len(listed.json["result"]["tools"]) == 4
    for method in ("GET", "DELETE"):
        assert fetch(gateway.url, method, "/mcp", None, {**headers, **key}).status == 405
