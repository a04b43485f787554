"""How long a provider asks us to wait, and how long we ask our callers (F3)."""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest

from llm_gateway import errors
from llm_gateway.service.headers import of_error
from tests.harness.canary import canary
from tests.harness.config import (
    API_KEY,
    Row,
    budget,
    configuration,
    key,
    model,
    provider,
    route,
    tenant,
)
from tests.harness.crowd import Crowd, each
from tests.harness.database import SqliteDatabases
from tests.harness.dialects import ANTHROPIC, OPENAI, Dialect, Told, fetch
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.processes import free_port
from tests.legs import Figure
from tests.upstream.client import Upstream
from tests.upstream.scripts import Script, answer, failing, gated

pytestmark = [pytest.mark.promise("F3"), pytest.mark.timed]

# The provider's clock is years behind ours: only its own two dates can be compared.
DATE, IN_A_SECOND = "Tue, 07 Jan 2020 10:00:00 GMT", "Tue, 07 Jan 2020 10:00:01 GMT"
TENTH, TRIES = 1.1, 3
BASES = {"openai": "/v1", "anthropic": "", "gemini": ""}
CALLERS: Mapping[str, Dialect] = {"openai": OPENAI, "anthropic": ANTHROPIC, "gemini": OPENAI}
POOR_KEY, NARROW_KEY = canary("api-key-one-a-minute"), canary("api-key-one-at-once")
SPARE = "spare"
# A first attempt pays 0.15 of a further one into the budget of its process (faults.md §4).
EARNING = 7
NATIVE = "/api/v1/llm/complete"


@dataclass(frozen=True, slots=True)
class Wait:
    """What a 429 says, and within which seconds its provider is called again."""

    name: str
    headers: Mapping[str, str]
    least: float
    most: float


def told(name: str, seconds: float, **headers: str) -> Wait:
    return Wait(name, headers, seconds, seconds * TENTH)


WAITS = [
    told("seconds", 1, retry_after="1"),
    told("fraction", 0.5, retry_after="0.5"),
    told("date", 1, retry_after=IN_A_SECOND, date=DATE),
    told("ms", 0.7, retry_after_ms="700", retry_after="7"),
    told("reset", 0.6, x_ratelimit_remaining_tokens="0", x_ratelimit_reset_tokens="600ms"),
    # Nothing to go by: 5 s ± 25 % (faults.md §2).
    Wait("garbage", {"retry_after": "soon"}, 3.75, 6.25 * TENTH),
]


def name_of(kind: str, wait: Wait) -> str:
    return f"{kind}-{wait.name}"


def waiting_configuration(upstream_url: str) -> Row:
    names = {
        **{name_of(kind, wait): kind for kind, wait in product(BASES, WAITS)},
        **dict.fromkeys(("near", "far", "later", "latest", "resting", "busy"), "openai"),
    }
    down = provider("p-down", "openai", f"http://127.0.0.1:{free_port()}/v1")
    made = [
        provider(
            f"p-{name}",
            kind,
            upstream_url + BASES[kind],
            **({"max_concurrent_requests": 1} if name == "busy" else {}),
        )
        for name, kind in names.items()
    ]
    acme = tenant(budgets=[budget("100")])
    poor = tenant("poor", keys=[key("poor", POOR_KEY)], rate_limits={"requests_per_minute": 1})
    narrow = tenant("narrow", keys=[key("narrow", NARROW_KEY)], rate_limits={"concurrency": 1})
    return configuration(
        upstream_url,
        providers=[*made, down, {"name": SPARE, "kind": "mock"}],
        models=[
            *(model(name, f"p-{name}") for name in names),
            model("down", "p-down"),
            model(SPARE, SPARE, price=("0", "0")),
        ],
        routes=[route("near-or-far", "near", "far"), route("later-or-latest", "later", "latest")],
        tenants=[acme, poor, narrow],
    )


@contextmanager
def served(
    databases: SqliteDatabases, home: Path, output: Path, upstream: Upstream, mutant: str = ""
) -> Iterator[GatewayProcess]:
    with installed(databases, home, output) as gateway:
        gateway.apply(waiting_configuration(upstream.base_url))
        yield gateway.serve(mutant=f"unhurried{mutant}")


