"""What real providers said in words that no caller speaks reaches every client dialect whole."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_gateway.adapters import (
    CHAT_ADAPTERS,
    CHAT_UPSTREAMS,
    EMBEDDINGS_UPSTREAMS,
    UPSTREAMS,
    openai_embeddings,
)
from llm_gateway.adapters.framing import framer_for
from llm_gateway.errors import CredentialError, MissingModelError, RejectedError
from llm_gateway.types import Call, Event, Facts
from tests.unit.adapters import recordings as source
from tests.unit.adapters.test_recordings import READ_BY_SDK, counts

ADAPTER_OF = {
    "bedrock.converse": "bedrock_converse",
    "cohere.chat": "cohere",
    "cohere.embed": "cohere_embed",
    "ollama.chat": "ollama",
}
# Words of older endpoints, which are not called.
NOT_CALLED = {"cohere.chat_v1", "ollama.generate"}


class Exchange:
    """One recorded exchange of a provider with a protocol of its own."""

    def __init__(self, path: Path) -> None:
        data = json.loads(path.read_bytes())
        self.id, self.api = str(data["id"]), str(data["api"])
        answer = data["response"]
        self.status: int = answer["status"]
        self.headers: dict[str, str] = answer["headers"]
        self.said: Any = answer["body"]
        self.streamed = isinstance(self.said, str)
        self.adapter = ADAPTER_OF.get(self.api, "")
        self.body = self.said.encode() if self.streamed else json.dumps(self.said).encode()

    def frames(self, *, size: int = 1 << 20) -> list[bytes]:
        framer = framer_for(self.headers["content-type"])
        assert framer is not None
        pieces = [self.body[i : i + size] for i in range(0, len(self.body), size)]
        return [frame for piece in pieces for frame in framer.feed(piece)]

    def events(self, frames: list[bytes] | None = None) -> tuple[list[Event], Facts]:
        upstream = CHAT_UPSTREAMS[self.adapter]
        if not self.streamed:
            return upstream.read_answer(self.body)
        reader = upstream.reader()
        events = [event for frame in frames or self.frames() for event in reader.feed(frame)]
        return events, reader.facts


def exchanges() -> Iterator[Exchange]:
    for path in sorted(source.FOLDER.glob("*.json")):
        if path.name.startswith(("bedrock-", "cohere-", "ollama-")):
            exchange = Exchange(path)
            if exchange.api not in {*source.ADAPTER_OF, *NOT_CALLED}:
                yield exchange


ALL = list(exchanges())
CHATS = [one for one in ALL if one.status == 200 and one.adapter in CHAT_UPSTREAMS]
EMBEDDINGS = [one for one in ALL if one.status == 200 and one.adapter in EMBEDDINGS_UPSTREAMS]
FAILED = [one for one in ALL if one.status != 200]


def over(chosen: list[Exchange]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("exchange", chosen, ids=lambda exchange: exchange.id)


def test_the_recordings_are_here() -> None:
    if not ALL:
        source.absent()
    assert {one.api for one in ALL} == set(ADAPTER_OF)


@over(CHATS)
def test_an_answer_is_read_to_its_end_with_its_usage(exchange: Exchange) -> None:
    events, facts = exchange.events()
    assert facts.complete
    assert facts.content
    assert not facts.skipped
    assert facts.usage is not None
    assert facts.usage.output
    assert not facts.usage_invalid
    assert type(events[-1]).__name__ == "End"


@over([one for one in CHATS if one.streamed])
def test_where_a_stream_is_cut_makes_no_difference(exchange: Exchange) -> None:
    whole = exchange.frames()
    for size in (1, 7, 1000):
        assert exchange.frames(size=size) == whole
    reader = CHAT_UPSTREAMS[exchange.adapter].reader()
    done = [bool(reader.feed(frame)) and reader.facts.complete for frame in whole]
    assert sum(done) == 1, "it is complete with its terminal event alone"
    assert not any(reader.feed(frame) for frame in whole[done.index(True) + 1 :])


@over(CHATS)
def test_every_clients_sdk_reads_what_crossed(exchange: Exchange) -> None:
    events, facts = exchange.events()
    call = Call(
        dialect="any", operation="chat", model="m", body={}, size=1, stream=True, wants_usage=True
    )
    for adapter in CHAT_ADAPTERS.values():
        writer = adapter.writer(call, model="public", request_id="r", created=1)
        stream = b"".join(map(writer.feed, events)) + writer.end()
        body = adapter.render_answer(events, call, model="public", request_id="r", created=1)
        READ_BY_SDK[adapter.name](stream, json.loads(body))
        assert counts(adapter.read_answer(body)[1]) == counts(facts)


@over(EMBEDDINGS)
def test_vectors_cross_with_their_usage(exchange: Exchange) -> None:
    answer, facts = EMBEDDINGS_UPSTREAMS[exchange.adapter].read_answer(exchange.body)
    call = openai_embeddings.parse_call({"model": "m", "input": "x"}, size=1)
    told = json.loads(openai_embeddings.render_answer(answer, call, model="public", request_id="r"))
    assert facts.usage is not None
    assert told["usage"]["prompt_tokens"] == facts.usage.input > 0
    assert told["data"][0]["embedding"] == exchange.said["embeddings"]["float"][0]


KINDS = {400: RejectedError, 401: CredentialError, 403: CredentialError, 404: MissingModelError}


@over(FAILED)
def test_a_providers_error_becomes_what_is_documented(exchange: Exchange) -> None:
    adapter = UPSTREAMS[exchange.adapter]
    error = adapter.parse_error(exchange.status, exchange.headers, exchange.body)
    assert isinstance(error, KINDS[exchange.status])
    said = exchange.said.get("message") or exchange.said.get("error")
    assert (error.message == said) == (exchange.status == 400)
    too_long = exchange.said.get("error_type") == "TOO_MANY_TOKENS"
    assert (error.code == "context_length_exceeded") == too_long
