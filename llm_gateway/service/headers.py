"""Write the answer headers of contract §4, for answers and for errors."""

import math
from typing import TYPE_CHECKING, Any

import msgspec

from llm_gateway.errors import GatewayError
from llm_gateway.service.inbound import Headers
from llm_gateway.types import Deployment
from tenants.limits import Decision, Meter
from tenants.types import usd

if TYPE_CHECKING:
    from llm_gateway.service.attempt import Attempt
    from llm_gateway.service.exchange import Exchange


def of_answer(exchange: "Exchange", attempt: "Attempt") -> Headers:
    """Return the headers of an answer; a stream's cost is not known when they go out."""
    headers = [
        *of_target(exchange.inbound.request_id, attempt.deployment),
        (b"x-mobius-attempts", _ascii(len(exchange.attempts))),
        (b"x-mobius-cache", b"off"),
    ]
    if attempt.bill is not None:
        headers.append((b"x-mobius-cost-usd", _ascii(usd(exchange.cost_nano))))
    if attempt.clamped is not None:
        headers.append((b"x-mobius-max-tokens", _ascii(attempt.clamped)))
    remaining = _remaining_nano(attempt)
    if remaining is not None:
        headers.append((b"x-mobius-budget-remaining-usd", _ascii(usd(remaining))))
    if exchange.rates is not None:
        headers += rate_headers(exchange.rates)
    return headers


def of_kept(exchange: "Exchange", attempt: "Attempt") -> Headers:
    """Return the headers that still hold when an answer is given again."""
    return [
        *of_target(exchange.inbound.request_id, attempt.deployment),
        (b"x-mobius-attempts", _ascii(len(exchange.attempts))),
        (b"x-mobius-cache", b"off"),
        (b"x-mobius-cost-usd", _ascii(usd(exchange.cost_nano))),
    ]


def of_request(request_id: object) -> Headers:
    """Return the id under both names that official SDKs read: Anthropic's has no `x-`."""
    value = _ascii(request_id)
    return [(b"x-request-id", value), (b"request-id", value)]


def of_target(request_id: object, deployment: Deployment) -> Headers:
    """Return what names a request and who answered it."""
    return [
        *of_request(request_id),
        (b"x-mobius-model", _ascii(deployment.name)),
        (b"x-mobius-provider", _ascii(deployment.provider.name)),
    ]


def of_error(error: GatewayError, request_id: object, rates: Decision | None = None) -> Headers:
    """Return the headers of a refusal: code, whether and when to try again, rates."""
    headers = [*of_request(request_id), (b"x-mobius-code", _ascii(error.code))]
    if error.retry_after_s is not None and error.status in {409, 429, 503}:
        headers.append((b"retry-after", _ascii(max(1, math.ceil(error.retry_after_s)))))
    elif error.status in {429, 503}:
        headers.append((b"retry-after", b"1"))
    if error.should_retry is not None:
        headers.append((b"x-should-retry", b"true" if error.should_retry else b"false"))
    if rates is not None:
        headers += rate_headers(rates)
    return headers


def rate_headers(rates: Decision) -> Headers:
    headers: Headers = []
    for kind, meter in (
        (b"requests", rates.requests),
        (b"tokens", rates.tokens),
        (b"concurrency", rates.concurrency),
    ):
        if meter is not None:
            headers += _of_meter(kind, meter)
    return headers


def size_of(body: dict[str, Any]) -> int:
    """Return the length in bytes of a body that came as an object."""
    return len(msgspec.json.encode(body))


def _of_meter(kind: bytes, meter: Meter) -> Headers:
    headers = [
        (b"x-ratelimit-limit-" + kind, b"%d" % meter.limit),
        (b"x-ratelimit-remaining-" + kind, b"%d" % meter.remaining),
    ]
    if kind != b"concurrency":
        headers.append((b"x-ratelimit-reset-" + kind, b"%.3fs" % meter.reset_s))
    return headers


def _remaining_nano(attempt: "Attempt") -> int | None:
    if attempt.settled is not None and attempt.settled.remaining_nano is not None:
        return attempt.settled.remaining_nano
    return attempt.hold.remaining_nano if attempt.hold else None


def _ascii(value: object) -> bytes:
    return str(value).encode("ascii", "replace")
