"""Wherever a stream is cut, its events stay the same; and one that is cut short never looks whole.

Every stream that was recorded or that is a golden case, towards callers of every dialect: in pieces
of one byte, and ended at every byte.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from llm_gateway.adapters import (
    CHAT_ADAPTERS,
    UPSTREAMS,
    eventstream,
    native,
    ndjson,
    openai_completions,
    sse,
)
from llm_gateway.adapters.framing import Framing, framer_for
from llm_gateway.errors import GatewayError, InvalidAnswerError
from llm_gateway.service.answers import Speaking, Translation, translation
from llm_gateway.types import Call, Event, Facts
from tests.unit.adapters import golden, golden_providers, test_recordings_native
from tests.unit.adapters import recordings as source

pytestmark = pytest.mark.promise("F8")

DOORS: dict[str, Any] = {
    **CHAT_ADAPTERS,
    openai_completions.name: openai_completions,
    native.name: native,
}
# What a stream has to say before it may be taken for whole, in the bytes of who sends it.
# Google's has no last event: there it needs a clean end too.
LAST_WORD = {
    "openai_chat": rb"\[DONE\]",
    "openai_completions": rb"\[DONE\]",
    "native": rb"\[DONE\]",
    "anthropic_messages": rb'"type": ?"message_stop"',
    "openai_responses": rb'"type": ?"response\.(completed|incomplete)"',
    "gemini": rb'"(finishReason|blockReason)": ?"',
    "cohere": rb'"type": ?"message-end"',
    "ollama": rb'"done": ?true',
    "bedrock_converse": rb"\x08metadata|metadata",
}


class Stream(NamedTuple):
    """What one provider sent, and who had asked for it."""

    name: str
    adapter: str
    body: bytes
    make: Callable[[], Framing]
    call: Call

    def frames(self) -> list[bytes]:
        framer = self.make()
        frames = framer.feed(self.body)
        assert not framer.rest().strip() or "odd_lines" in self.name
        return frames


NOT_CALLED = {"ollama-generate-s-ollama-streaming-metrics-e06020"}  # an older endpoint
# Some servers give a reason with each event of Gemini's, and it is passed on as it came: only that
# the connection ends cleanly says there that the answer is whole.
SAID_EARLY = {"gemini/stop_in_every_chunk_stream"}
ASKED = Call(
    dialect="any", operation="chat", model="m", body={}, size=1, stream=True, wants_usage=True
)


def recorded_streams() -> Iterator[Stream]:
    for one in source.recordings():
        if one.is_stream:
            yield Stream(one.id, one.adapter, one.raw(), sse.Framer, one.call())
    for exchange in test_recordings_native.ALL:
        if exchange.streamed:
            framer = framer_for(exchange.headers["content-type"])
            assert framer is not None
            yield Stream(exchange.id, exchange.adapter, exchange.body, type(framer), ASKED)


def golden_streams() -> Iterator[Stream]:
    for path in golden.cases():
        if (path / "upstream.sse").exists():
            body = (path / "upstream.sse").read_bytes()
            call = golden.call_of(path)
            yield Stream(golden.name_of(path), path.parent.name, body, sse.Framer, call)
    for case in golden_providers.cases():
        if case.stream is not None:
            yield Stream(case.id, case.upstream.name, *case.stream, ASKED)


STREAMS = [*recorded_streams(), *golden_streams()]
each = pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)


def doors(stream: Stream) -> Iterator[Any]:
    """Yield who may have asked: legacy completions are told to nobody else."""
    if stream.adapter == openai_completions.name:
        yield openai_completions
    else:
        yield from DOORS.values()


class Told(NamedTuple):
    """What a caller got: at once, and once the ledger had committed."""

    head: bytes
    tail: bytes
    facts: dict[str, Any]
    complete: bool


def told(stream: Stream, door: Any, pieces: list[bytes]) -> Told:
    upstream = UPSTREAMS[stream.adapter]
    call = stream.call if door is upstream else ASKED
    way = translation(Speaking(door, upstream, call, "public", "req", 1), stream.make())
    head: list[bytes] = []
    try:
        for piece in pieces:
            head.append(way.feed(piece))
            if way.facts.error is not None:
                break
        else:  # what stands behind the last word has been fed as well, as the gateway does
            head.append(b"" if over(way) else ended(way, stream.make().closing))
    except GatewayError as error:
        assert error is way.facts.error  # noqa: PT017  any other error is a failure
    return Told(b"".join(head), way.tail, plain(way.facts), complete=way.facts.complete)


def over(way: Translation) -> bool:
    return way.facts.complete or way.facts.error is not None


def ended(way: Translation, closing: bytes) -> bytes:
    last = way.feed(closing)
    return last if over(way) else last + way.ended()


@each
def test_pieces_of_one_byte_make_no_difference(stream: Stream) -> None:
    ones = [stream.body[i : i + 1] for i in range(len(stream.body))]
    for door in doors(stream):
        at_once = told(stream, door, [stream.body])
        slowly = told(stream, door, ones)
        assert slowly == at_once
        if stream.name not in SAID_EARLY:
            assert not re.search(LAST_WORD[door.name], slowly.head), door.name
        if slowly.complete:
            assert re.search(LAST_WORD[door.name], slowly.tail), door.name
        else:
            assert slowly.facts["error"]
            assert not slowly.tail


@each
def test_a_stream_that_ends_behind_an_event_is_whole_with_its_last_word_alone(
    stream: Stream,
) -> None:
    frames = stream.frames()
    for count in range(len(frames) + 1):
        facts = facts_of(stream, [*frames[:count], golden.END])
        said = re.search(LAST_WORD[stream.adapter], b"".join(frames[:count]))
        assert facts.complete == (said is not None and facts.error is None), count


@each
def test_a_stream_that_ends_within_an_event_says_no_more_than_before(stream: Stream) -> None:
    """A frame without its end is completed as a provider's last one is; then it says nothing."""
    read = reader(stream)
    for frame in stream.frames():
        before = plain(read.facts)
        for part in parts(stream, frame):
            events = read.feed(part)
            # The relay of completions passes on what says nothing.
            assert not events or stream.adapter == openai_completions.name, part
        assert plain(read.facts) == before, frame
        try:
            list(read.feed(frame))
        except GatewayError:
            break
        if read.facts.complete:
            break


