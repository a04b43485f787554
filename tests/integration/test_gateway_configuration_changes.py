"""What `apply` or another process changes is in force in every worker within two seconds."""

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from time import monotonic
from typing import Any

import pytest

from tests.harness.books import Books
from tests.harness.canary import canary
from tests.harness.config import (
    API_KEY,
    anthropic_provider,
    budget,
    configuration,
    key,
    model,
    openai_provider,
    route,
    tenant,
)
from tests.harness.dialects import OPENAI, Told
from tests.harness.gateway import GatewayProcess
from tests.upstream.client import Upstream
from tests.upstream.scripts import answer, gated

IN_FORCE_S = 2.0
# Every worker has to answer so: of connections that are each its own, one gets to see each of two
# workers in all of 20 but one in half a million times.
ASKED = 20
OLD_USD = "0.000034"  # two tokens in at 1 dollar a million, eight out at 4
SECOND_KEY = canary("api-key-second")
Row = dict[str, Any]
Accepted = Callable[[Told], bool]


class Changing:
    """A serving gateway and the configuration that is in force there."""

    def __init__(self, gateway: GatewayProcess, upstream: Upstream) -> None:
        self.gateway = gateway
        self.row = configuration(
            upstream.base_url,
            models=[model("alpha"), model("claude", "anthropic")],
            routes=[],
            tenants=[tenant(budgets=[budget("9", name="cap")])],
        )
        gateway.apply(self.row)
        gateway.serve(workers=2 if gateway.environment["REDIS_URL"] else 1)

    def apply(self, change: Callable[[Row], object], *options: str) -> float:
        """Change the file and apply it; return when that was done."""
        wanted = copy.deepcopy(self.row)
        change(wanted)
        self.gateway.apply(wanted, *options)
        self.row = wanted
        return monotonic()

    def by_hand(self, code: str) -> float:
        """Change rows in another process, as the console would."""
        self.gateway.managed("shell", "-c", code)
        return monotonic()

    def ask(self, name: str = "alpha", **fields: Any) -> Told:
        return OPENAI.ask(self.gateway.url, name, **fields)

    def check(self, changed_at: float, accepted: Accepted, name: str = "alpha", **f: Any) -> None:
        """From two seconds after the change on, every answer is as it says; sooner is welcome."""
        while not all(accepted(self.ask(name, **f)) for _ in range(ASKED)):
            told = self.ask(name, **f)
            # A request that began in time may end late: the machine is shared.
            assert monotonic() - changed_at <= IN_FORCE_S + 1, (told.status, told.text)


def status(code: int) -> Accepted:
    return lambda told: told.status == code


def refused_key(told: Told) -> bool:
    return told.status in {401, 429}  # 429: too many wrong ones from one address


def costing(usd: str) -> Accepted:
    return lambda told: Decimal(told.headers.get("x-mobius-cost-usd", "-1")) == Decimal(usd)


REVOKE = (
    "from django.utils.timezone import now; from tenants.models import ApiKey;"
    " ApiKey.all_tenants_unsafe.filter(name='{}').update(revoked_at=now())"
)
RAISE = "from tenants.models import Budget; Budget.all_tenants_unsafe.update(limit_nano={})"
SWITCH = "from llm_gateway.models import Provider; Provider.objects.update(enabled={})"


def test_changes_are_in_force_everywhere_at_once(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    now = Changing(gateway, upstream)
    keys: list[Row] = [key(), key("second", SECOND_KEY)]

    # A key that was just refused is not remembered as wrong either.
    assert now.ask(key=SECOND_KEY).status == 401
    at = now.apply(lambda row: row["tenants"][0].update(keys=keys))
    now.check(at, status(200), key=SECOND_KEY)
    at = now.by_hand(REVOKE.format("second"))
    now.check(at, refused_key, key=SECOND_KEY)

    at = now.apply(lambda row: row["tenants"][0].update(keys=keys[:1]), "--prune")
    now.check(at, refused_key, key=SECOND_KEY)
    now.check(at, status(200), key=API_KEY)

    assert costing(OLD_USD)(now.ask())
    at = now.apply(lambda row: row["models"].__setitem__(0, model("alpha", price=("2", "8"))))
    now.check(at, costing("0.000068"))

    routes = [route("either", "alpha", "claude")]
    assert now.ask("either").status == 404
    at = now.apply(lambda row: row.update(routes=routes))
    now.check(at, status(200), "either")


def test_money_and_providers_are_changed_while_serving(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    now = Changing(gateway, upstream)
    assert now.ask().status == 200

    at = now.apply(lambda row: row["tenants"][0].update(budgets=[budget("0.000001", name="cap")]))
    now.check(at, status(402))
    at = now.apply(lambda row: row["tenants"][0].update(budgets=[budget("8", name="cap")]))
    now.check(at, status(200))
    now.check(now.by_hand(RAISE.format(1)), status(402))
    now.check(now.by_hand(RAISE.format(10**10)), status(200))

    def disabled(row: Row) -> None:
        row["providers"] = [
            openai_provider(upstream.base_url, enabled=False),
            anthropic_provider(upstream.base_url),
        ]

    at = now.apply(disabled)
    now.check(at, lambda told: told.status in {404, 503})
    now.check(at, status(200), "claude")
    now.check(now.by_hand(SWITCH.format(True)), status(200))

    at = now.apply(lambda row: row["tenants"][0].update(models=["claude"]))
    now.check(at, status(404))


@pytest.mark.parametrize("database_backend", ["sqlite"], indirect=True)
def test_a_request_that_runs_keeps_the_price_it_began_with(
    gateway: GatewayProcess, upstream: Upstream
) -> None:
    now = Changing(gateway, upstream)
    upstream.script("alpha", gated("go"), answer("at the new price"))
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(now.ask)
        upstream.wait_seen(1)
        at = now.apply(lambda row: row["models"].__setitem__(0, model("alpha", price=("0", "0"))))
        now.check(at, costing("0"))
        upstream.open_gate("go")
        assert costing(OLD_USD)(running.result(20))
    assert Books(gateway).audit().ok
