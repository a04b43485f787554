"""What goes wrong is said in the caller's dialect, and the SDK raises what it has for it."""

from typing import Any

import anthropic
import openai
import pytest

from tests.contract.clients import Body, Clients, ask, plain
from tests.contract.configured import (
    KINDS,
    LISTING_KEY,
    PLAIN,
    POOR_KEY,
    SILENT,
    Failing,
    failing_models,
)
from tests.contract.conftest import Stage
from tests.contract.recordings import API, CHATS, OTHER, Recording, identifier, recorded_errors
from tests.harness.canary import canary
from tests.harness.config import API_KEY
from tests.upstream.scripts import error_in_stream, failing, stalled

HI: Body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
SAID = "The size of the thing is not the size it should have."
# Of a provider's status (faults.md §2): ours, its code, and what each SDK raises.
Expected = tuple[int, str, type[Any], type[Any]]
BECOMES: dict[int, Expected] = {
    400: (400, "invalid_request_error", openai.BadRequestError, anthropic.BadRequestError),
    401: (502, "upstream_auth", openai.InternalServerError, anthropic.InternalServerError),
    403: (502, "upstream_auth", openai.InternalServerError, anthropic.InternalServerError),
    404: (502, "upstream_error", openai.InternalServerError, anthropic.InternalServerError),
    413: (413, "request_too_large", openai.APIStatusError, anthropic.RequestTooLargeError),
    418: (502, "upstream_error", openai.InternalServerError, anthropic.InternalServerError),
    422: (
        422,
        "invalid_request_error",
        openai.UnprocessableEntityError,
        anthropic.UnprocessableEntityError,
    ),
    429: (429, "upstream_rate_limited", openai.RateLimitError, anthropic.RateLimitError),
    500: (502, "upstream_error", openai.InternalServerError, anthropic.InternalServerError),
    502: (502, "upstream_error", openai.InternalServerError, anthropic.InternalServerError),
    503: (
        503,
        "no_target_available",
        openai.InternalServerError,
        anthropic.ServiceUnavailableError,
    ),
    504: (502, "upstream_error", openai.InternalServerError, anthropic.InternalServerError),
    529: (
        503,
        "no_target_available",
        openai.InternalServerError,
        anthropic.ServiceUnavailableError,
    ),
}
KEPT = {400, 413, 422}  # statuses whose message is the caller's to see


def caught(kind: str, client: Any, body: Body) -> Any:
    """Return the SDK's exception; whatever kind it is, it knows the request."""
    base = {"openai": openai.APIError, "anthropic": anthropic.APIError}[kind]
    with pytest.raises(base) as found:
        plain(ask(client, API[kind], body))
    return found.value


def check(error: Any, kind: str, expected: Expected) -> None:
    status, code, *classes = expected
    wanted: Any = classes[KINDS.index(kind)]
    assert type(error) is wanted
    assert error.status_code == status
    assert error.response.headers["x-mobius-code"] == code
    assert error.request_id == error.response.headers["x-request-id"]
    inner = error.body if kind == "openai" else error.body["error"]
    assert inner["code"] == code
    assert inner["message"]


@pytest.mark.parametrize("case", failing_models(), ids=lambda case: case.name)
def test_a_providers_error_is_the_callers_sdks_own(
    stage: Stage, clients: Clients, case: Failing
) -> None:
    stream = case.caller != case.upstream
    stage.upstream.script(case.name, failing(case.status, SAID, retry_after="60"))
    client = clients.of(case.caller, stage.url)
    error = caught(case.caller, client, {**HI, "model": case.name, "stream": stream})
    check(error, case.caller, BECOMES[case.status])
    assert (SAID in error.message) is (case.status in KEPT)
    if case.status in {429, 503, 529}:
        assert int(error.response.headers["retry-after"]) > 0


@pytest.mark.usefixtures("replay_upstream")
@pytest.mark.parametrize("row", recorded_errors(*CHATS), ids=identifier)
def test_a_recorded_error_is_the_callers_sdks_own(
    stage: Stage, clients: Clients, row: Recording
) -> None:
    for kind in (row.kind, OTHER[row.kind]):
        body = row.request if kind == row.kind else HI
        error = caught(kind, clients.of(kind, stage.url), {**body, "model": row.id})
        expected = BECOMES[row.status]
        if "prompt is too long" in error.message:
            expected = (expected[0], "context_length_exceeded", *expected[2:])
        check(error, kind, expected)
        said = row.response["error"]["message"]
        assert (said[:40] in error.message) is (row.status in KEPT)


OURS: dict[str, tuple[str, Body, Expected]] = {
    "wrong key": (
        canary("api-key-of-nobody"),
        {},
        (401, "invalid_api_key", openai.AuthenticationError, anthropic.AuthenticationError),
    ),
    "key without the scope": (
        LISTING_KEY,
        {},
        (403, "permission_denied", openai.PermissionDeniedError, anthropic.PermissionDeniedError),
    ),
    "no money": (
        POOR_KEY,
        {},
        (402, "insufficient_quota", openai.APIStatusError, anthropic.PaymentRequiredError),
    ),
    "unknown model": (
        API_KEY,
        {"model": "nobody-knows"},
        (404, "model_not_found", openai.NotFoundError, anthropic.NotFoundError),
    ),
    "steering field": (
        API_KEY,
        {"api_base": "http://elsewhere.example"},
        (400, "invalid_request_error", openai.BadRequestError, anthropic.BadRequestError),
    ),
    "wrong type": (
        API_KEY,
        {"tools": "none"},
        (400, "invalid_request_error", openai.BadRequestError, anthropic.BadRequestError),
    ),
    "over 32 MiB": (
        API_KEY,
        {"messages": [{"role": "user", "content": "x" * (33 << 20)}]},
        (413, "request_too_large", openai.APIStatusError, anthropic.RequestTooLargeError),
    ),
}


@pytest.mark.parametrize("what", OURS)
@pytest.mark.parametrize("kind", KINDS)
def test_our_own_error_is_the_sdks_own(
    stage: Stage, clients: Clients, kind: str, what: str
) -> None:
    secret, fields, expected = OURS[what]
    error = caught(
        kind, clients.of(kind, stage.url, secret), {**HI, "model": PLAIN["openai"], **fields}
    )
    check(error, kind, expected)
    inner = error.body if kind == "openai" else error.body["error"]
    if what in {"steering field", "wrong type"}:
        assert inner["param"] == next(iter(fields))
    if what == "no money":
        assert error.response.headers["x-should-retry"] == "false"
    assert not stage.upstream.calls


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("provider", KINDS)
def test_an_error_inside_a_stream_is_raised_there(
    stage: Stage, clients: Clients, kind: str, provider: str
) -> None:
    stage.upstream.script(PLAIN[provider], error_in_stream(4, 500, SAID))
    client = clients.of(kind, stage.url)
    error = caught(kind, client, {**HI, "model": PLAIN[provider], "stream": True})
    inner = error.body if kind == "openai" else error.body["error"]
    assert inner["code"] == "upstream_error"
    assert inner["message"]


@pytest.mark.parametrize("kind", KINDS)
def test_silence_is_a_timeout(stage: Stage, clients: Clients, kind: str) -> None:
    stage.upstream.script(SILENT[OTHER[kind]], stalled())
    body = {**HI, "model": SILENT[OTHER[kind]], "stream": True}
    error = caught(kind, clients.of(kind, stage.url), body)
    status, code = 504, "upstream_timeout"
    check(error, kind, (status, code, openai.InternalServerError, anthropic.DeadlineExceededError))
