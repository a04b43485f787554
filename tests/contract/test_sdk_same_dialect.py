"""The official SDKs see the same through the gateway as from the provider itself."""

import asyncio
from typing import Any

import pytest

from tests.contract.clients import Clients, ask, async_anthropic, async_openai, plain, plain_async
from tests.contract.clients import whole as put_together
from tests.contract.configured import KINDS
from tests.contract.conftest import Stage
from tests.contract.recordings import PLAIN_APIS, UNREADABLE, Recording, everything, identifier

GOOD = [
    row
    for row in everything(*PLAIN_APIS)
    if row.status < 400 and not row.breaks and not row.id.endswith(UNREADABLE)
]
STREAMS = [row for row in GOOD if row.streamed and row.api != "openai.completions"]
WHOLE = [row for row in GOOD if not row.streamed]


@pytest.mark.parametrize("row", GOOD, ids=identifier)
def test_the_sdk_sees_what_the_provider_says(
    stage: Stage, clients: Clients, row: Recording
) -> None:
    direct, name = _directly(stage, clients, row)
    said = plain(ask(direct, row.api, {**row.request, "model": name}))
    sent = stage.received(row)
    through = clients.of(row.sdk, stage.url)
    assert plain(ask(through, row.api, {**row.request, "model": row.id})) == said
    if row.asks_for_usage and row.request.get("stream"):
        sent["stream_options"] = {**(sent.get("stream_options") or {}), "include_usage": True}
    assert stage.received(row) == sent


@pytest.mark.parametrize("row", WHOLE, ids=identifier)
def test_the_sdk_knows_the_request_by_its_id(
    stage: Stage, clients: Clients, row: Recording
) -> None:
    stage.play(row)
    client = clients.of(row.sdk, stage.url)
    answers = [ask(client, row.api, {**row.request, "model": row.id}) for _ in range(2)]
    assert all(answer._request_id for answer in answers)
    assert answers[0]._request_id != answers[1]._request_id


@pytest.mark.parametrize("row", STREAMS, ids=identifier)
def test_the_sdk_puts_the_same_object_together(
    stage: Stage, clients: Clients, row: Recording
) -> None:
    direct, name = _directly(stage, clients, row)
    through = clients.of(row.sdk, stage.url)
    said = put_together(direct, row.api, {**row.request, "model": name})
    got = put_together(through, row.api, {**row.request, "model": row.id})
    assert plain(got) == plain(said)


@pytest.mark.parametrize("kind", KINDS)
async def test_async_clients_see_it_too_and_all_at_once(stage: Stage, kind: str) -> None:
    rows = [row for row in GOOD if row.sdk == kind]
    connect: Any = {"openai": async_openai, "anthropic": async_anthropic}[kind]
    for row in rows:
        stage.play(row)
    async with connect(stage.url) as through:
        got = await asyncio.gather(
            *(plain_async(ask(through, r.api, {**r.request, "model": r.id})) for r in rows)
        )
    said = []
    for row in rows:
        address, name = stage.provider(row)
        async with connect(address) as direct:
            promise = ask(direct, row.api, {**row.request, "model": name})
            said.append(await plain_async(promise))
    for row, through_gateway, from_provider in zip(rows, got, said, strict=True):
        assert through_gateway == from_provider, row.id


def _directly(stage: Stage, clients: Clients, row: Recording) -> tuple[Any, str]:
    stage.play(row)
    address, name = stage.provider(row)
    return clients.of(row.sdk, address), name
