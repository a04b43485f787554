"""What is peculiar to Gemini's dialect: its names, its streams without an end, its signatures."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from llm_gateway import errors
from llm_gateway.adapters import anthropic_messages, gemini, openai_chat
from llm_gateway.adapters.base import ChatAdapter
from llm_gateway.adapters.crossing import cross
from llm_gateway.adapters.gemini.array import JsonArray
from llm_gateway.adapters.gemini.call import path_of
from llm_gateway.adapters.gemini.schema import json_schema
from llm_gateway.adapters.gemini.signatures import Foreign, unwrap, wrap
from llm_gateway.adapters.sse import Framer
from llm_gateway.errors import InvalidRequestError, UnexpressibleError
from llm_gateway.types import Call, Quirks, Usage
from tests.unit.adapters import golden

HI: dict[str, Any] = {"contents": [{"parts": [{"text": "hi"}]}]}
CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
STREAMS = sorted(
    path for path in golden.ROOT.glob("gemini/*/upstream.sse") if path.parent.name != "odd_lines"
)
each_stream = pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.parent.name)


class Bounded:
    upstream_name = "up"
    max_output_tokens = 77


def call_of(body: dict[str, Any], **named: Any) -> Call:
    return gemini.parse_call(body, size=1, **{"model": "m", **named})


def to_gemini(source: ChatAdapter = openai_chat, quirks: Quirks | None = None, **body: Any) -> Any:
    request = source.parse_request(body)
    out = cross(source, gemini, request, quirks or Quirks(), default_max_tokens=500)
    return json.loads(out.body)


def from_gemini(target: ChatAdapter, **body: Any) -> Any:
    request = gemini.parse_request(body)
    return json.loads(cross(gemini, target, request, Quirks(), default_max_tokens=500).body)


# --- a stream without an end


@each_stream
def test_nothing_that_tells_the_end_passes_before_it(path: Path) -> None:
    relay = gemini.relay(call_of(HI, stream=True), model="m")
    frames = Framer().feed(path.read_bytes())
    passed = b"".join(map(relay.feed, frames))
    before = relay.facts.complete
    last = relay.feed(golden.END)
    assert not before
    if relay.facts.error is None:
        assert relay.facts.complete
        assert last
        # Some say "STOP" all along: then the last that says something is kept, and what follows.
        if "stop_in_every_chunk" not in str(path):
            assert b"finishReason" not in passed
            assert b"blockReason" not in passed


@each_stream
def test_a_stream_that_is_cut_anywhere_is_not_whole(path: Path) -> None:
    body = path.read_bytes()
    frames = Framer().feed(body)
    ends = [position for position in range(len(body)) if position % 7 == 0]
    for end in ends:
        framer = Framer()
        whole = framer.feed(body[:end])
        seen, _facts = golden.read(gemini, [*whole, golden.END])
        said_so = any(b"finishReason" in one or b"blockReason" in one for one in whole)
        finished = any(type(event).__name__ == "End" for event in seen)
        assert said_so or not finished
    assert len(frames) > 0


def test_usage_before_the_end_is_no_more_than_a_beginning() -> None:
    reader = gemini.reader()
    part = {"candidates": [{"content": {"parts": [{"text": "a"}]}}]}
    usage = {"promptTokenCount": 3, "candidatesTokenCount": 1}
    reader.feed(frame({**part, "usageMetadata": usage}))
    assert reader.facts.usage == Usage(input=3, output=1, estimated=True)
    reader.feed(frame({"candidates": [{"finishReason": "STOP"}]}))
    reader.feed(golden.END)
    assert reader.facts.usage == Usage(input=3, output=1)


def test_tokens_of_thoughts_tools_and_media_are_counted_where_they_belong() -> None:
    body = {
        "candidates": [{"finishReason": "STOP"}],
        "usageMetadata": {
            "promptTokenCount": 100, "toolUsePromptTokenCount": 20, "candidatesTokenCount": 7,
            "thoughtsTokenCount": 30, "cachedContentTokenCount": 40, "totalTokenCount": 157,
            "promptTokensDetails": [
                {"modality": "AUDIO", "tokenCount": 5}, {"modality": "IMAGE", "tokenCount": 6},
            ],
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 2}],
        },
    }  # fmt: skip
    _relayed, facts = gemini.relay_answer(json.dumps(body).encode(), model="m")
    assert facts.usage == Usage(
        input=120, output=37, cache_read=40, reasoning=30, audio_input=5, image_input=6,
        image_output=2,
    )  # fmt: skip


def test_an_answer_is_ended_at_its_hold() -> None:
    call = call_of({**HI, "generationConfig": {"candidateCount": 2}}, stream=True)
    relay = gemini.relay(call, model="public")
    relay.feed(frame({"candidates": [{"content": {"parts": [{"text": "a"}]}}], "responseId": "r"}))
    data = relay.cut_short(call, Usage(input=3, output=9), created=1).removeprefix(b"data: ")
    ended = json.loads(data)
    assert [one["finishReason"] for one in ended["candidates"]] == ["MAX_TOKENS"] * 2
    assert ended["usageMetadata"]["totalTokenCount"] == 12
    assert (ended["modelVersion"], ended["responseId"]) == ("public", "r")
    over = frame({"candidates": [{"content": {"parts": [{"text": "b"}]}, "finishReason": "STOP"}]})
    single = gemini.relay(call, model="public")
    assert single.feed(over) == b""
    assert single.cut_short(call, Usage(), created=1) == over


def test_a_stream_that_comes_as_an_array_is_read() -> None:
    pieces = [
        {"candidates": [{"content": {"parts": [{"text": text}]}, **end}]}
        for text, end in (("a", {}), ("b", {"finishReason": "STOP"}))
    ]
    events, facts = gemini.read_answer(json.dumps(pieces).encode())
    assert [event.text for event in events if hasattr(event, "text")] == ["a", "b"]
    assert facts.complete
    with pytest.raises(errors.InvalidAnswerError):
        gemini.relay_answer(json.dumps(pieces).encode(), model="m")


@each_stream
def test_an_array_holds_the_events_wherever_their_bytes_were_cut(path: Path) -> None:
    body = path.read_bytes()
    array = JsonArray()
    pieces = b"".join(array.feed(body[i : i + 1]) for i in range(len(body))) + array.end()
    lines = [line for line in body.decode().splitlines() if line.startswith("data: ")]
    assert json.loads(pieces) == [json.loads(line.removeprefix("data: ")) for line in lines]
    assert JsonArray().end() == b"[]"


def frame(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\r\n\r\n"


# --- what steers


def test_the_path_names_the_model_whatever_the_body_says() -> None:
    call = call_of({**HI, "model": "models/other"}, model="models/asked")
    assert call.model == "asked"
    sent = gemini.render_relay(call, Bounded(), Quirks())
    assert sent.path == "/v1beta/models/up:generateContent"
    assert json.loads(sent.body)["model"] == "models/up"
    with pytest.raises(InvalidRequestError):
        gemini.parse_call(HI, size=1)


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-2.5-pro", "/v1beta/models/gemini-2.5-pro:m"),
        ("models/x", "/v1beta/models/x:m"),
        ("tunedModels/x", "/v1beta/tunedModels/x:m"),
        ("rec:some-id", "/v1beta/models/rec:some-id:m"),
        ("a/b c?d#e", "/v1beta/models/a%2Fb%20c%3Fd%23e:m"),
    ],
)
def test_a_model_stays_in_its_place_of_the_path(model: str, path: str) -> None:
    assert path_of(model, "m") == path


@pytest.mark.parametrize("config", ["generationConfig", "generation_config"])
@pytest.mark.parametrize("field", ["maxOutputTokens", "max_output_tokens"])
def test_a_limit_is_set_where_it_stands(config: str, field: str) -> None:
    call = call_of({**HI, config: {field: 9000, "topK": 3}}, stream=True)
    assert call.max_output_tokens == 9000
    sent = gemini.render_relay(call, Bounded(), Quirks())
    assert json.loads(sent.body)[config] == {field: 77, "topK": 3}
    assert sent.path.endswith(":streamGenerateContent?alt=sse")


def test_a_limit_is_added_where_none_stands() -> None:
    sent = json.loads(gemini.render_relay(call_of(HI), Bounded(), Quirks()).body)
    assert sent == {**HI, "generationConfig": {"maxOutputTokens": 77}}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"api_key": "x"}, "api_key"), ({"generationConfig": {"base_url": "x"}}, "base_url"),
        ({"Contents": []}, "Contents"), ({"GenerationConfig": {}}, "GenerationConfig"),
        ({"generationConfig": []}, "generationConfig"),
        ({"generationConfig": {}, "generation_config": {}}, "generationConfig"),
        ({"generationConfig": {"maxOutputTokens": 0}}, "maxOutputTokens"),
        ({"generationConfig": {"maxOutputTokens": 1, "max_output_tokens": 2}}, "maxOutputTokens"),
        ({"generationConfig": {"candidateCount": "2"}}, "candidateCount"),
        ({"generationConfig": {"candidateCount": 999}}, "candidateCount"),
        ({"generationConfig": {"stopSequences": "x"}}, "stopSequences"),
        ({"generationConfig": {"thinkingConfig": 5}}, "thinkingConfig"),
    ],
)  # fmt: skip
def test_what_steers_wrongly_is_refused_by_name(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        call_of({**HI, **body})
    assert param in str(caught.value.param)


def test_what_a_request_needs_and_holds_is_seen() -> None:
    body = {
        "contents": [
            {"parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]},
            {"parts": {"fileData": {"fileUri": "gs://x", "mimeType": "application/pdf"}}},
            {"parts": [{"inline_data": {"mime_type": "audio/wav", "data": "AAAAAA"}}]},
            {"parts": [{"inlineData": {"mimeType": "video/mp4", "data": "AAAAAAAA"}}]},
            {"parts": [{"functionResponse": {"name": "f", "parts": [
                {"inlineData": {"mimeType": "image/png", "data": "AA"}}]}}]},
        ],
        "tools": [{"functionDeclarations": [{"name": "f"}]}, {"google_search": {}}],
        "generationConfig": {
            "responseJsonSchema": {}, "thinkingConfig": {"thinkingLevel": "LOW"},
            "candidateCount": 3,
        },
    }  # fmt: skip
    call = call_of(body, stream=True)
    assert call.needs == {"chat", "stream", "tools", "vision", "json_schema", "reasoning"}
    held = (call.images, call.documents, call.audio, call.media_bytes)
    assert held == (2, 1, 1, 4 + 6 + 2)
    assert call.units == {"audio_input_token", "tool_call"}
    assert call.unsized == "fileData"
    assert (call.items, call.choices, call.searches) == (6, 3, 20)


def test_a_question_for_tokens_may_hold_a_whole_request() -> None:
    asked = {"model": "models/x", "contents": HI["contents"], "systemInstruction": {"parts": []}}
    call = call_of({"generateContentRequest": asked}, operation="count_tokens")
    sent = gemini.render_relay(call, Bounded(), Quirks())
    assert sent.path == "/v1beta/models/up:countTokens"
    assert json.loads(sent.body) == {"generateContentRequest": {**asked, "model": "models/up"}}
    assert gemini.parse_request(call.body).messages == gemini.parse_request(HI).messages
    request = openai_chat.parse_request(CHAT)
    counted = json.loads(gemini.render_count(request, Quirks()).body)
    assert counted["generateContentRequest"]["model"] == "models/m"
    assert gemini.read_count(b'{"totalTokens": 9}') == 9
    with pytest.raises(errors.InvalidAnswerError):
        gemini.read_count(b"{}")


# --- signatures


@pytest.mark.parametrize("signature", ["c2ln+/8=", "not base64 at all", "ключ", ""])
def test_a_foreign_signature_comes_back_byte_for_byte(signature: str) -> None:
    wrapped = wrap(Foreign(signature=signature))
    through_googles_sdk = base64.urlsafe_b64encode(base64.b64decode(wrapped)).decode()
    for value in (wrapped, through_googles_sdk):
        assert unwrap(value) == Foreign(signature=signature)
    assert wrap(Foreign(signature=wrapped)) == wrapped
    assert unwrap(wrap(Foreign(redacted=signature))) == Foreign(redacted=signature)


@pytest.mark.parametrize("value", ["c2ln", "EsQBCsEB-_8=", "no base64!", "", "bW9iaXVz"])
def test_a_signature_of_googles_is_nobody_elses(value: str) -> None:
    assert unwrap(value) is None


def test_foreign_thinking_is_put_together_wherever_a_client_moved_its_signature() -> None:
    wrapped = wrap(Foreign(signature="c2ln"))
    thinking = {"type": "thinking", "thinking": "Hm, so.", "signature": "c2ln"}
    call = {"functionCall": {"name": "f", "id": "c"}}
    variants: list[list[Any]] = [
        [{"text": "Hm, so.", "thought": True, "thoughtSignature": wrapped}, call],
        [{"text": "Hm,", "thought": True}, {"text": " so.", "thought": True},
         {"text": "", "thought": True, "thoughtSignature": wrapped}, call],
        [{"text": "Hm, so.", "thought": True}, {**call, "thoughtSignature": wrapped}],
    ]  # fmt: skip
    for parts in variants:
        sent = from_gemini(anthropic_messages, contents=[{"role": "model", "parts": parts}])
        assert sent["messages"][0]["content"][0] == thinking
        assert sent["messages"][0]["content"][1]["type"] == "tool_use"


def test_what_google_signed_is_refused_to_everybody_else() -> None:
    signed = {"functionCall": {"name": "f"}, "thoughtSignature": "c2ln"}
    for part in (signed, {"text": "a", "thoughtSignature": "c2ln"}):
        for target in (openai_chat, anthropic_messages):
            with pytest.raises(UnexpressibleError) as caught:
                from_gemini(target, contents=[{"role": "model", "parts": [part]}])
            assert caught.value.param == "contents[].parts[].thoughtSignature"


def test_a_signature_without_a_call_behind_it_stays_where_it_stood() -> None:
    blocks = [
        {"type": "thinking", "thinking": "", "signature": "b25l"},
        {"type": "thinking", "thinking": "Hm", "signature": "dHdv"},
        {"type": "text", "text": "42"},
        {"type": "thinking", "thinking": "", "signature": "dGhyZWU="},
        {"type": "tool_use", "id": "c", "name": "f", "input": {}},
    ]
    sent = to_gemini(
        anthropic_messages, model="m", max_tokens=9,
        messages=[{"role": "assistant", "content": blocks}],
    )  # fmt: skip
    assert sent["contents"][0]["parts"] == [
        {"text": "", "thoughtSignature": "b25l"},
        {"text": "Hm", "thought": True, "thoughtSignature": "dHdv"},
        {"text": "42"},
        {"functionCall": {"id": "c", "name": "f", "args": {}}, "thoughtSignature": "dGhyZWU="},
    ]


# --- words


@pytest.mark.parametrize(
    "fields",
    [
        {"logit_bias": {"5": 1}}, {"user": "u"}, {"metadata": {"a": "b"}}, {"new_parameter": 1},
        {"stop": list("abcdef")}, {"reasoning_effort": "unheard"}, {"service_tier": "scale"},
        {"parallel_tool_calls": False, "tools": [{"type": "function", "function": {"name": "f"}}]},
        {"messages": [{"role": "user", "name": "n", "content": "x"}]},
        {"messages": [{"role": "tool", "tool_call_id": "nobody's", "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"filename": "x"}}]}]},
        {"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "https://x/a", "detail": "original"}}]}]},
        {"messages": [{"role": "assistant", "thinking_blocks": [
            {"type": "redacted_thinking", "data": "eA=="}]}]},
    ],
)  # fmt: skip
def test_what_gemini_has_no_word_for_is_refused_by_name(fields: dict[str, Any]) -> None:
    with pytest.raises(UnexpressibleError) as caught:
        to_gemini(**{**CHAT, **fields})
    assert str(caught.value.param).startswith(next(iter(fields)))


def test_what_only_google_knows_passes_from_any_dialect_where_the_row_says_so() -> None:
    settings = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
    quirks = Quirks(extras=frozenset({"safetySettings"}))
    sent = to_gemini(quirks=quirks, **CHAT, safetySettings=settings)
    assert sent["safetySettings"] == settings
    with pytest.raises(UnexpressibleError):
        to_gemini(**CHAT, safetySettings=settings)


@pytest.mark.parametrize(
    ("fields", "config"),
    [
        ({"reasoning_effort": "none"}, {"thinkingBudget": 0}),
        ({"reasoning_effort": "low"}, {"thinkingBudget": 1024, "includeThoughts": True}),
        ({"reasoning_effort": "max"}, {"thinkingBudget": 32768, "includeThoughts": True}),
    ],
)
def test_effort_becomes_a_budget(fields: dict[str, Any], config: dict[str, Any]) -> None:
    assert to_gemini(**CHAT, **fields)["generationConfig"]["thinkingConfig"] == config


@pytest.mark.parametrize(
    ("thinking", "effort"),
    [
        ({"thinkingLevel": "HIGH"}, "high"), ({"thinking_level": "low"}, "low"),
        ({"thinkingLevel": "THINKING_LEVEL_MEDIUM"}, "medium"), ({"thinkingBudget": 9000}, "high"),
        ({"thinkingBudget": -1}, None), ({"includeThoughts": True}, None), ({}, None),
        ({"thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"}, None),
    ],
)  # fmt: skip
def test_a_level_or_budget_becomes_effort(thinking: dict[str, Any], effort: str | None) -> None:
    sent = from_gemini(openai_chat, **HI, generationConfig={"thinkingConfig": thinking})
    assert sent.get("reasoning_effort") == effort


@pytest.mark.parametrize(
    ("choice", "strict", "calling"),
    [
        (None, False, None), ("auto", False, {"mode": "AUTO"}), ("none", True, {"mode": "NONE"}),
        ("required", True, {"mode": "ANY"}), (None, True, {"mode": "VALIDATED"}),
        ("auto", True, {"mode": "VALIDATED"}),
        (
            {"type": "function", "function": {"name": "f"}}, False,
            {"mode": "ANY", "allowedFunctionNames": ["f"]},
        ),
    ],
)  # fmt: skip
def test_a_choice_of_tools_becomes_a_mode(choice: Any, strict: bool, calling: Any) -> None:
    tools = [{"type": "function", "function": {"name": "f", "strict": strict}}]
    asked = {"tool_choice": choice} if choice else {}
    sent = to_gemini(**CHAT, tools=tools, **asked)
    assert (sent.get("toolConfig") or {}).get("functionCallingConfig") == calling


@pytest.mark.parametrize(
    ("calling", "choice"),
    [
        ({"mode": "AUTO"}, "auto"), ({"mode": "none"}, "none"), ({"mode": "ANY"}, "required"),
        ({"mode": "ANY", "allowedFunctionNames": ["f", "g"]}, "required"),
        ({"mode": "MODE_UNSPECIFIED"}, None), ({"mode": "VALIDATED"}, None),
        (
            {"mode": "ANY", "allowed_function_names": "g"},
            {"type": "function", "function": {"name": "g"}},
        ),
    ],
)  # fmt: skip
def test_a_mode_becomes_a_choice_of_tools(calling: Any, choice: Any) -> None:
    tools = [{"functionDeclarations": [{"name": name} for name in "fg"]}]
    config = {"functionCallingConfig": calling}
    sent = from_gemini(openai_chat, **HI, tools=tools, toolConfig=config)
    assert sent.get("tool_choice") == choice


def test_validated_calls_are_those_of_strict_tools_that_take_nothing_undeclared() -> None:
    town = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    named = {"town": town, "towns": {"type": "array", "items": town}}
    free = {"type": "object"}
    open_ = {"type": "object", "properties": {**named, "free": free, "all": {"allOf": [town]}}}
    tools = [
        {"functionDeclarations": [{"name": "f", "parametersJsonSchema": open_}, {"name": "g"}]}
    ]
    config = {"functionCallingConfig": {"mode": "VALIDATED"}}
    sent = from_gemini(openai_chat, **HI, tools=tools, toolConfig=config)
    first, second = (tool["function"] for tool in sent["tools"])
    assert first["strict"] is second["strict"] is True
    assert "parameters" not in second
    closed = {**town, "additionalProperties": False}
    assert first["parameters"] == {
        "type": "object",
        "properties": {
            "town": closed,
            "towns": {"type": "array", "items": closed},
            "free": free,
            "all": {"allOf": [town]},
        },
        "additionalProperties": False,
    }


def test_filters_that_are_off_need_no_word_elsewhere() -> None:
    settings = [
        {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"},
        {"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "BLOCK_NONE"},
    ]
    assert from_gemini(openai_chat, **HI, safetySettings=settings) == from_gemini(openai_chat, **HI)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tools": [{"googleSearch": {}}]}, "tools[0].googleSearch"),
        ({"safetySettings": [{"category": "x"}]}, "safetySettings"),
        ({"safetySettings": {"threshold": "BLOCK_ONLY_HIGH"}}, "safetySettings"),
        ({"safetySettings": "off"}, "safetySettings"),
        ({"cached_content": "cachedContents/x"}, "cachedContent"),
        ({"labels": {"a": "b"}}, "labels"), ({"serviceTier": "unheard"}, "serviceTier"),
        ({"generationConfig": {"speechConfig": {}}}, "generationConfig.speechConfig"),
        (
            {"generationConfig": {"responseMimeType": "text/x.enum"}},
            "generationConfig.responseMimeType",
        ),
        (
            {"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [
                "f", "g"]}}, "tools": [{"functionDeclarations": [{"name": n} for n in "fgh"]}]},
            "toolConfig.functionCallingConfig.allowedFunctionNames",
        ),
        (
            {"contents": [{"parts": [{"inlineData": {"mimeType": "video/mp4", "data": "A"}}]}]},
            "contents[0].parts[0].inlineData.mimeType",
        ),
        (
            {"contents": [{"parts": [{"fileData": {"fileUri": "f/x", "mimeType": "image/a"}}]}]},
            "contents[0].parts[0].fileData.fileUri",
        ),
        (
            {"contents": [{"parts": [{"executableCode": {"code": "1"}}]}]},
            "contents[0].parts[0].executableCode",
        ),
        (
            {"contents": [{"parts": [{"functionResponse": {"name": "f", "parts": [
                {"inlineData": {"mimeType": "audio/wav", "data": "A"}}]}}]}]},
            "contents[0].parts[0].functionResponse.parts[0].inlineData",
        ),
    ],
)  # fmt: skip
def test_what_only_google_has_is_refused_by_its_path(body: dict[str, Any], param: str) -> None:
    for target in (openai_chat, anthropic_messages):
        with pytest.raises(UnexpressibleError) as caught:
            from_gemini(target, **{**HI, **body})
        assert caught.value.param == param


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"contents": [{"role": "system", "parts": []}]}, "contents[0].role"),
        ({"contents": "hi"}, "contents"), ({"tools": [{"functionDeclarations": [{}]}]}, "tools"),
        ({"contents": [{"parts": [{"text": 5}]}]}, "contents[0].parts[0].text"),
        ({"contents": [{"parts": [{"thought": 1, "text": ""}]}]}, "contents[0].parts[0].thought"),
        ({"contents": [{"parts": [{"functionCall": {}}]}]}, "contents[0].parts[0].functionCall"),
        (
            {"contents": [{"parts": [{"inlineData": {}, "inline_data": {}}]}]},
            "contents[0].parts[0].inlineData",
        ),
        ({"generationConfig": {"responseSchema": {"type": "STRING"}}}, "generationConfig"),
        ({"toolConfig": {"functionCallingConfig": {"mode": "SOME"}}}, "toolConfig"),
    ],
)  # fmt: skip
def test_a_body_that_is_not_understood_names_the_place(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        from_gemini(openai_chat, **{**HI, **body})
    assert str(caught.value.param).startswith(param)


def test_media_crosses_inline_and_by_address() -> None:
    parts = [
        {"inlineData": {"mimeType": "audio/mpeg", "data": "AA"}},
        {"fileData": {"fileUri": "https://x.example/a.png"}},
        {"inlineData": {"mimeType": "image/png", "data": "BB"},
         "mediaResolution": {"level": "MEDIA_RESOLUTION_HIGH"}},
    ]  # fmt: skip
    sent = from_gemini(openai_chat, contents=[{"role": "user", "parts": parts}])
    said = sent["messages"][0]["content"]
    assert said == [
        {"type": "input_audio", "input_audio": {"data": "AA", "format": "mp3"}},
        {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,BB", "detail": "high"}},
    ]
    back = to_gemini(model="m", messages=[{"role": "user", "content": said}])
    assert back["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "audio/mp3", "data": "AA"}},
        {"fileData": {"fileUri": "https://x.example/a.png", "mimeType": "image/png"}},
        parts[2],
    ]


def test_what_a_tool_shows_crosses_inline() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A"}}
    called = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
    messages = [
        {"role": "assistant", "content": [called]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "c", "is_error": True, "content": [
                {"type": "text", "text": "See:"}, image]},
            {"type": "text", "text": "Well?"}]},
    ]  # fmt: skip
    sent = to_gemini(anthropic_messages, model="m", max_tokens=9, messages=messages)
    shown = {"inlineData": {"mimeType": "image/png", "data": "A"}}
    response = {"id": "c", "name": "f", "response": {"error": "See:"}, "parts": [shown]}
    assert sent["contents"][1:] == [
        {"role": "user", "parts": [{"functionResponse": response}]},
        {"role": "user", "parts": [{"text": "Well?"}]},
    ]
    back = from_gemini(anthropic_messages, contents=sent["contents"])
    (result,) = back["messages"][1]["content"][:1]
    assert result["is_error"] is True
    assert result["content"] == [{"type": "text", "text": "See:"}, image]


def test_a_schema_in_googles_words_becomes_one_in_everybodys() -> None:
    theirs = {
        "type": "OBJECT", "property_ordering": ["b", "a"], "nullable": True, "minProperties": "1",
        "properties": {
            "a": {"type": "ARRAY", "items": {"type": "STRING", "max_length": "5"}},
            "b": {"any_of": [{"type": "INTEGER"}], "nullable": True},
            "camel_case": {"type": "NUMBER", "nullable": False, "enum": [1, 2]},
        },
    }  # fmt: skip
    ours = json_schema(theirs)
    assert ours == {
        "type": ["object", "null"], "minProperties": 1,
        "properties": {
            "b": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "a": {"type": "array", "items": {"type": "string", "maxLength": 5}},
            "camel_case": {"type": "number", "enum": [1, 2]},
        },
    }  # fmt: skip
    assert list(ours["properties"]) == ["b", "a", "camel_case"]


# --- errors


def test_a_bad_key_of_ours_is_no_fault_of_the_caller() -> None:
    detail = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
    said = {"error": {"code": 400, "message": "API key not valid.", "details": [detail]}}
    error = gemini.parse_error(400, {}, json.dumps(said).encode())
    assert isinstance(error, errors.CredentialError)
    assert "API key" not in error.message


@pytest.mark.parametrize(
    ("delay", "header", "seconds"),
    [("48s", {}, 48), ("0.5s", {}, 0.5), ("48s", {"retry-after": "3"}, 3), ("soon", {}, None)],
)
def test_a_wait_is_read_from_the_details(delay: str, header: Any, seconds: float | None) -> None:
    detail = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
    said = {"error": {"code": 429, "message": "m", "details": [detail, 5]}}
    for body in (said, [said]):
        error = gemini.parse_error(429, header, json.dumps(body).encode())
        assert error.retry_after_s == seconds


def test_a_context_that_is_too_long_is_known_by_words() -> None:
    text = "The input token count (9) exceeds the maximum number of tokens allowed (8)."
    error = gemini.parse_error(400, {}, json.dumps({"error": {"message": text}}).encode())
    assert error.code == "context_length_exceeded"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": 503, "status": "UNAVAILABLE"}, errors.UnavailableError),
        ({"status": "RESOURCE_EXHAUSTED"}, errors.ThrottledError),
        ({"code": 7}, errors.ServerFaultError), ("oops", errors.ServerFaultError),
    ],
)  # fmt: skip
def test_an_error_in_a_stream_is_the_error_it_names(
    error: object, kind: type[errors.GatewayError]
) -> None:
    relay = gemini.relay(call_of(HI, stream=True), model="m")
    assert relay.feed(frame({"error": error})) == b""
    assert type(relay.facts.error) is kind
    with pytest.raises(kind):
        gemini.reader().feed(frame({"error": error}))


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (errors.InvalidRequestError("m", param="p"), 400, "INVALID_ARGUMENT"),
        (errors.ModelNotPricedError("m"), 400, "FAILED_PRECONDITION"),
        (errors.InvalidApiKeyError("m"), 401, "UNAUTHENTICATED"),
        (errors.BudgetError("m"), 402, "RESOURCE_EXHAUSTED"),
        (errors.PermissionDeniedError("m"), 403, "PERMISSION_DENIED"),
        (errors.ModelNotFoundError("m"), 404, "NOT_FOUND"),
        (errors.IdempotencyInProgressError("m"), 409, "ABORTED"),
        (errors.RateLimitError("m", retry_after_s=2.4), 429, "RESOURCE_EXHAUSTED"),
        (errors.GatewayError("m"), 500, "INTERNAL"),
        (errors.ServerFaultError("m"), 502, "UNAVAILABLE"),
        (errors.NoTargetError("m"), 503, "UNAVAILABLE"),
        (errors.UpstreamTimeoutError("m"), 504, "DEADLINE_EXCEEDED"),
    ],
)
def test_our_errors_are_told_as_googles_servers_do(
    error: errors.GatewayError, code: int, status: str
) -> None:
    body = gemini.render_error(error, request_id="req_1")["error"]
    assert (body["code"], body["status"], body["message"]) == (code, status, "m")
    kinds = {detail["@type"].rpartition(".")[2]: detail for detail in body["details"]}
    assert kinds["ErrorInfo"]["metadata"]["code"] == error.code
    assert kinds["RequestInfo"]["requestId"] == "req_1"
    assert ("BadRequest" in kinds) is (error.param is not None)
    assert ("RetryInfo" in kinds) is (error.retry_after_s is not None)