@pytest.fixture(scope="module")
def waiting(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    home = tmp_path_factory.mktemp("home")
    with served(sqlite_databases, home, output, upstream_process) as gateway:
        yield gateway


# --- in ---------------------------------------------------------------------------------------

Asked = tuple[str, Wait]


def waited(gateway: GatewayProcess, upstream: Upstream, asked: list[Asked]) -> dict[str, float]:
    """Ask each deployment at once; return how long each was left alone."""
    upstream.reset()
    for kind, wait in asked:
        upstream.script(name_of(kind, wait), failing(429, **wait.headers), answer("again"))

    async def ask(one: Asked) -> Told:
        crowd = Crowd(gateway.port)
        try:
            for _ in range(EARNING):
                assert (await crowd.ask(OPENAI, SPARE)).status == 200
            return await crowd.ask(CALLERS[one[0]], name_of(*one))
        finally:
            crowd.close()

    answers = asyncio.run(each(asked, ask, at_once=len(asked)))
    assert {(one.status, one.headers["x-mobius-attempts"]) for one in answers} == {(200, "2")}
    return waits_of(upstream)


def waits_of(upstream: Upstream) -> dict[str, float]:
    """Return, by model, the seconds between the end of its first call and its second call."""
    ended: dict[str, float] = {}
    waits: dict[str, float] = {}
    for call in upstream.calls:
        if call.model in ended:
            waits[call.model] = call.received_at - ended[call.model]
        elif call.ended_at is not None:
            ended[call.model] = call.ended_at
    return waits


def within(wait: Wait, seconds: float) -> bool:
    return wait.least <= seconds <= wait.most


def test_what_a_provider_asks_for_is_kept_within_a_tenth(
    waiting: GatewayProcess, upstream: Upstream, figure: Figure
) -> None:
    asked = list(product(BASES, WAITS))
    best: dict[str, float] = {}
    for _ in range(TRIES):  # what was missed by load is repeated
        left = [one for one in asked if not within(one[1], best.get(name_of(*one), 0.0))]
        best |= waited(waiting, upstream, left) if left else {}
    figure("kinds of Retry-After", len(asked), f"{len(asked)}")
    told = [one for one in asked if one[1].name != "garbage"]
    over = max(best[name_of(*one)] / one[1].least - 1 for one in told)
    under = max(1 - best[name_of(*one)] / one[1].least for one in told)
    figure("waited longer than asked, most, %", round(100 * over, 1), "≤ 10")
    figure("waited shorter than asked, most, %", round(max(0.0, 100 * under), 2), "0")
    for kind, wait in asked:
        assert within(wait, best[name_of(kind, wait)]), (kind, wait, best[name_of(kind, wait)])


def test_the_target_that_is_back_first_is_waited_for(
    waiting: GatewayProcess, upstream: Upstream
) -> None:
    upstream.script("near", failing(429, retry_after="1"), answer("I am back"))
    upstream.script("far", failing(429, retry_after="30"))
    told = OPENAI.ask(waiting.url, "near-or-far")
    assert (told.status, upstream.order) == (200, ["near", "far", "near"]), told.text
    assert waits_of(upstream)["near"] >= 1


def test_who_comes_while_all_rest_is_told_when_the_first_is_back(
    waiting: GatewayProcess, upstream: Upstream
) -> None:
    upstream.script("later", failing(429, retry_after="30"))
    upstream.script("latest", failing(429, retry_after="40"))
    for calls in (2, 2):  # the second time nobody is called
        told = OPENAI.ask(waiting.url, "later-or-latest")
        assert (told.status, told.code) == (429, "upstream_rate_limited")
        assert int(told.headers["retry-after"]) in range(25, 31)
        assert len(upstream.calls) == calls


def test_a_rest_that_is_short_is_waited_for_by_others_too(
    waiting: GatewayProcess, upstream: Upstream
) -> None:
    upstream.script("resting", failing(429, retry_after="2"), answer("rested"))
    hasty = OPENAI.ask(waiting.url, "resting", headers={"x-mobius-timeout": "0.5"})
    assert (hasty.status, hasty.headers["retry-after"]) == (429, "2")
    assert OPENAI.ask(waiting.url, "resting").status == 200
    assert waits_of(upstream)["resting"] >= 2


# --- out --------------------------------------------------------------------------------------


def doors(url: str, name: str, key: str = API_KEY) -> Iterator[Told]:
    """Ask by every door."""
    yield OPENAI.ask(url, name, key=key)
    yield OPENAI.ask(url, name, key=key, stream=True)
    yield ANTHROPIC.ask(url, name, key=key)
    sent = {"Authorization": f"Bearer {key}"}
    said = json.dumps({"contents": [{"parts": [{"text": "hi"}]}]}).encode()
    yield fetch(url, "POST", f"/v1beta/models/{name}:generateContent", said, sent)
    chat = {"model": name, "messages": [{"role": "user", "content": "hi"}]}
    yield fetch(url, "POST", NATIVE, json.dumps(chat).encode(), sent)


def by_rate(gateway: GatewayProcess, _upstream: Upstream) -> Iterator[Told]:
    OPENAI.ask(gateway.url, "near", key=POOR_KEY)
    yield from doors(gateway.url, "near", POOR_KEY)


def by_concurrency(gateway: GatewayProcess, upstream: Upstream) -> Iterator[Told]:
    with occupied(gateway, upstream, NARROW_KEY):
        yield from doors(gateway.url, "latest", NARROW_KEY)


def by_busy_provider(gateway: GatewayProcess, upstream: Upstream) -> Iterator[Told]:
    with occupied(gateway, upstream, API_KEY):
        yield from doors(gateway.url, "busy")


def by_provider_down(gateway: GatewayProcess, _upstream: Upstream) -> Iterator[Told]:
    """Five failures open the circuit: those after it are told so without a call."""
    yield from doors(gateway.url, "down")
    yield from doors(gateway.url, "down")


def by_provider_resting(gateway: GatewayProcess, upstream: Upstream) -> Iterator[Told]:
    upstream.script("latest", failing(429, retry_after="40"))
    yield from doors(gateway.url, "latest")


@contextmanager
def occupied(gateway: GatewayProcess, upstream: Upstream, key: str) -> Iterator[None]:
    """Have one request run at a provider that takes one at a time."""
    upstream.script("busy", gated("free"), Script())

    async def ask() -> Told:
        crowd = Crowd(gateway.port)
        try:
            return await crowd.ask(OPENAI, "busy", key=key)
        finally:
            crowd.close()

    with asyncio.Runner() as runner:
        running = runner.get_loop().create_task(ask())
        runner.run(asyncio.to_thread(upstream.wait_seen, 1))
        yield
        upstream.open_gate("free")
        runner.run(asyncio.wait_for(running, 20))


CAUSES: list[tuple[Callable[[GatewayProcess, Upstream], Iterator[Told]], int]] = [
    (by_rate, 429),
    (by_concurrency, 429),
    (by_busy_provider, 503),
    (by_provider_down, 503),
    (by_provider_resting, 429),
]


def test_every_429_and_503_says_when_to_come_back(
    waiting: GatewayProcess, upstream: Upstream, figure: Figure
) -> None:
    refused = []
    for cause, status in CAUSES:
        upstream.reset()
        for told in cause(waiting, upstream):
            assert told.status == status, (cause, told.status, told.text)
            refused.append(told)
    # Those that nobody can cause by asking: of each error there is, by its class.
    made = [cls("no") for cls in _subclasses(errors.GatewayError) if cls.status in {429, 503}]
    headers = [one.headers for one in refused] + [
        {name.decode(): value.decode() for name, value in of_error(error, "id")} for error in made
    ]
    good = sum(int(one.get("retry-after", "0")) >= 1 for one in headers)
    figure("429s and 503s", len(headers), "≥ 30")
    figure("with Retry-After, %", 100 * good / len(headers), "100")
    assert good == len(headers) >= 30


def _subclasses(of: type[errors.GatewayError]) -> Iterator[type[errors.GatewayError]]:
    for one in of.__subclasses__():
        yield one
        yield from _subclasses(one)


def test_a_gateway_that_does_not_listen_goes_red(
    sqlite_databases: SqliteDatabases, tmp_path: Path, output: Path, upstream: Upstream
) -> None:
    """Control: nothing that a provider asks for is credible."""
    asked = [("openai", wait) for wait in WAITS if wait.name == "ms"]
    with served(sqlite_databases, tmp_path, output, upstream, mutant="+inattentive") as gateway:
        waits = waited(gateway, upstream, asked)
    assert not within(asked[0][1], waits[name_of(*asked[0])])
