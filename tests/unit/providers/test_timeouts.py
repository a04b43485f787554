"""Limits of faults.md §3 over real sockets, in tenths of a second."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from llm_gateway.errors import Certainty, DeadlineError, NotSentError, UpstreamTimeoutError
from llm_gateway.providers.egress import Egress
from llm_gateway.providers.upstream import Upstream
from llm_gateway.types import Timeouts
from tests.unit.providers.wire import CHAT, STREAM, Peer, call, collect, provider

FAST = Timeouts(connect=0.2, first_token=0.3, idle=0.2, total=5)


async def _silent(peer: Peer) -> None:
    await peer.request()
    await peer.gone()


async def _only_head(peer: Peer) -> None:
    await peer.request()
    await peer.start_stream()
    await peer.gone()


async def _pings(peer: Peer) -> None:
    await peer.request()
    await peer.start_stream()
    while True:
        await peer.chunk(b": ping\n\n")
        await asyncio.sleep(0.05)


async def _one_event_then_bytes(peer: Peer) -> None:
    """One byte at a time is not progress."""
    await peer.request()
    await peer.start_stream()
    await peer.chunk(b"data: 1\n\n")
    while True:
        await peer.chunk(b"x")
        await asyncio.sleep(0.05)


async def _one_event_then_nothing(peer: Peer) -> None:
    await peer.request()
    await peer.start_stream()
    await peer.chunk(b"data: 1\n\n")
    await peer.gone()


async def _events(peer: Peer) -> None:
    await peer.request()
    await peer.start_stream()
    while True:
        await peer.chunk(b"data: 1\n\n")
        await asyncio.sleep(0.05)


async def _read(upstream: Upstream) -> None:
    """Read as the service does: whole frames are progress, data is content."""
    async for chunk in upstream.chunks():
        if chunk.startswith(b"data"):
            upstream.content_seen()
        elif chunk.endswith(b"\n\n"):
            upstream.progress()


@pytest.mark.parametrize(
    ("script", "expected_s"),
    [
        (_silent, 0.3),
        (_only_head, 0.3),
        (_pings, 0.3),
        (_one_event_then_nothing, 0.2),
        (_one_event_then_bytes, 0.2),
    ],
)
async def test_a_stream_that_stalls_ends_at_its_limit(
    egress: Egress, script: Callable[[Peer], Awaitable[None]], expected_s: float
) -> None:
    async def whole() -> None:
        await _read(await call(egress, peer, STREAM, timeouts=FAST))

    async with provider(script) as peer:
        began = asyncio.get_running_loop().time()
        with pytest.raises(UpstreamTimeoutError) as caught:
            await whole()
        took = asyncio.get_running_loop().time() - began
    assert caught.value.certainty is Certainty.AMBIGUOUS
    assert expected_s - 0.02 < took < expected_s + 0.2
    assert egress._gates[1].busy == 0


@pytest.mark.parametrize("script", [_silent, _only_head, _events])
async def test_the_deadline_ends_everything(
    egress: Egress, script: Callable[[Peer], Awaitable[None]]
) -> None:
    async def whole() -> None:
        await _read(await call(egress, peer, STREAM, within=0.4))

    async with provider(script) as peer:
        began = asyncio.get_running_loop().time()
        with pytest.raises(DeadlineError):
            await whole()
        assert 0.38 < asyncio.get_running_loop().time() - began < 0.65


async def test_a_whole_answer_has_no_limit_but_the_deadline(egress: Egress) -> None:
    async def slow(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(0.5)
        await peer.answer(b"late")

    async with provider(slow) as peer:
        upstream = await call(egress, peer, CHAT, timeouts=FAST)
        assert await upstream.read() == b"late"


async def test_a_slow_caller_is_not_held_against_the_provider(egress: Egress) -> None:
    async def three(peer: Peer) -> None:
        await peer.request()
        await peer.start_stream()
        for _ in range(3):
            await peer.chunk(b"data: 1\n\n")
            await asyncio.sleep(0.02)
        await peer.send(b"0\r\n\r\n")

    async with provider(three) as peer:
        upstream = await call(egress, peer, STREAM, timeouts=FAST)
        seen = 0
        async for _ in upstream.chunks():
            upstream.content_seen()
            seen += 1
            await asyncio.sleep(0.35)
    assert seen >= 2


async def test_a_timed_out_stream_leaves_the_provider_at_once(egress: Egress) -> None:
    left = asyncio.Event()

    async def waiting(peer: Peer) -> None:
        await _only_head(peer)
        left.set()

    async with provider(waiting) as peer:
        upstream = await call(egress, peer, STREAM, timeouts=FAST)
        with pytest.raises(UpstreamTimeoutError):
            await collect(upstream, into=[])
        await asyncio.wait_for(left.wait(), 0.1)


async def test_connecting_has_its_own_limit_and_is_not_sent(egress: Egress) -> None:
    async def silent(peer: Peer) -> None:
        await peer.gone()

    async with provider(silent) as peer:
        # The other side speaks no TLS and says nothing: the handshake never ends.
        began = asyncio.get_running_loop().time()
        endpoint = peer.endpoint(base_url=f"https://127.0.0.1:{peer.port}/v1")
        with pytest.raises(NotSentError, match="too long"):
            await call(egress, peer, STREAM, timeouts=FAST, base_url=endpoint.base_url)
        assert asyncio.get_running_loop().time() - began < 0.4


async def test_a_deadline_that_passes_while_connecting_is_not_sent(egress: Egress) -> None:
    async def silent(peer: Peer) -> None:
        await peer.gone()

    async with provider(silent) as peer:
        url = f"https://127.0.0.1:{peer.port}/v1"
        with pytest.raises(DeadlineError) as caught:
            await call(egress, peer, STREAM, within=0.1, base_url=url)
    assert caught.value.certainty is Certainty.NOT_SENT
