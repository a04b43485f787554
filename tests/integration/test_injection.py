"""Nothing that is sent becomes a part of a statement, and no search is a weapon."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import httpx2
import psycopg
import pytest

from tests.harness.books import Books
from tests.harness.canary import canary
from tests.harness.config import configuration, key, tenant
from tests.harness.database import PostgresDatabases
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.mutants import STATEMENTS
from tests.harness.people import make_operator, operator_of
from tests.harness.together import in_time
from tests.legs import Figure
from tests.upstream.client import Upstream

pytestmark = pytest.mark.promise("S6")

BOSS = canary("api-key-boss")
ROWS, BOMB_S = 100_000, 0.05
# `{}` is a word that stands nowhere else: where it is found, the rest was too.
SHAPES = (
    *("' OR 1=1--{}", "'; DROP TABLE {}; --", '" OR "{}"="{}', "') UNION SELECT '{}'--", "{}'||'"),
    *("1; SELECT pg_sleep(9)--{}", "\\'; SELECT '{}", "{}' AND '1'='1", "0x27{}", "%27{}", "''{}"),
    *("{}%", "%{}_", "\\%{}\\_", "[{}]%", "{}\\", "_{}", "{}*", "(?i){}", "({}+)+$", "{}|.*"),
    *("{},(SELECT 1)", "-{}", "--{}", "{} desc", "1,{}", "{}__gt", "tenant__name__{}", "{}.id"),
    *("tags->>'{}'", "$.{}", "tags__{}__isnull", "{}'->'a", '{{"$ne":"{}"}}', "@>{}", "a{}b,c"),
    *("{}\u2019 OR 1", "{}\u0000", "\ufeff{}", "{}\r\n--"),
)
PAYLOADS = 200


class Payload(NamedTuple):
    token: str
    text: str


class Place(NamedTuple):
    """Where a payload stands: `{}` in a path, or in a body under a name."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None


PLACES = (
    *(
        Place("GET", f"/api/v1/{path}")
        for path in (
            *("requests?model={}", "requests?from={}", "requests?cursor={}", "requests?status={}"),
            *("requests?{}=1", "usage?group_by={}", "usage?group_by=tag.{}", "usage?from={}"),
            *("usage.csv?group_by=day,{}", "llm/metrics?provider={}", "llm/metrics?window={}"),
            *("llm/models?capability={}", "llm/models?provider={}", "keys?cursor={}"),
            *("prompts?cursor={}", "conversations?cursor={}", "audit?cursor={}"),
            *("keys/{}", "projects/{}", "prompts/{}", "budgets/{}", "conversations/{}"),
        )
    ),
    Place("POST", "/api/v1/projects", {"name": "{}"}),
    Place("POST", "/api/v1/prompts", {"name": "{}", "messages": []}),
    Place("POST", "/api/v1/keys", {"name": "x", "project": "{}"}),
    Place("POST", "/api/v1/budgets", {"name": "x", "limit": "1", "key": "{}"}),
    Place("POST", "/api/v1/members", {"email": "{}"}),
    Place("POST", "/api/v1/llm/explain", {"model": "{}", "prompt": "hi", "user": "{}"}),
    Place("POST", "/api/v1/conversations", {"title": "{}"}),
    Place("GET", "/v1/models/{}"),
    Place("GET", "/v1/files?after={}"),
)
CONSOLE = tuple(
    Place("GET", f"/admin/{path}")
    for path in (
        *("tenants/apikey/?q={}", "tenants/apikey/?o={}", "tenants/apikey/?name__exact={}"),
        *("tenants/apikey/?{}=1", "llm_gateway/requestlog/?q={}", "tenants/bucket/?q={}"),
        *("tenants/auditevent/?q={}", "llm_gateway/requestlog/?model={}", "tenants/entry/?q={}"),
        *("llm_gateway/provider/?tenant__id__exact={}", "tenants/apikey/{}/change/"),
    )
)


def payloads() -> list[Payload]:
    """Return so many, each with a word of its own."""
    made = []
    for number in range(PAYLOADS):
        token = f"zq{number:03}xk"
        made.append(Payload(token, SHAPES[number % len(SHAPES)].replace("{}", token)))
    return made


