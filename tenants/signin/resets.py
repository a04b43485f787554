"""A new password for who forgot theirs: a link, good once and for an hour, to their own mailbox.

Who asks learns nothing: the letter is written in a thread of its own, whether there is one or not.
"""

import logging
import threading
from collections.abc import Callable
from smtplib import SMTPException

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.core.mail import EmailMessage
from django.db import connections
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import base36_to_int, urlsafe_base64_encode
from typing_extensions import override

from tenants import audit
from tenants.signin.people import UnknownPersonError, user_of
from tenants.signin.rules import must_use_sso

GOOD_FOR_S = 3600
_AT_ONCE = 4

log = logging.getLogger(__name__)
_room = threading.BoundedSemaphore(_AT_ONCE)


class ResetTokens(PasswordResetTokenGenerator):
    """Good until the password changes or somebody signs in with it, and no longer than an hour."""

    key_salt = "tenants.signin.resets"

    @override
    def check_token(self, user: User | None, token: str | None) -> bool:
        if user is None or not token or not super().check_token(user, token):
            return False
        made_s = base36_to_int(token.partition("-")[0])
        return self._num_seconds(self._now()) - made_s <= GOOD_FOR_S


tokens = ResetTokens()


def may_reset(user: User) -> bool:
    """Say whether a password of this person is there to be forgotten, and opens anything."""
    return user.is_active and user.has_usable_password() and not must_use_sso(user.email)


def send_link(email: str, site: str) -> None:
    """Send the person of an e-mail a link, beside the request that asks; `site` is our address.

    With too many on their way none is sent: said in the log, and asked for again by whoever waits.
    """
    _beside(lambda: _send(email, site))


def _beside(work: Callable[[], None]) -> None:
    if not _room.acquire(blocking=False):
        log.error("Sign-in: too many letters at once, one was not sent")
        return
    threading.Thread(target=_worked, args=(work,), name="letter", daemon=True).start()


def _worked(work: Callable[[], None]) -> None:
    try:
        work()
    except Exception:
        log.exception("Sign-in: a letter was not sent")
    finally:
        connections.close_all()
        _room.release()


def _send(email: str, site: str) -> None:
    user = _person(email)
    if user is None:
        return
    name = urlsafe_base64_encode(force_bytes(user.pk))
    link = site + reverse("sign-in-reset", args=[name, tokens.make_token(user)])
    audit.record(user.get_username(), "password link sent", user)
    connections.close_all()  # a mail server may take its time
    text = (
        f"Somebody asked for a new password for {user.get_username()} on this gateway. If it was"
        f" you, choose one within an hour:\n\n{link}\n\nThe link works once. If it was not you,"
        " nothing has changed."
    )
    try:
        EmailMessage("Your new password", text, to=[user.email]).send()
    except (SMTPException, OSError) as error:
        log.error("Sign-in: the mail server took no letter: %s", type(error).__name__)  # noqa: TRY400 - what it says may quote the letter


def _person(email: str) -> User | None:
    try:
        user = user_of(email)
    except UnknownPersonError:  # several: nobody can tell whose it is
        return None
    return user if user is not None and settings.MAIL_IS_SET and may_reset(user) else None
