"""Name every way a call can fail; the class knows what the edge and the retry loop ask.

GatewayError
├── CallerError                    same answer everywhere: never retried
│   ├── InvalidRequestError            400, names the parameter
│   │   ├── UnexpressibleError             the target's protocol has no word for a field
│   │   ├── ModelNotPricedError            a hard budget needs a price
│   │   ├── ContextLengthError             too long for every candidate
│   │   ├── ContentBlockedError            a guardrail said no
│   │   └── MalformedRequestError          a head that others could read differently
│   ├── RejectedError                  the upstream's own 400, 413, 422
│   │   ├── PromptTooLongError             for this model
│   │   └── ContentPolicyError             its rules for content
│   ├── InvalidApiKeyError             401
│   ├── BudgetError                    402
│   ├── PermissionDeniedError          403
│   ├── ModelNotFoundError             404
│   ├── NotFoundError                  404, any other object
│   ├── IdempotencyError               409 or 422, of an Idempotency-Key
│   ├── TooLargeError                  413
│   │   ├── UrlTooLongError                414
│   │   └── HeadTooLargeError              431
│   ├── RateLimitError                 429, one of our own limits
│   ├── CallerLeftError                499, heard by nobody
│   └── LoopError                      508
├── SchemaMismatchError            422, what the model said is not of the shape asked for
├── RefusalError                   we cannot serve now: 503
│   ├── OverloadedError
│   ├── LedgerUnavailableError
│   ├── NoTargetError
│   ├── ShutdownError
│   └── AuthUnavailableError
└── UpstreamError                  the next target may do better (faults.md §1, §2)
    ├── NotSentError                   DNS, connect, TLS, no free connection
    │   └── BusyError                      our own bound on calls to one provider
    ├── ThrottledError                 429
    ├── UnavailableError               503, 529
    ├── CredentialError                401, 403: our credential
    ├── MissingModelError              404: our upstream_name
    ├── ServerFaultError               500, 502, 504
    ├── InvalidAnswerError             not what the protocol says
    ├── UpstreamTimeoutError           no first token, idle
    ├── DroppedError                   cut before its end
    └── DeadlineError                  our own total deadline
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, ClassVar, Literal

# For what a route may name other targets: another model may take what this one will not.
Rejection = Literal["context_length", "content_policy"]


class Certainty(Enum):
    """May the provider have done, and billed, the work? (faults.md §1)."""

    NOT_SENT = "not_sent"
    REFUSED = "refused"
    REJECTED = "rejected"
    AMBIGUOUS = "ambiguous"


class GatewayError(Exception):
    """Anything the gateway answers instead of what was asked."""

    status: int = 500
    code: str = "internal_error"
    category: ClassVar[str] = "unknown"
    param: str | None = None
    retry_after_s: float | None = None
    should_retry: bool | None = None
    closes: ClassVar[bool] = False  # the connection: what is left of the request is not read
    headers: Sequence[tuple[bytes, bytes]] = ()  # of the answer it becomes
    rejection: ClassVar[Rejection | None] = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.detail: Mapping[str, Any] = detail or {}


class CallerError(GatewayError):
    """The request, its key or its money is at fault."""

    category = "invalid_request"
    should_retry: bool | None = False


class InvalidRequestError(CallerError):
    status, code = 400, "invalid_request_error"


class UnexpressibleError(InvalidRequestError):
    """The target's protocol has no word for `param`."""


class ModelNotPricedError(InvalidRequestError):
    code = "model_not_priced"


class ContextLengthError(InvalidRequestError):
    code = "context_length_exceeded"
    rejection = "context_length"


class ContentBlockedError(InvalidRequestError):
    code = "content_blocked"
    category = "content_policy"


class MalformedRequestError(InvalidRequestError):
    """The head of the request could be read in more than one way."""

    closes = True


class RejectedError(CallerError):
    """The upstream found the request itself wrong; its redacted message is the caller's to see."""

    status, code = 400, "invalid_request_error"

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        code: str = "invalid_request_error",
        param: str | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, param=param, detail=detail)
        self.status, self.code = status, code


class PromptTooLongError(RejectedError):
    rejection = "context_length"


class ContentPolicyError(RejectedError):
    category = "content_policy"
    rejection = "content_policy"


class InvalidApiKeyError(CallerError):
    status, code, category = 401, "invalid_api_key", "authentication"


class BudgetError(CallerError):
    status, code, category = 402, "insufficient_quota", "budget"


class PermissionDeniedError(CallerError):
    status, code, category = 403, "permission_denied", "authentication"