def reader(stream: Stream) -> Any:
    upstream: Any = UPSTREAMS[stream.adapter]
    if stream.adapter == openai_completions.name:
        return openai_completions.relay(stream.call, model="m")
    return upstream.reader()


def facts_of(stream: Stream, frames: list[bytes]) -> Facts:
    read = reader(stream)
    try:
        for frame in frames:
            list[Event](read.feed(frame))
    except GatewayError as error:
        assert error is read.facts.error  # noqa: PT017  any other error is a failure
    facts: Facts = read.facts
    return facts


def parts(stream: Stream, frame: bytes) -> Iterator[bytes]:
    """Yield what each cut within a frame leaves of it, but for those that leave all it says."""
    for position in range(1, len(frame)):
        framer = stream.make()
        try:
            found = framer.feed(frame[:position]) + framer.feed(framer.closing)
        except InvalidAnswerError:
            continue  # a broken message is no end either
        yield from (part for part in found if said(stream, part) != said(stream, frame))


def said(stream: Stream, frame: bytes) -> object:
    if stream.make is eventstream.Framer:
        return eventstream.message(frame)
    return frame.strip() if stream.make is ndjson.Framer else sse.frame_data(frame)


def plain(facts: Facts) -> dict[str, Any]:
    return {**golden.plain(facts), "skipped": None}


def test_streams_of_every_adapter_are_among_them() -> None:
    if not source.FOLDER.is_dir():
        source.absent()
    recorded = {one.name for one in STREAMS if "/" not in one.name}
    assert {one.adapter for one in STREAMS} == set(LAST_WORD) - {"native"}
    assert recorded == set(source.streams_here()) - NOT_CALLED
