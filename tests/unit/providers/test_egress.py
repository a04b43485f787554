"""The egress client over real sockets: what it sends, what it refuses, how it ends."""

import asyncio
import gzip

import pytest
from msgspec import structs

from llm_gateway.errors import (
    BusyError,
    Certainty,
    CredentialError,
    DroppedError,
    InvalidAnswerError,
    InvalidRequestError,
    NotSentError,
    UpstreamError,
)
from llm_gateway.providers.auth import Credential
from llm_gateway.providers.egress import Egress
from llm_gateway.providers.endpoint import Endpoint
from llm_gateway.types import Outgoing, Timeouts
from tests.unit.providers.wire import (
    CHAT,
    SECRET,
    STREAM,
    Held,
    Peer,
    answering,
    call,
    collect,
    provider,
    soon,
)


async def test_a_request_carries_the_built_headers_and_nothing_else(egress: Egress) -> None:
    async with provider(answering) as peer:
        upstream = await call(egress, peer)
        assert (upstream.status, await upstream.read()) == (200, b"{}")
    sent = peer.requests[0]
    assert sent.line == "POST /v1/chat/completions HTTP/1.1"
    assert sent.body == CHAT.body
    assert sent.headers == {
        "host": f"127.0.0.1:{peer.port}",
        "user-agent": "mobius/0.0-test",
        "accept": "*/*",
        "accept-encoding": "identity",
        "x-mobius-hop": "1",
        "content-type": "application/json",
        "content-length": str(len(CHAT.body)),
        "authorization": f"Bearer {SECRET}",
    }


async def test_a_header_that_the_protocol_does_not_list_is_refused_unsent(egress: Egress) -> None:
    async with provider(answering) as peer:
        for name in ("Authorization", "Cookie", "X-Forwarded-For", "anthropic-beta", "Host"):
            with pytest.raises(InvalidRequestError, match=name):
                await call(egress, peer, structs.replace(CHAT, headers=((name, "x"),)))
    assert peer.connections == 0


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\x00b", "ä", "", " a"])
async def test_a_header_value_that_could_break_out_is_refused(egress: Egress, value: str) -> None:
    async with provider(answering) as peer:
        with pytest.raises(InvalidRequestError):
            await call(egress, peer, structs.replace(CHAT, headers=(("openai-beta", value),)))
        with pytest.raises(InvalidRequestError):
            peer.endpoint(default_headers=(("x-title", value),))
    assert peer.connections == 0


@pytest.mark.parametrize(
    "path",
    [
        "chat",
        "/a/../b",
        "/a/%2e%2E/b",
        "/a/./b",
        "/a b",
        "/a\r\nb",
        "/a#b",
        "@evil.test/",
        "/ä",
        "/..",
    ],
)
async def test_a_path_that_leaves_the_base_url_is_refused(egress: Egress, path: str) -> None:
    async with provider(answering) as peer:
        with pytest.raises(InvalidRequestError):
            await call(egress, peer, structs.replace(CHAT, path=path))
    assert peer.connections == 0


async def test_a_quoted_path_reaches_the_provider_as_it_is(egress: Egress) -> None:
    async with provider(answering) as peer:
        path = "/models/meta%2Fllama%3A8b:generate?alt=sse"
        upstream = await call(egress, peer, structs.replace(CHAT, path=path))
        await upstream.close()
    assert peer.requests[0].line == f"POST /v1{path} HTTP/1.1"


async def test_a_key_saved_for_another_origin_is_never_attached(egress: Egress) -> None:
    async with provider(answering) as peer:
        foreign = Credential(id=1, secret=SECRET, origin="https://api.test:443")
        with pytest.raises(CredentialError) as caught:
            await egress.send(Held(), peer.endpoint(), CHAT, foreign, Timeouts(), soon())
    assert caught.value.certainty is Certainty.NOT_SENT
    assert peer.connections == 0


@pytest.mark.parametrize("secret", [SECRET + "\r\nX-Evil: 1", SECRET + "\n", "cl\u00e9", ""])
async def test_a_key_that_no_header_can_carry_is_refused_unsent(
    egress: Egress, secret: str
) -> None:
    async with provider(answering) as peer:
        key = Credential(id=1, secret=secret, origin=peer.endpoint().origin)
        with pytest.raises(CredentialError) as caught:
            await egress.send(Held(), peer.endpoint(), CHAT, key, Timeouts(), soon())
        with pytest.raises(CredentialError, match="no key"):
            await egress.send(Held(), peer.endpoint(), CHAT, None, Timeouts(), soon())
        keyless = peer.endpoint(key_optional=True)
        await (await egress.send(Held(), keyless, CHAT, None, Timeouts(), soon())).read()
    assert SECRET not in str(caught.value)
    assert [r.headers.get("authorization") for r in peer.requests] == [None]


