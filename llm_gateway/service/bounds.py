"""Bound what an attempt can cost before it starts, and price what it used when it has ended."""

from bisect import bisect_right

from msgspec import Struct
from msgspec.structs import replace

from llm_gateway import pricing
from llm_gateway.errors import InvalidRequestError, ModelNotPricedError, UnexpressibleError
from llm_gateway.service.scales import BYTES_PER_TOKEN, PLAIN, Scale
from llm_gateway.types import Call, Deployment, Facts, Outgoing, Price, Usage
from tenants.money import types as money

# Where neither the caller nor the model says how long an answer may be (money.md §4.2).
DEFAULT_OUTPUT_TOKENS = 8192
# An answer is not made shorter than this to fit a budget (money.md §4.3).
FEWEST_TOKENS = 256
# What an answer of so many bytes or frames has at least: a token is no more than a frame, and none
# but a few are longer than this.
LONGEST_TOKEN_BYTES, SHORTEST_TOKEN_BYTES = 16, 2
PER_MILLION = 1_000_000
# A million dollars. No answer costs that: a number that says so is none, and no column overflows.
DEAREST_NANO = 10**15
# A second of sound has no fewer bytes (8 kbit/s) and no more tokens (Gemini: 32; others: 10).
BYTES_PER_SECOND = 1000
TOKENS_PER_SECOND = 32


class Asked(Struct, frozen=True):
    """What is asked of a deployment: the caller's call, as it goes out, and at which price.

    `scale` is what bytes are in tokens there, as far as anybody knows.
    """

    call: Call
    outgoing: Outgoing
    price: Price | None
    deployment: Deployment
    scale: Scale = PLAIN

    @property
    def text_bytes(self) -> int:
        """The size of the body but for images and sound."""
        return len(self.outgoing.body) - self.call.media_bytes

    @property
    def input_tokens(self) -> int:
        """Our own count of the input."""
        return self.scale.input.tokens_of(self.text_bytes)


class Bound(Struct, frozen=True, kw_only=True):
    """What one attempt may use and cost at most; `input_nano` is the part of its input alone.

    `unsized` is a field of the request whose input nothing bounds, `unpriced` a unit that may be
    used and has no price.
    """

    price: Price | None
    input_tokens: int
    output_tokens: int
    input_estimate: int
    amount_nano: int = 0
    input_nano: int = 0
    unsized: str = ""
    unpriced: str = ""

    @property
    def free(self) -> bool:
        return self.price is not None and not self.unpriced and pricing.is_free(self.price)


class Bill(Struct, frozen=True, kw_only=True):
    """What one attempt cost: nano-dollars, with the lines that sum to it."""

    usage: Usage
    amount_nano: int = 0
    lines: tuple[pricing.Line, ...] = ()
    unpriced: bool = False


def output_bound(call: Call, deployment: Deployment, most: int) -> int:
    """Return output tokens of one choice that the provider can be held to."""
    if call.max_output_tokens is not None:
        return call.max_output_tokens
    if call.operation != "chat":
        return 0
    return min(deployment.max_output_tokens or DEFAULT_OUTPUT_TOKENS, most)


