"""What a tenant manages with a key of its own: made, read, changed, removed, and never too much."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.harness.books import Books
from tests.harness.canary import canary
from tests.harness.config import (
    API_KEY,
    budget,
    configuration,
    key,
    model,
    openai_provider,
    tenant,
)
from tests.harness.dialects import OPENAI
from tests.harness.gateway import GatewayProcess, installed
from tests.harness.together import until
from tests.upstream.client import Upstream

MANAGE_KEY, OTHER_KEY = canary("api-key-manage"), canary("api-key-other-tenant")
PART_KEY, HELD_KEY = canary("api-key-of-a-project"), canary("api-key-held-to-alpha")
EVERYTHING = ["inference", "usage", "manage"]
LIMIT_S = 10

pytestmark = pytest.mark.usefixtures("upstream")
KINDS = ("keys", "projects", "members", "budgets", "limits", "providers")


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def gateway(
    request: pytest.FixtureRequest,
    upstream_process: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
    output: Path,
) -> Iterator[GatewayProcess]:
    databases = request.getfixturevalue(f"{request.param}_databases")
    acme = tenant(
        budgets=[budget("9.00", name="whole")],
        projects=[{"name": "search"}, {"name": "chat"}],
        members=[{"email": "owner@acme.test", "role": "owner"}],
        providers=[openai_provider(upstream_process.base_url, "inside")],
        keys=[
            key(),
            key("boss", MANAGE_KEY, scopes=EVERYTHING),
            key("part", PART_KEY, scopes=["inference", "manage"], project="search"),
            key("held", HELD_KEY, scopes=EVERYTHING, models=["alpha"]),
        ],
    )
    globex = tenant("globex", keys=[key("main", OTHER_KEY, scopes=EVERYTHING)])
    with installed(databases, tmp_path_factory.mktemp("home"), output) as gateway:
        wanted = configuration(upstream_process.base_url, tenants=[acme, globex])
        wanted["models"] = [*wanted["models"], model("inner-model", "acme/inside")]
        gateway.apply(wanted)
        yield gateway.serve()


class Api:
    """The management API as one key sees it."""

    def __init__(self, gateway: GatewayProcess, key: str = MANAGE_KEY) -> None:
        self._url = f"{gateway.url}/api/v1"
        self._headers = {"Authorization": f"Bearer {key}"}

    def ask(self, method: str, path: str, body: Any = None) -> httpx2.Response:
        url = f"{self._url}/{path}"
        return httpx2.request(method, url, headers=self._headers, json=body, timeout=20)

    def done(self, method: str, path: str, body: Any = None) -> Any:
        response = self.ask(method, path, body)
        assert response.status_code < 300, response.text
        return response.json() if response.content else None

    def refused(self, method: str, path: str, body: Any, status: int, param: str | None) -> str:
        response = self.ask(method, path, body)
        told = response.json()
        assert (response.status_code, told.get("param")) == (status, param), told
        detail: str = told["detail"]
        return detail

    def names(self, kind: str, field: str = "name") -> list[str]:
        return [row[field] for row in self.done("GET", kind)["data"]]


@pytest.fixture
def boss(gateway: GatewayProcess) -> Api:
    return Api(gateway)


def served(gateway: GatewayProcess, value: str) -> int:
    return OPENAI.ask(gateway.url, "alpha", key=value).status


# --- keys


def test_a_key_is_made_shown_once_used_rotated_and_revoked(
    gateway: GatewayProcess, boss: Api
) -> None:
    made = boss.done("POST", "keys", {"name": "made", "project": "chat", "models": ["alpha"]})
    value, place = made.pop("value"), f"keys/{made['id']}"
    assert (made["scopes"], made["models"]) == (["inference", "usage"], ["alpha"])
    assert value.startswith(made["starts_with"])
    until(lambda: served(gateway, value) == 200, LIMIT_S)
    shown = boss.done("GET", place)
    assert shown | {"last_used_at": None} == made
    assert value not in str(boss.done("GET", "keys"))
    assert OPENAI.ask(gateway.url, "beta", key=value).status in {403, 404}
    changed = boss.done("PATCH", place, {"models": None, "name": "renamed"})
    assert (changed["models"], changed["name"], changed["project"]) == (None, "renamed", "chat")
    until(lambda: OPENAI.ask(gateway.url, "beta", key=value).status == 200, LIMIT_S)
    rotated = boss.done("POST", f"{place}/rotate")["value"]
    until(lambda: served(gateway, value) == 401, LIMIT_S)
    until(lambda: served(gateway, rotated) == 200, LIMIT_S)
    boss.done("DELETE", place)
    until(lambda: served(gateway, rotated) == 401, LIMIT_S)
    assert boss.done("GET", place)["revoked_at"]
    boss.refused("PATCH", place, {"name": "again"}, 400, None)
    boss.refused("POST", f"{place}/rotate", None, 400, None)


def test_a_rotated_value_stays_good_for_its_grace_and_no_longer(
    gateway: GatewayProcess, boss: Api
) -> None:
    made = boss.done("POST", "keys", {"name": "graceful", "models": ["alpha"]})
    place, first = f"keys/{made['id']}", made["value"]
    assert served(gateway, first) == 200
    rotated = boss.done("POST", f"{place}/rotate", {"grace_seconds": 2})
    second = rotated.pop("value")
    assert rotated == boss.done("GET", place)
    assert rotated["old_value_until"]
    until(lambda: served(gateway, second) == 200, LIMIT_S)
    until(lambda: served(gateway, first) == 401, LIMIT_S)
    assert served(gateway, second) == 200

    third = boss.done("POST", f"{place}/rotate", {"grace_seconds": 3600})["value"]
    until(lambda: served(gateway, third) == 200, LIMIT_S)
    assert (served(gateway, second), served(gateway, first)) == (200, 401)
    boss.done("DELETE", place)
    # Who asks on and on with what has ended is told to wait.
    until(lambda: {served(gateway, value) for value in (second, third)} <= {401, 429}, LIMIT_S)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"grace_seconds": -1}, "grace_seconds"),
        ({"grace_seconds": 604_801}, "grace_seconds"),
        ({"grace_seconds": "1h"}, "grace_seconds"),
        ({"grace": 1}, "grace"),
    ],
)
def test_a_grace_that_is_none_is_refused_by_name(boss: Api, body: Any, param: str) -> None:
    made = boss.done("POST", "keys", {"name": f"refused-{uuid4()}"})
    boss.refused("POST", f"keys/{made['id']}/rotate", body, 400, param)


def test_what_the_api_changes_is_in_the_history_of_the_configuration(
    gateway: GatewayProcess, boss: Api
) -> None:
    (own,) = (row["id"] for row in boss.done("GET", "keys")["data"] if row["name"] == "boss")
    boss.done("POST", "projects", {"name": "kept-in-history"})
    assert own in gateway.managed("history")
    planned = gateway.manage("history", "--rollback", "1", "--plan")
    assert planned.code == 2
    assert "- project acme/kept-in-history" in planned.stdout
    boss.done("DELETE", "projects/kept-in-history")


def test_nobody_gives_what_they_do_not_have(gateway: GatewayProcess) -> None:
    part, held = Api(gateway, PART_KEY), Api(gateway, HELD_KEY)
    part.refused("POST", "keys", {"name": "x", "scopes": ["usage"]}, 403, "scopes")
    part.refused(
        "POST", "keys", {"name": "x", "scopes": ["manage"], "project": "chat"}, 400, "project"
    )
    held.refused("POST", "keys", {"name": "x"}, 403, "models")
    held.refused("POST", "keys", {"name": "x", "models": ["alpha", "beta"]}, 403, "models")
    made = held.done("POST", "keys", {"name": "held-too", "models": ["alpha"]})
    held.refused("PATCH", f"keys/{made['id']}", {"models": None}, 403, "models")
    own = part.done("POST", "keys", {"name": "of-the-part", "scopes": ["inference"]})
    assert own["project"] == "search"
    assert "of-the-part" in part.names("keys")
    assert "boss" not in part.names("keys")


def test_a_key_of_a_project_manages_that_project_alone(gateway: GatewayProcess, boss: Api) -> None:
    part = Api(gateway, PART_KEY)
    foreign = boss.done("POST", "budgets", {"name": "b1", "limit": "1", "project": "chat"})
    own = part.done("POST", "budgets", {"name": "b2", "limit": "1"})
    assert (own["project"], part.names("budgets")) == ("search", ["b2"])
    part.refused("GET", f"budgets/{foreign['id']}", None, 404, None)
    part.refused("DELETE", f"budgets/{foreign['id']}", None, 404, None)
    part.refused("POST", "projects", {"name": "mine"}, 403, None)
    part.refused("PATCH", "projects/search", {"name": "mine"}, 403, None)
    part.refused("GET", "members", None, 403, None)
    assert part.names("projects") == ["search"]


# --- budgets and limits


def test_a_budget_binds_from_the_next_request_and_its_raise_too(
    gateway: GatewayProcess, boss: Api
) -> None:
    value = boss.done("POST", "keys", {"name": "poor"})["value"]
    until(lambda: served(gateway, value) == 200, LIMIT_S)
    wanted = {"name": "tight", "limit": "0.000001", "period": "day", "key": "poor", "soft": [0.5]}
    made = boss.done("POST", "budgets", wanted)
    until(lambda: served(gateway, value) == 402, LIMIT_S)
    assert {name: made[name] for name in wanted} == wanted
    assert (made["hard"], made["mode"], made["per"], made["project"]) == (
        True,
        "strict",
        None,
        None,
    )
    place = f"budgets/{made['id']}"
    assert boss.done("PATCH", place, {"limit": "5"})["limit"] == "5.00"
    until(lambda: served(gateway, value) == 200, LIMIT_S)
    boss.done("DELETE", place)
    boss.refused("GET", place, None, 404, None)


def test_limits_are_set_changed_and_taken_away(gateway: GatewayProcess, boss: Api) -> None:
    value = boss.done("POST", "keys", {"name": "slow"})["value"]
    made = boss.done("POST", "limits", {"key": "slow", "requests_per_minute": 1})
    until(lambda: served(gateway, value) == 429, LIMIT_S)
    place = f"limits/{made['id']}"
    boss.done("PATCH", place, {"requests_per_minute": None, "concurrency": 4})
    until(lambda: served(gateway, value) == 200, LIMIT_S)
    shown = boss.done("GET", place)
    assert (shown["requests_per_minute"], shown["concurrency"]) == (None, 4)
    boss.refused("PATCH", place, {"concurrency": None}, 400, "requests_per_minute")
    boss.refused("POST", "limits", {"key": "slow", "concurrency": 1}, 400, None)
    boss.done("DELETE", place)


def test_what_binds_the_whole_tenant_is_shown_and_not_touched(boss: Api) -> None:
    (whole,) = [row for row in boss.done("GET", "budgets")["data"] if row["name"] == "whole"]
    assert (whole["limit"], whole["managed_by_file"]) == ("9.00", True)
    place = f"budgets/{whole['id']}"
    boss.refused("PATCH", place, {"limit": "99"}, 403, None)
    boss.refused("DELETE", place, None, 403, None)
    boss.refused("POST", "budgets", {"name": "more", "limit": "1"}, 403, "project")
    boss.refused("POST", "limits", {"concurrency": 1}, 403, "project")


# --- projects and people


def test_projects_are_made_renamed_and_removed_once_they_have_no_keys(boss: Api) -> None:
    boss.done("POST", "projects", {"name": "ops"})
    made = boss.done("POST", "keys", {"name": "ops-key", "project": "ops"})
    assert boss.done("GET", "projects/ops") == {"name": "ops", "keys": 1}
    boss.done("PATCH", "projects/ops", {"name": "operations"})
    boss.refused("DELETE", "projects/operations", None, 400, None)
    boss.done("DELETE", f"keys/{made['id']}")
    boss.done("DELETE", "projects/operations")
    assert "operations" not in boss.names("projects")


def test_a_key_makes_no_owners_and_touches_none(boss: Api) -> None:
    made = boss.done("POST", "members", {"email": "new@acme.test"})
    assert made["role"] == "viewer"
    assert boss.done("PATCH", f"members/{made['id']}", {"role": "member"})["role"] == "member"
    boss.refused("PATCH", f"members/{made['id']}", {"role": "owner"}, 400, "role")
    boss.refused("POST", "members", {"email": "x@acme.test", "role": "admin"}, 400, "role")
    (owner,) = [row for row in boss.done("GET", "members")["data"] if row["role"] == "owner"]
    boss.refused("PATCH", f"members/{owner['id']}", {"role": "viewer"}, 403, None)
    boss.refused("DELETE", f"members/{owner['id']}", None, 403, None)
    boss.done("DELETE", f"members/{made['id']}")


# --- providers of one's own

OWN_KEY = canary("own-provider-key")
ELSEWHERE = "https://llm.example.test/v1"


def secrets_of(gateway: GatewayProcess, provider: int) -> list[bool]:
    rows = Books(gateway).rows("llm_gateway_providerkey")
    return [row["sealed"] is not None for row in rows if row["provider_id"] == provider]


def test_a_tenant_brings_a_provider_whose_secret_never_comes_back(
    gateway: GatewayProcess, boss: Api
) -> None:
    made = boss.done("POST", "providers", {"name": "own", "kind": "openai", "key": OWN_KEY})
    place = f"providers/{made['id']}"
    assert (made["key"], made["allow_private_network"]) == (f"…{OWN_KEY[-4:]}", False)
    assert OWN_KEY not in str(boss.done("GET", "providers")) + str(boss.done("GET", "audit"))
    assert boss.done("PATCH", place, {"max_concurrent_requests": 7})["key"] == made["key"]
    moved = boss.done("PATCH", place, {"base_url": ELSEWHERE})
    # A secret belongs to the origin that it was given for.
    assert (moved["base_url"], moved["key"], secrets_of(gateway, made["id"])) == (
        ELSEWHERE,
        None,
        [False],
    )
    told = boss.done("PATCH", place, {"base_url": None, "key": OWN_KEY, "enabled": False})
    assert (told["key"], told["enabled"], told["base_url"]) == (made["key"], False, None)
    boss.done("DELETE", place)
    boss.refused("GET", place, None, 404, None)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/v1",
        "https://127.0.0.1/v1",
        "https://10.0.0.1/v1",
        "https://169.254.169.254/latest",
        "https://[::1]/v1",
        "http://llm.example.test/v1",
        "https://user@llm.example.test/v1",
        "file:///etc/passwd",
    ],
)
def test_an_address_that_is_not_public_is_the_operators_to_allow(boss: Api, url: str) -> None:
    wanted = {"name": "inside", "kind": "openai", "base_url": url}
    boss.refused("POST", "providers", wanted, 400, "base_url")
    boss.refused(
        "POST", "providers", wanted | {"allow_private_network": True}, 400, "allow_private_network"
    )


def test_what_an_operator_allowed_is_allowed_for_that_address_alone(boss: Api) -> None:
    (inside,) = [row for row in boss.done("GET", "providers")["data"] if row["name"] == "inside"]
    assert inside["allow_private_network"]
    place = f"providers/{inside['id']}"
    assert boss.done("PATCH", place, {"timeouts": {"idle": 5}})["allow_private_network"]
    boss.refused("PATCH", place, {"base_url": "http://127.0.0.1:9/v1"}, 400, "base_url")
    boss.refused("DELETE", place, None, 400, None)  # it has a model
    moved = boss.done("PATCH", place, {"base_url": ELSEWHERE})
    assert (moved["allow_private_network"], moved["key"]) == (False, None)
    boss.refused("PATCH", place, {"base_url": inside["base_url"]}, 400, "base_url")


def test_only_who_manages_the_whole_tenant_has_providers(gateway: GatewayProcess) -> None:
    part = Api(gateway, PART_KEY)
    part.refused("GET", "providers", None, 403, None)
    part.refused("POST", "providers", {"name": "x", "kind": "openai"}, 403, None)


def test_a_model_of_another_tenant_is_not_even_guessed_at(gateway: GatewayProcess) -> None:
    stranger = Api(gateway, OTHER_KEY)
    wanted = {"name": "x", "limit": "1", "key": "main", "model": "inner-mode"}
    assert "inner-model" not in stranger.refused("POST", "budgets", wanted, 400, "model")
    boss = Api(gateway)
    assert "inner-model" in boss.refused("POST", "budgets", wanted | {"key": "boss"}, 400, "model")


# --- any of them


@pytest.mark.parametrize(
    ("kind", "body", "param"),
    [
        ("keys", {}, "name"),
        ("keys", {"name": "no spaces, please"}, "name"),
        ("keys", {"name": "boss"}, None),
        ("keys", {"name": "x", "value": "env:HOME"}, "value"),
        ("keys", {"name": "x", "project": "nowhere"}, "project"),
        ("keys", {"name": "x", "scopes": ["everything"]}, "scopes[0]"),
        ("keys", {"name": "x", "expires": "soon"}, "expires"),
        ("budgets", {"name": "x", "key": "boss"}, "limit"),
        ("budgets", {"name": "x", "key": "boss", "limit": "-1"}, "limit"),
        ("budgets", {"name": "x", "key": "boss", "limit": "1", "period": "aeon"}, "period"),
        ("budgets", {"name": "x", "key": "boss", "limit": "1", "model": "gamma"}, "model"),
        ("budgets", {"name": "x", "key": "nobody", "limit": "1"}, "key"),
        ("budgets", {"name": "x", "key": "boss", "project": "chat", "limit": "1"}, "key"),
        ("budgets", {"name": "x", "key": "boss", "limit": "1", "per": "planet"}, "per"),
        ("limits", {"key": "boss"}, "requests_per_minute"),
        ("limits", {"key": "boss", "concurrency": 0}, "concurrency"),
        ("members", {"email": "nobody"}, "email"),
        ("members", {"email": "owner@acme.test"}, None),
        ("projects", {"name": "chat"}, None),
        ("providers", {"name": "x"}, "kind"),
        ("providers", {"name": "x", "kind": "unheard-of"}, "kind"),
        ("providers", {"name": "x", "kind": "openai", "key": "a\nb"}, "key"),
        ("providers", {"name": "x", "kind": "openai", "charge_by": "provider"}, "charge_by"),
        ("providers", {"name": "inside", "kind": "openai"}, None),
        (
            "providers",
            {"name": "x", "kind": "openai", "health_check": {"probe_as": "globex"}},
            "health_check.probe_as",
        ),
        (
            "providers",
            {"name": "x", "kind": "openai", "options": {"region": "eu-a-1"}},
            "options.region",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(
    boss: Api, kind: str, body: dict[str, Any], param: str | None
) -> None:
    before = boss.done("GET", kind)
    assert boss.refused("POST", kind, body, 400, param)
    assert boss.done("GET", kind) == before


def test_pages_follow_each_other(boss: Api) -> None:
    everything = boss.done("GET", "keys")["data"]
    seen, cursor = list[Any](), ""
    while True:
        page = boss.done("GET", f"keys?limit=2{cursor}")
        seen += page["data"]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert [row["id"] for row in seen] == [row["id"] for row in everything]


def test_another_tenant_finds_nothing(gateway: GatewayProcess, boss: Api) -> None:
    stranger = Api(gateway, OTHER_KEY)
    for kind in KINDS:
        for row in boss.done("GET", kind)["data"]:
            place = f"{kind}/{row['name'] if kind == 'projects' else row['id']}"
            stranger.refused("GET", place, None, 404, None)
            stranger.refused("PATCH", place, {"name": "mine"}, 404, None)
            stranger.refused("DELETE", place, None, 404, None)
    assert stranger.names("keys") == ["main"]
    assert not stranger.names("budgets")


def test_without_the_scope_nothing_is_managed(gateway: GatewayProcess) -> None:
    plain = Api(gateway, API_KEY)
    for kind in KINDS:
        for method, place in (("GET", kind), ("POST", kind), ("PATCH", f"{kind}/1")):
            assert plain.ask(method, place, {}).status_code == 403
    assert plain.ask("GET", "audit").status_code == 403


def test_every_change_is_in_the_audit_without_its_secret(
    gateway: GatewayProcess, boss: Api
) -> None:
    made = boss.done("POST", "keys", {"name": "audited"})
    boss.done("PATCH", f"keys/{made['id']}", {"scopes": ["inference"]})
    boss.done("DELETE", f"keys/{made['id']}")
    found = boss.done("GET", "audit?limit=3")["data"]
    assert [row["action"] for row in found] == ["revoked", "updated", "created"]
    assert found[1]["changes"] == {"scopes": [["inference", "usage"], ["inference"]]}
    assert {row["actor"] for row in found} != {""}
    assert made["value"] not in str(found)
    assert not Api(gateway, OTHER_KEY).done("GET", "audit")["data"] or all(
        "audited" not in row["object_name"]
        for row in Api(gateway, OTHER_KEY).done("GET", "audit")["data"]
    )
