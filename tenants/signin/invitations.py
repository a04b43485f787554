"""Invite a member: a link, good once and for three days, by which they choose a password.

Whoever has the link becomes the person of that address. So it is shown to operators alone; people
of a tenant have it mailed, which proves the address. And who has a way to sign in already needs
none: their link would open what they have elsewhere.
"""

import math
from datetime import datetime
from smtplib import SMTPException
from typing import cast

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.core.mail import EmailMessage
from django.db import transaction
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from tenants.models import Member
from tenants.rights import Role, reaches
from tenants.signin.attempts import letters
from tenants.signin.models import SignIn
from tenants.signin.people import UnknownPersonError, join_tenants, make_user, user_of
from tenants.signin.rules import must_use_sso


class NotInvitedError(Exception):
    """Why there is no link for somebody; fit for whoever invites."""


class InvitationTokens(PasswordResetTokenGenerator):
    """Good until there is a password or a sign-in, at most PASSWORD_RESET_TIMEOUT."""

    key_salt = "tenants.signin.invitations"


tokens = InvitationTokens()


def invite(member: Member) -> str:
    """Return the path of a link for a member, whose user is made if need be.

    Raises NotInvitedError.
    """
    if must_use_sso(member.email):
        raise NotInvitedError(f"{member.email} signs in with single sign-on: no link is needed.")
    try:
        with transaction.atomic():
            user = user_of(member.email) or make_user(member.email)
            _check_waits(user)
            join_tenants(user)
    except UnknownPersonError as error:
        raise NotInvitedError(str(error)) from None
    name = urlsafe_base64_encode(force_bytes(user.pk))
    return reverse("sign-in-invitation", args=[name, tokens.make_token(user)])


def check_may_mail(role: Role | None, member: Member, now: datetime) -> None:
    """Raise NotInvitedError where somebody of this role of the tenant may not invite a member."""
    if not reaches(role, cast("Role", member.role)):
        raise NotInvitedError(f"Your role is below {member.role}: ask somebody above you.")
    if not settings.MAIL_IS_SET:
        raise NotInvitedError("This gateway sends no mail: ask an operator for a link.")
    if wait_s := letters.begin(member.email, now):
        minutes = math.ceil(wait_s / 60)
        raise NotInvitedError(f"Enough letters went to {member.email}: wait {minutes} minutes.")


def mail(member: Member, link: str) -> bool:
    """Send the link where mail is set; say whether it was taken."""
    if not settings.MAIL_IS_SET:
        return False
    text = (
        f"You are invited to {member.tenant} on this gateway. Choose a password within three days:"
        f"\n\n{link}\n\nThe link works once."
    )
    subject = " ".join(f"Your invitation to {member.tenant}".split())
    try:
        return EmailMessage(subject, text, to=[member.email]).send() == 1
    except (SMTPException, OSError):
        return False


def _check_waits(user: User) -> None:
    linked = SignIn.objects.filter(user=user).exclude(sso_subject="").exists()
    if not user.is_active:
        raise NotInvitedError(f"The user {user} is switched off.")
    if user.has_usable_password() or linked or user.is_staff or user.is_superuser:
        raise NotInvitedError(f"{user.email} can sign in already, and finds this tenant there.")