def bound(asked: Asked, *, output: int) -> Bound:
    """Return the bound of an attempt; an unpriced one is bounded in tokens alone."""
    call, price = asked.call, asked.price
    sound_s = -(-call.media_bytes // BYTES_PER_SECOND) if call.audio else 0
    unsized = _unsized(call, asked.deployment)
    window = (asked.deployment.context_window or 0) * call.rounds if unsized else 0
    bounded = Bound(
        price=price,
        input_tokens=window or _bound_by_size(asked) + sound_s * TOKENS_PER_SECOND,
        output_tokens=output * call.choices,
        input_estimate=asked.input_tokens,
        unsized="" if window else unsized,
        unpriced=_unpriced(asked) if call.units or _has_fee(asked) else "",
    )
    if price is None:
        return bounded
    try:
        return replace(
            bounded,
            amount_nano=pricing.bound(
                _of_all(price, call.requests),
                input_tokens=bounded.input_tokens,
                output_tokens=bounded.output_tokens,
                images=call.images + call.documents,
                audio_seconds=sound_s,
                tool_calls=call.searches,
            ),
            input_nano=pricing.bound(price, input_tokens=bounded.input_estimate, output_tokens=0),
        )
    except pricing.UnpricedError:
        return replace(bounded, price=None)


def _of_all(price: Price, requests: int) -> Price:
    """Return a price whose fee of a request is that of so many, the dearest that there is."""
    if requests == 1:
        return price
    said = (price.request, *(tier.request for tier in price.tiers))
    fees = [fee for fee in said if fee is not None]
    if not fees:
        return price
    tiers = tuple(replace(tier, request=None) for tier in price.tiers)
    return replace(price, request=requests * max(fees), tiers=tiers)


def _unsized(call: Call, deployment: Deployment) -> str:
    """Return what brings input that the body's size does not bound; only the window bounds it."""
    if call.unsized:
        return call.unsized
    if call.documents:
        return "documents"
    return "images" if call.images and deployment.image_tokens is None else ""


def _bound_by_size(asked: Asked) -> int:
    call = asked.call
    return pricing.input_bound(
        len(asked.outgoing.body) - call.media_bytes + call.kept_tokens,
        items=call.items,
        tools=call.requests if "tools" in call.needs else 0,
        images=call.images,
        image_tokens=asked.deployment.image_tokens or 0,
    )


def _has_fee(asked: Asked) -> bool:
    """Say whether the provider bills every request, and searches by that."""
    return asked.deployment.provider.quirks.request_fee


def _unpriced(asked: Asked) -> str:
    """Return a unit that this call may use and that the price does not know, or ''."""
    price, units = asked.price, asked.call.units
    if price is None:
        return ""
    if _has_fee(asked):
        units = (units - {"tool_call"}) | {"request"}
    return min((unit for unit in units if not pricing.is_known(price, unit)), default="")


def affordable(asked: Asked, *, under: int, room_nano: int) -> int | None:
    """Return the most output tokens of a choice that fit; None for fewer than anyone can use."""
    counts = range(FEWEST_TOKENS, under)
    fitting = bisect_right(counts, room_nano, key=lambda n: bound(asked, output=n).amount_nano)
    return counts[fitting - 1] if fitting else None


def check_priced(bounded: Bound, deployment: Deployment, *, hard: bool) -> None:
    """Raise an InvalidRequestError of this target where a hard budget would have to guess.

    Nobody may ask for what could cost more than any answer does.
    """
    if bounded.amount_nano > DEAREST_NANO:
        raise InvalidRequestError(
            "This request could cost more than a million US dollars: lower 'max_tokens', 'n' or how"
            " often 'tools' may be used.",
            param="max_tokens",
        )
    if not hard:
        return
    if bounded.price is None:
        raise ModelNotPricedError(
            f"{deployment.name} has no price, and a hard budget applies to this key.",
            param="model",
        )
    if bounded.unpriced:
        raise ModelNotPricedError(
            f"{deployment.name} has no price for {bounded.unpriced}, which this request may use,"
            " and a hard budget applies to this key.",
            param="model",
            detail={"unit": bounded.unpriced},
        )
    if bounded.unsized and not bounded.free:
        raise UnexpressibleError(
            f"How much input {bounded.unsized} brings is not known, and {deployment.name} has no"
            " context_window that bounds it: a hard budget applies to this key.",
            param=bounded.unsized,
        )


def bill(facts: Facts, asked: Asked) -> Bill:
    """Return what an attempt cost: by its reported usage, else by our own count, flagged.

    By what the provider says that it costs, where that is to be charged.
    """
    if facts.cost_nano is not None and asked.deployment.provider.charge_by == "provider":
        told = pricing.as_told(facts.cost_nano, asked.price)
        return Bill(usage=_usage(facts, asked), amount_nano=told.total_nano, lines=told.lines)
    bill = _billed(_usage(facts, asked), facts, asked)
    if bill.amount_nano > DEAREST_NANO:
        return _billed(counted(facts, asked), facts, asked)
    return bill


def _billed(used: Usage, facts: Facts, asked: Asked) -> Bill:
    usage = _unreported(used, facts, asked)
    if asked.price is None:
        return Bill(usage=usage, unpriced=True)
    cost = pricing.cost(usage, asked.price, request_fee=_has_fee(asked))
    return Bill(usage=usage, amount_nano=cost.total_nano, lines=cost.lines, unpriced=cost.unpriced)


def _unreported(usage: Usage, facts: Facts, asked: Asked) -> Usage:
    """Add what is billed and no usage tells of: images by the piece, searches of some dialects."""
    call, price = asked.call, asked.price
    if call.images and price is not None and price.image is not None:
        usage = replace(usage, images=call.images)
    if call.unreported_calls and facts.content and not usage.tool_calls and not _has_fee(asked):
        usage = replace(usage, tool_calls=call.unreported_calls)
    return usage


def counted(facts: Facts, asked: Asked) -> Usage:
    """Return our own count of what an answer used so far."""
    output = asked.scale.output.tokens_of(facts.output_bytes)
    return Usage(input=asked.input_tokens, output=output, estimated=True)


def _usage(facts: Facts, asked: Asked) -> Usage:
    """Return what was reported; where that is only a beginning, our count of what came since."""
    reported = facts.usage
    if reported is None:
        return counted(facts, asked)
    if not reported.estimated:
        return reported
    output = asked.scale.output.tokens_of(facts.output_bytes)
    return replace(reported, output=max(reported.output, output))


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
