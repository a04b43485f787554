"""The lines of a file are parsed as strictly as bodies; each is sent as it was understood."""

import json
from typing import Any

import pytest

from llm_gateway.adapters import openai_batches
from llm_gateway.adapters.openai_batches import Upload, files_named, parse_line, together
from llm_gateway.errors import InvalidAnswerError, InvalidRequestError, UpstreamError
from llm_gateway.types import Quirks, Usage

CHAT, RESPONSES, VECTORS = "/v1/chat/completions", "/v1/responses", "/v1/embeddings"
TEXT = {"role": "user", "content": "hi"}


def line(url: str = CHAT, **fields: Any) -> dict[str, Any]:
    asked = {"messages": [TEXT]} if url == CHAT else {"input": "hi"}
    return {
        "custom_id": "a",
        "method": "POST",
        "url": url,
        "body": {"model": "m", **asked, **fields},
    }


def test_all_lines_together_are_one_call() -> None:
    lines = [
        parse_line(1, line(max_tokens=10, n=3)),
        parse_line(2, line(max_completion_tokens=5) | {"custom_id": "b"}),
    ]
    call = together(lines, size=900)
    assert (call.model, call.operation, call.size, call.requests) == ("m", "batches", 900, 2)
    assert call.max_output_tokens == 35
    assert "batches" in call.needs


BAD: list[tuple[dict[str, Any], str]] = [
    ({**line(), "more": 1}, "more"),
    ({**line(), "custom_id": ""}, "custom_id"),
    ({**line(), "custom_id": None}, "custom_id"),
    ({**line(), "method": "GET"}, "method"),
    ({**line(), "url": "/v1/moderations"}, "url"),
    ({**line(), "url": ["/v1/embeddings"]}, "url"),
    ({**line(), "body": []}, "body"),
    (line(model=None), "body.model"),
    (line(stream=True), "body.stream"),
    (line(base_url="http://x"), "body.base_url"),
    (line(RESPONSES, previous_response_id="resp_1"), "body.input"),
    (line(RESPONSES, input=[{"type": "input_image", "file_id": "file-1"}]), "body.file_id"),
    (line(VECTORS, input=[]), "body.input"),
]


@pytest.mark.parametrize(("asked", "param"), BAD, ids=[param for _, param in BAD])
def test_what_is_wrong_with_a_line_is_named(asked: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"^Line 7: ") as caught:
        parse_line(7, asked)
    assert caught.value.param == f"lines[7].{param}"


def test_lines_that_differ_are_named() -> None:
    first = parse_line(1, line())
    for other, param in (
        (line(), "lines[3].custom_id"),
        (line(VECTORS) | {"custom_id": "b"}, "lines[3].url"),
        (line(model="n") | {"custom_id": "b"}, "lines[3].body.model"),
        (line(user="u") | {"custom_id": "b"}, "lines[3].body"),
    ):
        with pytest.raises(InvalidRequestError) as caught:
            together([first, parse_line(3, other)], size=1)
        assert caught.value.param == param
    with pytest.raises(InvalidRequestError):
        together([], size=1)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, {"max_completion_tokens": 64}),
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_completion_tokens": 5}, {"max_completion_tokens": 5}),
    ],
)
def test_a_line_is_sent_with_a_limit(given: dict[str, Any], sent: dict[str, int]) -> None:
    bounded = openai_batches.bounded(parse_line(1, line(seed=3, **given)), 64)
    assert bounded.call.max_output_tokens in sent.values()
    written = json.loads(openai_batches.render_line(bounded, "up", Quirks()))
    assert written.pop("body") == {"model": "up", "messages": [TEXT], "seed": 3, **sent}
    assert written == {"custom_id": "a", "method": "POST", "url": CHAT}


def test_vectors_have_no_limit() -> None:
    asked = parse_line(1, line(VECTORS))
    assert openai_batches.bounded(asked, 64) == asked


def test_the_name_of_a_file_ends_no_head() -> None:
    upload = Upload(filename='a"\r\nX-Evil: 1\\ü', content=b"abc", purpose="batch")
    sent = openai_batches.render_upload(upload, "BOUNDARY", Quirks())
    assert 'filename="a%22%0D%0AX-Evil: 1%5Cü"\r\n'.encode() in sent.body
    assert sent.body.endswith(b"\r\n\r\nabc\r\n--BOUNDARY--\r\n")
    assert dict(sent.headers)["content-type"] == "multipart/form-data; boundary=BOUNDARY"


