"""Say which rate limit refused, in words and numbers."""

from llm_gateway.errors import RateLimitError
from tenants.limits import Decision

_UNITS = {"requests": "requests a minute", "tokens": "tokens a minute"}


def rate_error(decision: Decision) -> RateLimitError:
    """Return the error for a refusal."""
    meter = decision.refused
    assert meter is not None  # noqa: S101 - a refusal names its bound
    unit = _UNITS.get(meter.kind, "concurrent requests")
    return RateLimitError(
        f"The {meter.scope} limit of {meter.limit} {unit} is reached.",
        retry_after_s=decision.retry_after_s,
        detail={"limit": meter.kind, "scope": meter.scope},
    )
