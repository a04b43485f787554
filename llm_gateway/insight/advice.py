"""Turn what was observed into advice: each with what it would have saved, and how that was found.

A saving is a lower bound: of the window that was observed, at today's prices, cached tokens of a
cheaper model counted in full, the dearest of identical requests taken as the one to pay.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from llm_gateway.insight.observed import (
    SHORT_ANSWER,
    UNUSED_FOR,
    Observed,
    Prompts,
    Repeated,
    ShortAnswers,
    UnusedKey,
)
from llm_gateway.pricing import PER, UnpricedError, cost, price_at
from llm_gateway.types import Deployment, Price, Usage
from tenants.types import usd

QUALITY_POINTS = 5


class Advice(Struct, frozen=True, kw_only=True):
    """One thing to do. `computed` says with figures how `saving_nano` was found."""

    kind: str
    subject: str
    advice: str
    saving_nano: int
    computed: str
    figures: dict[str, Any]


def advise(observed: Observed, deployments: Sequence[Deployment], today: date) -> list[Advice]:
    """Return the advice, the largest saving first. `deployments` are those the tenant may call."""
    found = [
        *_each(cheaper_model(one, deployments, today) for one in observed.short_answers),
        *_each(cache_answers(one) for one in observed.repeated),
        *_each(cache_prompts(one, deployments, today) for one in observed.prompts),
        *(revoke(key) for key in observed.unused_keys),
    ]
    return sorted(found, key=lambda one: (-one.saving_nano, one.kind, one.subject))


def cheaper_model(
    short: ShortAnswers, deployments: Sequence[Deployment], today: date
) -> Advice | None:
    """Advise the cheapest model that can do the same and is as good within QUALITY_POINTS."""
    now = _deployment(short.model, short.provider, deployments)
    if now is None or now.quality is None or now.capabilities is None:
        return None
    costs = {
        one.name: nano
        for one in deployments
        if _can_replace(one, now, short) and (nano := _cost_at(one, short, today)) is not None
    }
    name = min(costs, key=lambda name: (costs[name], name), default=None)
    if name is None or costs[name] >= short.cost_nano:
        return None
    return Advice(
        kind="cheaper_model",
        subject=short.model,
        advice=f"Ask {name} instead of {short.model} where answers are short.",
        saving_nano=short.cost_nano - costs[name],
        computed=(
            f"{short.requests:,} requests to {short.model} were answered in up to {SHORT_ANSWER}"
            f" tokens: {short.input_tokens:,} tokens in, {short.output_tokens:,} out, for"
            f" {usd(short.cost_nano)} USD. At the prices of {name} they cost {usd(costs[name])}"
            f" USD; it has every capability of {short.model} and a quality of at least"
            f" {now.quality - QUALITY_POINTS}, {short.model} has {now.quality}."
        ),
        figures={"requests": short.requests, "model": name, "provider": short.provider},
    )


def cache_answers(repeated: Repeated) -> Advice | None:
    """Advise to keep answers for an hour where identical requests were paid again."""
    if repeated.cost_nano <= 0:
        return None
    return Advice(
        kind="cache_answers",
        subject=repeated.model,
        advice=f"Switch the cache on for {repeated.model}, with a time to live of an hour.",
        saving_nano=repeated.cost_nano,
        computed=(
            f"{repeated.requests} requests to {repeated.model} were identical to another of the"
            f" same hour of the clock and cost {usd(repeated.cost_nano)} USD, the dearest of each"
            " hour left out: that one has to be paid."
        ),
        figures={"requests": repeated.requests},
    )


def cache_prompts(
    prompts: Prompts, deployments: Sequence[Deployment], today: date
) -> Advice | None:
    """Advise the provider's prompt cache where beginnings of prompts came again soon."""
    now = _deployment(prompts.model, prompts.provider, deployments)
    price = price_at(now.prices, today) if now else None
    if price is None or price.input is None or price.cache_read is None:
        return None
    dearer = max(0, (price.cache_write or 0) - price.input)
    saving = (
        prompts.again_tokens * (price.input - price.cache_read) - prompts.first_tokens * dearer
    ) // PER
    if saving <= 0:
        return None
    return Advice(
        kind="cache_prompts",
        subject=prompts.model,
        advice=f"Mark instructions and tools sent to {prompts.model} for its prompt cache.",
        saving_nano=saving,
        computed=(
            f"{prompts.requests} requests began like another of the same five minutes."
            f" {prompts.again_tokens:,} tokens were billed at {usd(price.input)} USD a million that"
            f" cost {usd(price.cache_read)} when read from the cache, less {prompts.first_tokens:,}"
            f" tokens that are {usd(dearer)} dearer to write into it."
        ),
        figures={"requests": prompts.requests, "tokens": prompts.again_tokens},
    )


def revoke(key: UnusedKey) -> Advice:
    """Advise to revoke a key that nobody uses: it saves no money and can still be stolen."""
    seen = f"since {key.last_used_at:%Y-%m-%d}" if key.last_used_at else "ever"
    return Advice(
        kind="unused_key",
        subject=key.name,
        advice=f"Revoke the key {key.name}.",
        saving_nano=0,
        computed=f"It was not used {seen}; keys are listed after {UNUSED_FOR.days} days.",
        figures={"last_used_at": key.last_used_at.isoformat() if key.last_used_at else None},
    )


def _each(found: Iterable[Advice | None]) -> Iterable[Advice]:
    return (one for one in found if one is not None)


def _deployment(model: str, provider: str, deployments: Sequence[Deployment]) -> Deployment | None:
    for one in deployments:
        if (one.name, one.provider.name) == (model, provider):
            return one
    return None


def _can_replace(one: Deployment, now: Deployment, short: ShortAnswers) -> bool:
    return (
        one.name != now.name
        and one.quality is not None
        and now.quality is not None
        and one.quality >= now.quality - QUALITY_POINTS
        and (one.capabilities or frozenset()) >= (now.capabilities or frozenset())
        and (one.context_window is None or one.context_window >= short.largest_total)
    )


def _cost_at(one: Deployment, short: ShortAnswers, today: date) -> int | None:
    """Return what the requests cost there; None where that is unknown or depends on each size."""
    price = price_at(one.prices, today)
    if price is None or any(t.above_input_tokens < short.largest_input for t in price.tiers):
        return None
    used = Usage(
        input=short.input_tokens, output=short.output_tokens, reasoning=short.reasoning_tokens
    )
    try:
        return cost(used, _flat(price, short.requests)).total_nano
    except UnpricedError:
        return None


def _flat(price: Price, requests: int) -> Price:
    """Return the price for all requests at once: no tier is reached, each pays its fee."""
    fee = None if price.request is None else price.request * requests
    return replace(price, tiers=(), request=fee)
