"""Advice names a saving that can be computed again by hand."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from llm_gateway.insight.advice import advise, cache_answers, cache_prompts, cheaper_model
from llm_gateway.insight.observed import Observed, Prompts, Repeated, ShortAnswers, observe
from llm_gateway.insight.partitions import first_id
from llm_gateway.recorder.journal import Journal
from llm_gateway.types import CallRecord, Deployment, Price, ProviderConfig, Tier
from tenants.models import ApiKey, Tenant
from tenants.types import NANO
from tests.unit.request_log import call

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
TODAY = date(2026, 11, 20)
CAN = frozenset({"chat", "stream"})


def price(input_: int, output: int, **fields: Any) -> Price:
    """Return a price in dollars a million tokens."""
    return Price(id=1, input=input_ * NANO, output=output * NANO, **fields)


def deployment(name: str, *prices: Price, **fields: Any) -> Deployment:
    provider = ProviderConfig(id=1, name="alpha", kind="openai", base_url="", adapters={})
    known: dict[str, Any] = {"quality": 80, "capabilities": CAN, "context_window": 100_000}
    return Deployment(
        id=1, name=name, provider=provider, upstream_name=name, prices=prices, **{**known, **fields}
    )


BIG = deployment("big", price(10, 40))
SMALL = deployment("small", price(1, 4), quality=76)


def short(**fields: Any) -> ShortAnswers:
    known: dict[str, Any] = {
        "model": "big",
        "provider": "alpha",
        "requests": 100,
        "input_tokens": 1_000_000,
        "output_tokens": 10_000,
        "reasoning_tokens": 0,
        "cost_nano": 10_400_000_000,
        "largest_input": 20_000,
        "largest_total": 20_100,
    }
    return ShortAnswers(**{**known, **fields})


def test_a_cheaper_model_saves_the_difference_of_both_prices() -> None:
    advice = cheaper_model(short(), [BIG, SMALL], TODAY)
    assert advice is not None
    # 1,000,000 x 1 $ + 10,000 x 4 $ a million = 1.04 $ instead of 10.40 $
    assert advice.saving_nano == 10_400_000_000 - 1_040_000_000
    assert "1.040000000" in advice.computed
    assert advice.figures["model"] == "small"


def test_the_cheapest_of_several_is_named_and_every_request_pays_its_fee() -> None:
    fee = deployment("fee", price(1, 0, request=NANO // 50))
    less = deployment("less", price(2, 0))
    advice = cheaper_model(short(), [BIG, fee, less], TODAY)
    assert advice is not None
    assert (advice.figures["model"], advice.saving_nano) == ("less", 8_400_000_000)
    assert cheaper_model(short(requests=1), [BIG, fee, less], TODAY) is not None


@pytest.mark.parametrize(
    "other",
    [
        deployment("worse", price(1, 4), quality=74),
        deployment("unknown", price(1, 4), quality=None),
        deployment("mute", price(1, 4), capabilities=frozenset({"chat"})),
        deployment("untold", price(1, 4), capabilities=None),
        deployment("small-window", price(1, 4), context_window=20_000),
        deployment("dearer", price(11, 40)),
        deployment("unpriced"),
        deployment("half-priced", Price(id=1, input=NANO)),
        deployment("tiered", price(1, 4, tiers=(Tier(above_input_tokens=10_000),))),
        deployment("later", price(1, 4, valid_from=date(2026, 12, 1))),
        deployment("big", price(1, 4)),
    ],
    ids=lambda one: one.name,
)
def test_what_is_not_as_good_or_not_surely_cheaper_is_no_advice(other: Deployment) -> None:
    assert cheaper_model(short(), [BIG, other], TODAY) is None


def test_a_model_whose_quality_nobody_knows_is_not_compared() -> None:
    assert cheaper_model(short(), [deployment("big", quality=None), SMALL], TODAY) is None
    assert cheaper_model(short(), [SMALL], TODAY) is None


def test_prompts_that_repeat_save_what_reading_is_cheaper_less_what_writing_is_dearer() -> None:
    cached = deployment("big", price(10, 40, cache_read=NANO, cache_write=12 * NANO))
    seen = Prompts(
        model="big", provider="alpha", requests=30, first_tokens=500_000, again_tokens=1_000_000
    )
    advice = cache_prompts(seen, [cached], TODAY)
    assert advice is not None
    # 1,000,000 x (10 - 1) $ - 500,000 x (12 - 10) $ a million
    assert advice.saving_nano == 8 * NANO
    seldom = Prompts(model="big", provider="alpha", first_tokens=10**6, again_tokens=1000)
    assert cache_prompts(seldom, [cached], TODAY) is None
    assert cache_prompts(seen, [BIG], TODAY) is None


def test_repeats_that_cost_nothing_are_no_advice() -> None:
    assert cache_answers(Repeated(model="big", requests=5, cost_nano=0)) is None


def test_the_largest_saving_comes_first() -> None:
    observed = Observed(
        since=NOW,
        until=NOW,
        short_answers=[short()],
        repeated=[Repeated(model="big", requests=5, cost_nano=20 * NANO)],
        prompts=[],
        unused_keys=[],
    )
    found = advise(observed, [BIG, SMALL], TODAY)
    assert [one.kind for one in found] == ["cache_answers", "cheaper_model"]


# --- from the database ---------------------------------------------------------------------------


def made(minutes: float, number: int = 0, **fields: Any) -> CallRecord:
    at = NOW - timedelta(minutes=minutes)
    return call(
        id=UUID(int=first_id(at).int | (0x7000_8000 << 48) | number), created_at=at, **fields
    )


def test_short_answers_are_summed_by_deployment(alias: str, journal: Journal) -> None:
    journal.write([
        made(1, 1, output_tokens=256, cost_nano=5),
        made(2, 2, output_tokens=1, input_tokens=300, cost_nano=7),
        made(3, 3, output_tokens=257),
        made(4, 4, output_tokens=0),
        made(5, 5, outcome="failed"),
        made(6, 6, tenant_id=2),
        made(7, 7, cache="hit"),
        made(60 * 24 * 8, 8),
    ])  # fmt: skip
    (found,) = observe(1, NOW, using=alias).short_answers
    assert (found.requests, found.input_tokens, found.output_tokens) == (2, 400, 257)
    assert (found.cost_nano, found.largest_input, found.largest_total) == (12, 300, 356)


def test_identical_requests_of_one_hour_are_paid_once_the_dearest(
    alias: str, journal: Journal
) -> None:
    journal.write([
        made(1, 1, digest="a", cost_nano=5),
        made(2, 2, digest="a", cost_nano=7),
        made(3, 3, digest="a", cost_nano=6),
        made(90, 4, digest="a", cost_nano=100),  # another hour of the clock
        made(4, 5, digest="b", cost_nano=100),
        made(5, 6, digest="", cost_nano=100),
        made(6, 7, digest="", cost_nano=100),
    ])  # fmt: skip
    (found,) = observe(1, NOW, using=alias).repeated
    assert (found.requests, found.cost_nano) == (2, 11)


def test_prompts_count_what_was_not_read_from_the_cache(alias: str, journal: Journal) -> None:
    journal.write([
        made(1, 1, prefix_digest="a", prefix_tokens=2000),
        made(2, 2, prefix_digest="a", prefix_tokens=2000, cached_tokens=500),
        made(3, 3, prefix_digest="a", prefix_tokens=2000, cached_tokens=2000),
        made(30, 4, prefix_digest="a", prefix_tokens=2000),
        made(4, 5, prefix_digest="b", prefix_tokens=2000),
        made(1, 6, prefix_digest="c", prefix_tokens=1000),
        made(2, 7, prefix_digest="c", prefix_tokens=1000),
    ])  # fmt: skip
    (found,) = observe(1, NOW, using=alias).prompts
    assert (found.requests, found.first_tokens, found.again_tokens) == (3, 2000, 1500)


def test_keys_that_nobody_uses_are_named(alias: str) -> None:
    tenant = Tenant.objects.using(alias).create(name="acme")
    long_ago = NOW - timedelta(days=31)
    keys: list[tuple[str, dict[str, Any]]] = [
        ("never", {}),
        ("lately", {"last_used_at": NOW - timedelta(days=29)}),
        ("long-ago", {"last_used_at": long_ago}),
        ("revoked", {"revoked_at": NOW}),
        ("expired", {"expires_at": NOW}),
    ]
    for name, fields in keys:
        key = ApiKey.all_tenants_unsafe.using(alias).create(
            tenant=tenant, name=name, digest=name, prefix=name, **fields
        )
        ApiKey.all_tenants_unsafe.using(alias).filter(pk=key.pk).update(created_at=long_ago)
    observed = observe(tenant.pk, NOW, using=alias)
    assert [key.name for key in observed.unused_keys] == ["long-ago", "never"]
    assert {one.saving_nano for one in advise(observed, [], TODAY)} == {0}
