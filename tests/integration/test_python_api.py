"""The Python API in a process that serves nothing: commands, Celery tasks, scripts."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.harness.canary import canary
from tests.harness.config import budget, configuration, key, models, nano_prices, tenant
from tests.harness.database import SqliteDatabases
from tests.harness.gateway import GatewayProcess, installed
from tests.upstream.client import Upstream
from tests.upstream.scripts import answer, cut, failing, stream

PRELUDE = """
import asyncio, json
from contextlib import aclosing
from msgspec import to_builtins
from llm_gateway import gateway
from tenants.models import ApiKey, Tenant

def told(call):
    try:
        call()
    except gateway.GatewayError as error:
        return [type(error).__name__, error.status, error.code]

"""


@pytest.fixture(scope="module")
def installation(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    acme = tenant(
        budgets=[budget("1.00")],
        keys=[key(), key("tight", canary("api-key-tight"), models=["beta"])],
    )
    poor = tenant("poor", keys=[], budgets=[budget("0.000001")])
    wanted = configuration(upstream_process.base_url, tenants=[acme, poor])
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(wanted)
        yield gateway


@pytest.fixture
def scripted(upstream: Upstream) -> Upstream:
    upstream.prices(**nano_prices(models()))
    return upstream


def run(installation: GatewayProcess, code: str) -> Any:
    """Run code in a process of its own and return what it leaves in `result`."""
    program = PRELUDE + dedent(code) + "\ngateway.sync.close()\nprint(json.dumps(result))"
    said = installation.managed("shell", "-c", program)
    return json.loads(said.splitlines()[-1])


def open_holds(installation: GatewayProcess) -> Any:
    """Return how many attempts have no end; those whose end nobody can know are not meant."""
    return run(
        installation,
        """
        from tenants.money.models import Hold
        result = Hold.all_tenants_unsafe.filter(state=Hold.State.OPEN).count()
        """,
    )


def test_sync_and_async_calls_from_any_loop_share_one_path(
    installation: GatewayProcess, scripted: Upstream
) -> None:
    scripted.script("alpha", answer("one two"))
    answers = run(
        installation,
        """
        hi = [{"role": "user", "content": "hi"}]
        result = to_builtins([
            gateway.sync.complete("acme", "hi", model="alpha"),
            gateway.sync.complete(Tenant.objects.get(name="acme"), hi, model="alpha"),
            asyncio.run(gateway.complete("acme", hi, model="alpha", max_tokens=5)),
            asyncio.run(gateway.complete("acme", hi, model="alpha", tags={"team": "a"})),
        ])
        """,
    )
    assert [one["content"] for one in answers] == ["one two"] * 4
    assert {one["provider"] for one in answers} == {"openai"}
    total = sum(Decimal(one["cost_usd"]) for one in answers)
    assert total * 10**9 == scripted.bill().total_nano_usd
    assert json.loads(installation.managed("verify_ledger", "--json"))["ok"]
    assert open_holds(installation) == 0
    logged = run(
        installation,
        """
        from llm_gateway.models import RequestLog
        rows = RequestLog.objects.filter(endpoint="python").order_by("-id")[:4]
        result = [[row.tenant_name, row.key_name, row.outcome, row.tags] for row in rows]
        """,
    )
    assert logged[0] == ["acme", "", "ok", {"team": "a"}]
    assert [row[:3] for row in logged] == [["acme", "", "ok"]] * 4


def test_streams_end_with_their_cost_and_may_be_left(
    installation: GatewayProcess, scripted: Upstream
) -> None:
    scripted.script("alpha", stream("Hel", "lo"))
    found = run(
        installation,
        """
        async def whole():
            return [chunk async for chunk in gateway.stream("acme", "hi", model="alpha")]

        async def first():
            async with aclosing(gateway.stream("acme", "hi", model="alpha")) as chunks:
                async for chunk in chunks:
                    return chunk.content

        result = to_builtins([
            asyncio.run(whole()),
            list(gateway.sync.stream("acme", "hi", model="alpha")),
            asyncio.run(first()),
        ])
        """,
    )
    once, again, first = found
    assert [chunk["content"] for chunk in once] == ["Hel", "lo", ""]
    assert once == again
    assert (once[-1]["finish_reason"], once[-1]["usage"]["completion_tokens"]) == ("stop", 2)
    assert Decimal(once[-1]["cost_usd"]) * 10**9 == scripted.bill().rows[0].cost_nano_usd
    assert first == "Hel"
    assert open_holds(installation) == 0


def test_texts_become_vectors(installation: GatewayProcess, scripted: Upstream) -> None:
    found = run(
        installation,
        """
        result = to_builtins([
            gateway.sync.embed("acme", ["one", "two"]),
            asyncio.run(gateway.embed("acme", ["one"], "embed")),
        ])
        """,
    )
    assert [len(one["embeddings"]) for one in found] == [2, 1]
    assert {one["model"] for one in found} == {"embed"}
    assert [call.model for call in scripted.calls] == ["embed", "embed"]


def test_a_key_brings_its_own_limits_and_a_tenant_only_its_own(
    installation: GatewayProcess, scripted: Upstream
) -> None:
    found = run(
        installation,
        """
        tight = ApiKey.objects.of(Tenant.objects.get(name="acme")).get(name="tight")
        result = [
            told(lambda: gateway.sync.complete(tight, "hi", model="alpha")),
            gateway.sync.complete(tight, "hi", model="beta", max_tokens=1).content,
            [one.model for one in gateway.sync.models.list(tight)],
            [one.model for one in asyncio.run(
                gateway.models.list("acme", capability="embeddings"))],
        ]
        """,
    )
    assert found == [["ModelNotFoundError", 404, "model_not_found"], "w1", ["beta"], ["embed"]]
    assert scripted.order == ["beta"]


def test_an_answer_becomes_an_object_of_the_callers_own_class(
    installation: GatewayProcess, scripted: Upstream
) -> None:
    scripted.script("alpha", answer('{"name":"Ada"}'), answer('{"name":"Bob"}'), answer("{}"))
    found = run(
        installation,
        """
        from pydantic import BaseModel, field_validator

        class Person(BaseModel):
            name: str

            @field_validator("name")
            @classmethod
            def not_ada(cls, name):
                assert name != "Ada", "Ada is taken"
                return name

        sync = gateway.sync
        one = sync.complete("acme", "Who?", model="alpha", response_model=Person)
        result = [
            type(one.object).__name__, one.object.name, one.attempts,
            told(lambda: sync.complete("acme", "Who?", model="alpha", response_model=Person)),
        ]
        """,
    )
    assert found == ["Person", "Bob", 2, ["SchemaMismatchError", 422, "schema_mismatch"]]
    assert "Ada is taken" in scripted.calls[1].body["messages"][-1]["content"]


def test_a_conversation_goes_on_and_tokens_are_counted(
    installation: GatewayProcess, scripted: Upstream
) -> None:
    found = run(
        installation,
        """
        sync = gateway.sync
        first = sync.complete("acme", "one", model="alpha", conversation="new")
        sync.complete("acme", "two", model="alpha", conversation=first.conversation)
        counted = sync.count_tokens("acme", "hello world", ["alpha", "claude"])
        again = asyncio.run(gateway.count_tokens("acme", "hello world", "alpha"))
        result = to_builtins([[one.model for one in counted.data], counted.tokens == again.tokens])
        """,
    )
    assert found == [["alpha", "claude"], True]
    assert [one["content"] for one in scripted.calls[1].body["messages"]][::2] == ["one", "two"]


def test_refusals_are_the_gateways_own_errors(
    installation: GatewayProcess, scripted: Upstream
) -> None:
    scripted.script("beta", failing(500))
    scripted.script("alpha", cut(at_event=2))
    found = run(
        installation,
        """
        sync = gateway.sync
        result = [
            told(lambda: sync.complete("nobody", "hi")),
            told(lambda: sync.complete("poor", "hi", model="alpha")),
            told(lambda: sync.complete("acme", "hi", model="alpha", colour="red")),
            told(lambda: asyncio.run(gateway.complete("acme", "hi", model="beta"))),
            told(lambda: list(sync.stream("acme", "hi", model="alpha"))),
        ]
        """,
    )
    assert found == [
        ["InvalidApiKeyError", 401, "invalid_api_key"],
        ["BudgetError", 402, "insufficient_quota"],
        ["InvalidRequestError", 400, "invalid_request_error"],
        ["ServerFaultError", 502, "upstream_error"],
        ["BrokenStreamError", 502, "upstream_error"],
    ]
