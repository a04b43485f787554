"""Contents become vectors: alone, in batches, merged and cut, and across to other protocols."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.adapters import gemini_embeddings as gemini
from llm_gateway.adapters import openai_embeddings as openai
from llm_gateway.errors import (
    InvalidAnswerError,
    InvalidRequestError,
    ThrottledError,
    UnexpressibleError,
)
from llm_gateway.types import Call, EmbeddingsRequest, Quirks, Usage
from tests.unit.adapters.golden import Bound

Body = dict[str, Any]
texts = st.lists(st.text(max_size=5), min_size=1, max_size=9)


def one(text: str, **fields: Any) -> Body:
    return {"content": {"parts": [{"text": text}]}, **fields}


def batch(*given_texts: str, **fields: Any) -> Body:
    return {"requests": [one(text, **fields) for text in given_texts]}


def asked(body: Body) -> Call:
    return gemini.parse_call(body, size=len(json.dumps(body)), model="asked")


def answered(call: Call) -> bytes:
    """Return vectors that depend on the text alone, in the envelope that was asked for."""
    sent = json.loads(gemini.render_relay(call, Bound(), Quirks()).body)
    said = [text_of(request) for request in sent.get("requests", [sent])]
    vectors = [{"values": [len(text), *map(ord, text)]} for text in said]
    shape = {"embeddings": vectors} if "requests" in sent else {"embedding": vectors[0]}
    return json.dumps({**shape, "usageMetadata": {"promptTokenCount": 3 * len(said)}}).encode()


def text_of(request: Body) -> str:
    return str(request["content"]["parts"][0]["text"])


def contents_of(call: Call) -> list[str]:
    return [text_of(request) for request in call.body.get("requests", [call.body])]


# --- a caller's own dialect


@pytest.mark.parametrize("model", ["up", "models/up", "tunedModels/my-own"])
def test_each_content_goes_under_the_upstreams_model(model: str) -> None:
    class Named(Bound):
        upstream_name = model

    kind = "" if model.startswith("tuned") else "models/"
    resource = kind + model.removeprefix("models/")
    single = gemini.render_relay(asked({**one("a"), "model": "models/x"}), Named(), Quirks())
    assert single.path == f"/v1beta/{resource}:embedContent"
    assert json.loads(single.body) == {**one("a"), "model": resource}
    several = gemini.render_relay(asked(batch("a", "b", taskType="X")), Named(), Quirks())
    assert several.path == f"/v1beta/{resource}:batchEmbedContents"
    assert json.loads(several.body) == batch("a", "b", taskType="X", model=resource)


def test_a_single_content_that_names_no_model_goes_as_it_came() -> None:
    sent = gemini.render_relay(asked(one("a", outputDimensionality=4)), Bound(), Quirks())
    assert json.loads(sent.body) == one("a", outputDimensionality=4)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"requests": []}, "requests"),
        ({"requests": "a"}, "requests"),
        ({"requests": ["a"]}, "requests[0]"),
        ({**one("a"), "apiKey": "k"}, "apiKey"),
        ({**one("a"), "tasktype": "X"}, "tasktype"),
    ],
)
def test_what_cannot_be_steered_is_refused_by_its_name(body: Body, param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        asked(body)
    assert caught.value.param == param


def test_a_call_says_whose_it_is_and_how_much_it_holds() -> None:
    call = asked(batch("a", "b", "c"))
    assert (call.dialect, call.operation, call.model) == (gemini.name, "embeddings", "asked")
    assert (call.items, call.needs, call.images) == (3, frozenset({"embeddings"}), 0)
    picture = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    sound = {"inline_data": {"mime_type": "audio/wav", "data": "AAAA"}}
    call = asked({"content": {"parts": [picture, sound]}})
    assert (call.images, call.audio, call.media_bytes) == (1, 1, 8)
    assert call.units == {"audio_input_token"}


def test_an_answer_goes_on_byte_for_byte() -> None:
    body = b'{ "embedding":{"values":[1.0,2e-3]}, "usageMetadata":{"promptTokenCount":7,"x":1}}\n'
    answer, facts = gemini.relay_answer(body, model="public")
    assert answer == body
    assert facts.usage == Usage(input=7)
    assert (facts.complete, facts.content, facts.usage_invalid) == (True, True, None)
    _, facts = gemini.relay_answer(b'{"embeddings":[{"values":[1]}]}', model="public")
    assert (facts.usage, facts.usage_invalid) == (None, None)


@pytest.mark.parametrize("told", ['{"promptTokenCount":-1}', '{"promptTokenCount":"7"}', "[]"])
def test_a_usage_that_is_no_count_is_kept_as_text(told: str) -> None:
    body = f'{{"embedding":{{"values":[1]}},"usageMetadata":{told}}}'.encode()
    _, facts = gemini.relay_answer(body, model="public")
    assert (facts.usage, facts.usage_invalid) == (None, told)


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"{}", b'{"embeddings":[]}', b'{"embeddings":[{"values":[1]}],"x":"\xff"}'],
)
def test_what_holds_no_vectors_is_no_answer(body: bytes) -> None:
    with pytest.raises(InvalidAnswerError):
        gemini.relay_answer(body, model="public")


def test_an_error_in_place_of_an_answer_is_that_error() -> None:
    body = b'{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"slow down"}}'
    for read in (lambda: gemini.relay_answer(body, model="m"), lambda: gemini.read_answer(body)):
        with pytest.raises(ThrottledError):
            read()


# --- more than one call takes, and less


@given(given_texts=texts, most=st.integers(1, 10), room=st.integers(1, 20))
def test_batches_joined_are_what_one_call_would_have_been(
    given_texts: list[str], most: int, room: int
) -> None:
    call = asked(batch(*given_texts, outputDimensionality=2))
    parts = gemini.split(call, Quirks(embeddings_batch=most, embeddings_batch_bytes=room))
    assert [text for part in parts for text in contents_of(part)] == given_texts
    assert all(part.items <= most for part in parts)
    assert all(
        request["outputDimensionality"] == 2 for p in parts for request in p.body["requests"]
    )
    answers, used = [], 0
    for part in parts:
        body, facts = gemini.relay_answer(answered(part), model="public")
        assert facts.usage is not None
        answers.append(body)
        used += facts.usage.input
    joined = json.loads(gemini.join(answers, Usage(input=used)))
    assert joined == json.loads(answered(call))


def test_a_single_content_is_never_split() -> None:
    call = asked(one("far more than there is room for"))
    assert gemini.split(call, Quirks(embeddings_batch=1, embeddings_batch_bytes=1)) == [call]


@given(given_calls=st.lists(st.text(max_size=5) | texts, min_size=1, max_size=6))
def test_calls_merged_and_cut_get_what_each_alone_would_have_got(given_calls: list[Any]) -> None:
    calls = [asked(one(it) if isinstance(it, str) else batch(*it)) for it in given_calls]
    merged = gemini.merge(calls)
    assert merged.items == sum(call.items for call in calls)
    whole, facts = gemini.relay_answer(answered(merged), model="public")
    assert facts.usage is not None
    parts = gemini.cut(whole, calls, facts.usage)
    assert sum(used.input for _, used in parts if used) == facts.usage.input
    for call, (body, used) in zip(calls, parts, strict=True):
        assert used is not None
        alone = json.loads(answered(call))
        assert json.loads(body) == {**alone, "usageMetadata": {"promptTokenCount": used.input}}


def test_an_answer_with_another_number_of_vectors_is_no_answer() -> None:
    calls = [asked(one("one")), asked(batch("two", "three"))]
    for wrong in (batch("one", "two"), batch("one", "two", "three", "four")):
        with pytest.raises(InvalidAnswerError):
            gemini.cut(answered(asked(wrong)), calls, Usage(input=3))


def test_usage_that_nobody_told_is_told_to_nobody() -> None:
    body = b'{"embeddings":[{"values":[1]},{"values":[2]}]}'
    told = gemini.cut(body, [asked(one("a")), asked(batch("b"))], None)
    assert told == [
        (b'{"embedding":{"values":[1]}}', None),
        (b'{"embeddings":[{"values":[2]}]}', None),
    ]


@pytest.mark.parametrize(
    ("left", "right", "alike"),
    [
        (one("a"), batch("b", "c"), True),
        (one("a", model="models/x"), one("b"), True),
        (one("a", taskType="X"), batch("b", "c", taskType="X"), True),
        (one("a", taskType="X"), one("a", taskType="Y"), False),
        (one("a", outputDimensionality=2), one("a"), False),
        (batch("a", title="t"), one("a"), False),
        ({"requests": [one("a"), one("b", title="t")]}, one("a"), False),
    ],
)
def test_calls_that_ask_for_the_same_are_alike(left: Body, right: Body, alike: bool) -> None:
    assert (gemini.likeness(asked(left)) == gemini.likeness(asked(right))) is alike


# --- across


def test_every_field_that_both_have_is_carried_to_gemini() -> None:
    request = openai.parse_request({
        "model": "m", "input": ["a", "b"], "dimensions": 64, "input_type": "search_query",
        "encoding_format": "base64",
    })  # fmt: skip
    sent = gemini.render_request(request, Quirks())
    named = {"model": "models/m", "outputDimensionality": 64, "taskType": "RETRIEVAL_QUERY"}
    assert sent.path == "/v1beta/models/m:batchEmbedContents"
    assert json.loads(sent.body) == batch("a", "b", **named)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": [1, 2]}, "input"),
        ({"input": [[1], [2]]}, "input"),
        ({"user": "u"}, "user"),
        ({"newer": 1}, "newer"),
    ],
)
def test_what_gemini_has_no_word_for_is_refused_by_its_name(fields: Body, param: str) -> None:
    request = openai.parse_request({"model": "m", "input": "a", **fields})
    with pytest.raises(UnexpressibleError) as caught:
        gemini.render_request(request, Quirks())
    assert caught.value.param == param


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("snake", [False, True])
@pytest.mark.parametrize("several", [False, True])
def test_every_field_that_both_have_is_carried_from_gemini(
    nested: bool, snake: bool, several: bool
) -> None:
    names = (
        ("output_dimensionality", "task_type") if snake else ("outputDimensionality", "taskType")
    )
    config = dict(zip(names, (64, "CLUSTERING"), strict=True))
    holder = "embed_content_config" if snake else "embedContentConfig"
    fields = {holder: config} if nested else config
    body = batch("a", "b", **fields) if several else one("a", **fields)
    assert gemini.parse_request(body) == EmbeddingsRequest(
        model="", inputs=("a", "b") if several else ("a",), dimensions=64, purpose="clustering"
    )


def test_gemini_to_openai_asks_for_the_same() -> None:
    read = gemini.parse_request(batch("a", "b", outputDimensionality=64))
    request = EmbeddingsRequest(model="up", inputs=read.inputs, dimensions=read.dimensions)
    sent = openai.render_request(request, Quirks())
    assert json.loads(sent.body) == {
        "model": "up", "input": ["a", "b"], "dimensions": 64, "encoding_format": "float",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (one("a", title="t"), "title"),
        (one("a", taskType="CODE_RETRIEVAL_QUERY"), "taskType"),
        (one("a", newer=1), "newer"),
        (batch("a", title="t"), "requests[0].title"),
        ({"content": {"parts": [{"text": "a"}, {"text": "b"}]}}, "content.parts"),
        (
            {"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "AA"}}]}},
            "content.parts[0].inlineData",
        ),
        ({"requests": [one("a"), one("b", outputDimensionality=2)]}, "requests[1]"),
        ({"requests": [one("a", taskType="CLUSTERING"), one("b")]}, "requests[1]"),
    ],
)
def test_what_others_have_no_word_for_is_refused_by_its_name(body: Body, param: str) -> None:
    with pytest.raises(UnexpressibleError) as caught:
        openai.render_request(gemini.parse_request(body), Quirks())
    assert caught.value.param == param


def test_a_request_without_a_content_is_refused_by_its_name() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        gemini.parse_request({"requests": [one("a"), {}]})
    assert caught.value.param == "requests[1].content"


@pytest.mark.parametrize("body", [one("a"), batch("a")])
def test_vectors_come_in_the_envelope_that_was_asked_for(body: Body) -> None:
    raw = b'{"data":[{"index":0,"embedding":[1.5,2]}],"usage":{"prompt_tokens":7}}'
    vectors, _facts = openai.read_answer(raw)
    told = gemini.render_answer(vectors, asked(body), model="public", request_id="req_1")
    vector = {"values": [1.5, 2.0]}
    shape = {"embeddings": [vector]} if "requests" in body else {"embedding": vector}
    assert json.loads(told) == {**shape, "usageMetadata": {"promptTokenCount": 7}}


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_vectors_of_gemini_come_as_they_were_asked_for(encoding: str) -> None:
    body = {"model": "m", "input": ["a", "b"], "encoding_format": encoding}
    raw = b'{"embeddings":[{"values":[1.5]},{"values":[2]}],"usageMetadata":{"promptTokenCount":7}}'
    vectors, facts = gemini.read_answer(raw)
    assert facts.usage == Usage(input=7)
    call = openai.parse_call(body, size=1)
    told = openai.render_answer(vectors, call, model="public", request_id="req_1")
    again, _ = openai.read_answer(told)
    assert again.vectors == ((1.5,), (2.0,))
    assert isinstance(json.loads(told)["data"][0]["embedding"], str) is (encoding == "base64")
    assert json.loads(told)["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
