"""Errors: the provider's become ours by status, ours are told in the caller's dialect."""

import json

import anthropic.types
import pytest

from llm_gateway import errors
from llm_gateway.adapters import CHAT_ADAPTERS, anthropic_messages, openai_chat
from llm_gateway.adapters.base import ChatAdapter
from llm_gateway.adapters.retry_after import retry_after_s

NOW, LATER = "Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:10 GMT"
each_chat = pytest.mark.parametrize("chat", CHAT_ADAPTERS.values(), ids=CHAT_ADAPTERS)


@each_chat
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.RejectedError), (413, errors.RejectedError), (422, errors.RejectedError),
        (401, errors.CredentialError), (403, errors.CredentialError),
        (404, errors.MissingModelError), (429, errors.ThrottledError),
        (500, errors.ServerFaultError), (502, errors.ServerFaultError),
        (504, errors.ServerFaultError), (520, errors.ServerFaultError),
        (503, errors.UnavailableError), (529, errors.UnavailableError),
        (402, errors.UnexpectedStatusError), (409, errors.UnexpectedStatusError),
        (302, errors.UnexpectedStatusError),
    ],
)  # fmt: skip
def test_a_status_decides_the_class(chat: ChatAdapter, status: int, kind: type) -> None:
    secret = "the provider's own words"
    shown = {"error": {"type": "x", "message": secret}}
    for body in (json.dumps(shown).encode(), b"<html>" + secret.encode(), b"", b"[1]", b"\xff"):
        error = chat.parse_error(status, {"Retry-After": "3"}, body)
        assert type(error) is kind
        if kind is errors.RejectedError:
            assert error.status == status
        else:
            assert secret not in error.message
            assert error.upstream_status == status  # type: ignore[attr-defined]  # they all are
        if kind in {errors.ThrottledError, errors.UnavailableError}:
            assert error.retry_after_s == 3


def test_a_rejection_shows_the_providers_message_without_keys() -> None:
    text = "Bad key sk-proj-FAKEFAKEFAKE1234 of org-FAKE12345678 in messages[0]"
    body = json.dumps({"error": {"message": text, "param": "messages[0]", "code": "x"}}).encode()
    error = openai_chat.parse_error(400, {}, body)
    assert error.message == "Bad key [redacted] of [redacted] in messages[0]"
    assert (error.param, error.code) == ("messages[0]", "invalid_request_error")
    assert len(openai_chat.parse_error(400, {}, body.replace(b"Bad", b"B" * 9999)).message) < 2100
    assert openai_chat.parse_error(413, {}, b"").code == "request_too_large"


def test_a_context_that_is_too_long_is_known_by_code_or_words() -> None:
    coded = {"error": {"message": "no", "code": "context_length_exceeded"}}
    assert openai_chat.parse_error(400, {}, json.dumps(coded).encode()).code == (
        "context_length_exceeded"
    )
    worded = {"type": "error", "error": {"message": "prompt is too long: 9 > 8"}}
    assert anthropic_messages.parse_error(400, {}, json.dumps(worded).encode()).code == (
        "context_length_exceeded"
    )


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7), ({"retry-after": "0.5"}, 0.5), ({"retry-after": "0"}, 0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9),
        ({"retry-after": LATER, "date": NOW}, 10), ({"retry-after": NOW, "date": LATER}, None),
        ({"retry-after": LATER}, None),
        ({"retry-after": "-3"}, None), ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e9"}, None), ({"retry-after": "soon"}, None), ({}, None),
    ],
)  # fmt: skip
def test_a_wait_is_read_or_ignored(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds


CASES = [
    (errors.InvalidRequestError("m", param="p"), "invalid_request_error", "invalid_request_error"),
    (errors.InvalidApiKeyError("m"), "invalid_request_error", "authentication_error"),
    (errors.BudgetError("m"), "insufficient_quota", "billing_error"),
    (errors.PermissionDeniedError("m"), "permission_error", "permission_error"),
    (errors.ModelNotFoundError("m"), "invalid_request_error", "not_found_error"),
    (errors.TooLargeError("m"), "invalid_request_error", "request_too_large"),
    (errors.RateLimitError("m"), "rate_limit_error", "rate_limit_error"),
    (errors.ThrottledError("m"), "rate_limit_error", "rate_limit_error"),
    (errors.GatewayError("m"), "server_error", "api_error"),
    (errors.InvalidAnswerError("m"), "server_error", "api_error"),
    (errors.OverloadedError("m"), "server_error", "overloaded_error"),
    (errors.NoTargetError("m"), "server_error", "overloaded_error"),
    (errors.LedgerUnavailableError("m"), "server_error", "api_error"),
    (errors.DeadlineError("m"), "server_error", "timeout_error"),
    (errors.LoopError("m"), "server_error", "api_error"),
]


@pytest.mark.parametrize(("error", "openai_type", "anthropic_type"), CASES)
def test_our_errors_are_told_in_each_dialect(
    error: errors.GatewayError, openai_type: str, anthropic_type: str
) -> None:
    said = openai_chat.render_error(error, request_id="req_1")["error"]
    assert said == {
        "message": "m", "type": openai_type, "param": error.param, "code": error.code,
        "request_id": "req_1",
    }  # fmt: skip
    body = anthropic_messages.render_error(error, request_id="req_1")
    assert body["error"]["type"] == anthropic_type
    assert body["request_id"] == "req_1"
    if error.status != 413:  # the SDK's types do not know the documented `request_too_large`
        assert anthropic.types.ErrorResponse.model_validate(body).error.message == "m"


@each_chat
def test_an_upstream_error_lists_its_attempts(chat: ChatAdapter) -> None:
    attempts = [{"provider": "a", "status": 500, "category": "server"}]
    error = errors.ServerFaultError("m", detail={"attempts": attempts})
    assert chat.render_error(error, request_id="r")["error"]["attempts"] == attempts
    assert b'"attempts"' in chat.render_stream_error(error, request_id="r")


def test_a_thread_that_no_server_holds_is_refused_in_words_the_sdk_knows() -> None:
    error = errors.UnexpressibleError("no word for it", param="thread")
    told = anthropic_messages.render_error(error, request_id="r")["error"]
    assert told["details"]["error_code"] == "thread_unsupported_request"
    other = errors.UnexpressibleError("no word for it", param="top_k")
    assert "details" not in anthropic_messages.render_error(other, request_id="r")["error"]
