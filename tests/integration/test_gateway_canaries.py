"""Secrets never leave by any door that can be looked into (`scorecard.md` S3).

What processes print is searched by `tests/conftest.py` after the whole suite; here is the rest.
"""

import re
from collections.abc import Iterator
from contextlib import closing

import httpx2
import pytest

from tests.harness.books import Books
from tests.harness.canary import PATTERN, canary
from tests.harness.config import API_KEY, PROVIDER_KEY, budget, configuration, key, tenant
from tests.harness.dialects import ANTHROPIC, OPENAI, Dialect, Told, fetch
from tests.harness.gateway import MASTER_KEY, SECRET_KEY, GatewayProcess
from tests.harness.people import make_operator, operator_of
from tests.upstream.client import Upstream
from tests.upstream.scripts import Script, cut, error_in_stream, failing, raw, words

ECHO = f"Incorrect API key provided: {PROVIDER_KEY}, sent as Authorization: Bearer {PROVIDER_KEY}"
FAULTS: list[Script] = [
    words(3),
    failing(401, ECHO),
    failing(400, ECHO),
    failing(500, ECHO),
    failing(429, ECHO, retry_after=PROVIDER_KEY),
    raw(ECHO.encode(), content_type="text/html"),
    error_in_stream(2, 500, ECHO),
    error_in_stream(0, 400, ECHO),
    cut("rst", at_event=0),
]
LINK = re.compile(r'href="(/admin/[^"#?]*)"')
PAGES = 150

pytestmark = pytest.mark.promise("S3")


def check(place: str, *found: bytes | str) -> None:
    for text in found:
        raw_text = text.encode() if isinstance(text, str) else text
        leaked = PATTERN.search(raw_text)
        assert leaked is None, (place, raw_text[max(0, leaked.start() - 200) : leaked.end()])
        assert SECRET_KEY.encode() not in raw_text, place


def everything_asked(url: str, upstream: Upstream) -> Iterator[Told]:
    """Ask what succeeds, what fails by every kind of fault, and what is refused."""
    for script in FAULTS:
        for dialect, name in ((OPENAI, "alpha"), (ANTHROPIC, "claude")):
            for stream in (False, True):
                upstream.script(name, script)
                headers = {"x-mobius-timeout": "5"}
                yield dialect.ask(url, name, stream=stream, headers=headers)
    wrong = canary("api-key-wrong")
    yield OPENAI.ask(url, "alpha", key=wrong)
    yield OPENAI.ask(url, f"{wrong[:20]}", headers={"x-api-key": API_KEY})
    yield fetch(url, "POST", f"{OPENAI.path}?key={API_KEY}", b"{}")
    yield fetch(url, "GET", f"/v1/models/nothing?api_key={API_KEY}")
    yield from (broken_body(url, dialect) for dialect in (OPENAI, ANTHROPIC))


def broken_body(url: str, dialect: Dialect) -> Told:
    return dialect.post(url, b'{"model": "alpha", ', {"Authorization": f"Bearer {API_KEY}"})


def open_pages(url: str) -> Iterator[tuple[str, httpx2.Response]]:
    headers = {"Authorization": f"Bearer {API_KEY}"}
    with httpx2.Client(base_url=url, timeout=20) as client:
        for path in ("/", "/metrics", "/healthz", "/readyz", "/api/v1/schema", "/api/v1/docs"):
            yield path, client.get(path)
        for path in ("me", "requests", "llm/models", "llm/metrics"):
            response = client.get(f"/api/v1/{path}", headers=headers)
            assert response.status_code == 200, response.text
            yield path, response
        for row in client.get("/api/v1/requests", headers=headers).json()["data"]:
            path = f"/api/v1/requests/{row['id']}"
            yield path, client.get(path, headers=headers)


def console_pages(gateway: GatewayProcess) -> Iterator[tuple[str, httpx2.Response]]:
    """Yield every page that a superuser reaches by links, as far as a bound."""
    with closing(operator_of(gateway).client) as client:
        client.follow_redirects = True
        first = client.get("/admin/")
        assert first.status_code == 200
        assert "logout" in first.text
        waiting, seen = LINK.findall(first.text), {"/admin/logout/"}
        yield "/admin/", first
        while waiting and len(seen) < PAGES:
            path = waiting.pop(0)
            if path in seen:
                continue
            seen.add(path)
            response = client.get(path)
            assert response.status_code < 500, path
            yield path, response
            waiting += LINK.findall(response.text)


@pytest.mark.parametrize(
    "secret",
    [API_KEY, PROVIDER_KEY, MASTER_KEY, SECRET_KEY],
    ids=["api-key", "provider-key", "master-key", "django-secret-key"],  # the values are random
)
def test_the_search_would_find_each_secret(secret: str) -> None:
    with pytest.raises(AssertionError):
        check("here", f"before {secret} after")


def test_no_door_shows_a_secret(gateway: GatewayProcess, upstream: Upstream) -> None:
    acme = tenant(budgets=[budget("9")], keys=[key()], log_payloads="full")
    gateway.apply(configuration(upstream.base_url, tenants=[acme]))
    make_operator(gateway)
    gateway.serve()

    for told in everything_asked(gateway.url, upstream):
        check("an answer", told.body, str(told.headers))
    pages = [*open_pages(gateway.url), *console_pages(gateway)]
    assert sum("/change/" in path for path, _ in pages) >= 5
    for path, response in pages:
        check(path, response.content, str(response.headers))
    check("export", gateway.managed("export"))
    check("verify_ledger", gateway.managed("verify_ledger", "--json"))
    gateway.terminate()
    books = Books(gateway)
    assert {"ledger_entry", "tenants_apikey"} <= set(books.tables())
    for table in books.tables():
        for row in books.rows(table):
            check(table, *(bytes(v) if isinstance(v, memoryview) else str(v) for v in row.values()))
