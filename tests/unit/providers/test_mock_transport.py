"""The mock provider behind the same interface, limits and gate as a socket."""

import asyncio

import msgspec
import pytest

from llm_gateway.errors import BusyError, DeadlineError, UpstreamTimeoutError
from llm_gateway.providers.egress import Egress
from llm_gateway.providers.endpoint import MOCK_URL, Endpoint
from llm_gateway.providers.upstream import Upstream
from llm_gateway.types import Outgoing, Timeouts
from tests.unit.providers.wire import Held, collect, soon


def chat(*, stream: bool = False) -> Outgoing:
    body = {"model": "mock", "stream": stream, "messages": [{"role": "user", "content": "hi"}]}
    return Outgoing(path="/chat/completions", body=msgspec.json.encode(body), stream=stream)


def mock(*, busy: int = 100, **options: object) -> Endpoint:
    return Endpoint(
        provider_id=1,
        base_url=MOCK_URL,
        protocol="mock",
        auth="none",
        max_concurrent_requests=busy,
        options=options,
    )


async def send(
    egress: Egress,
    outgoing: Outgoing,
    endpoint: Endpoint,
    timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
    within: float = 5.0,
) -> Upstream:
    return await egress.send(Held(), endpoint, outgoing, None, timeouts, soon(within))


async def test_a_whole_answer_needs_no_socket_and_no_key(egress: Egress) -> None:
    upstream = await send(egress, chat(), mock(answer="Hello there"))
    answer = msgspec.json.decode(await upstream.read())
    assert (upstream.status, upstream.headers["content-type"]) == (200, "application/json")
    assert answer["choices"][0]["message"]["content"] == "Hello there"
    assert not egress._pools
    assert egress._gates[1].busy == 0


async def test_a_stream_comes_piece_by_piece_and_in_its_time(egress: Egress) -> None:
    began = asyncio.get_running_loop().time()
    upstream = await send(egress, chat(stream=True), mock(answer="a b c", word_delay_s=0.02))
    pieces: list[bytes] = []
    await collect(upstream, into=pieces)
    assert pieces[-1] == b"data: [DONE]\n\n"
    assert asyncio.get_running_loop().time() - began > 0.02 * (len(pieces) - 1) - 0.01


async def test_its_delays_meet_the_same_limits(egress: Egress) -> None:
    hasty = Timeouts(first_token=0.05, idle=0.05)
    slow = await send(egress, chat(stream=True), mock(delay_s=9), hasty)
    with pytest.raises(UpstreamTimeoutError, match="first token"):
        await collect(slow, into=[])
    late = await send(egress, chat(), mock(delay_s=9), within=0.05)
    with pytest.raises(DeadlineError):
        await late.read()
    assert egress._gates[1].busy == 0


async def test_it_has_a_bound_on_concurrent_calls(egress: Egress) -> None:
    held = await send(egress, chat(), mock(busy=1))
    with pytest.raises(BusyError):
        await send(egress, chat(), mock(busy=1))
    await held.close()
    await (await send(egress, chat(), mock(busy=1))).read()