@pytest.fixture(scope="module")
def installation(
    postgres_databases: PostgresDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    boss = key("boss", BOSS, scopes=["inference", "usage", "manage"])
    with installed(postgres_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(configuration(upstream_process.base_url, tenants=[tenant(keys=[boss])]))
        make_operator(gateway)
        yield gateway


@pytest.fixture
def gateway(installation: GatewayProcess) -> GatewayProcess:
    return installation if installation.serving else installation.serve(mutant="overheard")


def heard(gateway: GatewayProcess) -> list[dict[str, Any]]:
    """Return every statement since this was asked last."""
    place = gateway.home / STATEMENTS
    said = [json.loads(line) for line in place.read_text().splitlines()]
    place.write_text("")
    return said


def spoken(statements: list[dict[str, Any]]) -> list[str]:
    """Return the words of payloads that are in the text of statements."""
    text = "\n".join(str(each["text"]) for each in statements)
    return [one.token for one in payloads() if one.token in text]


def send(client: httpx2.Client, place: Place, payload: Payload, **headers: str) -> httpx2.Response:
    path = place.path.replace("{}", quote(payload.text, safe=""))
    body = None
    if place.body is not None:
        body = {
            name: payload.text if value == "{}" else value for name, value in place.body.items()
        }
    return client.request(place.method, path, json=body, headers=headers)


def counts(gateway: GatewayProcess) -> dict[str, int]:
    books = Books(gateway)
    mine = ("tenants_tenant", "tenants_apikey", "tenants_member", "ledger_budget", "auth_user")
    return {table: len(books.rows(table)) for table in mine}


def client_of(gateway: GatewayProcess) -> httpx2.Client:
    return httpx2.Client(base_url=gateway.url, timeout=20, verify=False)


def test_no_payload_is_a_part_of_a_statement(gateway: GatewayProcess, figure: Figure) -> None:
    before, asked = counts(gateway), 0
    cookie = _cookie(gateway)
    heard(gateway)
    odd = []
    with client_of(gateway) as client:
        for number, payload in enumerate(payloads()):
            chosen = [PLACES[(number * 7 + turn) % len(PLACES)] for turn in range(4)]
            told = [
                (place, send(client, place, payload, authorization=f"Bearer {BOSS}"))
                for place in chosen
            ]
            if number % 4 == 0:
                place = CONSOLE[number // 4 % len(CONSOLE)]
                told.append((place, send(client, place, payload, cookie=cookie)))
            odd += [
                (place, payload.text, one.status_code) for place, one in told if one.is_server_error
            ]
            asked += len(told)
    statements = heard(gateway)
    assert any("tenants_apikey" in each["text"] for each in statements)
    figure(f"payloads in the text of {len(statements)} statements", len(spoken(statements)), "0")
    figure(f"answers of {asked} that are faults of ours", len(odd), "0")
    assert spoken(statements) == []
    assert odd == []
    assert counts(gateway) == before


def test_no_payload_is_a_key(gateway: GatewayProcess, figure: Figure) -> None:
    heard(gateway)
    with client_of(gateway) as client:
        told = []
        for payload in payloads():
            value = payload.text.replace("\x00", "").replace("\r\n", " ").encode()
            for carrier in ("x-api-key", "authorization"):
                bearer = b"Bearer " if carrier == "authorization" else b""
                told.append(
                    client.get("/api/v1/me", headers={carrier.encode(): bearer + value}).status_code
                )
    figure(f"payloads of {len(told)} that are let in as a key", told.count(200), "0")
    assert set(told) <= {400, 401, 429}
    assert spoken(heard(gateway)) == []


def test_payloads_that_are_put_into_a_statement_are_found(installation: GatewayProcess) -> None:
    """Mutation control."""
    payload, path = payloads()[11], Place("GET", "/api/v1/prompts/{}")
    with installation.without("overheard+interpolating"), client_of(installation) as client:
        send(client, path, payload, authorization=f"Bearer {BOSS}")
    assert spoken(heard(installation)) == [payload.token]


# --- searches ------------------------------------------------------------------------------------


_EVENTS = """
INSERT INTO tenants_auditevent
    (created_at, actor, tenant_name, action, object_type, object_id, object_name, changes)
SELECT now(), 'apply', 'acme', 'updated', 'apikey', n, 'acme/key-' || n, '{}'
FROM generate_series(1, %s) AS n
"""


@pytest.fixture(scope="module")
def long_audit(installation: GatewayProcess) -> None:
    with psycopg.connect(installation.environment["DATABASE_URL"], autocommit=True) as admin:
        admin.execute(_EVENTS, (ROWS,))
        admin.execute("ANALYZE tenants_auditevent")


@pytest.mark.timed
@pytest.mark.usefixtures("long_audit")
def test_a_pattern_is_no_weapon(gateway: GatewayProcess, figure: Figure) -> None:
    for term in ("%_" * 500, "%" * 1000, "\\" * 900, "_" * 1000, "x" * 1000):
        took_s = slowest_s(gateway, term)
        figure(f"{term[:2]}: slowest statement over {ROWS} rows, ms", round(took_s * 1000, 1), "50")
        in_time(took_s, BOMB_S)


@pytest.mark.usefixtures("long_audit")
def test_a_search_of_the_newest_says_so_and_a_filter_leads_further(gateway: GatewayProcess) -> None:
    def found(name: str, term: str = "", **filters: str) -> tuple[bool, bool]:
        query = urlencode({"q": term or name, **filters})
        page = client.get(f"/admin/tenants/auditevent/?{query}", headers=cookie).text
        return f"acme/{name}<" in page, "Searched the newest 20,000" in page

    with client_of(gateway) as client:
        cookie = {"cookie": _cookie(gateway)}
        assert found("key-99999", "KEY-99999") == (True, True)
        assert found("key-77") == (False, True)
        assert found("key-77", object_id="77") == (True, False)
        for term in ("key_99999", "key-9999%", "k.y-99999", "\\"):
            assert found("key-99999", term) == (False, True), term


def slowest_s(gateway: GatewayProcess, term: str) -> float:
    """Return how long the slowest statement of a search took, at its best."""
    path, took = f"/admin/tenants/auditevent/?q={quote(term)}", list[float]()
    with client_of(gateway) as client:
        cookie = {"cookie": _cookie(gateway)}
        for _ in range(3):
            heard(gateway)
            told = client.get(path, headers=cookie)
            assert (told.status_code, "acme/key-" in told.text) == (200, False)
            took.append(max(each["seconds"] for each in heard(gateway)))
    return min(took)


def test_more_words_than_a_database_takes_are_refused_in_words(gateway: GatewayProcess) -> None:
    path = f"/admin/tenants/apikey/?q={'+'.join(['a'] * 2000)}"
    with client_of(gateway) as client:
        told = client.get(path, headers={"cookie": _cookie(gateway)})
    assert (told.status_code, "up to 20 words" in told.text) == (200, True)


def _cookie(gateway: GatewayProcess) -> str:
    return f"sessionid={operator_of(gateway).session}"
