"""Bound what an attempt can cost before it starts, and price what it used when it has ended."""

from bisect import bisect_right

from msgspec import Struct
from msgspec.structs import replace

from llm_gateway import pricing
from llm_gateway.errors import ModelNotPricedError
from llm_gateway.types import Call, Deployment, Facts, Outgoing, Price, Usage
from tenants.money import types as money

# Where neither the caller nor the model says how long an answer may be (money.md §4.2).
DEFAULT_OUTPUT_TOKENS = 8192
# An answer is not made shorter than this to fit a budget (money.md §4.3).
FEWEST_TOKENS = 256
# What an answer of so many bytes or frames has at least: a token is no more than a frame, and none
# but a few are longer than this.
LONGEST_TOKEN_BYTES, SHORTEST_TOKEN_BYTES = 16, 2
BYTES_PER_TOKEN = 4
PER_MILLION = 1_000_000
# What nobody limits: searches of one answer.
TOOL_CALLS = 20
# A second of sound has no fewer bytes (8 kbit/s) and no more tokens (Gemini: 32; others: 10).
BYTES_PER_SECOND = 1000
TOKENS_PER_SECOND = 32


class Bound(Struct, frozen=True, kw_only=True):
    """What one attempt may use and cost at most; `input_nano` is the part of its input alone."""

    price: Price | None
    input_tokens: int
    output_tokens: int
    input_estimate: int
    amount_nano: int = 0
    input_nano: int = 0

    @property
    def free(self) -> bool:
        return self.price is not None and pricing.is_free(self.price)


class Bill(Struct, frozen=True, kw_only=True):
    """What one attempt cost: nano-dollars, with the lines that sum to it."""

    usage: Usage
    amount_nano: int = 0
    lines: tuple[pricing.Line, ...] = ()


def output_bound(call: Call, deployment: Deployment, most: int) -> int:
    """Return output tokens of one choice that the provider can be held to."""
    if call.operation != "chat":
        return 0
    if call.max_output_tokens is not None:
        return call.max_output_tokens
    return min(deployment.max_output_tokens or DEFAULT_OUTPUT_TOKENS, most)


def bound(call: Call, outgoing: Outgoing, price: Price | None, *, output: int) -> Bound:
    """Return the bound of an attempt; an unpriced one is bounded in tokens alone."""
    sound_s = -(-call.media_bytes // BYTES_PER_SECOND) if call.audio else 0
    bounded = Bound(
        price=price,
        input_tokens=pricing.input_bound(
            len(outgoing.body) - call.media_bytes,
            items=call.items,
            tools="tools" in call.needs,
            images=call.images,
        )
        + sound_s * TOKENS_PER_SECOND,
        output_tokens=output * call.choices,
        input_estimate=estimate(len(outgoing.body)),
    )
    if price is None:
        return bounded
    try:
        return replace(
            bounded,
            amount_nano=pricing.bound(
                price,
                input_tokens=bounded.input_tokens,
                output_tokens=bounded.output_tokens,
                media=bool(call.images or call.audio),
                audio_seconds=sound_s,
                tool_calls=_tool_calls(call) if price.tool_call else 0,
            ),
            input_nano=pricing.bound(price, input_tokens=bounded.input_estimate, output_tokens=0),
        )
    except pricing.UnpricedError:
        return replace(bounded, price=None)


def affordable(
    call: Call, outgoing: Outgoing, price: Price, *, under: int, room_nano: int
) -> int | None:
    """Return the most output tokens of a choice that fit; None for fewer than anyone can use."""
    counts = range(FEWEST_TOKENS, under)
    fitting = bisect_right(
        counts, room_nano, key=lambda n: bound(call, outgoing, price, output=n).amount_nano
    )
    return counts[fitting - 1] if fitting else None


def _tool_calls(call: Call) -> int:
    """Return how often the provider may run tools of its own, which it bills by call."""
    tools = call.body.get("tools")
    own = [
        tool
        for tool in (tools if isinstance(tools, list) else ())
        if isinstance(tool, dict) and str(tool.get("type", "")).startswith("web_search")
    ]
    uses = (tool.get("max_uses") for tool in own)
    return sum(most if isinstance(most, int) else TOOL_CALLS for most in uses)


def check_priced(bounded: Bound, deployment: Deployment, *, hard: bool) -> None:
    """Raise ModelNotPricedError where a hard budget would have to guess."""
    if hard and bounded.price is None:
        raise ModelNotPricedError(
            f"{deployment.name} has no price, and a hard budget applies to this key.",
            param="model",
        )


def bill(facts: Facts, price: Price | None, outgoing: Outgoing) -> Bill:
    """Return what an attempt cost: by its reported usage, else by our own count, flagged."""
    usage = _usage(facts, outgoing)
    if price is None:
        return Bill(usage=usage)
    cost = pricing.cost(usage, price)
    return Bill(usage=usage, amount_nano=cost.total_nano, lines=cost.lines)


def counted(facts: Facts, outgoing: Outgoing) -> Usage:
    """Return our own count of what an answer used so far."""
    return Usage(
        input=estimate(len(outgoing.body)), output=estimate(facts.output_bytes), estimated=True
    )


def _usage(facts: Facts, outgoing: Outgoing) -> Usage:
    """Return what was reported; where that is only a beginning, our count of what came since."""
    reported = facts.usage
    if reported is None:
        return counted(facts, outgoing)
    if not reported.estimated:
        return reported
    return replace(reported, output=max(reported.output, estimate(facts.output_bytes)))


def tokens_at_least(output_bytes: int, frames: int) -> int:
    """Return how many tokens an answer has at the least, by the frames it came in."""
    return max(
        min(frames, output_bytes // SHORTEST_TOKEN_BYTES), output_bytes // LONGEST_TOKEN_BYTES
    )


def output_room(hold: money.Hold) -> int | None:
    """Return with how many output tokens a hold is used up; None where its output is free."""
    request = hold.request
    if not request.output_nano_per_million:
        return None
    room_nano = request.amount_nano - request.input_nano
    return room_nano * PER_MILLION // request.output_nano_per_million


def estimate(size: int) -> int:
    return -(-size // BYTES_PER_TOKEN)
