"""Write the answer headers of contract §4, for answers and for errors."""

import math
from functools import lru_cache
from typing import TYPE_CHECKING, get_args

from llm_gateway.errors import GatewayError
from llm_gateway.service.inbound import Headers
from llm_gateway.types import Deployment
from tenants.limits import Decision, Kind, Meter
from tenants.types import usd

if TYPE_CHECKING:
    from llm_gateway.service.attempt import Attempt
    from llm_gateway.service.exchange import Exchange

MAX_TOKENS = b"x-mobius-max-tokens"
FALLBACK = b"x-mobius-fallback"


_METER_NAMES: dict[Kind, tuple[bytes, bytes, bytes]] = {
    kind: (
        f"x-ratelimit-limit-{kind}".encode(),
        f"x-ratelimit-remaining-{kind}".encode(),
        f"x-ratelimit-reset-{kind}".encode(),
    )
    for kind in get_args(Kind)
}


def of_answer(exchange: "Exchange", attempt: "Attempt") -> Headers:
    """Return the headers of an answer; a stream's cost is not known when they go out."""
    headers = [
        *of_target(exchange.inbound.request_id, attempt.deployment),
        (b"x-mobius-attempts", _ascii(len(exchange.attempts))),
        (b"x-mobius-cache", exchange.reuse.state.encode() if exchange.reuse else b"off"),
    ]
    if attempt.bill is not None:
        headers.append((b"x-mobius-cost-usd", _ascii(usd(exchange.cost_nano))))
    headers += of_length(attempt)
    headers += of_fallback(exchange)
    remaining = _remaining_nano(attempt)
    if remaining is not None:
        headers.append((b"x-mobius-budget-remaining-usd", _ascii(usd(remaining))))
    rates = exchange.told_rates
    if rates is not None:
        headers += rate_headers(rates)
    return headers


def of_kept(exchange: "Exchange", attempt: "Attempt") -> Headers:
    """Return the headers that still hold when an answer is given again."""
    return [
        *of_length(attempt),
        *of_fallback(exchange),
        *of_target(exchange.inbound.request_id, attempt.deployment),
        (b"x-mobius-attempts", _ascii(len(exchange.attempts))),
        (b"x-mobius-cache", b"off"),
        (b"x-mobius-cost-usd", _ascii(usd(exchange.cost_nano))),
    ]


def of_length(attempt: "Attempt") -> Headers:
    """Return to how many tokens a budget shortened an answer, if it did."""
    return [] if attempt.clamped is None else [(MAX_TOKENS, _ascii(attempt.clamped))]


def of_fallback(exchange: "Exchange") -> Headers:
    """Return for which rejection a model answers that the route names for it."""
    return [] if exchange.fallback is None else [(FALLBACK, _ascii(exchange.fallback))]


def of_request(request_id: object) -> Headers:
    """Return the id under both names that official SDKs read: Anthropic's has no `x-`."""
    value = str(request_id).encode()
    return [(b"x-request-id", value), (b"request-id", value)]


def of_target(request_id: object, deployment: Deployment) -> Headers:
    """Return what names a request and who answered it."""
    return [*of_request(request_id), *_names(deployment.name, deployment.provider.name)]


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
    for meter in (rates.requests, rates.tokens, rates.concurrency):
        if meter is not None:
            headers += _of_meter(meter)
    return headers


def _of_meter(meter: Meter) -> Headers:
    limit, remaining, reset = _METER_NAMES[meter.kind]
    headers = [(limit, b"%d" % meter.limit), (remaining, b"%d" % meter.remaining)]
    if meter.kind != "concurrency":
        headers.append((reset, b"%.3fs" % meter.reset_s))
    return headers


@lru_cache(maxsize=1024)
def _names(model: str, provider: str) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"x-mobius-model", _ascii(model)), (b"x-mobius-provider", _ascii(provider)))


def _remaining_nano(attempt: "Attempt") -> int | None:
    if attempt.settled is not None and attempt.settled.remaining_nano is not None:
        return attempt.settled.remaining_nano
    return attempt.hold.remaining_nano if attempt.hold else None


def _ascii(value: object) -> bytes:
    return str(value).encode("ascii", "replace")
