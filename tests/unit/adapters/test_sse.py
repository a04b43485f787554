"""Framing must not care where the bytes were cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.adapters import sse
from llm_gateway.errors import InvalidAnswerError

lines = st.sampled_from([
    b"data: {}", b"data:x", b"data: a\xc3\xa9", b": ping", b"event: error", b"", b"id: 1", b"data",
])  # fmt: skip
bodies = st.lists(st.tuples(lines, st.sampled_from([b"\n", b"\r\n", b"\r"])), max_size=12).map(
    lambda pairs: b"".join(line + end for line, end in pairs)
)


def cut(body: bytes, pieces: list[bytes]) -> tuple[list[bytes], bytes]:
    framer = sse.Framer()
    frames = [frame for piece in pieces for frame in framer.feed(piece)]
    rest = framer.rest()
    assert b"".join(frames) + rest == body
    return frames, rest


@given(body=bodies, bom=st.booleans())
def test_framing_does_not_care_where_bytes_were_cut(body: bytes, bom: bool) -> None:
    body = (b"\xef\xbb\xbf" if bom else b"") + body
    whole = cut(body, [body])
    for position in range(len(body)):
        assert cut(body, [body[:position], body[position:]]) == whole
    assert cut(body, [body[i : i + 1] for i in range(len(body))]) == whole


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_line_end_ends_a_frame(end: bytes) -> None:
    body = end.join([b"event: a", b"data: 1", b"data:2", b"", b": note", b"", b"data: 3", b"", b""])
    frames, rest = cut(body, [body])
    datas = [sse.frame_data(frame) for frame in [*frames, *([rest] if rest else [])]]
    assert datas == [b"1\n2", b"", b"3"]
    assert sse.frame_event(frames[0]) == b"a"


def test_a_byte_order_mark_is_passed_on_and_not_read() -> None:
    (frame,) = sse.Framer().feed(b"\xef\xbb\xbfdata: 1\n\n")
    assert frame.startswith(b"\xef\xbb\xbf")
    assert sse.frame_data(frame) == b"1"


def test_a_last_frame_without_its_blank_line_is_the_rest() -> None:
    assert cut(b"data: 1\n\ndata: 2", [b"data: 1\n\nda", b"ta: 2"]) == (
        [b"data: 1\n\n"],
        b"data: 2",
    )


@pytest.mark.parametrize("tail", [b"", b"\n\n", b"\r\n\r\n"])
def test_a_line_beyond_the_bound_is_an_invalid_answer(tail: bytes) -> None:
    framer = sse.Framer()
    with pytest.raises(InvalidAnswerError):  # noqa: PT012  any of the pieces may be the one
        for _ in range(18):
            framer.feed(b"x" * (1 << 16))
        framer.feed(tail)


def test_a_long_line_in_small_pieces_takes_linear_time() -> None:
    framer = sse.Framer()
    for _ in range(500_000):
        assert framer.feed(b"x") == []
    assert len(framer.rest()) == 500_000


def test_data_is_exchanged_in_place_or_in_a_new_frame() -> None:
    assert sse.with_data(b"event: a\ndata:  {1}\n\n", b"{1}", b"{2}") == b"event: a\ndata:  {2}\n\n"
    split = b"event: a\ndata: {\ndata: 1}\n\n"
    assert sse.with_data(split, sse.frame_data(split), b"{2}") == b"event: a\ndata: {2}\n\n"
