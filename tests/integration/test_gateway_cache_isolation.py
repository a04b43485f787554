"""An answer is given again to its own tenant, for the whole of the same request, and to no other.

What is heard of another's answers is nothing: neither a word nor how long it takes.
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import erfc, sqrt
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.harness.config import API_KEY, configuration, key, models, nano_prices, tenant
from tests.harness.crowd import Crowd, crowded
from tests.harness.database import SqliteDatabases
from tests.harness.dialects import ANTHROPIC, OPENAI, Told
from tests.harness.gateway import GatewayProcess, installed
from tests.legs import Figure
from tests.upstream.client import Upstream
from tests.upstream.scripts import delayed, words

pytestmark = pytest.mark.timed

OTHER_KEY, SEARCH_KEY = f"{API_KEY}-other", f"{API_KEY}-search"
ON = {"enabled": True, "ttl": 600}
PARAPHRASES = 200
PROBES, ROUNDS = 60, 3

PROMPT = "What is the capital of France, and since when has it been so?"
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
BASE: dict[str, Any] = {
    "model": "alpha",
    "max_tokens": 8,
    "temperature": 0.5,
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROMPT}],
}
# Whatever of a request is another: each of these is a request of its own.
CHANGES: list[dict[str, Any]] = [
    {"model": "beta"},
    {"max_tokens": 7},
    {"temperature": 0.5000001},
    {"temperature": None},
    {"top_p": 1},
    {"seed": 1},
    {"stop": ["x"]},
    {"stop": ["X"]},
    {"n": 2},
    {"presence_penalty": 0.1},
    {"frequency_penalty": 0.1},
    {"logit_bias": {"5": 1}},
    {"logprobs": True},
    {"user": "somebody"},
    {"user": "somebody else"},
    {"metadata": {"a": "b"}},
    {"response_format": {"type": "json_object"}},
    {"service_tier": "flex"},
    {"tools": [TOOL]},
    {"tools": [TOOL], "tool_choice": "none"},
    {"tools": [TOOL, TOOL | {"function": {"name": "hear"}}]},
    {"parallel_tool_calls": False, "tools": [TOOL]},
    {"messages": BASE["messages"][1:]},
    {"messages": [{"role": "system", "content": "Be brief"}, BASE["messages"][1]]},
    {"messages": [{"role": "developer", "content": "Be brief."}, BASE["messages"][1]]},
    {"messages": [*BASE["messages"], {"role": "assistant", "content": ""}]},
    {"messages": [{**BASE["messages"][0], "name": "x"}, BASE["messages"][1]]},
    {"messages": [*reversed(BASE["messages"])]},
]


def paraphrases() -> list[str]:
    """Return the prompt with a character changed, dropped, doubled, or put otherwise."""
    rng, found = Random(8), {PROMPT}
    swaps = {" ": "\u00a0", "a": "\u0430", "i": "İ", "?": "\uff1f", "e": "e\u0301", ",": ""}
    while len(found) <= PARAPHRASES:
        place = rng.randrange(len(PROMPT))
        was = PROMPT[place]
        to = rng.choice([was.upper(), was * 2, "", swaps.get(was, "_"), was + "\u200b"])
        found.add(PROMPT[:place] + to + PROMPT[place + 1 :])
    return sorted(found - {PROMPT})


@contextmanager
def running(
    databases: SqliteDatabases, upstream: Upstream, home: Path, output: Path, mutant: str = ""
) -> Iterator[GatewayProcess]:
    upstream.prices(**nano_prices(models()))
    acme = tenant(cache=ON, keys=[key(), key("search", SEARCH_KEY, project="search")])
    acme["projects"] = [{"name": "search"}]
    other = tenant("other", cache=ON, keys=[key("other", OTHER_KEY)])
    with installed(databases, home, output) as gateway:
        gateway.apply(configuration(upstream.base_url, tenants=[acme, other]))
        yield gateway.serve(mutant=mutant)


@pytest.fixture(scope="module")
def isolating(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    home = tmp_path_factory.mktemp("home")
    with running(sqlite_databases, upstream_process, home, output) as gateway:
        yield gateway


@pytest.fixture
def gateway(isolating: GatewayProcess, upstream: Upstream) -> GatewayProcess:
    upstream.prices(**nano_prices(models()))
    return isolating


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: by whom, and what."""

    key: str
    body: dict[str, Any]
    dialect: Any = OPENAI


def ask(gateway: GatewayProcess, asked: Asked) -> Told:
    headers = {"Authorization": f"Bearer {asked.key}"}
    told: Told = asked.dialect.post(gateway.url, asked.body, headers)
    assert told.status == 200, told.body
    return told


