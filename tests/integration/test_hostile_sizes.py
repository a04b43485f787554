"""Whatever a caller sends is bounded before it is read (`scorecard.md` S10)."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, repeat

import pytest

from tests.harness.canary import canary
from tests.harness.hostile import MIB, Reply, answered, ask, connected, head, pour
from tests.harness.together import in_time
from tests.integration.besieged import CHAT, DOORS, PUBLIC, TEXT, WELL, Besieged
from tests.legs import Figure

pytestmark = [pytest.mark.promise("S10"), pytest.mark.timed]

WITHIN_S = 0.05
ROOM = 64 * MIB
CAP = 256 * MIB
ENDLESS = 10 << 30


def quickest(port: int, first: bytes) -> Reply:
    """Ask three times and return the quickest answer: the machine is shared."""
    replies = [ask(port, first) for _ in range(3)]
    assert len({reply.status for reply in replies}) == 1, replies
    return min(replies, key=lambda reply: reply.after_s)


def chunks(size: int) -> Iterator[bytes]:
    return repeat(b"%x\r\n" % size + b" " * size + b"\r\n")


# --- how long a body says it is


@pytest.mark.parametrize("door", DOORS)
def test_ten_gibibytes_are_refused_before_a_byte_is_read(
    besieged: Besieged, door: str, figure: Figure
) -> None:
    told = quickest(besieged.port, head(door, f"Content-Length: {ENDLESS}"))
    assert (told.status, told.closed) == (413, True)
    in_time(told.after_s, WITHIN_S)
    besieged.check_well()
    figure("refused before it is read, slowest door, s", told.after_s, "≤ 0.05")
    figure("memory of refused uploads, MiB", besieged.scales.grown // MIB, "≤ 64")


@pytest.mark.parametrize("door", [door for door in DOORS if door not in PUBLIC])
def test_who_has_no_key_pours_into_the_void(besieged: Besieged, door: str) -> None:
    first = head(door, f"Content-Length: {30 * MIB}", key=canary("api-key-unknown"))
    with connected(besieged.port) as line:
        began = time.monotonic()
        line.sendall(first)
        told = answered(line, began)
        assert told.status in {401, 413, 429}, told
        poured = pour(line, repeat(b" " * 65536, 480))
        # What the kernels of both sides take is out of our hands.
        assert poured < 20 * MIB
    besieged.check_well()


@pytest.mark.parametrize("door", [CHAT, "/v1/files", "/api/v1/llm/complete", "/mcp"])
def test_endless_chunks_are_cut_at_the_limit(besieged: Besieged, door: str) -> None:
    told = ask(besieged.port, head(door, "Transfer-Encoding: chunked"), chunks(256 * 1024))
    assert told.status == 413, told
    assert told.poured <= 48 * MIB
    besieged.check_well()


def test_what_comes_between_the_chunks_is_bounded(besieged: Besieged) -> None:
    first = head(CHAT, "Transfer-Encoding: chunked")
    extension = chain([b"1;"], repeat(b"a" * 65536))
    one_trailer = chain([b"0\r\nx-a: "], repeat(b"a" * 65536))
    trailers = chain([b"0\r\n"], repeat(b"x-a: b\r\n" * 8192))
    for rest in (extension, one_trailer, trailers):
        told = ask(besieged.port, first, rest)
        assert told.status in {0, 431}, told
        assert told.poured <= 16 * MIB
    besieged.check_well()


# --- what is packed


@pytest.mark.parametrize(
    "coding", ["gzip", "deflate", "br", "zstd", "x-gzip", "gzip, gzip", "GZIP"]
)
@pytest.mark.parametrize("door", [CHAT, "/v1/messages", "/api/v1/llm/complete", "/mcp"])
def test_what_is_packed_is_not_unpacked(besieged: Besieged, door: str, coding: str) -> None:
    told = quickest(
        besieged.port, head(door, f"Content-Encoding: {coding}", f"Content-Length: {MIB}")
    )
    assert (told.status, told.closed) == (415, True), told
    in_time(told.after_s, WITHIN_S)


@pytest.mark.parametrize("coding", ["gzip, chunked", "deflate, chunked", "br,chunked", "identity"])
def test_what_is_packed_for_its_way_is_refused(besieged: Besieged, coding: str) -> None:
    told = ask(besieged.port, head(CHAT, f"Transfer-Encoding: {coding}"))
    assert (told.status, told.closed) == (400, True), told


# --- shapes of JSON


def within(value: bytes) -> bytes:
    return WELL[:-1] + b', "metadata": ' + value + b"}"


def filled(piece: bytes, size: int = 8 * MIB) -> bytes:
    return piece * (size // len(piece))


SHAPES: dict[str, bytes] = {
    "lists": within(b"[" + filled(b"[],") + b"1]"),
    "objects": within(b"[" + filled(b'{"a":1},') + b"1]"),
    "texts": within(b"[" + filled(b'"",') + b"1]"),
    "numbers": within(b"[" + filled(b"1,") + b"1]"),
    "levels": within(filled(b"[")),
    "levels that end": within(b"[" * 90_000 + b"]" * 90_000),
    "keys": within(b"{" + b",".join(b'"%d":1' % number for number in range(800_000)) + b"}"),
    "keys that few would notice": within(
        b"{" + b",".join(b'"%d":1' % number for number in range(20_000)) + b"}"
    ),
    "digits": within(filled(b"1")),
    "a text without an end": WELL[:-1] + b', "user": "' + filled(b'\\"'),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_of_json_that_would_take_memory(besieged: Besieged, shape: str) -> None:
    body = SHAPES[shape]
    began = time.monotonic()
    for door in (CHAT, "/api/v1/llm/complete"):
        told = ask(besieged.port, head(door, f"Content-Length: {len(body)}"), [body])
        assert told.status == 400, (told.status, told.body[:300])
    in_time(time.monotonic() - began, WITHIN_S * 200)
    besieged.check_well()


# --- heads

LINE = "x-a: " + "b" * 100
HEADS = {
    "101 headers": (head(CHAT, *(f"x-{n}: a" for n in range(100))), 431),
    "33 KiB of headers": (head(CHAT, *[LINE] * 80, *["x-b: " + "c" * 9000] * 3), 431),
    "a header of 17 KiB": (head(CHAT, "x-a: " + "b" * 17_000), 431),
    "a header name of 40 KiB": (head(CHAT, "x" * 40_000 + ": a"), 431),
    "a path of 3 KiB": (head("/v1/" + "a" * 3000), 414),
    "a query of 9 KiB": (head(f"{CHAT}?a=" + "b" * 9000), 414),
    "a console path of 3 KiB": (head("/admin/" + "a" * 3000), 414),
}
ENDLESS_HEADS = {
    "headers": chain([head(CHAT)[:-2]], repeat(b"x-a: bcd\r\n" * 6000)),
    "header": chain([head(CHAT)[:-2] + b"x-a: "], repeat(b"b" * 65536)),
    "header name": chain([head(CHAT)[:-2]], repeat(b"b" * 65536)),
    "path": chain([b"POST /v1/"], repeat(b"b" * 65536)),
    "method": repeat(b"B" * 65536),
    "blank lines": repeat(b"\r\n" * 32768),
}


@pytest.mark.parametrize("case", HEADS)
def test_a_head_that_is_too_large(besieged: Besieged, case: str) -> None:
    first, status = HEADS[case]
    told = quickest(besieged.port, first)
    assert (told.status, told.closed) == (status, True), told
    in_time(told.after_s, WITHIN_S)


@pytest.mark.parametrize("case", ENDLESS_HEADS)
def test_a_head_without_an_end(besieged: Besieged, case: str) -> None:
    told = ask(besieged.port, b"", ENDLESS_HEADS[case])
    assert told.status in {0, 400, 431}, told
    assert told.poured <= 16 * MIB
    besieged.check_well()


def test_a_form_of_too_much(besieged: Besieged) -> None:
    parts = {
        "parts": b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nx\r\n' * 21,
        "head": b"--b\r\nContent-Disposition: form-data; name=a\r\nx-a: " + b"c" * 66_000,
    }
    for content in parts.values():
        body = content + b"--b--\r\n"
        kind = "Content-Type: multipart/form-data; boundary=b"
        told = ask(besieged.port, head("/v1/files", kind, f"Content-Length: {len(body)}"), [body])
        assert told.status == 400, told
    besieged.check_well()


# --- many at once


def image(size: int) -> bytes:
    """Return a request with a picture inside of it, which is no text that a model counts."""
    url = "data:image/png;base64," + "iVBORw0KGgo" * (size // 11)
    picture = {"type": "image_url", "image_url": {"url": url}}
    content = [{"type": "text", "text": "what is this?"}, picture]
    return json.dumps(TEXT | {"messages": [{"role": "user", "content": content}]}).encode()


def together(port: int, body: bytes, count: int) -> list[int]:
    """Return the statuses of so many requests at once; 0: cut while it was sent."""
    first = head(CHAT, f"Content-Length: {len(body)}")

    def one(_number: int) -> int:
        pieces = (body[start : start + 65536] for start in range(0, len(body), 65536))
        return ask(port, first, pieces).status

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_a_hundred_large_bodies_at_once_stay_under_the_cap(
    besieged: Besieged, figure: Figure
) -> None:
    statuses = together(besieged.port, image(25 * MIB), 100)
    assert set(statuses) <= {0, 200, 503}
    assert 200 in statuses
    assert besieged.scales.grown <= CAP * 1.25
    assert besieged.pulse.wrong == []
    figure("100 bodies of 25 MiB at once: memory, MiB", besieged.scales.grown // MIB, "≤ 320")