def test_files_are_found_wherever_they_are_named() -> None:
    body = {
        "input": [{"content": [{"file_id": "one"}]}],
        "tools": [{"container": {"file_ids": ["two", 3]}, "parameters": {"file_id": {"a": 1}}}],
        "text": '{"file_id": "no"}',
    }
    assert files_named(body) == {"one", "two"}


BATCH = {"id": "batch_1", "endpoint": CHAT, "status": "completed", "output_file_id": "file-1"}


def result(**fields: Any) -> bytes:
    answer = {
        "model": "up",
        "choices": [{"message": {"content": "a"}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
        **fields,
    }
    response = {"status_code": 200, "body": answer}
    return json.dumps({"custom_id": "a", "response": response}).encode() + b"\n"


def encoded(**fields: Any) -> bytes:
    return json.dumps({**BATCH, **fields}).encode()


def test_results_tell_what_their_lines_used() -> None:
    refused = b'{"custom_id":"b","response":{"status_code":400,"body":{"error":{}}}}\n'
    expired = b'{"custom_id":"c","response":null,"error":{"code":"batch_expired"}}\n'
    results = result() + refused + b"\n" + expired
    assert list(openai_batches.used(encoded(), results)) == [Usage(input=3, output=2)]


def test_an_answer_that_is_an_error_costs_what_it_tells() -> None:
    failed: dict[str, Any] = {"model": "up", "error": {"message": "no"}, "output": []}
    usage = {"input_tokens": 3, "output_tokens": 2}
    batch = encoded(endpoint=RESPONSES)
    for answer, used in ((failed, []), ({**failed, "usage": usage}, [Usage(input=3, output=2)])):
        response = {"response": {"status_code": 200, "body": answer}}
        assert list(openai_batches.used(batch, json.dumps(response).encode())) == used


@pytest.mark.parametrize("told", [b"[]", b"no json", b"{}", b'{"id": "../x"}'])
def test_a_file_without_an_id_is_no_file(told: bytes) -> None:
    with pytest.raises(InvalidAnswerError):
        openai_batches.parse_file(told)


@pytest.mark.parametrize("results", [b"no json\n", b"{}\n", result(usage=None), b"[]\n"])
def test_results_that_tell_no_usage_are_never_free(results: bytes) -> None:
    with pytest.raises(InvalidAnswerError):
        list(openai_batches.used(encoded(), results))


def test_files_of_a_batch_are_asked_for_by_ids_that_can_stand_in_a_path() -> None:
    assert openai_batches.results(encoded()) == ["/files/file-1/content"]
    assert openai_batches.results(encoded(output_file_id=None)) == []
    assert openai_batches.files(encoded(error_file_id="file-2")) == ["file-1", "file-2"]
    with pytest.raises(InvalidAnswerError):
        openai_batches.results(encoded(output_file_id="../models"))


@pytest.mark.parametrize("told", [b"{}", b"[]", b"no json", b'{"id": "../x", "status": "failed"}'])
def test_what_is_no_batch_is_refused(told: bytes) -> None:
    with pytest.raises(InvalidAnswerError):
        openai_batches.relay_answer(told, model="m")


def test_an_error_in_a_batch_s_place_is_read() -> None:
    told = (
        b'{"error": {"message": "no", "type": "rate_limit_error", "code": "rate_limit_exceeded"}}'
    )
    with pytest.raises(UpstreamError):
        openai_batches.relay_answer(told, model="m")


@pytest.mark.parametrize("status", ["completed", "failed", "expired", "cancelled"])
def test_a_batch_ends(status: str) -> None:
    assert openai_batches.ended(encoded(status=status))
    assert not openai_batches.ended(encoded(status="cancelling"))


def test_what_is_shown_has_the_public_name() -> None:
    assert json.loads(openai_batches.shown(encoded(model="up-1"), model="m"))["model"] == "m"
    assert openai_batches.shown(encoded(), model="m") == encoded()
    shown = [json.loads(one) for one in openai_batches.content(result(), model="m").splitlines()]
    assert shown[0]["response"]["body"]["model"] == "m"
    assert openai_batches.content(b"\x00\xff", model="") == b"\x00\xff"


@pytest.mark.parametrize("field", ["input_file_id", "endpoint"])
def test_what_is_wrong_with_a_batch_is_named(field: str) -> None:
    body = {"input_file_id": "file-1", "endpoint": CHAT, "completion_window": "24h", field: "../x"}
    with pytest.raises(InvalidRequestError) as caught:
        openai_batches.parse_call(body, size=1)
    assert caught.value.param == field
