"""Be a hostile peer: bytes that no client would send, and what they cost who gets them."""

import socket
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPResponse
from typing import NamedTuple, Self

from tests.harness.config import API_KEY
from tests.harness.processes import memory_bytes, peak_bytes

MIB = 1 << 20
WAIT_S = 30


class Reply(NamedTuple):
    """What came back: status 0 for a cut without an answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    after_s: float  # since the last byte of the request was asked for
    poured: int  # bytes of the body that were taken from us
    closed: bool


def head(
    path: str,
    *lines: str,
    method: str = "POST",
    key: str | None = API_KEY,
    host: str | None = "127.0.0.1",
    version: str = "HTTP/1.1",
) -> bytes:
    """Return a request line with headers, and the blank line."""
    told = [f"{method} {path} {version}"]
    told += [f"Host: {host}"] if host is not None else []
    told += [f"Authorization: Bearer {key}"] if key is not None else []
    return "\r\n".join([*told, *lines, "", ""]).encode("latin-1")


def connected(port: int, source: str = "127.0.0.1") -> socket.socket:
    line = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S, source_address=(source, 0))
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return line


def ask(port: int, first: bytes, rest: Iterable[bytes] = (), *, source: str = "127.0.0.1") -> Reply:
    """Send `first`, then `rest` for as long as it is taken; return what is answered."""
    with connected(port, source) as line:
        line.sendall(first)
        began = time.monotonic()
        poured = pour(line, rest)
        return answered(line, began, poured)


def pour(line: socket.socket, rest: Iterable[bytes]) -> int:
    """Return how much of it was taken before something came back."""
    poured = 0
    with suppress(OSError):
        for piece in rest:
            line.sendall(piece)
            poured += len(piece)
            if told(line):
                break
    return poured


def told(line: socket.socket) -> bool:
    """Say whether something has come back, or the line is closed."""
    line.setblocking(False)
    try:
        return len(line.recv(1, socket.MSG_PEEK)) >= 0
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        line.settimeout(WAIT_S)


def answered(line: socket.socket, began: float, poured: int = 0) -> Reply:
    response = HTTPResponse(line)
    try:
        response.begin()
        body = response.read()
    except (OSError, ValueError, AttributeError):
        return Reply(0, {}, b"", time.monotonic() - began, poured, closed=True)
    after_s = time.monotonic() - began
    headers = {name.lower(): value for name, value in response.getheaders()}
    closed = headers.get("connection") == "close" and is_closed(line)
    return Reply(response.status, headers, body, after_s, poured, closed)


def is_closed(line: socket.socket) -> bool:
    """Say whether the other side hangs up now."""
    line.settimeout(2)
    try:
        return line.recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


class Scales:
    """What a process weighs more than when this was made, at the most."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._base = memory_bytes(pid)

    @property
    def grown(self) -> int:
        return peak_bytes(self._pid) - self._base


class Pulse:
    """Ask a gateway how it is all the while; `worst_s` is the longest it took to say so."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self.beats, self.worst_s = 0, 0.0
        self.wrong: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._over.wait(0.02):
            began = time.monotonic()
            try:
                self._ask()
            except OSError as error:
                self.wrong.append(repr(error))
            self.beats += 1
            self.worst_s = max(self.worst_s, time.monotonic() - began)

    def _ask(self) -> None:
        line = HTTPConnection("127.0.0.1", self._port, timeout=WAIT_S)
        try:
            line.request("GET", "/healthz")
            response = line.getresponse()
            if response.status != 200 or b'"ok"' not in response.read():
                self.wrong.append(str(response.status))
        finally:
            line.close()