async def test_a_redirect_is_an_answer_and_is_not_followed(egress: Egress) -> None:
    async with provider(answering) as trap:

        async def redirecting(peer: Peer) -> None:
            while await peer.request() is not None:
                location = f"Location: http://127.0.0.1:{trap.port}/\r\n"
                await peer.answer(status="307 Temporary Redirect", headers=location)

        async with provider(redirecting) as peer:
            upstream = await call(egress, peer)
            assert upstream.status == 307
            await upstream.close()
    assert trap.connections == 0


async def test_cookies_are_not_kept(egress: Egress) -> None:
    async def baking(peer: Peer) -> None:
        while await peer.request() is not None:
            await peer.answer(headers="Set-Cookie: session=1; Path=/\r\n")

    async with provider(baking) as peer:
        for _ in range(2):
            await (await call(egress, peer)).read()
    assert [r.headers.get("cookie") for r in peer.requests] == [None, None]


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "identity, gzip", "GZIP"])
async def test_an_encoded_answer_is_refused_unread(egress: Egress, coding: str) -> None:
    async def bomb(peer: Peer) -> None:
        await peer.request()
        body = gzip.compress(bytes(1 << 20))
        await peer.answer(body, headers=f"Content-Encoding: {coding}\r\n")
        await peer.gone()

    async with provider(bomb) as peer:
        with pytest.raises(InvalidAnswerError):
            await call(egress, peer)


async def test_an_encoded_error_keeps_its_status_and_loses_its_text(egress: Egress) -> None:
    async def refusing(peer: Peer) -> None:
        await peer.request()
        await peer.answer(
            gzip.compress(b"no"), status="429 Slow down", headers="Content-Encoding: gzip\r\n"
        )
        await peer.gone()

    async with provider(refusing) as peer:
        upstream = await call(egress, peer)
        assert (upstream.status, await upstream.read()) == (429, b"")


async def test_long_headers_are_refused(egress: Egress) -> None:
    async def wordy(peer: Peer) -> None:
        await peer.request()
        await peer.answer(headers="".join(f"X-{n}: {'a' * 8000}\r\n" for n in range(9)))
        await peer.gone()

    async with provider(wordy) as peer:
        with pytest.raises(InvalidAnswerError, match="headers"):
            await call(egress, peer)


@pytest.mark.parametrize(
    "answer",
    [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"a" * 20_000 + b"\r\n\r\n"],
    ids=["no HTTP", "endless header"],
)
async def test_what_is_no_http_is_an_invalid_answer(egress: Egress, answer: bytes) -> None:
    async def babbling(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)
        await peer.gone()

    async with provider(babbling) as peer:
        with pytest.raises(InvalidAnswerError):
            await call(egress, peer)


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_beyond_the_limit_is_refused(egress: Egress, declared: bool) -> None:
    async def endless(peer: Peer) -> None:
        await peer.request()
        if declared:
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
            await peer.gone()
        else:
            await peer.start_stream()
            for _ in range(50):
                await peer.chunk(bytes(100))
            await peer.gone()

    async with provider(endless) as peer:
        upstream = await call(egress, peer)
        with pytest.raises(InvalidAnswerError, match="too long"):
            await upstream.read(limit=4096)


async def test_a_long_body_arrives_whole(egress: Egress) -> None:
    body = bytes(range(256)) * 20_000
    async with provider(answering) as peer:
        await (await call(egress, peer, structs.replace(CHAT, body=body))).read()
    assert peer.requests[0].body == body
    assert peer.requests[0].headers["content-length"] == str(len(body))


async def test_leaving_does_not_wait_for_a_peer_that_takes_nothing(egress: Egress) -> None:
    async def deaf(_: Peer) -> None:
        await asyncio.Event().wait()

    async with provider(deaf) as peer:
        body = bytes(30_000_000)
        task = asyncio.create_task(call(egress, peer, structs.replace(CHAT, body=body)))
        await asyncio.sleep(0.1)
        connector = next(iter(egress._pools.values())).connector
        (protocol,) = connector._acquired
        transport = protocol.transport
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert transport is not None
        assert transport.get_write_buffer_size() == 0
        assert not connector._acquired


# --- cuts


async def _cut_before_answer(peer: Peer) -> None:
    await peer.request()


async def _reset_before_answer(peer: Peer) -> None:
    await peer.request()
    peer.writer.transport.abort()


@pytest.mark.parametrize("script", [_cut_before_answer, _reset_before_answer])
async def test_a_cut_before_the_answer_is_ambiguous_and_not_resent(
    egress: Egress, script: object
) -> None:
    async with provider(script) as peer:  # type: ignore[arg-type]
        with pytest.raises(DroppedError) as caught:
            await call(egress, peer)
    assert caught.value.certainty is Certainty.AMBIGUOUS
    assert len(peer.requests) == 1


