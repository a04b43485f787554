"""What real providers said passes through unchanged, and crosses over whole."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import anthropic.types
import jsonschema_rs
import openai.types.chat
import openai.types.responses
import pytest
from google.genai.types import GenerateContentResponse
from openai import omit
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.lib.streaming.responses._responses import ResponseStreamState
from pydantic import TypeAdapter

from llm_gateway.adapters import ADAPTERS, CHAT_ADAPTERS
from llm_gateway.adapters.base import ChatAdapter
from llm_gateway.adapters.crossing import cross
from llm_gateway.adapters.sse import Framer, frame_data
from llm_gateway.errors import GatewayError, InvalidRequestError, RejectedError, UnexpressibleError
from llm_gateway.types import Call, Event, Facts, Quirks
from tests.unit.adapters import recordings as source
from tests.unit.adapters.golden import Bound
from tests.unit.adapters.recordings import Recording

ALL = list(source.recordings())
ANSWERED = [recording for recording in ALL if recording.status == 200 and not recording.breaks]
CHATS = [recording for recording in ANSWERED if recording.is_chat]


def over(chosen: list[Recording]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("recording", chosen, ids=lambda recording: recording.id)


def test_the_recordings_are_here() -> None:
    if not ALL:
        source.absent()
    assert {recording.api for recording in ALL} == set(source.ADAPTER_OF)


# --- the same dialect on both sides


@over(ANSWERED)
def test_an_answer_is_relayed_unchanged_but_for_the_model(recording: Recording) -> None:
    adapter = ADAPTERS[recording.adapter]
    if recording.is_stream:
        relay = CHAT_ADAPTERS[recording.adapter].relay(recording.call(), model="public")
        sent = b"".join(map(relay.feed, recording.frames())).decode()
        assert sent == recording.renamed(relay.facts.model, "public")
        facts = relay.facts
    else:
        sent_body, facts = adapter.relay_answer(recording.raw(), model="public")
        want = {**recording.body}
        if recording.model_field in want:
            want[recording.model_field] = "public"
        assert json.loads(sent_body) == want
    assert facts.complete
    assert not facts.skipped
    assert facts.error is None


@over(ANSWERED)
def test_a_request_is_sent_as_it_came_but_for_the_model(recording: Recording) -> None:
    before = json.dumps(recording.request)
    call = recording.call()
    adapter = ADAPTERS[recording.adapter]
    sent = json.loads(adapter.render_relay(call, Bound(), recording.quirks).body)
    want = as_sent(recording)
    if call.stream and adapter.name == "openai_chat" and recording.quirks.include_usage:
        want["stream_options"] = {**want.get("stream_options", {}), "include_usage": True}
    assert sent == want
    assert json.dumps(recording.request) == before


def as_sent(recording: Recording) -> dict[str, Any]:
    """Return a request under the upstream's name; Gemini's stands in the path."""
    if recording.adapter == "gemini":
        return recording.request
    if recording.adapter == "gemini_embeddings":
        requests = recording.request["requests"]
        return {"requests": [{**one, "model": "models/upstream-name"} for one in requests]}
    return {**recording.request, "model": "upstream-name"}


@over([recording for recording in ALL if recording.status != 200])
def test_a_providers_error_becomes_what_is_documented(recording: Recording) -> None:
    adapter = ADAPTERS[recording.adapter]
    error = adapter.parse_error(recording.status, recording.headers, recording.raw())
    if recording.status in {400, 413, 422}:
        assert isinstance(error, RejectedError)
        assert error.status == recording.status
        assert error.message == recording.body["error"]["message"]
    else:
        assert json.loads(recording.raw())["error"]["message"] not in error.message
    for chat in CHAT_ADAPTERS.values():
        assert chat.render_error(error, request_id="r")["error"]["message"] == error.message


# --- crossing over


def events_of(recording: Recording) -> tuple[list[Event], Facts]:
    adapter = CHAT_ADAPTERS[recording.adapter]
    if not recording.is_stream:
        return adapter.read_answer(recording.raw())
    reader = adapter.reader()
    return [event for frame in recording.frames() for event in reader.feed(frame)], reader.facts


def others(recording: Recording) -> Iterator[ChatAdapter]:
    return (chat for name, chat in CHAT_ADAPTERS.items() if name != recording.adapter)


@over(CHATS)
def test_the_reader_sees_the_facts_that_the_relay_sees(recording: Recording) -> None:
    adapter = CHAT_ADAPTERS[recording.adapter]
    _events, facts = events_of(recording)
    if recording.is_stream:
        relay = adapter.relay(recording.call(), model="m")
        for frame in recording.frames():
            relay.feed(frame)
        assert facts == relay.facts
    else:
        assert facts == adapter.relay_answer(recording.raw(), model="m")[1]


@over(CHATS)
def test_the_sdk_reads_what_crossed_and_streamed_and_whole_agree(recording: Recording) -> None:
    events, facts = events_of(recording)
    for adapter in CHAT_ADAPTERS.values():
        call = as_asked(recording.call())
        writer = adapter.writer(call, model="public", request_id="r", created=1)
        stream = b"".join(map(writer.feed, events)) + writer.end()
        body = adapter.render_answer(events, call, model="public", request_id="r", created=1)
        READ_BY_SDK[adapter.name](stream, json.loads(body))
        _again, crossed = adapter.read_answer(body)
        assert crossed.usage is not None
        told = COUNTED.get(adapter.name, slice(None))
        assert counts(crossed)[told] == counts(facts)[told]


COUNTED = {"gemini": slice(3)}  # it has no word for what the cache took


def counts(facts: Facts) -> tuple[int, ...]:
    usage = facts.usage
    if usage is None:
        return (0, 0, 0, 0)
    return (usage.input, usage.output, usage.cache_read, usage.cache_write + usage.cache_write_1h)


def as_asked(call: Call) -> Call:
    return Call(
        dialect="any", operation="chat", model="m", body={}, size=1, stream=True, wants_usage=True,
        choices=call.choices,
    )  # fmt: skip


def datas(stream: bytes) -> list[bytes]:
    framer = Framer()
    frames = [frame_data(frame) for frame in framer.feed(stream)]
    assert framer.rest() == b""
    return frames


def openai_sdk(stream: bytes, body: dict[str, Any]) -> None:
    *chunks, done = datas(stream)
    assert done == b"[DONE]"
    state = ChatCompletionStreamState()
    for data in chunks:
        state.handle_chunk(openai.types.chat.ChatCompletionChunk.model_validate_json(data))
        conforms("openai.schemas.json", "CreateChatCompletionStreamResponse", json.loads(data))
    put_together: Any = state.current_completion_snapshot.to_dict()
    openai.types.chat.ChatCompletion.model_validate(body)
    conforms("openai.schemas.json", "CreateChatCompletionResponse", body)
    for left, right in zip(put_together["choices"], body["choices"], strict=True):
        for call in left["message"].get("tool_calls") or ():
            call.pop("index", None)
            call["function"].pop("parsed_arguments", None)
        for name, value in right["message"].items():
            assert left["message"].get(name) == value, name
        assert left["finish_reason"] == right["finish_reason"]
    assert put_together.get("usage") in [None, body["usage"]]


def anthropic_sdk(stream: bytes, body: dict[str, Any]) -> None:
    from anthropic.lib.streaming._messages import accumulate_event  # noqa: PLC0415

    snapshot, buffers = None, dict[int, bytes]()
    for data in datas(stream):
        event = event_type().validate_json(data)
        snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)
    assert snapshot is not None
    whole = anthropic.types.Message.model_validate(body, strict=True)
    conforms("anthropic.schemas.json", "Message", body)
    left, right = snapshot.model_dump(), whole.model_dump()
    assert left["content"] == right["content"]
    for name in ("id", "model", "role", "stop_reason", "stop_sequence"):
        assert left[name] == right[name]
    assert left["usage"]["output_tokens"] == right["usage"]["output_tokens"]
    assert left["usage"]["input_tokens"] == right["usage"]["input_tokens"]


@cache
def event_type() -> Any:
    return TypeAdapter(anthropic.types.RawMessageStreamEvent)


def google_sdk(stream: bytes, body: dict[str, Any]) -> None:
    """Read both through the SDK's own types; put together they say the same."""
    whole = GenerateContentResponse.model_validate(body)
    conforms("gemini.schemas.json", "GenerateContentResponse", body)
    parts: dict[int, list[Any]] = {}
    ends: dict[int, Any] = {}
    last = None
    for data in datas(stream):
        last = GenerateContentResponse.model_validate_json(data)
        conforms("gemini.schemas.json", "GenerateContentResponse", json.loads(data))
        for candidate in last.candidates or ():
            number = candidate.index or 0
            said = candidate.content.parts if candidate.content else None
            parts.setdefault(number, []).extend(said or ())
            ends[number] = candidate.finish_reason or ends.get(number)
    assert last is not None
    assert last.usage_metadata == whole.usage_metadata
    assert (last.response_id, last.model_version) == (whole.response_id, whole.model_version)
    for candidate in whole.candidates or ():
        number = candidate.index or 0
        assert ends[number] == candidate.finish_reason
        said = candidate.content.parts if candidate.content else None
        assert told(parts[number]) == told(said or [])


