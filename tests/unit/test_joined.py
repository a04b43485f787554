"""What is written to a caller in one turn of the event loop leaves in one piece, and all of it."""

import asyncio
from typing import cast

from typing_extensions import override

from llm_gateway.edge.joined import JoinedTransport

MOST = 100


class Wire(asyncio.Transport):
    """Takes note of each write, as of a system call."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.sent: list[bytes] = []
        self.closed = False

    @override
    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed
        self.sent.append(bytes(data))

    @override
    def close(self) -> None:
        self.closed = True

    @override
    def is_closing(self) -> bool:
        return self.closed


def joined() -> tuple[Wire, JoinedTransport]:
    wire = Wire()
    return wire, JoinedTransport(asyncio.get_running_loop(), wire, MOST)


async def test_a_head_and_its_body_are_one_piece() -> None:
    wire, transport = joined()
    transport.write(b"head ")
    transport.write(b"body")
    assert wire.sent == []
    await asyncio.sleep(0)
    transport.write(b"more")
    await asyncio.sleep(0)
    assert wire.sent == [b"head body", b"more"]


async def test_no_more_waits_than_may() -> None:
    wire, transport = joined()
    for _ in range(5):
        transport.write(b"." * (MOST // 2))
    assert wire.sent == [b"." * MOST] * 2
    await asyncio.sleep(0)
    assert b"".join(wire.sent) == b"." * (5 * MOST // 2)


async def test_what_was_written_before_the_end_is_sent() -> None:
    wire, transport = joined()
    transport.write(b"last words")
    transport.close()
    await asyncio.sleep(0)
    assert wire.sent == [b"last words"]


async def test_nothing_is_sent_where_the_line_is_gone() -> None:
    wire, transport = joined()
    transport.write(b"for nobody")
    wire.close()
    await asyncio.sleep(0)
    assert wire.sent == []


async def test_all_else_is_the_real_one_s() -> None:
    wire, transport = joined()
    asked = cast("asyncio.Transport", transport)
    assert asked.get_extra_info("peername") == wire.get_extra_info("peername")