async def _short(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ndata: last\n\n")


async def _no_last_chunk(peer: Peer) -> None:
    await peer.request()
    await peer.start_stream()
    await peer.chunk(b"data: last\n\n")


async def _half_a_chunk(peer: Peer) -> None:
    await peer.request()
    await peer.start_stream()
    await peer.send(b"ff\r\ndata: last\n\n")


CUTS = [_short, _no_last_chunk, _half_a_chunk]


@pytest.mark.parametrize("script", CUTS)
async def test_a_cut_answer_gives_what_came_and_then_the_cut(
    egress: Egress, script: object
) -> None:
    async with provider(script) as peer:  # type: ignore[arg-type]
        upstream = await call(egress, peer, STREAM)
        # The cut is in before anything is read: what came first must not be lost by that.
        await asyncio.sleep(0.05)
        got: list[bytes] = []
        with pytest.raises(DroppedError):
            await collect(upstream, into=got)
    assert got == [b"data: last\n\n"]


@pytest.mark.parametrize("script", CUTS)
async def test_a_cut_whole_body_is_a_drop(egress: Egress, script: object) -> None:
    async with provider(script) as peer:  # type: ignore[arg-type]
        upstream = await call(egress, peer)
        with pytest.raises(DroppedError):
            await upstream.read()


# --- connections


async def test_sequential_requests_share_a_connection(egress: Egress) -> None:
    async with provider(answering) as peer:
        for _ in range(5):
            await (await call(egress, peer)).read()
    assert (peer.connections, len(peer.requests)) == (1, 5)


async def test_keys_do_not_share_a_connection(egress: Egress) -> None:
    async with provider(answering) as peer:
        for id_ in (1, 2):
            key = Credential(id=id_, secret=SECRET, origin=peer.endpoint().origin)
            upstream = await egress.send(Held(), peer.endpoint(), CHAT, key, Timeouts(), soon())
            await upstream.read()
    assert peer.connections == 2


async def test_a_stream_closed_at_its_terminal_event_keeps_its_connection(egress: Egress) -> None:
    async def streaming(peer: Peer) -> None:
        while await peer.request() is not None:
            await peer.start_stream()
            await peer.chunk(b"data: [DONE]\n\n")
            await asyncio.sleep(0.01)
            await peer.send(b"0\r\n\r\n")

    async with provider(streaming) as peer:
        for _ in range(3):
            upstream = await call(egress, peer, STREAM)
            async for chunk in upstream.chunks():
                assert chunk.endswith(b"[DONE]\n\n")
                break
            await upstream.close()
    assert peer.connections == 1


async def test_an_idle_connection_that_the_provider_closed_is_not_used(egress: Egress) -> None:
    async def once(peer: Peer) -> None:
        await peer.request()
        await peer.answer()

    async with provider(once) as peer:
        for _ in range(3):
            await (await call(egress, peer)).read()
            await asyncio.sleep(0.02)
    assert (peer.connections, len(peer.requests)) == (3, 3)


async def test_bytes_nobody_asked_for_are_not_the_next_answer(egress: Egress) -> None:
    async def twice(peer: Peer) -> None:
        while await peer.request() is not None:
            await peer.answer(b"mine")
            await peer.answer(b"CANARY-of-somebody-else")

    async with provider(twice) as peer:
        for _ in range(3):
            upstream = await call(egress, peer)
            assert await upstream.read() == b"mine"
            await asyncio.sleep(0.02)
    assert peer.connections == 3


async def test_idle_connections_are_bounded(egress: Egress) -> None:
    together = asyncio.Barrier(3)

    async def waiting_for_each_other(peer: Peer) -> None:
        while await peer.request() is not None:
            await together.wait()
            await peer.answer()

    async with provider(waiting_for_each_other) as peer:
        for _ in range(2):
            calls = [call(egress, peer, kept_alive=1) for _ in range(3)]
            for upstream in await asyncio.gather(*calls):
                await upstream.read()
    # Of the first three one stayed, so that the second round opened two.
    assert peer.connections == 5


async def test_cancelling_a_send_closes_its_connection(egress: Egress) -> None:
    left = asyncio.Event()
    asked = asyncio.Event()

    async def silent(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.gone()
        left.set()

    async with provider(silent) as peer:
        task = asyncio.create_task(call(egress, peer))
        await asked.wait()
        task.cancel()
        await asyncio.wait_for(left.wait(), 0.1)
        with pytest.raises(asyncio.CancelledError):
            await task
        gate = egress._gates[1]
        assert gate.busy == 0


async def test_cancelling_a_reader_closes_its_connection(egress: Egress) -> None:
    left = asyncio.Event()

    async def trailing_off(peer: Peer) -> None:
        await peer.request()
        await peer.start_stream()
        await peer.chunk(b"data: 1\n\n")
        await peer.gone()
        left.set()

    async with provider(trailing_off) as peer:
        upstream = await call(egress, peer, STREAM)
        first = asyncio.Event()

        async def reading() -> None:
            async for _ in upstream.chunks():
                first.set()

        task = asyncio.create_task(reading())
        await first.wait()
        task.cancel()
        await asyncio.wait_for(left.wait(), 0.1)
        assert egress._gates[1].busy == 0


async def test_no_more_calls_run_than_the_provider_allows(egress: Egress) -> None:
    release = asyncio.Event()
    running = most = 0

    async def counting(peer: Peer) -> None:
        nonlocal running, most
        while await peer.request() is not None:
            running += 1
            most = max(most, running)
            await release.wait()
            running -= 1
            await peer.answer()

    async def one(peer: object) -> bytes:
        return await (await call(egress, peer, max_concurrent_requests=2)).read()  # type: ignore[arg-type]

    async with provider(counting) as peer:
        tasks = [asyncio.create_task(one(peer)) for _ in range(9)]
        # Two run, four wait, three are turned away at once; the waiting give up after 500 ms.
        done, _ = await asyncio.wait(tasks, timeout=0.3)
        assert len(done) == 3
        release.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    refused = [r for r in results if isinstance(r, BusyError)]
    assert (len(refused), results.count(b"{}"), most) == (3, 6, 2)
    assert refused[0].certainty is Certainty.NOT_SENT


async def test_one_credential_is_used_as_often_as_the_provider_allows(egress: Egress) -> None:
    allowed = 150
    together = asyncio.Barrier(allowed)

    async def waiting_for_each_other(peer: Peer) -> None:
        await peer.request()
        await together.wait()
        await peer.answer()

    async with provider(waiting_for_each_other) as peer:
        calls = [call(egress, peer, max_concurrent_requests=allowed) for _ in range(allowed)]
        answers = [await upstream.read() for upstream in await asyncio.gather(*calls)]
    assert answers == [b"{}"] * allowed


async def test_who_waits_for_a_slot_gives_up_in_half_a_second(egress: Egress) -> None:
    async def silent(peer: Peer) -> None:
        await peer.gone()

    async with provider(silent) as peer:
        first = asyncio.create_task(call(egress, peer, max_concurrent_requests=1))
        await asyncio.sleep(0.01)
        began = asyncio.get_running_loop().time()
        with pytest.raises(BusyError):
            await call(egress, peer, max_concurrent_requests=1)
        assert 0.45 < asyncio.get_running_loop().time() - began < 0.7
        first.cancel()


# --- what errors say


async def test_no_error_carries_the_secret_or_the_address(egress: Egress) -> None:
    async def reset(peer: Peer) -> None:
        await peer.request()
        peer.writer.transport.abort()

    async with provider(reset) as peer:
        closed = peer.endpoint()
        with pytest.raises(DroppedError) as cut:
            await call(egress, peer)
    errors: list[UpstreamError] = [cut.value]
    for secret in (SECRET, SECRET + "\n"):
        key = Credential(id=1, secret=secret, origin=closed.origin)
        assert SECRET not in repr(key)
        with pytest.raises(UpstreamError) as caught:
            await egress.send(Held(), closed, CHAT, key, Timeouts(), soon())
        errors.append(caught.value)
    for error in errors:
        text = f"{error} {error!r} {error.detail} {error.__context__} {error.__cause__}"
        assert SECRET not in text
        assert "127.0.0.1" not in text
        assert (error.__context__, error.__cause__) == (None, None)


async def test_a_refused_connection_is_not_sent(egress: Egress) -> None:
    async with provider(answering) as peer:
        pass
    with pytest.raises(NotSentError, match="refused"):
        await call(egress, peer)
    assert egress._gates[1].busy == 0


async def test_a_free_call_needs_no_hold_and_may_get(egress: Egress) -> None:
    async with provider(answering) as peer:
        models = Outgoing(path="/models", body=b"")
        answer = await egress.free_call(
            peer.endpoint(), "GET", models, peer.credential(), Timeouts()
        )
    assert (answer.status, answer.body) == (200, b"{}")
    assert peer.requests[0].line == "GET /v1/models HTTP/1.1"
    assert "content-type" not in peer.requests[0].headers


def test_an_endpoint_that_may_not_be_called_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="not a public address"):
        Endpoint(provider_id=1, base_url="https://10.0.0.1", protocol="x", auth="bearer")
