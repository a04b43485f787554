"""Lines and binary messages are cut as they are meant, wherever the bytes are; broken ones end."""

import struct
import zlib

import pytest

from llm_gateway.adapters import eventstream, ndjson, sse
from llm_gateway.adapters.framing import framer_for
from llm_gateway.errors import InvalidAnswerError
from tests.unit.adapters.golden_providers import packed

LINES = b'{"a":1}\n\n \r\n{"b":"\xe2\x98\x82"}\r\n'
MESSAGES = packed("messageStart", {"role": "assistant"}) + packed("metadata", {"x": "☂" * 100})


@pytest.mark.parametrize(
    ("content_type", "framer"),
    [
        ("text/event-stream; charset=utf-8", sse.Framer),
        ("Text/Event-Stream", sse.Framer),
        ("application/x-ndjson", ndjson.Framer),
        ("application/vnd.amazon.eventstream", eventstream.Framer),
    ],
)
def test_the_content_type_says_how_a_stream_is_cut(content_type: str, framer: type) -> None:
    assert type(framer_for(content_type)) is framer


@pytest.mark.parametrize(
    "content_type", ["", "application/json", "text/html", "text/event-streams"]
)
def test_anything_else_is_no_stream(content_type: str) -> None:
    assert framer_for(content_type) is None


def test_lines_are_frames_and_blank_ones_are_none() -> None:
    assert ndjson.Framer().feed(LINES) == [b'{"a":1}\n', b'{"b":"\xe2\x98\x82"}\r\n']
    cut = ndjson.Framer()
    assert [f for i in range(len(LINES)) for f in cut.feed(LINES[i : i + 1])] == (
        ndjson.Framer().feed(LINES)
    )
    last = ndjson.Framer()
    assert last.feed(b'{"done":true}') == []
    assert last.feed(last.closing) == [b'{"done":true}\n']


def test_a_line_has_a_bound() -> None:
    framer = ndjson.Framer()
    assert framer.feed(b"x" * (1 << 20)) == []
    with pytest.raises(InvalidAnswerError):
        framer.feed(b"x")
    with pytest.raises(InvalidAnswerError):
        ndjson.Framer().feed(b"x" * (1 << 20) + b"\n")


def test_messages_are_read_with_their_headers() -> None:
    first, second = eventstream.Framer().feed(MESSAGES)
    assert eventstream.message(first) == (
        {
            ":event-type": "messageStart",
            ":message-type": "event",
            ":content-type": "application/json",
        },
        b'{"role":"assistant"}',
    )
    assert b"\\u2602" in eventstream.message(second)[1]


def test_headers_of_every_type_are_passed_over() -> None:
    values = [(0, b""), (1, b""), (2, b"\1"), (3, b"\0\1"), (4, b"\0" * 4), (5, b"\0" * 8),
              (6, b"\0\3abc"), (8, b"\0" * 8), (9, b"\0" * 16), (7, b"\0\2hi")]  # fmt: skip
    headers = b"".join(b"\1" + bytes([97 + n]) + bytes([kind]) + raw for n, (kind, raw) in
                       enumerate(values))  # fmt: skip
    (frame,) = eventstream.Framer().feed(made(headers, b"{}"))
    assert eventstream.message(frame) == ({"j": "hi"}, b"{}")


@pytest.mark.parametrize("position", [0, 5, 9, 20, len(MESSAGES) - 1])
def test_a_changed_byte_is_found(position: int) -> None:
    broken = bytearray(MESSAGES)
    broken[position] ^= 1
    with pytest.raises(InvalidAnswerError):
        eventstream.Framer().feed(bytes(broken))


@pytest.mark.parametrize("headers", [b"\5ab", b"\1a\7\0\t", b"\1a\x63", b"\1a\7\0\1\xff"])
def test_broken_headers_are_found(headers: bytes) -> None:
    (frame,) = eventstream.Framer().feed(made(headers, b""))
    with pytest.raises(InvalidAnswerError):
        eventstream.message(frame)


def test_a_message_has_a_bound() -> None:
    prelude = struct.pack(">II", 1 << 21, 0)
    with pytest.raises(InvalidAnswerError):
        eventstream.Framer().feed(prelude + struct.pack(">I", zlib.crc32(prelude)))


def test_a_message_that_is_cut_stays_behind() -> None:
    framer = eventstream.Framer()
    assert len(framer.feed(MESSAGES[:-1] + framer.closing)) == 1
    assert framer.rest() == MESSAGES[len(packed("messageStart", {"role": "assistant"})) : -1]


def made(headers: bytes, payload: bytes) -> bytes:
    lengths = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    body = lengths + struct.pack(">I", zlib.crc32(lengths)) + headers + payload
    return body + struct.pack(">I", zlib.crc32(body))