def told(parts: list[Any]) -> list[Any]:
    """Return what parts say: texts, thoughts, calls and signatures, in order."""
    texts = "".join(part.text or "" for part in parts if not part.thought)
    thoughts = "".join(part.text or "" for part in parts if part.thought)
    calls = [part.function_call for part in parts if part.function_call]
    return [texts, thoughts, calls, [p.thought_signature for p in parts if p.thought_signature]]


@cache
def responses_event() -> Any:
    return TypeAdapter(openai.types.responses.ResponseStreamEvent)


def responses_sdk(stream: bytes, body: dict[str, Any]) -> None:
    state = ResponseStreamState(input_tools=omit, text_format=omit)
    last: Any = None
    for number, data in enumerate(datas(stream)):
        said = json.loads(data)
        assert said["sequence_number"] == number
        conforms("openai.schemas.json", "ResponseStreamEvent", said)
        *_, last = state.handle_event(responses_event().validate_json(data))
    whole = openai.types.responses.Response.model_validate(body, strict=True)
    conforms("openai.schemas.json", "Response", body)
    put_together = last.response.to_dict()
    for item in put_together["output"]:
        for part in (item, *(item.get("content") or ())):
            part.pop("parsed", None)
            part.pop("parsed_arguments", None)
    assert put_together == whole.to_dict()