def others() -> list[Asked]:
    """Return requests that are not the base's, however near: none may have its answer."""
    changed = [Asked(API_KEY, _changed(change)) for change in CHANGES]
    near = [[BASE["messages"][0], {"role": "user", "content": text}] for text in paraphrases()]
    return [
        Asked(OTHER_KEY, BASE),
        Asked(SEARCH_KEY, BASE),
        Asked(API_KEY, {**BASE, "messages": BASE["messages"][1:]}, ANTHROPIC),
        *changed,
        *(Asked(API_KEY, BASE | {"messages": messages}) for messages in near),
    ]


def _changed(change: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (BASE | change).items() if value is not None}


def foreign_hits(gateway: GatewayProcess, upstream: Upstream) -> tuple[int, int]:
    """Return how many were given another request's answer, and how many there were."""
    assert ask(gateway, Asked(API_KEY, BASE)).headers["x-mobius-cache"] == "miss"
    assert ask(gateway, Asked(API_KEY, BASE)).headers["x-mobius-cache"] == "hit"
    asked = others()
    called = len(upstream.calls)
    words = [ask(gateway, each).headers["x-mobius-cache"] for each in asked]
    hits = words.count("hit")
    # Nor was any of them answered by something that calls itself a miss.
    assert len(upstream.calls) - called == len(asked) - hits
    return hits, len(asked)


@pytest.mark.promise("S8")
def test_no_other_request_and_no_other_tenant_is_given_an_answer(
    gateway: GatewayProcess, upstream: Upstream, figure: Figure
) -> None:
    hits, asked = foreign_hits(gateway, upstream)
    figure("foreign hits", hits, "0")
    figure("requests that were near", asked, f"≥ {PARAPHRASES}")
    assert hits == 0
    assert asked >= PARAPHRASES
    # The order of an object's fields is nothing that could change an answer.
    turned = dict(reversed(BASE.items()))
    assert ask(gateway, Asked(API_KEY, turned)).headers["x-mobius-cache"] == "hit"


@pytest.mark.promise("S8")
@pytest.mark.parametrize(("mutant", "least"), [("one_cache", 2), ("careless", 20)])
def test_it_goes_red_where_a_name_covers_less(
    sqlite_databases: SqliteDatabases,
    upstream: Upstream,
    tmp_path: Path,
    output: Path,
    mutant: str,
    least: int,
) -> None:
    with running(sqlite_databases, upstream, tmp_path, output, mutant) as gateway:
        hits, _asked = foreign_hits(gateway, upstream)
        told = mutant == "one_cache" and probe(gateway, upstream, "shared") < 0.01
    assert hits >= least
    assert told == (mutant == "one_cache")


# --- what can be heard of it by a clock ----------------------------------------------------------


def p_value(some: Sequence[float], others: Sequence[float]) -> float:
    """Return how likely two samples of one distribution differ by so much (Mann and Whitney)."""
    ranked = sorted([(each, 0) for each in some] + [(each, 1) for each in others])
    ranks = sum(rank for rank, (_, whose) in enumerate(ranked, 1) if whose == 0)
    n, m = len(some), len(others)
    mean, deviation = n * (n + m + 1) / 2, sqrt(n * m * (n + m + 1) / 12)
    return erfc(abs(ranks - mean) / deviation / sqrt(2))


def probe(gateway: GatewayProcess, upstream: Upstream, name: str) -> float:
    """Return whether the times of another tenant tell what this one has asked."""
    upstream.script("alpha", delayed(5) + words(3))
    known = [_prompt(f"{name} known {n}") for n in range(PROBES)]
    unknown = [_prompt(f"{name} other {n}") for n in range(PROBES)]
    probes = [(body, body in known) for body in (*known, *unknown)]
    Random(name).shuffle(probes)
    times: dict[bool, list[float]] = {True: [], False: []}

    async def play(crowd: Crowd) -> None:
        for body in known:
            await said(crowd, API_KEY, body)
        for body, was_asked in probes:
            began = time.perf_counter()
            await said(crowd, OTHER_KEY, body)
            times[was_asked].append(time.perf_counter() - began)

    crowded(gateway.port, play)
    return p_value(times[True], times[False])


async def said(crowd: Crowd, key: str, body: dict[str, Any]) -> None:
    sent = {"Authorization": f"Bearer {key}"}
    told = await crowd.send(OPENAI.path, json.dumps(body).encode(), sent)
    assert told.status == 200, told.body


def _prompt(text: str) -> dict[str, Any]:
    return {"model": "alpha", "max_tokens": 8, "messages": [{"role": "user", "content": text}]}


@pytest.mark.promise("S8")
def test_the_clock_does_not_tell_what_another_tenant_has_asked(
    gateway: GatewayProcess, upstream: Upstream, figure: Figure
) -> None:
    # One of a hundred innocent rounds is below 0.01: a leak is in every one of them.
    found = max(probe(gateway, upstream, f"round {n}") for n in range(ROUNDS))
    figure("p of the timing probe", round(found, 3), "> 0.01")
    assert found > 0.01
