"""Write a stream as Google's servers do unless events are asked for: one JSON array, in pieces.

The events of the stream are its elements, byte for byte. A stream that is cut leaves it open.
"""

from llm_gateway.adapters import sse


class JsonArray:
    """Incremental; where the bytes of the stream are cut makes no difference."""

    __slots__ = ("_before", "_framer")

    def __init__(self) -> None:
        self._framer = sse.Framer()
        self._before = b"["

    def feed(self, chunk: bytes) -> bytes:
        """Return the elements completed by `chunk`."""
        pieces = []
        for frame in self._framer.feed(chunk):
            if data := sse.frame_data(frame):
                pieces += [self._before, data]
                self._before = b",\r\n"
        return b"".join(pieces)

    def end(self) -> bytes:
        """Return what closes the array."""
        return b"[]" if self._before == b"[" else b"]"