READ_BY_SDK = {
    "openai_chat": openai_sdk,
    "anthropic_messages": anthropic_sdk,
    "gemini": google_sdk,
    "openai_responses": responses_sdk,
}


# --- requests across

LIMIT = 12345  # no recording asks for it
SPECS = {
    "openai_chat": ("openai.schemas.json", "CreateChatCompletionRequest"),
    "anthropic_messages": ("anthropic.schemas.json", "CreateMessageParams"),
    "gemini": ("gemini.schemas.json", "GenerateContentRequest"),
    "openai_responses": ("openai.schemas.json", "CreateResponse"),
}
# Objects whose fields are what other dialects say at the top: each of them is tried by itself.
NESTED = {"generationConfig"}
CONTENTS = {"messages", "contents", "input"}
# What says nothing to a target of the other dialect, as the adapters document.
NOT_CROSSING: dict[str, tuple[object, ...]] = {
    "stream": (False,),
    "tools": ([],),
    "presence_penalty": (0.0,),
    "frequency_penalty": (0.0,),
    "n": (1,),
    "system": ("", []),
    "instructions": ("",),
    "include": ([], ["reasoning.encrypted_content"]),
    "store": (False,),
    "service_tier": ("auto",),
    "text": ({"format": {"type": "text"}},),
    "stream_options": ({"include_usage": True}, {"include_usage": False}),
    "thinking": (
        {"type": "disabled"}, {"type": "adaptive"}, {"type": "adaptive", "display": "summarized"},
    ),
    "thinkingConfig": ({"thinking_budget": 0},),
    "tool_choice": ("auto", {"type": "auto"}),
    "systemInstruction": ({"parts": {"text": ""}},),
    "responseModalities": (["TEXT"],),
}  # fmt: skip
Place = tuple[str, ...]


