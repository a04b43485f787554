"""A person's second factor: an authenticator app and recovery codes, each good once, throttled."""

import base64
import math
import secrets
from urllib.parse import quote, urlencode

import segno
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from msgspec import Struct

from tenants.signin.models import Authenticator, digest

ISSUER = "Mobius"
RECOVERY_CODES = 10
_DIGITS = 6


class Asked(Struct, frozen=True):
    """What became of a code: right, wrong, or not looked at for so many seconds."""

    right: bool = False
    wait_s: int = 0


class SetUp(Struct, frozen=True):
    """What a new authenticator app has to be told."""

    secret: str
    address: str

    @property
    def picture(self) -> str:
        """The address as a QR code in SVG: dark on light, in whatever colours the page is."""
        code = segno.make_qr(self.address, error="m")
        return code.svg_inline(scale=4, border=4, dark="#000", light="#fff", omitsize=True)


def is_set_up(user: User) -> bool:
    return bool(Authenticator.objects.filter(user=user, confirmed=True).exists())


def begin(user: User) -> SetUp:
    """Return what to tell a new app; the same until a code of it has been seen."""
    device, _ = Authenticator.objects.get_or_create(
        user=user, confirmed=False, defaults={"name": "app"}
    )
    secret = base64.b32encode(device.bin_key).decode()
    label = quote(f"{ISSUER}:{user.get_username()}")
    return SetUp(
        secret, f"otpauth://totp/{label}?{urlencode({'secret': secret, 'issuer': ISSUER})}"
    )


def confirm(user: User, code: str) -> Asked:
    """Take the new app in the place of the old one, once a code of it is right."""
    with transaction.atomic():
        new = Authenticator.objects.select_for_update().filter(user=user, confirmed=False).first()
        asked = _asked(new, code)
        if asked.right:
            Authenticator.objects.filter(user=user, confirmed=True).delete()
            Authenticator.objects.filter(user=user).update(confirmed=True)
    return asked


def ask(user: User, code: str) -> Asked:
    """Check a code of the app, or else a recovery code; either is good for one time."""
    code = "".join(code.split()).replace("-", "").lower()
    by_app = len(code) == _DIGITS and code.isdecimal()
    with transaction.atomic():
        # Locked: the same code in two requests at once is right in one of them.
        if by_app:
            apps = Authenticator.objects.select_for_update().filter(user=user, confirmed=True)
            return _asked(apps.first(), code)
        return _asked(
            StaticDevice.objects.select_for_update().filter(user=user).first(), _kept(code)
        )


def new_recovery_codes(user: User) -> list[str]:
    """Make recovery codes in the place of those before; they are shown once, digests are kept."""
    codes = [secrets.token_hex(5) for _ in range(RECOVERY_CODES)]
    with transaction.atomic():
        StaticDevice.objects.filter(user=user).delete()
        device = StaticDevice.objects.create(user=user, name="recovery codes")
        StaticToken.objects.bulk_create(StaticToken(device=device, token=_kept(c)) for c in codes)
    return [f"{code[:5]}-{code[5:]}" for code in codes]


def recovery_codes_left(user: User) -> int:
    return int(StaticToken.objects.filter(device__user=user).count())


def remove(user: User) -> None:
    """Do without: the app and the recovery codes are forgotten."""
    with transaction.atomic():
        Authenticator.objects.filter(user=user).delete()
        StaticDevice.objects.filter(user=user).delete()


def _asked(device: Authenticator | StaticDevice | None, code: str) -> Asked:
    if device is None:
        return Asked()
    allowed, why = device.verify_is_allowed()
    if not allowed:
        left = (why["locked_until"] - timezone.now()).total_seconds()
        return Asked(wait_s=max(1, math.ceil(left)))
    return Asked(right=device.verify_token(code))


def _kept(code: str) -> str:
    """Return what is kept of a recovery code: as much of its digest as the column takes."""
    return base64.b32encode(digest(code.encode()))[:16].decode()
