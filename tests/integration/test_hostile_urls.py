"""The gateway is steered to no address, and a key goes to its own alone (`scorecard.md` S4)."""

import json
import time
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import pytest

from tests.harness.config import (
    API_KEY,
    PROVIDER_KEY,
    configuration,
    model,
    openai_provider,
    provider,
)
from tests.harness.database import SqliteDatabases
from tests.harness.dialects import ANTHROPIC, OPENAI, fetch
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.trap import Trap
from tests.legs import Figure
from tests.unit.providers.test_addresses import FORMS
from tests.upstream.client import Upstream
from tests.upstream.scripts import Script, raw

pytestmark = pytest.mark.promise("S4")

HEADERS = {"Authorization": f"Bearer {API_KEY}"}
PROBES = len(FORMS)
IN_FORCE_S = 1.0  # what is changed, everywhere


def probes() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return a provider of one's own name for each form, with a model."""
    providers = [
        provider(
            f"probe-{n}", "openai", f"https://probe-{n}.invalid/v1", allow_private_network=False
        )
        for n in range(PROBES)
    ]
    return providers, [model(f"probe-{n}", f"probe-{n}") for n in range(PROBES)]


@pytest.fixture(scope="module")
def trap() -> Iterator[Trap]:
    with Trap() as trap:
        yield trap


@pytest.fixture(scope="module")
def gateway(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Any,
) -> Iterator[GatewayProcess]:
    wanted, (providers, models) = configuration(upstream_process.base_url), probes()
    wanted["providers"] += [*providers, openai_provider(upstream_process.base_url, "movable")]
    wanted["models"] += [*models, model("moved", "movable")]
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(wanted)
        yield gateway.serve(mutant="unbroken")


def forms(trap: Trap) -> list[str]:
    return [form.replace("{p}", str(trap.port)) for form in FORMS]


def ask(gateway: GatewayProcess, path: str, body: Mapping[str, Any], **headers: str) -> int:
    raw_body = json.dumps(body).encode()
    return fetch(gateway.url, "POST", path, raw_body, HEADERS | headers).status


# --- fields that hold URLs


def test_no_field_takes_a_form_and_none_is_followed(
    gateway: GatewayProcess, upstream: Upstream, trap: Trap, figure: Figure
) -> None:
    code = f"from tests.harness import urls_tried; urls_tried.main({forms(trap)!r})"
    told = json.loads(gateway.managed("shell", "-c", code).splitlines()[-1])
    assert told["taken"] == []
    statuses = [
        ask(gateway, path, {"model": f"probe-{n}", "messages": [], "input": "x", "max_tokens": 1})
        for n in range(PROBES)
        for path in (OPENAI.path, "/v1/responses")
    ]
    assert min(statuses) >= 400
    assert (trap.connections, upstream.calls) == (0, [])
    figure("URL forms", len(set(FORMS)), "≥ 40")
    figure("fields and ways that were tried with them", told["tried"] + len(statuses), "all")
    figure("connections to where nobody may go", trap.connections, "0")


def test_no_configuration_imports_a_form(gateway: GatewayProcess, trap: Trap) -> None:
    """One file with each of them: each is named, and none of it is taken."""
    given = [form for form in forms(trap) if form and len(form) < 500]
    addresses: list[dict[str, Any]] = [
        {"kind": kind, "base_url": form}
        for form, kind in product(given, ("openai", "openai_compatible"))
    ]
    regions: list[dict[str, Any]] = [
        {"kind": "bedrock", "options": {"region": form}} for form in given
    ]
    for rows in (addresses, regions):
        named = [{"name": f"bad-{n}", **row} for n, row in enumerate(rows)]
        path = gateway.home / "forms.json"
        path.write_text(json.dumps({"version": 1, "providers": named}))
        run = gateway.manage("apply", str(path))
        assert run.code != 0
        assert [n for n in range(len(rows)) if f"providers[{n}]." not in run.stderr] == []
    assert trap.connections == 0


# --- what a caller says

STEERING = (
    *("api_base", "base_url", "api_key", "api_version", "organization", "extra_headers"),
    *("custom_llm_provider", "user_config", "proxy", "proxies", "endpoint_url", "azure_endpoint"),
    *("api_url", "http_client", "extra_body", "extra_query", "litellm_params", "model_list"),
)
ENDPOINTS = (OPENAI.path, ANTHROPIC.path, "/v1/responses", "/v1/embeddings", "/api/v1/llm/complete")


