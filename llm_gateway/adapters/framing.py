"""Choose how a stream is cut into frames: by the content type that it says it has."""

from typing import Protocol

from llm_gateway.adapters import eventstream, ndjson, sse


class Framing(Protocol):
    """Cuts bytes into frames; where they were cut before makes no difference.

    `closing` are the bytes that complete a last frame whose own end was left out.
    """

    closing: bytes

    def feed(self, chunk: bytes) -> list[bytes]: ...
    def rest(self) -> bytes: ...


_FRAMERS: dict[str, type[Framing]] = {
    "text/event-stream": sse.Framer,
    "application/x-ndjson": ndjson.Framer,
    "application/vnd.amazon.eventstream": eventstream.Framer,
}


def framer_for(content_type: str) -> Framing | None:
    """Return a new framer, None for an answer that is no stream."""
    framer = _FRAMERS.get(content_type.partition(";")[0].rstrip().lower())
    return None if framer is None else framer()
