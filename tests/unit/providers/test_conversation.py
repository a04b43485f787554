"""An answer is taken apart alike however it arrives, and nothing but its own bytes is taken."""

import asyncio
from typing import Any

import pytest
from typing_extensions import override

from llm_gateway.errors import InvalidAnswerError, UpstreamTimeoutError
from llm_gateway.providers.conversation import (
    LONGEST_BARREN,
    READ_BUFFER,
    WHOLE_BUFFER,
    Conversation,
)

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\nx-a: 2\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nhe\r\n3;note=x\r\nllo\r\n0\r\nX-Trailer: t\r\n\r\n"
)
INTERIM = b"HTTP/1.1 100 Continue\r\nX-B: 1\r\n\r\nHTTP/1.1 103 Early\r\n\r\n" + WHOLE
ENDLESS = b"HTTP/1.1 200 OK\r\n\r\nhello"
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"


class Wire(asyncio.Transport):
    """A transport that keeps what is written and how it was treated."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.paused = self.aborted = False

    @override
    def write(self, data: Any) -> None:
        self.written += data

    @override
    def pause_reading(self) -> None:
        self.paused = True

    @override
    def resume_reading(self) -> None:
        self.paused = False

    @override
    def abort(self) -> None:
        self.aborted = True

    @override
    def is_closing(self) -> bool:
        return self.aborted


def connected() -> tuple[Conversation, Wire]:
    talk, wire = Conversation(bytearray(WHOLE_BUFFER)), Wire()
    talk.connection_made(wire)
    return talk, wire


def receive(talk: Conversation, data: bytes) -> None:
    """Let the socket bring these bytes, in as many pieces as there is room for."""
    while data:
        room = talk.get_buffer(-1)
        piece, data = data[: len(room)], data[len(room) :]
        room[: len(piece)] = piece
        talk.buffer_updated(len(piece))


async def asked(talk: Conversation) -> "asyncio.Task[None]":
    asking = asyncio.create_task(talk.ask(b"POST / HTTP/1.1\r\n\r\n", b"{}"))
    await asyncio.sleep(0)
    return asking


async def body(talk: Conversation) -> bytes:
    read = b""
    while piece := await talk.read():
        read += piece
    return read


async def whole(talk: Conversation, asking: "asyncio.Task[None]") -> bytes:
    await asking
    return await body(talk)


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
@pytest.mark.parametrize("answer", [WHOLE, CHUNKED, INTERIM], ids=["whole", "chunked", "interim"])
async def test_pieces_of_any_size_make_the_same_answer(answer: bytes, size: int) -> None:
    talk, wire = connected()
    for _ in range(2):  # the connection is good for another one
        asking = await asked(talk)
        for start in range(0, len(answer), size):
            receive(talk, answer[start : start + size])
        await asking
        assert talk.status == 200
        assert talk.headers.get("x-a", "1, 2") == "1, 2"
        assert "x-trailer" not in talk.headers
        assert "x-b" not in talk.headers
        assert await body(talk) == b"hello"
        assert talk.finished
        assert not talk.should_close
    assert wire.written == b"POST / HTTP/1.1\r\n\r\n{}" * 2


@pytest.mark.parametrize("cut", range(len(CHUNKED)))
async def test_an_answer_cut_anywhere_is_never_whole(cut: int) -> None:
    talk, _ = connected()
    asking = await asked(talk)
    receive(talk, CHUNKED[:cut])
    talk.connection_lost(None)
    with pytest.raises(OSError):  # noqa: PT011 - what kind is the system's to say
        await whole(talk, asking)
    assert not talk.finished
    assert talk.should_close


async def test_what_came_before_a_cut_is_read_first() -> None:
    talk, _ = connected()
    asking = await asked(talk)
    receive(talk, CHUNKED[: CHUNKED.index(b"3;")])
    talk.connection_lost(ConnectionResetError())
    await asking
    assert await talk.read() == b"he"
    with pytest.raises(ConnectionResetError):
        await talk.read()


async def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    talk, _ = connected()
    asking = await asked(talk)
    receive(talk, ENDLESS)
    await asking
    assert await talk.read() == b"hello"
    assert not talk.finished
    talk.connection_lost(None)
    assert await talk.read() == b""
    assert talk.finished


async def test_an_answer_without_a_body_is_whole_at_once() -> None:
    talk, _ = connected()
    asking = await asked(talk)
    receive(talk, EMPTY)
    await asking
    assert (talk.status, await talk.read(), talk.should_close) == (204, b"", False)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 20_000 + b"\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * (LONGEST_BARREN + 1),
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (LONGEST_BARREN // 6 + 1),
    ],
    ids=["no http", "no length", "a long header", "an endless header", "endless headers"],
)
async def test_what_is_no_answer_is_refused(answer: bytes) -> None:
    talk, wire = connected()
    asking = await asked(talk)
    receive(talk, answer)
    with pytest.raises(InvalidAnswerError):
        await asking
    assert wire.aborted
    assert talk.should_close


@pytest.mark.parametrize(
    "flood",
    [b"5;" + b"x" * LONGEST_BARREN, b"0\r\nX: " + b"x" * LONGEST_BARREN],
    ids=["chunk extension", "trailer"],
)
async def test_bytes_that_bring_no_body_are_bounded(flood: bytes) -> None:
    talk, wire = connected()
    asking = await asked(talk)
    receive(talk, CHUNKED[: CHUNKED.index(b"2\r\n")])
    await asking
    receive(talk, flood)
    assert wire.aborted
    with pytest.raises(OSError):  # noqa: PT011 - a cut
        await talk.read()


async def test_a_reader_that_stands_still_stops_the_socket() -> None:
    talk, wire = connected()
    asking = await asked(talk)
    receive(talk, b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n")
    await asking
    receive(talk, b"x" * (READ_BUFFER - 1))
    assert len(talk.get_buffer(-1)) == 1
    receive(talk, b"x")
    assert wire.paused
    assert len(await talk.read()) == READ_BUFFER
    assert not wire.paused


async def test_who_waits_for_the_whole_takes_more_at_once() -> None:
    talk, wire = connected()
    asking = await asked(talk)
    receive(talk, b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n")
    await asking
    talk.widen()
    assert len(talk.get_buffer(-1)) == WHOLE_BUFFER
    receive(talk, b"x" * (READ_BUFFER + 1))
    assert not wire.paused


async def test_an_answer_nobody_has_read_yet_leaves_room_for_what_comes_unasked() -> None:
    talk, wire = connected()
    asking = await asked(talk)
    receive(talk, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % READ_BUFFER)
    receive(talk, b"x" * READ_BUFFER)
    await asking
    assert not wire.paused
    receive(talk, WHOLE[:1])
    assert wire.aborted
    assert len(await talk.read()) == READ_BUFFER


@pytest.mark.parametrize("when", ["idle", "behind"])
async def test_what_nobody_asked_for_is_no_answer(when: str) -> None:
    talk, wire = connected()
    asking = await asked(talk)
    receive(talk, WHOLE + (WHOLE if when == "behind" else b""))
    await asking
    if when == "idle":
        receive(talk, WHOLE)
        assert wire.aborted
    assert await body(talk) == b"hello"
    assert talk.should_close


async def test_a_wait_ends_with_what_it_is_told() -> None:
    talk, _ = connected()
    asking = await asked(talk)
    talk.fail(UpstreamTimeoutError("late"))
    with pytest.raises(UpstreamTimeoutError):
        await asking
    assert talk.should_close


async def test_a_long_body_that_is_refused_half_way_spoils_the_connection() -> None:
    talk, wire = connected()
    talk.pause_writing()
    asking = asyncio.create_task(talk.ask(b"POST / HTTP/1.1\r\n\r\n", b"x" * 500_000))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    receive(talk, b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
    await asking
    assert talk.status == 413
    assert len(wire.written) < 200_000
    assert talk.should_close