@over(CHATS)
def test_every_field_is_carried_or_refused_by_name(recording: Recording) -> None:
    adapter = CHAT_ADAPTERS[recording.adapter]
    for other in others(recording):
        body, refused = without_refused(adapter, other, recording.request)
        if refused & CONTENTS:
            continue  # what crossed is nothing
        for place, value in places(body):
            if value is None or value in NOT_CROSSING.get(place[-1], ()):
                continue
            less = without(body, place)
            assert crossed(adapter, other, less) != crossed(adapter, other, body), place


@over(CHATS)
def test_a_request_that_crossed_is_valid_there(recording: Recording) -> None:
    adapter = CHAT_ADAPTERS[recording.adapter]
    for other in others(recording):
        body, refused = without_refused(adapter, other, recording.request)
        sent = crossed(adapter, other, body)
        if not refused & CONTENTS:
            conforms(*SPECS[other.name], json.loads(sent.partition(b"\n")[2]))


def places(body: dict[str, Any]) -> Iterator[tuple[Place, Any]]:
    """Yield each field that is to be carried or refused, with what it says."""
    for name, value in body.items():
        if name in NESTED:
            yield from (((name, inner), item) for inner, item in value.items())
        else:
            yield (name,), value


def without(body: dict[str, Any], place: Place) -> dict[str, Any]:
    name, *inner = place
    if inner:
        return {**body, name: without(body[name], (*inner,))}
    return {key: item for key, item in body.items() if key != name}


def without_refused(
    adapter: ChatAdapter, other: ChatAdapter, body: dict[str, Any]
) -> tuple[dict[str, Any], set[str]]:
    """Return the body without the fields that are refused, and their names."""
    refused: set[str] = set()
    while place := refusal(adapter, other, body):
        refused.add(place[0])
        if place[0] in CONTENTS:
            break
        assert place in dict(places(body)), "what is refused is named in the caller's words"
        body = without(body, place)
    return body, refused


def refusal(adapter: ChatAdapter, other: ChatAdapter, body: dict[str, Any]) -> Place | None:
    """Return the field that is refused, if one is."""
    try:
        request = adapter.parse_request(body)
        cross(adapter, other, request, Quirks(), default_max_tokens=LIMIT)
    except UnexpressibleError as error:
        names = [name.partition("[")[0] for name in str(error.param).split(".")]
        return tuple(names[: 1 + (names[0] in NESTED)])
    return None


def crossed(adapter: ChatAdapter, other: ChatAdapter, body: dict[str, Any]) -> bytes:
    """Return path and body of the request as it is sent, in a line each."""
    try:
        request = adapter.parse_request(body)
        sent = cross(adapter, other, request, Quirks(), default_max_tokens=LIMIT)
        return sent.path.encode() + b"\n" + sent.body
    except InvalidRequestError as error:
        return f"refused: {error.param}".encode()


@cache
def schema(file: str, name: str) -> jsonschema_rs.Validator:
    return source.validator(file, name)


def conforms(file: str, name: str, value: object) -> None:
    for error in schema(file, name).iter_errors(value):
        pytest.fail(f"{error.instance_path}: {error.message}"[:500])


@over(CHATS)
def test_events_of_one_dialect_never_break_the_other(recording: Recording) -> None:
    events, _facts = events_of(recording)
    for other in others(recording):
        writer = other.writer(recording.call(), model="m", request_id="r")
        reader = other.reader()
        frames = Framer().feed(b"".join(map(writer.feed, events)) + writer.end())
        for frame in [*frames, source.END]:
            try:
                reader.feed(frame)
            except GatewayError as error:
                pytest.fail(str(error))
        assert reader.facts.complete
