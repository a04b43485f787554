"""Bring one message to one sink; whatever goes wrong is a sentence that names no secret."""

import json
from collections.abc import Callable
from datetime import datetime
from smtplib import SMTPException
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMessage
from msgspec import Struct

from tenants.alerts.messages import Message, signature_headers, subject_of, text_of
from tenants.alerts.models import AlertSink, origin_of
from tenants.secrets import SecretError

_OK = range(200, 300)


class NotDeliveredError(Exception):
    """A message was not taken; the text says why and is fit for its operator."""


class Letter(Struct, frozen=True, kw_only=True):
    """One POST of JSON, for whoever may open sockets."""

    origin: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    allow_private_network: bool


# Returns the status of the answer. Raises NotDeliveredError where none came.
Post = Callable[[Letter], int]


def send(sink: AlertSink, message: Message, post: Post, now: datetime) -> None:
    """Send once. Raises NotDeliveredError."""
    if sink.kind == AlertSink.Kind.MAIL:
        _mail(sink, message)
        return
    try:
        letter = _LETTERS[sink.kind](sink, message, now)
    except SecretError as error:
        raise NotDeliveredError(f"{error}.") from None
    status = post(letter)
    if status not in _OK:
        raise NotDeliveredError(f"The address answered {status}.")


def _mail(sink: AlertSink, message: Message) -> None:
    if not settings.MAIL_IS_SET:
        raise NotDeliveredError("EMAIL_URL is not set.")
    letter = EmailMessage(
        # A name may hold what would end the header.
        " ".join(subject_of(message).split()),
        text_of(message),
        to=sink.mail_addresses,
        headers={"Message-ID": f"<{message['id']}@mobius>"},
    )
    try:
        letter.send()
    except (SMTPException, OSError) as error:
        raise NotDeliveredError(f"The mail server: {type(error).__name__}.") from None


def _webhook(sink: AlertSink, message: Message, now: datetime) -> Letter:
    body = json.dumps(message, separators=(",", ":")).encode()
    signed = signature_headers(sink.secret(), message["id"], int(now.timestamp()), body)
    parts = urlsplit(sink.address)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _letter(sink, path, signed, body)


def _slack(sink: AlertSink, message: Message, _now: datetime) -> Letter:
    # Slack reads <, > and & as markup: a name must not become a link or call for everybody.
    text = text_of(message)
    for sign, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(sign, escaped)
    return _letter(sink, sink.secret(), (), json.dumps({"text": text}).encode())


def _letter(
    sink: AlertSink, path: str, headers: tuple[tuple[str, str], ...], body: bytes
) -> Letter:
    return Letter(
        origin=origin_of(sink.address),
        path=path,
        headers=headers,
        body=body,
        allow_private_network=sink.allow_private_network,
    )


_LETTERS: dict[str, Callable[[AlertSink, Message, datetime], Letter]] = {
    AlertSink.Kind.WEBHOOK: _webhook,
    AlertSink.Kind.SLACK: _slack,
}
