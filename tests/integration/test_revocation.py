"""What is taken from a key or a person is gone in every process at once, with Redis or without."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.harness.canary import canary
from tests.harness.config import configuration, key, tenant
from tests.harness.crowd import Crowd, Line, crowded
from tests.harness.database import PostgresDatabases
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.people import Browser, make_members, make_operator
from tests.harness.redis_process import RedisProcess, own_redis
from tests.harness.together import in_time
from tests.legs import Figure
from tests.upstream.client import Upstream

pytestmark = pytest.mark.promise("S16")

PROCESSES = 3
EVERY_S, AT_ONCE_S, WITHOUT_REDIS_S, LIMIT_S = 0.05, 1.0, 5.0, 20.0
BOSS = canary("api-key-boss")
PERSON = "admin@acme.test"
ACCEPTED, REFUSED = {200}, {401, 403, 429}
COUNT = json.dumps({"model": "alpha", "messages": [{"role": "user", "content": "hi"}]}).encode()


@dataclass(frozen=True, slots=True)
class Site:
    gateway: GatewayProcess
    redis: RedisProcess

    def manage(self, method: str, path: str, body: Any = None) -> Any:
        """Change something, by the tenant's own key."""
        headers = {"Authorization": f"Bearer {BOSS}"}
        url = f"{self.gateway.url}/api/v1/{path}"
        told = httpx2.request(method, url, headers=headers, json=body, timeout=20)
        assert told.status_code < 300, told.text
        return told.json() if told.content else None


@pytest.fixture(scope="module")
def site(
    postgres_databases: PostgresDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[Site]:
    boss = key("boss", BOSS, scopes=["inference", "usage", "manage"])
    people = [{"email": PERSON, "role": "admin"}]
    acme = tenant(keys=[key(), boss], members=people)
    home = tmp_path_factory.mktemp("home")
    with (
        own_redis(tmp_path_factory.mktemp("redis")) as redis,
        installed(postgres_databases, home, output, redis.url) as gateway,
    ):
        gateway.apply(configuration(upstream_process.base_url, tenants=[acme]))
        make_operator(gateway)
        make_members(gateway)
        yield Site(gateway, redis)


# --- what is taken away, and who asks on ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Taken:
    """Something that is asked until it is refused, and the change that ends it."""

    name: str
    request: bytes
    change: tuple[str, str, Any]


def raw(method: str, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: 127.0.0.1",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def counting(value: str) -> bytes:
    headers = {"Authorization": f"Bearer {value}"}
    return raw("POST", "/v1/messages/count_tokens", COUNT, headers)


def taken(site: Site, word: str) -> list[Taken]:
    """Make three keys, and somebody signed in; return how each loses what they have."""
    made = {
        name: site.manage("POST", "keys", {"name": f"{name}-{word}"})
        for name in ("revoked", "rotated", "narrowed")
    }
    browser = Browser(site.gateway.url)
    assert browser.password(PERSON).status_code == 302
    (person,) = [row for row in site.manage("GET", "members")["data"] if row["email"] == PERSON]
    listing = raw("GET", "/api/v1/keys", b"", {"Cookie": f"sessionid={browser.session}"})
    place = {name: f"keys/{row['id']}" for name, row in made.items()}
    value = {name: counting(row["value"]) for name, row in made.items()}
    return [
        Taken("revoked", value["revoked"], ("DELETE", place["revoked"], None)),
        Taken("rotated", value["rotated"], ("POST", f"{place['rotated']}/rotate", None)),
        Taken("narrowed", value["narrowed"], ("PATCH", place["narrowed"], {"scopes": ["usage"]})),
        Taken("person", listing, ("role", str(person["id"]), "viewer")),
    ]


def end(site: Site, one: Taken) -> None:
    method, path, body = one.change
    if method == "role":
        # No key may: it is an owner's to say, in the console.
        change = "Member.all_tenants_unsafe.get(pk=int(os.environ['WHO']))"
        code = f"import os\nfrom tenants.models import Member\nm = {change}\n"
        code += f"m.role = {body!r}\nm.save()"
        site.gateway.managed("shell", "-c", code, WHO=path)
    else:
        site.manage(method, path, body)


async def last_accepted(line: Line, one: Taken) -> float:
    """Return when it was accepted for the last time (loop's clock): asked until it is refused."""
    clock = asyncio.get_running_loop().time
    last = 0.0
    async with asyncio.timeout(LIMIT_S):
        while True:
            sent = clock()
            told = await line.send(one.request)
            if told.status in REFUSED and last:
                return last
            assert told.status in ACCEPTED, (one.name, told.status, told.body)
            last = sent
            await asyncio.sleep(EVERY_S)


def refused_after_s(site: Site, one: Taken) -> list[float]:
    """Return for each process how long it still accepted what had been taken away by then."""

    async def scene(crowd: Crowd) -> list[float]:
        asking = [asyncio.create_task(last_accepted(line, one)) for line in crowd.lines]
        await asyncio.sleep(4 * EVERY_S)  # each has been accepted before
        await asyncio.to_thread(end, site, one)
        ended = asyncio.get_running_loop().time()
        return [max(0.0, last - ended) for last in await asyncio.gather(*asking)]

    return crowded(site.gateway.port, scene, pids=site.gateway.workers, lines=1)


# --- the promise ---------------------------------------------------------------------------------


def test_every_process_refuses_at_once(site: Site, figure: Figure) -> None:
    site.gateway.serve(workers=PROCESSES)
    for redis, bound_s in (("up", AT_ONCE_S), ("down", WITHOUT_REDIS_S)):
        ways = taken(site, redis)
        if redis == "down":
            site.redis.kill9()
        for one in ways:
            after = refused_after_s(site, one)
            longest = round(max(after), 3)
            figure(f"{one.name}, Redis {redis}: still accepted, s", longest, str(bound_s))
            assert len(after) == PROCESSES
            in_time(longest, bound_s)
        site.gateway.managed("shell", "-c", PROMOTE)
    site.gateway.terminate()
    site.redis.start()


PROMOTE = "from tenants.models import Member\nMember.all_tenants_unsafe.update(role='admin')"


def test_it_is_red_for_who_hears_of_no_change(site: Site) -> None:
    """Mutation control: a process that does not poll goes on to accept what it knew."""
    site.gateway.serve(mutant="unheard")
    revoked = taken(site, "unheard")[0]

    async def scene(crowd: Crowd) -> None:
        (line,) = crowd.lines
        assert (await line.send(revoked.request)).status in ACCEPTED
        await asyncio.to_thread(end, site, revoked)
        await asyncio.sleep(2 * AT_ONCE_S)
        assert (await line.send(revoked.request)).status in ACCEPTED

    crowded(site.gateway.port, scene, pids=site.gateway.workers, lines=1)
    site.gateway.terminate()
