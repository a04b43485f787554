"""Choose how a stream is written where a path lets the caller choose: events or a JSON array."""

from collections.abc import AsyncIterator

from llm_gateway.adapters.gemini.array import JsonArray
from llm_gateway.edge.http import JSON, SSE, HTTPScope

_EVENTS = frozenset({b"alt=sse", b"$alt=sse"})


def as_asked(
    scope: HTTPScope, chunks: AsyncIterator[bytes]
) -> tuple[tuple[bytes, bytes], AsyncIterator[bytes]]:
    """Return the content type and the bytes of a stream of events."""
    if _EVENTS.isdisjoint(scope["query_string"].split(b"&")):
        return JSON, _array(chunks)
    return SSE, chunks


async def _array(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the events as elements of an array, which is left open where the stream breaks."""
    array = JsonArray()
    async for chunk in chunks:
        if piece := array.feed(chunk):
            yield piece
    yield array.end()
