"""A budget that shortens answers instead of refusing them, and one that is used up on the way."""

from decimal import Decimal
from typing import Any

import pytest

from tests.harness.books import Books
from tests.harness.config import budget, configuration, models, nano_prices, tenant
from tests.harness.dialects import ANTHROPIC, OPENAI, Dialect, Told
from tests.harness.gateway import GatewayProcess
from tests.upstream.client import Upstream
from tests.upstream.scripts import paced, stream

NANO = Decimal(10) ** 9
FEWEST = 256

WAYS = pytest.mark.parametrize(
    ("dialect", "model"),
    [(OPENAI, "alpha"), (OPENAI, "claude"), (ANTHROPIC, "claude"), (ANTHROPIC, "alpha")],
    ids=lambda each: getattr(each, "name", each),
)


# What a refusal is made of does not depend on the database.
pytestmark = pytest.mark.parametrize("database_backend", ["sqlite"], indirect=True)


@pytest.fixture
def embedded(gateway: GatewayProcess) -> GatewayProcess:
    return gateway


def serve(gateway: GatewayProcess, upstream: Upstream, limit: str, **rule: Any) -> Books:
    wanted = configuration(upstream.base_url, tenants=[tenant(budgets=[budget(limit, **rule)])])
    upstream.prices(**nano_prices(models()))
    gateway.apply(wanted)
    gateway.serve()
    return Books(gateway)


def ask(gateway: GatewayProcess, dialect: Dialect, model: str, **fields: Any) -> Told:
    return dialect.ask(gateway.url, model, **{"max_tokens": 4000, **fields})


@pytest.mark.promise("M1")
@WAYS
def test_a_clamping_budget_shortens_the_answer_to_what_is_left(
    embedded: GatewayProcess, upstream: Upstream, dialect: Dialect, model: str
) -> None:
    limit = {"alpha": "0.0040", "claude": "0.0150"}[model]
    books = serve(embedded, upstream, limit, mode="clamp")
    told = ask(embedded, dialect, model, stream=True)
    assert (told.status, told.clean) == (200, True)
    clamped = int(told.headers["x-mobius-max-tokens"])
    assert FEWEST <= clamped < 1000
    (call,) = upstream.calls
    sent = call.body.get("max_tokens") or call.body.get("max_completion_tokens")
    assert sent == clamped
    (entry,) = books.entries()
    assert entry["amount_nano"] <= entry["hold_nano"] <= Decimal(limit) * NANO
    assert Decimal(limit) * NANO - entry["hold_nano"] < 100_000  # no more is given away
    assert books.audit().ok

    short = ask(embedded, dialect, model, max_tokens=8)
    assert "x-mobius-max-tokens" not in short.headers


@pytest.mark.promise("M1")
def test_no_answer_is_shortened_under_256_tokens_or_by_a_strict_budget(
    embedded: GatewayProcess, upstream: Upstream
) -> None:
    serve(embedded, upstream, "0.0010", mode="clamp")
    refused = ask(embedded, OPENAI, "alpha")
    assert (refused.status, refused.code) == (402, "insufficient_quota")
    assert ask(embedded, OPENAI, "alpha", max_tokens=8).status == 200
    embedded.terminate()
    serve(embedded, upstream, "0.0040", mode="strict")
    assert ask(embedded, OPENAI, "alpha").status == 402
    assert len(upstream.calls) == 1


@pytest.mark.parametrize(
    ("dialect", "model", "streamed"),
    [
        (OPENAI, "alpha", True),
        (OPENAI, "claude", True),
        (OPENAI, "claude", False),
        (ANTHROPIC, "claude", True),
        (ANTHROPIC, "alpha", True),
        (ANTHROPIC, "alpha", False),
        # the whole answer of one's own dialect comes in one piece
    ],
    ids=lambda each: getattr(each, "name", each),
)
def test_an_answer_longer_than_its_limit_ends_when_its_hold_is_used_up(
    embedded: GatewayProcess, upstream: Upstream, dialect: Dialect, model: str, streamed: bool
) -> None:
    books = serve(embedded, upstream, "9")
    upstream.script(
        model, paced(1) + stream(*(f"w{n} " for n in range(3000))).but(obeys_limit=False)
    )
    told = ask(embedded, dialect, model, max_tokens=8, stream=streamed)
    assert (told.status, told.clean) == (200, True)
    reason = "max_tokens" if dialect is ANTHROPIC else "length"
    assert f'"{reason}"' in told.text
    assert "w2000" not in told.text
    if streamed:
        assert dialect.end in told.text
    (entry,) = books.until_settled(1, 10)
    assert (entry["outcome"], bool(entry["estimated"])) == ("settled", True)
    assert 0 < entry["amount_nano"] <= entry["hold_nano"] * 3
    upstream.wait_ended(1)
    assert upstream.calls[0].outcome == "client_left"


@pytest.mark.parametrize("model", ["alpha", "claude"])
def test_an_answer_within_its_limit_is_never_ended_early(
    embedded: GatewayProcess, upstream: Upstream, model: str
) -> None:
    serve(embedded, upstream, "9")
    long, letters = ["antidisestablishmentarianism "] * 60, list("letter by letter " * 8)
    upstream.script(model, stream(*long), stream(*letters).but(obeys_limit=False))
    assert ask(embedded, OPENAI, model, max_tokens=60, stream=True).text.count("establish") == 60
    assert '"length"' not in ask(embedded, OPENAI, model, max_tokens=60, stream=True).text
