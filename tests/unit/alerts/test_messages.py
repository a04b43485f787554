"""What an alert says, and that a receiver can prove who said it."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from uuid import UUID

import pytest

from tenants.alerts.messages import (
    Reached,
    check_message,
    signature_headers,
    subject_of,
    text_of,
    threshold_message,
)

ID = UUID("0197a000-0000-7000-8000-000000000001")
AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
REACHED = Reached(
    tenant="acme",
    budget="monthly",
    scope="project",
    owner="search",
    period="month",
    starts_at=datetime(2026, 11, 1, tzinfo=UTC),
    ends_at=datetime(2026, 12, 1, tzinfo=UTC),
    subject="",
    threshold_ppm=800_000,
    used_nano=8_100_000_000,
    limit_nano=10_000_000_000,
)


def test_a_message_holds_amounts_as_text_and_its_own_id() -> None:
    message = threshold_message(ID, AT, REACHED)
    assert json.loads(json.dumps(message)) == message
    assert (message["id"], message["type"]) == (str(ID), "budget.threshold")
    data = message["data"]
    assert (data["used"], data["limit"], data["threshold"]) == ("8.100000000", "10.000000000", 0.8)


def test_people_read_whose_budget_it_is_and_when_it_renews() -> None:
    text = text_of(threshold_message(ID, AT, REACHED))
    assert "acme/monthly reached 80 % of its limit" in text
    assert "by project search in the month from 2026-11-01" in text
    assert "renews at 2026-12-01" in text


def test_a_test_says_that_it_is_one() -> None:
    message = check_message(ID, AT, "acme/pager")
    assert "test of acme/pager" in subject_of(message)
    assert "will arrive here" in text_of(message)


# `whsec_` and base64 are the key's bytes, as the libraries of Standard Webhooks read it; a text
# that only begins so was chosen by a person.
@pytest.mark.parametrize(
    ("secret", "key"),
    [
        ("whsec_" + base64.b64encode(b"k" * 24).decode(), b"k" * 24),
        ("a-secret-of-a-person-0123", b"a-secret-of-a-person-0123"),
        ("whsec_not base64", b"whsec_not base64"),
    ],
)
def test_the_signature_covers_id_time_and_body(secret: str, key: bytes) -> None:
    headers = dict(signature_headers(secret, "id-1", 1_763_640_000, b'{"a":1}'))
    wanted = hmac.new(key, b'id-1.1763640000.{"a":1}', hashlib.sha256).digest()
    assert headers == {
        "webhook-id": "id-1",
        "webhook-timestamp": "1763640000",
        "webhook-signature": "v1," + base64.b64encode(wanted).decode(),
    }
