"""Whose role may reads what a request said, asks it again, and is noted in the audit."""

import json
import re
from http import HTTPStatus
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from llm_gateway.insight.payloads import READ, Payload, Side, sealed
from llm_gateway.models import RequestPayload
from tenants.models import AuditEvent, Tenant
from tenants.rights import ROLES, Role, field_of, reaches
from tests.integration.seated import Town

pytestmark = [pytest.mark.django_db, pytest.mark.promise("S1")]

SAID = "CANARY-of-what-was-said"
XSS = "<img src=x onerror=alert(1)>"
ASKED = {
    "max_tokens": 64,
    "temperature": 0.5,
    "stop_sequences": ["END"],
    "system": "Be brief.",
    "messages": [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "an answer"},
        {"role": "user", "content": [{"type": "text", "text": f"{SAID} </script>{XSS}"}]},
    ],
}


@pytest.fixture
def ours() -> Town:
    return keeping(Town("ours"), ASKED)


@pytest.fixture
def operator() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    return client


def keeping(town: Town, asked: Any, **fields: Any) -> Town:
    """Keep what its request said."""
    log: Any = town.rows["RequestLog"]
    given = {"level": "full", "dialect": "anthropic_messages", **fields}
    cut = given.pop("cut", False)
    payload = Payload(
        request=Side(asked, 512, cut), answer=Side({"content": f"{SAID} too"}, 99), **given
    )
    RequestPayload.all_tenants_unsafe.create(
        request=log, tenant=town.tenant, sealed=sealed(payload, town.tenant.pk, log.pk)
    )
    return town


def detail(town: Town) -> str:
    return reverse("admin:llm_gateway_requestlog_change", args=[town.rows["RequestLog"].pk])


def playground(town: Town) -> str:
    return f"{reverse('admin:playground')}?request={town.rows['RequestLog'].pk}"


def looks() -> list[tuple[str, str, str]]:
    rows = AuditEvent.objects.filter(action=READ).order_by("pk")
    return [(row.actor, row.tenant_name, row.object_id) for row in rows]


def filled(page: str) -> Any:
    """Return what the playground is filled with."""
    found = re.search(
        r'<script id="replay" type="application/json">(.*?)</script>', page, re.DOTALL
    )
    assert found, "the page holds nothing to fill in"
    return json.loads(found[1])


@pytest.mark.parametrize("role", ROLES)
def test_who_reads_it_is_said_by_the_table_of_rights(role: Role, ours: Town) -> None:
    client, log = ours.client(role), ours.rows["RequestLog"]
    may = reaches(role, field_of("RequestLog", "payload").read)
    page = client.get(detail(ours))
    assert page.status_code == HTTPStatus.OK
    assert (SAID in page.content.decode()) == may
    answer = client.get(playground(ours))
    assert (answer.status_code == HTTPStatus.OK) == may
    assert (SAID in answer.content.decode()) == may
    person = ours.people[role].username
    assert looks() == [(person, ours.tenant.name, str(log.pk))] * (2 if may else 0)


def test_nobody_of_another_tenant_reads_it(ours: Town) -> None:
    theirs = Town("theirs").client("owner")
    for address in (detail(ours), playground(ours)):
        answer = theirs.get(address)
        assert answer.status_code in {HTTPStatus.NOT_FOUND, HTTPStatus.FOUND}
        assert SAID not in answer.content.decode()
    assert looks() == []


def test_an_operator_reads_it_where_the_tenant_says_so(ours: Town, operator: Client) -> None:
    page = operator.get(detail(ours)).content.decode()
    assert SAID not in page
    assert "Operators read it only where" in page
    assert operator.get(playground(ours)).status_code == HTTPStatus.FORBIDDEN
    assert looks() == []
    Tenant.objects.filter(pk=ours.tenant.pk).update(operators_read_payloads=True)
    assert SAID in operator.get(detail(ours)).content.decode()
    assert operator.get(playground(ours)).status_code == HTTPStatus.OK
    assert [actor for actor, *_ in looks()] == ["operator", "operator"]


def test_what_was_said_is_text_and_leads_to_the_playground(ours: Town) -> None:
    page = ours.client("admin").get(detail(ours)).content.decode()
    assert XSS not in page
    assert "&lt;img src=x" in page
    assert playground(ours) in page
    assert "512 bytes" in page


def test_the_playground_is_filled_in_from_any_dialect(ours: Town) -> None:
    page = ours.client("admin").get(playground(ours)).content.decode()
    assert XSS not in page
    assert filled(page) == {
        "model": ours.mark,
        "system": "Be brief.",
        "earlier": [
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "an answer"},
        ],
        "prompt": f"{SAID} </script>{XSS}",
        "fields": {"temperature": 0.5, "max_tokens": 64},
        "left_out": ["stop"],
    }


@pytest.mark.parametrize(
    ("asked", "fields", "why"),
    [
        ({"input": ["a"]}, {"dialect": "openai_embeddings"}, "Only chats"),
        (ASKED, {"cut": True}, "too long"),
        ("no JSON", {}, "Only chats"),
        ({**ASKED, "messages": [{"role": "narrator", "content": "x"}]}, {}, "messages"),
        ({**ASKED, "messages": ASKED["messages"][:2]}, {}, "last turn"),  # type: ignore[index]
    ],
    ids=["embeddings", "cut", "text", "odd", "unfinished"],
)
def test_what_cannot_be_asked_again_says_why(asked: Any, fields: dict[str, Any], why: str) -> None:
    town = keeping(Town("ours"), asked, **fields)
    told = filled(town.client("admin").get(playground(town)).content.decode())
    assert told.keys() == {"problem"}
    assert why in told["problem"]


def test_a_request_of_which_nothing_is_kept_says_so() -> None:
    town = Town("ours")
    client = town.client("admin")
    assert "Nothing is kept of it" in client.get(detail(town)).content.decode()
    told = filled(client.get(playground(town)).content.decode())
    assert "Nothing is kept" in told["problem"]
    for odd in ("nothing", "0" * 32):
        address = f"{reverse('admin:playground')}?request={odd}"
        assert client.get(address).status_code == HTTPStatus.NOT_FOUND
    assert looks() == []


def test_what_an_older_master_key_sealed_is_said_to_be_shut(ours: Town) -> None:
    RequestPayload.all_tenants_unsafe.update(sealed=b"\x01" + bytes(200))
    client = ours.client("admin")
    assert "a master key that is gone" in client.get(detail(ours)).content.decode()
    told = filled(client.get(playground(ours)).content.decode())
    assert "a master key that is gone" in told["problem"]
