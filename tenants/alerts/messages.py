"""Word an alert once for everyone, and sign it the way Standard Webhooks does.

Pure. A message is plain JSON; its `id` stays the same however often it is sent.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct
from msgspec.structs import asdict

from tenants.types import usd

THRESHOLD, ALARM, TEST = "budget.threshold", "ledger.alarm", "test"
_PREFIX = "whsec_"

Message = Mapping[str, Any]


class Reached(Struct, frozen=True, kw_only=True):
    """A soft threshold that spend reached, with its budget as it stands."""

    tenant: str
    budget: str
    scope: str
    owner: str
    period: str
    starts_at: datetime
    ends_at: datetime | None
    subject: str
    threshold_ppm: int
    used_nano: int
    limit_nano: int | None


class Alarmed(Struct, frozen=True, kw_only=True):
    """Something wrong with how a model is charged; one request stands for all of its day."""

    tenant: str
    kind: str
    model: str
    request_id: str
    attempt: int
    said: str


def threshold_message(message_id: UUID, at: datetime, reached: Reached) -> Message:
    """Return what a webhook gets: amounts are decimal strings in US dollars."""
    data = {
        "tenant": reached.tenant,
        "budget": reached.budget,
        "scope": reached.scope,
        "owner": reached.owner,
        "subject": reached.subject or None,
        "period": reached.period,
        "starts_at": reached.starts_at.isoformat(timespec="seconds"),
        "ends_at": reached.ends_at.isoformat(timespec="seconds") if reached.ends_at else None,
        "threshold": reached.threshold_ppm / 1_000_000,
        "used": usd(reached.used_nano),
        "limit": None if reached.limit_nano is None else usd(reached.limit_nano),
    }
    return {"id": str(message_id), "type": THRESHOLD, "timestamp": at.isoformat(), "data": data}


def alarm_message(message_id: UUID, at: datetime, alarmed: Alarmed) -> Message:
    """Return what a webhook gets; the entry of the request it names holds the amounts."""
    data = asdict(alarmed)
    return {"id": str(message_id), "type": ALARM, "timestamp": at.isoformat(), "data": data}


def check_message(message_id: UUID, at: datetime, sink: str) -> Message:
    """Return what the console's test button sends."""
    return {
        "id": str(message_id),
        "type": TEST,
        "timestamp": at.isoformat(),
        "data": {"sink": sink},
    }


def subject_of(message: Message) -> str:
    """Return one line for people."""
    data = message["data"]
    if message["type"] == TEST:
        return f"Mobius: this is a test of {data['sink']}"
    if message["type"] == ALARM:
        return f"Mobius: {data['kind']} at {data['model']} of {data['tenant']}"
    percent = f"{data['threshold'] * 100:g} %"
    return f"Mobius: {data['tenant']}/{data['budget']} reached {percent} of its limit"


def text_of(message: Message) -> str:
    """Return a few lines for people: plain text, for mail and for chats."""
    data = message["data"]
    if message["type"] == TEST:
        return f"{subject_of(message)}. Alerts of budgets will arrive here."
    if message["type"] == ALARM:
        return (
            f"{subject_of(message)}.\n{data['said']}\n"
            f"Request {data['request_id']}, attempt {data['attempt']}: the first of its kind today."
        )
    whose = f"{data['scope']} {data['owner']}" + (f", {data['subject']}" if data["subject"] else "")
    renews = f"It renews at {data['ends_at']}." if data["ends_at"] else "It never renews."
    return (
        f"{subject_of(message)}.\n"
        f"Used {data['used']} of {data['limit']} USD by {whose}"
        f" in the {data['period']} from {data['starts_at']}. {renews}"
    )


def signature_headers(
    secret: str, message_id: str, timestamp: int, body: bytes
) -> tuple[tuple[str, str], ...]:
    """Return the headers of standardwebhooks.com: HMAC-SHA-256 over id, time stamp and body."""
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    digest = hmac.new(_signing_key(secret), signed, hashlib.sha256).digest()
    return (
        ("webhook-id", message_id),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", f"v1,{base64.b64encode(digest).decode()}"),
    )


def _signing_key(secret: str) -> bytes:
    """Return the bytes of `whsec_…` in base64, or those of any other text as they are."""
    if secret.startswith(_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            pass  # chosen by a person, then
    return secret.encode()
