"""Cut a server-sent event stream into frames; joined again they are the bytes that came.

A frame ends with its blank line, in any of the three line ends of the standard. Parsing what is in
a frame and relaying it are apart, so that what is not understood is still passed on unchanged.
"""

import re

from llm_gateway.errors import InvalidAnswerError

MAX_FRAME_BYTES = 1 << 20  # bounds the line too: a frame is made of lines
_BOM = b"\xef\xbb\xbf"
# A CR at the very end may be half of a CR LF, so it counts only once the next byte is known.
_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?=[^\n]))(?:\r\n|\n|\r(?=[^\n]))")


class Framer:
    """Incremental; where the bytes are cut makes no difference to the frames."""

    __slots__ = ("_half", "_held", "_size")
    closing = b"\n\n"

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._size = 0
        self._half = False  # what is held ends in a CR, whose meaning the next byte decides

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the frames completed by `chunk`. Raises InvalidAnswerError above the bound."""
        if not self._half and b"\n" not in chunk and b"\r" not in chunk:
            self._hold(chunk)  # cannot end a frame: not joined, so that small pieces stay linear
            return []
        data = self.rest() + chunk
        return self._cut_any(data) if b"\r" in data else self._cut_lf(data)

    def rest(self) -> bytes:
        """Return what was left without a blank line, and forget it."""
        left = b"".join(self._held)
        self._held.clear()
        self._size = 0
        self._half = False
        return left

    def _cut_lf(self, data: bytes) -> list[bytes]:
        *frames, left = data.split(b"\n\n")
        self._hold(left)
        return [_bounded(frame + b"\n\n") for frame in frames]

    def _cut_any(self, data: bytes) -> list[bytes]:
        frames, start = [], 0
        for match in _BLANK_LINE.finditer(data):
            frames.append(_bounded(data[start : match.end()]))
            start = match.end()
        self._hold(data[start:])
        return frames

    def _hold(self, piece: bytes) -> None:
        if piece:
            self._held.append(piece)
            self._size += len(piece)
            self._half = piece.endswith(b"\r")
        if self._size > MAX_FRAME_BYTES:
            raise _too_long()


def frame_data(frame: bytes) -> bytes:
    """Return the joined data lines; empty for comments and events without data."""
    if frame.startswith(b"data: ") and frame.find(b"\n") == len(frame) - 2:
        data = frame[6:-2]
        if b"\r" not in data:
            return data
    return b"\n".join(_values(frame, b"data"))


def frame_event(frame: bytes) -> bytes:
    """Return the event's name, empty where it has none."""
    names = _values(frame, b"event")
    return names[-1] if names else b""


def with_data(frame: bytes, old: bytes, new: bytes) -> bytes:
    """Return the frame with its data `old` exchanged for `new`, which has no line end."""
    head, found, tail = frame.partition(old)
    if found:
        return head + new + tail
    name = frame_event(frame)
    return (b"event: " + name + b"\n" if name else b"") + b"data: " + new + b"\n\n"


def event(name: str, data: bytes) -> bytes:
    """Render one named event."""
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"


def unnamed(data: bytes) -> bytes:
    """Render one event without a name."""
    return b"data: " + data + b"\n\n"


def _values(frame: bytes, field: bytes) -> list[bytes]:
    found = []
    for line in frame.removeprefix(_BOM).splitlines():
        name, _, value = line.partition(b":")
        if name == field:
            found.append(value.removeprefix(b" "))
    return found


def _bounded(frame: bytes) -> bytes:
    if len(frame) > MAX_FRAME_BYTES:
        raise _too_long()
    return frame


def _too_long() -> InvalidAnswerError:
    return InvalidAnswerError("The provider sent an event longer than 1 MiB.")
