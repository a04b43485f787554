"""What a browser is told keeps other sites out: tokens of forms, origins, headers, cookies."""

import re
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import httpx2
import pytest
from django.contrib.admin import site as console
from django.urls import reverse

from llm_gateway.access import AUTHZ_MATRIX, Key, Staff
from llm_gateway.management.isolation import matrix, tenancy
from tests.harness.config import configuration, tenant
from tests.harness.database import SqliteDatabases
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.people import PASSWORD, Browser, make_members, make_operator, operator_of
from tests.legs import Figure
from tests.upstream.client import Upstream

pytestmark = pytest.mark.promise("S13")

OWNER = "owner@acme.test"
EVIL = "https://evil.test"
UNSAFE = {"POST", "PUT", "PATCH", "DELETE"}
TOKEN, OTHER_TOKEN = "a" * 32, "b" * 32
_TOKEN_OF_PAGE = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
Headers = dict[str, str]


@pytest.fixture(scope="module")
def installation(
    sqlite_databases: SqliteDatabases,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    acme = tenant(members=[{"email": OWNER, "role": "owner"}])
    with installed(sqlite_databases, tmp_path_factory.mktemp("home"), output) as gateway:
        gateway.apply(configuration(upstream_process.base_url, tenants=[acme]))
        make_operator(gateway)
        make_members(gateway)
        yield gateway


@pytest.fixture
def gateway(installation: GatewayProcess) -> GatewayProcess:
    return installation if installation.serving else installation.serve()


@pytest.fixture(scope="module")
def sessions(installation: GatewayProcess) -> dict[str, str]:
    """Return who is signed in: somebody who owns a tenant, and an operator."""
    gateway = installation if installation.serving else installation.serve()
    owner = Browser(gateway.url)
    assert owner.password(OWNER).status_code == 302
    return {"owner": owner.session or "", "operator": operator_of(gateway).session or ""}


def client_of(gateway: GatewayProcess) -> httpx2.Client:
    return httpx2.Client(base_url=gateway.url, timeout=20, verify=False)


# --- a change that no page of ours asked for ------------------------------------------------------


def changes() -> Iterator[tuple[str, str, str]]:
    """Yield whose session opens an unsafe route, with its method and a path."""
    nobody = tenancy.nobody()
    for (kind, method, route), who in AUTHZ_MATRIX.items():
        if kind != "http" or method not in UNSAFE:
            continue
        path = matrix.path_of(route, nobody)
        if isinstance(who, Key) and who.role is not None:
            yield "owner", method, path
        elif isinstance(who, Staff):
            yield ("operator" if who.role is None else "owner"), method, path
        elif not isinstance(who, Key):
            yield "owner", method, path
    for model in console._registry:
        stem = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        yield "operator", "POST", reverse(f"{stem}_changelist")
        yield "operator", "POST", reverse(f"{stem}_change", args=[1])
        yield "operator", "POST", reverse(f"{stem}_delete", args=[1])


FORGED: Mapping[str, Headers] = {
    "no token": {},
    "another token": {"x-csrftoken": OTHER_TOKEN},
    "another site": {"x-csrftoken": TOKEN, "origin": EVIL},
}


def taken(gateway: GatewayProcess, sessions: Mapping[str, str]) -> list[tuple[str, str, str, int]]:
    """Return the changes that somebody's own cookie alone would make."""
    found = []
    with client_of(gateway) as client:
        for (whose, method, path), (name, headers) in product(changes(), FORGED.items()):
            cookie = f"sessionid={sessions[whose]}; csrftoken={TOKEN}"
            told = client.request(method, path, headers={"cookie": cookie, **headers})
            if told.status_code != 403:
                found.append((name, method, path, told.status_code))
    return found


def test_a_forged_change_is_refused_on_every_unsafe_route(
    gateway: GatewayProcess, sessions: Mapping[str, str], figure: Figure
) -> None:
    found = taken(gateway, sessions)
    asked = len(list(changes())) * len(FORGED)
    figure(f"forged changes that are not refused, of {asked}", len(found), "0")
    assert found == []


def test_a_change_with_its_token_is_made(
    gateway: GatewayProcess, sessions: Mapping[str, str]
) -> None:
    cookie = f"sessionid={sessions['owner']}; csrftoken={TOKEN}"
    with client_of(gateway) as client:
        headers = {"cookie": cookie, "x-csrftoken": TOKEN}
        made = client.post("/api/v1/projects", headers=headers, json={"name": "meant"})
    assert made.status_code == 201, made.text


# --- other origins --------------------------------------------------------------------------------


def test_no_other_origin_is_let_read_anything(
    gateway: GatewayProcess, sessions: Mapping[str, str], figure: Figure
) -> None:
    nobody, found, asked = tenancy.nobody(), list[str](), 0
    with client_of(gateway) as client:
        for kind, method, route in AUTHZ_MATRIX:
            if kind != "http" or route == "/static/":
                continue
            path = matrix.path_of(route, nobody)
            cookie = {"cookie": f"sessionid={sessions['owner']}", "origin": EVIL}
            wish = {**cookie, "access-control-request-method": method}
            told = [client.get(path, headers=cookie), client.options(path, headers=wish)]
            asked += len(told)
            found += [
                f"{path} {name}"
                for one in told
                for name in one.headers
                if name.startswith("access-control-")
            ]
    figure(f"answers that let another origin read, of {asked}", len(found), "0")
    assert found == []


# --- what pages say of themselves -----------------------------------------------------------------


def pages() -> list[str]:
    usual = [
        reverse(f"admin:{m._meta.app_label}_{m._meta.model_name}_changelist") for m in _models()
    ]
    return ["/", "/sign-in/", "/sign-in/mine/", "/admin/", *usual, "/admin/tenants/tenant/add/"]


def _models() -> list[Any]:
    return list(console._registry)


def weaknesses(told: httpx2.Response) -> Iterator[str]:
    """Yield what a page does not say that it has to."""
    path, headers = told.url.path, told.headers
    policy = headers.get("content-security-policy", "")
    said = {part.split()[0]: part.split()[1:] for part in policy.split("; ") if part}
    scripts = said.get("script-src", said.get("default-src", ["*"]))
    if {"'unsafe-inline'", "*", "data:"} & set(scripts):
        yield f"{path} lets scripts in: {scripts}"
    if "'unsafe-eval'" in scripts and not path.startswith("/admin/"):
        yield f"{path} evaluates"
    if said.get("frame-ancestors") != ["'none'"] or said.get("object-src") != ["'none'"]:
        yield f"{path} may be framed"
    if said.get("base-uri") != ["'none'"] or said.get("form-action") != ["'self'"]:
        yield f"{path} sends forms elsewhere"
    if headers.get("cache-control") != "private, no-store":
        yield f"{path} may be kept: {headers.get('cache-control')}"
    if headers.get("x-content-type-options") != "nosniff":
        yield f"{path} may be sniffed"
    if headers.get("referrer-policy") != "same-origin":
        yield f"{path} tells where one comes from"


def test_every_page_is_nobodys_to_frame_keep_or_write_into(
    gateway: GatewayProcess, sessions: Mapping[str, str], figure: Figure
) -> None:
    cookie = {"cookie": f"sessionid={sessions['operator']}"}
    with client_of(gateway) as client:
        told = [client.get(path, headers=cookie) for path in pages()]
        # Refusals are pages too.
        told.append(client.post("/sign-in/", headers=cookie))
        told.append(client.get("/portal/tenant/", headers=cookie))
        told.append(client.get("/nowhere/", headers=cookie))
    found = [weakness for one in told for weakness in weaknesses(one)]
    figure(f"findings on {len(told)} pages", len(found), "0")
    assert found == []


def test_an_answer_of_the_api_is_nobodys_to_keep_or_sniff(
    gateway: GatewayProcess, sessions: Mapping[str, str]
) -> None:
    with client_of(gateway) as client:
        told = client.get("/api/v1/me", headers={"cookie": f"sessionid={sessions['owner']}"})
    assert told.status_code == 200
    assert told.headers["cache-control"] == "private, no-store"
    assert told.headers["x-content-type-options"] == "nosniff"


# --- cookies --------------------------------------------------------------------------------------


def attributes(told: httpx2.Response) -> dict[str, set[str]]:
    """Return what is said of each cookie, in lower case and without its value."""
    found = {}
    for line in told.headers.get_list("set-cookie"):
        name, *rest = line.split(";")
        found[name.partition("=")[0]] = {each.strip().lower() for each in rest}
    return found


def test_cookies_are_only_ours_and_only_over_tls(installation: GatewayProcess) -> None:
    if installation.serving:
        installation.terminate()
    installation.serve(MOBIUS_BEHIND_TLS="1")
    forwarded = {"x-forwarded-proto": "https", "referer": f"https://{_host(installation)}/sign-in/"}
    with client_of(installation) as client:
        page = client.get("/sign-in/", headers=forwarded)
        token = _TOKEN_OF_PAGE.search(page.text)
        assert token is not None
        jar = "; ".join(f"{name}={value}" for name, value in page.cookies.items())
        fields = {"username": OWNER, "password": PASSWORD, "csrfmiddlewaretoken": token[1]}
        told = client.post("/sign-in/", data=fields, headers={**forwarded, "cookie": jar})
    installation.terminate()
    assert told.status_code == 302, told.text
    said = attributes(told)
    assert {"secure", "httponly", "samesite=lax"} <= said["sessionid"]
    assert {"secure", "samesite=lax"} <= attributes(page)["csrftoken"]
    assert told.headers["strict-transport-security"].startswith("max-age=31536000")
    assert attributes(page).get("sessionid") is None


def _host(gateway: GatewayProcess) -> str:
    return gateway.url.removeprefix("http://")


# --- the control ----------------------------------------------------------------------------------


def test_it_is_red_without_its_guard(
    installation: GatewayProcess, sessions: Mapping[str, str]
) -> None:
    with installation.without("trustful"):
        assert len(taken(installation, sessions)) > 20
        with client_of(installation) as client:
            assert list(weaknesses(client.get("/sign-in/")))
