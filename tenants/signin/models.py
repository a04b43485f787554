"""What is kept of how a person signs in, beside Django's own user."""

import hashlib
import hmac
from typing import Any

from django.conf import settings
from django.db import models
from django_otp.plugins.otp_totp.models import TOTPDevice
from typing_extensions import override

from tenants.install import install_secret

_SECRET = "sign_in"  # noqa: S105 - the name of an installation's secret


class SignIn(models.Model):
    """How one person signs in: at which provider, and which sessions still count."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="sign_in"
    )
    # A session remembers the count it began with; one of an earlier count is over.
    sessions = models.PositiveIntegerField(default=0)
    sso_issuer = models.CharField(max_length=300, blank=True, default="")
    sso_subject = models.CharField(max_length=255, blank=True, default="")
    # Made an operator by OIDC_OPERATORS: for as long as that names them.
    operator_by_sso = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=("sso_issuer", "sso_subject"),
                condition=~models.Q(sso_subject=""),
                name="sign_in_subject",
            )
        ]

    @override
    def __str__(self) -> str:
        return f"how {self.user} signs in"


class SignInAttempt(models.Model):
    """How many attempts somebody has made until a window ends; who it was, as a digest."""

    who = models.CharField(max_length=64, primary_key=True)
    until = models.DateTimeField(db_index=True)
    count = models.PositiveIntegerField(default=0)

    @override
    def __str__(self) -> str:
        return f"{self.count} attempts"


class Authenticator(TOTPDevice):  # type: ignore[misc] # django-otp is not typed
    """An authenticator app, whose secret the database alone does not give away."""

    class Meta:
        proxy = True

    @property
    @override
    def bin_key(self) -> bytes:
        """What the app and we know: made of the row and of a secret under the master key."""
        row: Any = super().bin_key
        return digest(row, hashlib.sha1)  # 20 bytes, as RFC 4226 asks for


def digest(value: bytes, algorithm: Any = hashlib.sha256) -> bytes:  # noqa: ANN401 - as hmac's
    """Return the value keyed by this installation's secret."""
    return hmac.digest(install_secret(_SECRET), value, algorithm)
