"""What a native protocol has no word for is refused by the caller's name; the rest is carried."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from llm_gateway.adapters import (
    CHAT_ADAPTERS,
    CHAT_UPSTREAMS,
    EMBEDDINGS_UPSTREAMS,
    UPSTREAMS,
    openai_embeddings,
)
from llm_gateway.adapters.crossing import cross
from llm_gateway.errors import (
    CredentialError,
    GatewayError,
    InvalidAnswerError,
    InvalidRequestError,
    MissingModelError,
    PromptTooLongError,
    RejectedError,
    ServerFaultError,
    ThrottledError,
    UnavailableError,
    UnexpressibleError,
)
from llm_gateway.types import Quirks
from tests.unit.adapters.golden_providers import packed

HI = [{"role": "user", "content": "hi"}]
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
OTHER = {"type": "function", "function": {"name": "g"}}
STRICT = {"type": "function", "function": {"name": "s", "strict": True}}
NATIVE = ("cohere", "ollama", "bedrock_converse")


def sent(target: str, dialect: str = "openai_chat", **body: Any) -> dict[str, Any]:
    door = CHAT_ADAPTERS[dialect]
    asked = replace(door.parse_request({"model": "m", "messages": HI, **body}), stream=True)
    out = cross(door, CHAT_UPSTREAMS[target], asked, Quirks(), default_max_tokens=100)
    answer: dict[str, Any] = json.loads(out.body)
    return answer


def said(*parts: Any, role: str = "user", **rest: Any) -> list[dict[str, Any]]:
    return [{"role": role, "content": list(parts), **rest}]


SOUND = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
PICTURE = {"type": "image_url", "image_url": {"url": "https://pictures.example/a.png"}}
PDF = {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0="}}
EVERYWHERE = [
    ("n", {"n": 2}),
    ("logit_bias", {"logit_bias": {"5": 1}}),
    ("user", {"user": "u1"}),
    ("parallel_tool_calls", {"parallel_tool_calls": False, "tools": [FUNCTION]}),
    ("messages[].name", {"messages": [{"role": "user", "name": "bo", "content": "hi"}]}),
    ("prediction", {"prediction": {"type": "content", "content": "x"}}),
    ("service_tier", {"service_tier": "scale"}),
]
OWN = {
    "cohere": [
        ("logprobs", {"logprobs": True}),
        ("metadata", {"metadata": {"a": "b"}}),
        ("stop", {"stop": list("abcdef")}),
        ("tool_choice", {"tools": [FUNCTION, OTHER], "tool_choice": {"type": "function",
                                                                      "function": {"name": "f"}}}),
        ("tools[].function.strict", {"tools": [FUNCTION, STRICT]}),
        ("messages[].content[].input_audio", {"messages": said(SOUND)}),
        ("messages[].content[].file", {"messages": said(PDF)}),
    ],
    "ollama": [
        ("metadata", {"metadata": {"a": "b"}}),
        ("tool_choice", {"tools": [FUNCTION], "tool_choice": "required"}),
        ("messages[].content[].image_url.url", {"messages": said(PICTURE)}),
        ("messages[].content[].input_audio", {"messages": said(SOUND)}),
        ("messages[].content[].file", {"messages": said(PDF)}),
    ],
    "bedrock_converse": [
        ("seed", {"seed": 1}),
        ("frequency_penalty", {"frequency_penalty": 0.5}),
        ("logprobs", {"logprobs": True}),
        ("temperature", {"temperature": 1.5}),
        ("response_format", {"response_format": {"type": "json_object"}}),
        ("messages[].content[].image_url.url", {"messages": said(PICTURE)}),
        ("messages[].content[].image_url.detail", {"messages": said(
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA",
                                                "detail": "low"}})}),
    ],
}  # fmt: skip
REFUSED = [
    (target, param, body) for target in NATIVE for param, body in (*EVERYWHERE, *OWN[target])
]


@pytest.mark.parametrize(("target", "param", "body"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_has_no_word_is_refused_by_name(target: str, param: str, body: Any) -> None:
    with pytest.raises(UnexpressibleError) as raised:
        sent(target, **body)
    assert raised.value.param == param


THOUGHT = {"type": "thinking", "thinking": "so", "signature": "c2ln"}
SIGNED = [*HI, {"role": "assistant", "content": [THOUGHT, {"type": "text", "text": "x"}]}]


def calling(call_id: str, arguments: str = "{}") -> dict[str, Any]:
    """Return the turn of an assistant who calls `f`."""
    function = {"name": "f", "arguments": arguments}
    call = {"id": call_id, "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


@pytest.mark.parametrize("target", ["cohere", "ollama"])
def test_signed_thinking_goes_to_nobody_who_cannot_keep_it(target: str) -> None:
    with pytest.raises(UnexpressibleError) as raised:
        sent(target, "anthropic_messages", messages=SIGNED, max_tokens=5)
    assert raised.value.param == "messages[].content[].thinking"


def test_signed_thinking_goes_to_bedrock_byte_for_byte() -> None:
    turns = sent("bedrock_converse", "anthropic_messages", messages=SIGNED, max_tokens=5)
    assert turns["messages"][1]["content"][0] == {
        "reasoningContent": {"reasoningText": {"text": "so", "signature": "c2ln"}}
    }


@pytest.mark.parametrize(
    ("target", "extra"),
    [
        ("cohere", {"documents": [{"data": {"text": "x"}}]}),
        ("cohere", {"citation_options": {"mode": "OFF"}}),
        ("ollama", {"keep_alive": -1}),
        ("bedrock_converse", {"guardrailConfig": {"guardrailIdentifier": "g"}}),
        ("bedrock_converse", {"performanceConfig": {"latency": "optimized"}}),
    ],
)
def test_a_providers_own_field_is_passed_on_to_it_alone(target: str, extra: dict[str, Any]) -> None:
    body = sent(target, **extra)
    assert body | extra == body
    for other in {*NATIVE, "anthropic_messages"} - {target}:
        with pytest.raises(UnexpressibleError) as raised:
            sent(other, **extra)
        assert raised.value.param in extra


@pytest.mark.parametrize(
    ("reasoning", "cohere", "ollama", "bedrock"),
    [
        ("none", {"type": "disabled"}, False, None),
        ("low", {"type": "enabled", "token_budget": 2048}, "low", "low"),
        ("medium", {"type": "enabled", "token_budget": 8192}, "medium", "medium"),
        ("xhigh", {"type": "enabled"}, "high", "xhigh"),
    ],
)
def test_how_much_to_think_is_said_in_each_ones_words(
    reasoning: str, cohere: Any, ollama: Any, bedrock: Any
) -> None:
    assert sent("cohere", reasoning_effort=reasoning)["thinking"] == cohere
    assert sent("ollama", reasoning_effort=reasoning)["think"] == ollama
    body = sent("bedrock_converse", reasoning_effort=reasoning)
    assert body.get("outputConfig", {}).get("effort") == bedrock


@pytest.mark.parametrize(("budget", "word"), [(1024, "low"), (5000, "medium"), (20000, "high")])
def test_a_budget_of_thinking_is_kept_or_put_into_words(budget: int, word: str) -> None:
    asked = {"max_tokens": 30000, "thinking": {"type": "enabled", "budget_tokens": budget}}
    assert sent("ollama", "anthropic_messages", **asked)["think"] == word
    thinking = sent("cohere", "anthropic_messages", **asked)["thinking"]
    assert thinking == {"type": "enabled", "token_budget": budget}
    own = sent("bedrock_converse", "anthropic_messages", **asked)["additionalModelRequestFields"]
    assert own == {"thinking": {"type": "enabled", "budget_tokens": budget}}


def test_thinking_without_a_measure_is_asked_for() -> None:
    asked = {"max_tokens": 9, "thinking": {"type": "adaptive"}}
    assert sent("ollama", "anthropic_messages", **asked)["think"] is True
    assert sent("cohere", "anthropic_messages", **asked)["thinking"] == {"type": "enabled"}
    own = sent("bedrock_converse", "anthropic_messages", **asked)["additionalModelRequestFields"]
    assert own == {"thinking": {"type": "adaptive"}}


def test_no_call_is_no_tool_unless_one_was_made() -> None:
    without: dict[str, Any] = {"tools": [FUNCTION], "tool_choice": "none"}
    assert "tools" not in sent("ollama", **without)
    assert "toolConfig" not in sent("bedrock_converse", **without)
    assert sent("cohere", **without)["tool_choice"] == "NONE"
    with pytest.raises(UnexpressibleError) as raised:
        sent("bedrock_converse", messages=[*HI, calling("c")], **without)
    assert raised.value.param == "tool_choice"


@pytest.mark.parametrize("target", ["ollama", "bedrock_converse"])
def test_arguments_that_are_no_object_are_refused(target: str) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        sent(target, messages=[*HI, calling("c", "[1")])
    assert raised.value.param == "messages[].tool_calls[].function.arguments"


def test_ids_of_calls_fit_bedrock_and_stay_one() -> None:
    for given in ("call|1", "x" * 80, "fine-1"):
        result = {"role": "tool", "tool_call_id": given, "content": "x"}
        loop = [*HI, calling(given), result]
        turns = sent("bedrock_converse", messages=loop)["messages"]
        made = turns[1]["content"][0]["toolUse"]["toolUseId"]
        assert turns[2]["content"][0]["toolResult"]["toolUseId"] == made
        assert len(made) <= 64
        assert "|" not in made
        assert (made == given) == (given == "fine-1")


def test_a_strict_set_of_tools_and_one_forced_tool_have_words_at_cohere() -> None:
    named = {"type": "function", "function": {"name": "s"}}
    body = sent("cohere", tools=[STRICT], tool_choice=named)
    assert (body["strict_tools"], body["tool_choice"]) == (True, "REQUIRED")


# --- answers that are none ----------------------------------------------------------------------


@pytest.mark.parametrize("adapter", [*NATIVE, "cohere_embed", "ollama_embed"])
@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"id":"x"}', b'{"a":"\xff"}'])
def test_what_is_no_answer_is_said_to_be_none(adapter: str, body: bytes) -> None:
    upstream: Any = UPSTREAMS[adapter]
    with pytest.raises(InvalidAnswerError):
        upstream.read_answer(body)


@pytest.mark.parametrize(
    ("adapter", "frame"),
    [
        ("cohere", b'data: {"type": 5\n\n'),
        ("ollama", b'{"done": tru\n'),
        ("bedrock_converse", packed("contentBlockDelta", "no object")),
    ],
)
def test_one_malformed_event_is_skipped_and_counted(adapter: str, frame: bytes) -> None:
    reader = CHAT_UPSTREAMS[adapter].reader()
    assert list(reader.feed(frame)) == []
    assert reader.facts.skipped == 1
    assert not reader.facts.complete


@pytest.mark.parametrize(
    ("adapter", "frame"),
    [
        (
            "cohere",
            b'data: {"type":"message-end","delta":{"usage":{"tokens":{"input_tokens":-1}}}}\n\n',
        ),
        ("ollama", b'{"done":true,"done_reason":"stop","prompt_eval_count":"many"}\n'),
        ("bedrock_converse", packed("metadata", {"usage": {"inputTokens": 1.5}})),
    ],
)
def test_a_usage_that_is_no_number_is_kept_for_the_alarm(adapter: str, frame: bytes) -> None:
    reader = CHAT_UPSTREAMS[adapter].reader()
    reader.feed(frame)
    assert reader.facts.complete
    assert reader.facts.usage is None
    assert reader.facts.usage_invalid


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("throttlingException", ThrottledError),
        ("serviceUnavailableException", UnavailableError),
        ("validationException", PromptTooLongError),
        ("modelTimeoutException", ServerFaultError),
        ("somethingNewException", ServerFaultError),
    ],
)
def test_an_exception_in_bedrocks_stream_is_the_status_it_names(
    kind: str, error: type[GatewayError]
) -> None:
    reader = CHAT_UPSTREAMS["bedrock_converse"].reader()
    with pytest.raises(error):
        reader.feed(packed(kind, {"message": "Input is too long for requested model."}))
    assert type(reader.facts.error) is error


ERRORS = [
    (
        "bedrock_converse",
        400,
        {"message": "Input is too long for requested model."},
        PromptTooLongError,
    ),
    ("bedrock_converse", 403, {"Message": "no"}, CredentialError),
    ("bedrock_converse", 408, {"message": "late"}, ServerFaultError),
    ("bedrock_converse", 424, {"message": "model"}, ServerFaultError),
    ("cohere", 404, {"message": "model 'x' not found"}, MissingModelError),
    ("cohere", 429, {"message": "slow down"}, ThrottledError),
    ("ollama", 400, {"error": "input exceeds the context length"}, PromptTooLongError),
    ("ollama", 503, {"error": "server busy"}, UnavailableError),
    ("cohere_rerank", 422, {"detail": "top_n is wrong"}, RejectedError),
    ("cohere_rerank", 401, {"error": {"message": "bad key"}}, CredentialError),
    ("cohere_rerank", 500, "not JSON", ServerFaultError),
]


@pytest.mark.parametrize(("adapter", "status", "body", "error"), ERRORS)
def test_an_error_is_read_by_its_status(
    adapter: str, status: int, body: Any, error: type[GatewayError]
) -> None:
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    made = UPSTREAMS[adapter].parse_error(status, {}, raw)
    assert type(made) is error
    text = raw.decode()
    too_long = any(words in text for words in ("too long", "context length"))
    assert (made.code == "context_length_exceeded") == too_long


# --- embeddings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "param", "body"),
    [
        ("cohere_embed", "user", {"user": "u"}),
        ("cohere_embed", "input", {"input": [[1, 2]]}),
        ("cohere_embed", "input_type", {"input_type": "similarity"}),
        ("cohere_embed", "truncate", {"truncate": "END"}),
        ("ollama_embed", "input", {"input": [1, 2]}),
        ("ollama_embed", "input_type", {"input_type": "query"}),
        ("openai_embeddings", "input_type", {"input_type": "query"}),
    ],
)
def test_what_embeddings_have_no_word_for_is_refused(target: str, param: str, body: Any) -> None:
    asked = openai_embeddings.parse_request({"model": "m", "input": "x", **body})
    with pytest.raises(UnexpressibleError) as raised:
        EMBEDDINGS_UPSTREAMS[target].render_request(asked, Quirks())
    assert raised.value.param == param


@pytest.mark.parametrize(
    "body", [{"encoding_format": "hex"}, {"input_type": "poem"}, {"input": {}}]
)
def test_embeddings_that_are_asked_for_wrongly_are_refused(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        openai_embeddings.parse_request({"model": "m", "input": "x", **body})
    assert raised.value.param == next(iter(body))


def test_packed_vectors_are_read_and_written_as_numbers() -> None:
    asked = openai_embeddings.parse_request({"model": "m", "input": "x", "dimensions": 2})
    out = openai_embeddings.render_request(asked, Quirks())
    assert json.loads(out.body) == {
        "model": "m", "input": ["x"], "dimensions": 2, "encoding_format": "float"}  # fmt: skip
    body = {
        "data": [
            {"index": 1, "embedding": "AACAPwAAAL8="},
            {"index": 0, "embedding": [0.25, 0.5]},
        ],
        "model": "served",
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }
    answer, facts = openai_embeddings.read_answer(json.dumps(body).encode())
    assert answer.vectors == ((0.25, 0.5), (1.0, -0.5))
    assert (facts.model, facts.usage and facts.usage.input) == ("served", 3)
    call = openai_embeddings.parse_call(
        {"model": "m", "input": "x", "encoding_format": "base64"}, size=1
    )
    told = openai_embeddings.render_answer(answer, call, model="public", request_id="r")
    assert [row["embedding"] for row in json.loads(told)["data"]] == [
        "AACAPgAAAD8=",
        "AACAPwAAAL8=",
    ]


# --- reranking and moderations --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("adapter", "param", "body"),
    [
        ("cohere_rerank", "query", {"documents": ["a"]}),
        ("cohere_rerank", "documents", {"query": "q", "documents": []}),
        ("cohere_rerank", "top_n", {"query": "q", "documents": ["a"], "top_n": 0}),
        ("cohere_rerank", "stream", {"query": "q", "documents": ["a"], "stream": True}),
        ("cohere_rerank", "api_key", {"query": "q", "documents": ["a"], "api_key": "k"}),
        ("openai_moderations", "input", {}),
        ("openai_moderations", "stream", {"input": "x", "stream": True}),
        ("openai_moderations", "base_url", {"input": "x", "base_url": "https://x"}),
    ],
)
def test_a_body_that_is_not_understood_names_the_field(adapter: str, param: str, body: Any) -> None:
    door: Any = UPSTREAMS[adapter]
    with pytest.raises(InvalidRequestError) as raised:
        door.parse_call({"model": "m", **body}, size=10)
    assert raised.value.param == param


def test_moderation_has_the_protocols_own_default_model() -> None:
    door: Any = UPSTREAMS["openai_moderations"]
    call = door.parse_call({"input": ["a", "b"]}, size=10)
    assert (call.model, call.items, call.operation) == ("omni-moderation-latest", 2, "moderations")


@pytest.mark.parametrize(
    ("told", "tokens", "searches"),
    [
        ({"meta": {"billed_units": {"search_units": 2}}}, 0, 2),
        ({"meta": {"billed_units": {"search_units": 1.0}, "tokens": {"input_tokens": 7}}}, 7, 1),
        ({"usage": {"total_tokens": 9}}, 9, 0),
        ({"usage": {"prompt_tokens": 8, "total_tokens": 9}}, 8, 0),
    ],
)
def test_a_reranking_tells_what_it_used(told: dict[str, Any], tokens: int, searches: int) -> None:
    door: Any = UPSTREAMS["cohere_rerank"]
    _body, facts = door.relay_answer(json.dumps({"results": [], **told}).encode(), model="p")
    assert (facts.usage.input, facts.usage.tool_calls) == (tokens, searches)


@pytest.mark.parametrize("adapter", ["cohere_rerank", "openai_moderations"])
def test_an_answer_without_results_is_none(adapter: str) -> None:
    door: Any = UPSTREAMS[adapter]
    for body in (b"[]", b'{"id":1}', b"x", b'{"results":[],"results":[]}'):
        with pytest.raises(InvalidAnswerError):
            door.relay_answer(body, model="m")
    with pytest.raises(ThrottledError):
        door.relay_answer(b'{"error":{"code":429,"message":"slow"}}', model="m")
    _body, facts = door.relay_answer(b'{"results":[],"usage":{"prompt_tokens":-1}}', model="m")
    assert facts.usage is None
    assert facts.usage_invalid


@pytest.mark.parametrize(("documents", "size", "most"), [(1, 80, 1), (100, 900, 2), (250, 90, 3)])
def test_a_reranking_is_bounded_in_searches(documents: int, size: int, most: int) -> None:
    door: Any = UPSTREAMS["cohere_rerank"]
    body = {"model": "m", "query": "q", "documents": ["d"] * documents}
    assert door.parse_call(body, size=size).searches == most
