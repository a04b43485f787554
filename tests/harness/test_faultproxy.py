"""The fault proxy breaks connections as it was told, from the moment the call returns."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.harness.faultproxy import FaultProxy, cut, delay, passing, stall, throttle


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    """Return a proxy before a server that sends back what it gets."""

    def echo(line: socket.socket) -> None:
        with closing(line):
            try:
                while data := line.recv(65536):
                    line.sendall(data)
            except OSError:
                return

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                line, _address = listener.accept()
            except OSError:
                return
            threading.Thread(target=echo, args=(line,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        with FaultProxy("127.0.0.1", listener.getsockname()[1]) as proxy:
            yield proxy
        listener.shutdown(socket.SHUT_RDWR)


def connected(proxy: FaultProxy, timeout_s: float = 5) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=timeout_s)


def echoed(line: socket.socket, data: bytes = b"hello") -> bytes:
    line.sendall(data)
    received = b""
    while len(received) < len(data) and (piece := line.recv(65536)):
        received += piece
    return received


def test_bytes_pass_and_are_counted(proxy: FaultProxy) -> None:
    with connected(proxy) as line:
        assert echoed(line, b"x" * 200_000) == b"x" * 200_000
        assert proxy.counters.open == 1
    assert proxy.counters.connections == 1
    assert proxy.counters.bytes == {"up": 200_000, "down": 200_000}


def test_a_delay_and_a_throttle_take_their_time(proxy: FaultProxy) -> None:
    with connected(proxy, timeout_s=0.1) as line:
        proxy.down(delay(ms=300))
        with pytest.raises(TimeoutError):
            echoed(line)
        line.settimeout(5)
        assert line.recv(100) == b"hello"
        proxy.both(passing())
        proxy.up(throttle(bytes_per_s=100))
        begun = time.monotonic()
        assert echoed(line, b"x" * 30) == b"x" * 30
        assert time.monotonic() - begun >= 0.25


def test_a_stall_keeps_bytes_until_it_ends(proxy: FaultProxy) -> None:
    with connected(proxy, timeout_s=0.1) as line:
        proxy.down(stall())
        with pytest.raises(TimeoutError):
            echoed(line)
        proxy.down(passing())
        line.settimeout(5)
        assert line.recv(100) == b"hello"


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_cut_ends_the_connection_after_that_many_bytes(proxy: FaultProxy, direction: str) -> None:
    with connected(proxy) as line:
        assert echoed(line) == b"hello"
        getattr(proxy, direction)(cut(7))
        assert echoed(line) == b"hello"
        assert echoed(line, b"0123456789") in {b"01", b""}
        assert line.recv(10) == b""
    assert proxy.counters.bytes[direction] == 12


def test_a_cut_can_be_a_reset(proxy: FaultProxy) -> None:
    with connected(proxy) as line:
        proxy.down(cut(0, "rst"))
        with pytest.raises(ConnectionResetError):
            echoed(line)


def test_dropped_connections_are_reset_and_new_ones_pass(proxy: FaultProxy) -> None:
    with connected(proxy) as line:
        assert echoed(line) == b"hello"
        proxy.drop()
        with pytest.raises(ConnectionResetError):
            line.recv(1)
    with connected(proxy) as line:
        assert echoed(line) == b"hello"


def test_refused_connections_are_refused_until_restored(proxy: FaultProxy) -> None:
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        connected(proxy)
    proxy.restore()
    with connected(proxy) as line:
        assert echoed(line) == b"hello"


def test_a_blackhole_never_answers(proxy: FaultProxy) -> None:
    with connected(proxy, timeout_s=0.2) as line:
        assert echoed(line) == b"hello"
        proxy.blackhole()
        with pytest.raises(TimeoutError):
            echoed(line)
    with pytest.raises(TimeoutError):
        connected(proxy, timeout_s=0.5)
    proxy.restore()
    with connected(proxy) as line:
        assert echoed(line) == b"hello"