def test_no_parameter_steers_the_gateway(
    gateway: GatewayProcess, upstream: Upstream, trap: Trap
) -> None:
    url = f"http://127.0.0.1:{trap.port}/v1"
    asked = OPENAI.body("alpha") | {"input": "x"}
    for path, name in product(ENDPOINTS, STEERING):
        spellings = (name, name.upper(), name.replace("_", "-"), name.title().replace("_", ""))
        for spelt in spellings:
            assert ask(gateway, path, asked | {spelt: url}) == 400, (path, spelt)
        nested: dict[str, Any] = {
            "metadata": {name: url},
            "x": {name: url},
            "fallbacks": [{name: url}],
        }
        for field, value in nested.items():
            assert ask(gateway, path, asked | {field: value}) == 400, (path, field)
        header = f"x-{name.replace('_', '-')}"
        assert ask(gateway, f"{path}?{name}={url}", {"model": "none"}, **{header: url}) >= 400
    assert (trap.connections, upstream.calls) == (0, [])


def contents(url: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield requests with something in them that lies elsewhere."""
    for name in ("alpha", "claude"):
        picture = {"type": "image_url", "image_url": {"url": url}}
        yield OPENAI.path, OPENAI.body(name, content=[picture])
        file = {"type": "file", "file": {"file_data": url, "filename": "a.pdf"}}
        yield OPENAI.path, OPENAI.body(name, content=[file])
        for kind in ("image", "document"):
            block = {"type": kind, "source": {"type": "url", "url": url}}
            yield ANTHROPIC.path, ANTHROPIC.body(name, content=[block])
        item = {"type": "input_image", "image_url": url}
        yield "/v1/responses", {"model": name, "input": [{"role": "user", "content": [item]}]}


@pytest.mark.usefixtures("upstream")
def test_what_lies_elsewhere_is_not_fetched(gateway: GatewayProcess, trap: Trap) -> None:
    statuses = {ask(gateway, path, body) for form in forms(trap) for path, body in contents(form)}
    assert statuses <= {200, 400, 404}
    assert trap.connections == 0


# --- what a provider says


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(
    gateway: GatewayProcess, upstream: Upstream, trap: Trap, status: int
) -> None:
    places = (f"http://127.0.0.1:{trap.port}/v1", f"//127.0.0.1:{trap.port}/", upstream.base_url)
    calls = 0
    for place, (dialect, name) in product(places, ((OPENAI, "alpha"), (ANTHROPIC, "claude"))):
        upstream.script(
            name, Script(steps=({"header": ["Location", place]},)) + raw(b"", status=status)
        )
        for stream in (False, True):
            told = dialect.ask(gateway.url, name, stream=stream)
            assert told.status in {502, 503}, told
            assert place not in told.text
            calls += 1
    assert trap.connections == 0
    # No repeat carries the key anywhere else, and none goes where it was sent.
    assert {call.path for call in upstream.calls} == {OPENAI.path, ANTHROPIC.path}


# --- a key belongs to an origin


def test_a_key_stays_where_it_was_given(
    gateway: GatewayProcess, upstream: Upstream, trap: Trap
) -> None:
    assert OPENAI.ask(gateway.url, "moved").status == 200
    moved = openai_provider(f"http://127.0.0.1:{trap.port}", "movable")
    del moved["keys"]
    gateway.apply({"version": 1, "providers": [moved]})
    time.sleep(IN_FORCE_S)
    for _ in range(3):
        assert OPENAI.ask(gateway.url, "moved").status >= 500
    assert trap.connections == 0
    # Back at its own address it is not there again: a key that was wiped is entered anew.
    gateway.apply({"version": 1, "providers": [moved | {"base_url": f"{upstream.base_url}/v1"}]})
    time.sleep(IN_FORCE_S)
    assert OPENAI.ask(gateway.url, "moved").status >= 500
    keys = {call.headers["authorization"] for call in upstream.calls}
    assert keys == {f"Bearer {PROVIDER_KEY}"}
    assert len(upstream.calls) == 1