class SecondFactorNeededError(PermissionDeniedError):
    code = "second_factor_needed"


class ModelNotFoundError(CallerError):
    status, code = 404, "model_not_found"


class NotFoundError(CallerError):
    status, code = 404, "not_found"


class MethodNotAllowedError(CallerError):
    status, code = 405, "method_not_allowed"


class RequestTimeoutError(CallerError):
    """The caller's body did not arrive in time."""

    status, code, closes = 408, "request_timeout", True


class IdempotencyError(CallerError):
    """The Idempotency-Key stands for another request."""

    status, code = 422, "idempotency_mismatch"


class IdempotencyInProgressError(IdempotencyError):
    status, code = 409, "idempotency_in_progress"
    should_retry = None


class IdempotencyNotReplayableError(IdempotencyError):
    status, code = 409, "idempotency_not_replayable"


class TooLargeError(CallerError):
    status, code, closes = 413, "request_too_large", True


class UrlTooLongError(TooLargeError):
    status = 414


class HeadTooLargeError(TooLargeError):
    status = 431


class UnsupportedEncodingError(CallerError):
    status, code, closes = 415, "unsupported_encoding", True


class RateLimitError(CallerError):
    """One of our own limits; `detail` names which."""

    status, code, category = 429, "rate_limit_exceeded", "rate_limit"
    should_retry = None


class CallerLeftError(CallerError):
    """The caller hung up: nobody hears this, it is what the record says."""

    status, code = 499, "caller_left"


class LoopError(CallerError):
    status, code = 508, "gateway_loop"


class SchemaMismatchError(GatewayError):
    """The model was asked twice and said nothing of the shape asked for; `detail` has its words."""

    status, code, category = 422, "schema_mismatch", "parsing"
    should_retry: bool | None = False


class RefusalError(GatewayError):
    """Nothing is wrong with the request; we cannot serve it now."""

    status, code, category = 503, "overloaded", "server"


class OverloadedError(RefusalError):
    """Shed load."""


class LedgerUnavailableError(RefusalError):
    code = "ledger_unavailable"


class NoTargetError(RefusalError):
    code = "no_target_available"


class ShutdownError(RefusalError):
    code = "server_shutdown"


class AuthUnavailableError(RefusalError):
    code = "auth_unavailable"


class UpstreamError(GatewayError):
    """One attempt failed. `upstream_status` is what the provider said, None without an answer."""

    status, code, category = 502, "upstream_error", "server"
    certainty: Certainty = Certainty.AMBIGUOUS
    counts_for_breaker: ClassVar[bool] = True
    rests_key: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        upstream_status: int | None = None,
        retry_after_s: float | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s, detail=detail)
        self.upstream_status = upstream_status


class NotSentError(UpstreamError):
    """DNS, connect, TLS or no free connection: the provider saw nothing."""

    status, code, category = 503, "no_target_available", "network"
    certainty = Certainty.NOT_SENT


class BusyError(NotSentError):
    """Our own bound on concurrent calls to one provider; says nothing about its health."""

    code, category = "overloaded", "server"
    counts_for_breaker = False


class ThrottledError(UpstreamError):
    status, code, category = 429, "upstream_rate_limited", "rate_limit"
    certainty = Certainty.REFUSED
    counts_for_breaker, rests_key = False, True


class UnavailableError(UpstreamError):
    status, code = 503, "no_target_available"
    certainty = Certainty.REFUSED


class CredentialError(UpstreamError):
    status, code, category = 502, "upstream_auth", "authentication"
    certainty = Certainty.REFUSED
    counts_for_breaker = False


class MissingModelError(UpstreamError):
    certainty = Certainty.REFUSED
    counts_for_breaker = False


class UnexpectedStatusError(UpstreamError):
    """Another 4xx that faults.md does not name."""

    category = "unknown"
    certainty = Certainty.REJECTED
    counts_for_breaker = False
    should_retry: bool | None = False


class ServerFaultError(UpstreamError):
    """500, 502, 504: the work may have been done."""


class InvalidAnswerError(UpstreamError):
    code, category = "upstream_invalid", "parsing"


class UpstreamTimeoutError(UpstreamError):
    status, code, category = 504, "upstream_timeout", "timeout"


class DroppedError(UpstreamError):
    category = "network"


class DeadlineError(UpstreamError):
    """Our own total deadline, or the caller's: says nothing about the deployment."""

    status, code, category = 504, "deadline_exceeded", "timeout"
    counts_for_breaker = False
