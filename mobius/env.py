"""Read the environment strictly: a value that cannot be understood stops the start by name."""

import base64
import binascii
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from environ import Env, FileAwareEnv

_env = FileAwareEnv()

YES = {"1", "true", "yes", "on"}
NO = {"0", "false", "no", "off", ""}


def text(name: str, default: str = "") -> str:
    """Return the variable, or the content of the file that `{name}_FILE` names."""
    try:
        return str(_env.get_value(name, default=default)).strip()
    except OSError as error:
        raise ImproperlyConfigured(f"{name}_FILE cannot be read: {error}") from None


def number(name: str, default: int, *, low: int = 0, high: int = 2**31) -> int:
    value = text(name)
    if not value:
        return default
    if not value.isdecimal() or not low <= int(value) <= high:
        raise ImproperlyConfigured(f"{name} is {value!r}: give a whole number from {low} to {high}")
    return int(value)


def flag(name: str, *, default: bool = False) -> bool:
    value = text(name).lower()
    if not value:
        return default
    if value not in YES | NO:
        raise ImproperlyConfigured(f"{name} is {value!r}: give true or false")
    return value in YES


def choice(name: str, default: str, *choices: str) -> str:
    value = text(name) or default
    if value not in choices:
        raise ImproperlyConfigured(f"{name} is {value!r}: give one of {', '.join(choices)}")
    return value


def words(name: str, default: str = "") -> list[str]:
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def url(name: str, *schemes: str) -> str:
    value = text(name)
    if value and value.partition("://")[0] not in schemes:
        listed = ", ".join(f"{scheme}://" for scheme in schemes)
        raise ImproperlyConfigured(f"{name} has to start with one of {listed}")
    return value


def mail(name: str) -> dict[str, object]:
    """Return Django's mail settings of a URL such as smtp+tls://USER:PASSWORD@HOST; {} without."""
    ports = {"smtp": 25, "smtp+tls": 587, "smtp+ssl": 465}
    value = url(name, *ports)
    if not value:
        return {}
    try:
        settings = dict(Env.email_url_config(value))
    except ValueError:
        settings = {}
    if not settings.get("EMAIL_HOST"):
        # What the parser says may quote a part of the password.
        raise ImproperlyConfigured(
            f"{name} cannot be read: write smtp+tls://USER:PASSWORD@HOST:PORT, special characters"
            " of the password as %-escapes"
        )
    settings["EMAIL_PORT"] = settings["EMAIL_PORT"] or ports[value.partition("://")[0]]
    for field in ("EMAIL_HOST_USER", "EMAIL_HOST_PASSWORD"):
        settings[field] = settings[field] or ""
    return settings


def kept_secret(name: str, path: Path, *, embedded: bool, make: Callable[[], str]) -> str:
    """Return a secret from the environment; in embedded mode from a file made on first use.

    Raises ImproperlyConfigured where neither is there.
    """
    if value := text(name):
        return value
    if not embedded:
        raise ImproperlyConfigured(f"{name} is not set; outside embedded mode it has to be given")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(descriptor, "w") as file:
        file.write(value := make())
    return value


def master_keys(value: str) -> list[str]:
    """Return the keys of MOBIUS_MASTER_KEY, each 32 bytes in URL-safe base64."""
    keys = [key.strip() for key in value.split(",") if key.strip()]
    for place, key in enumerate(keys, 1):
        try:
            length = len(base64.b64decode(key, altchars=b"-_", validate=True))
        except binascii.Error:
            length = 0
        if length != 32:  # noqa: PLR2004 - AES-256
            raise ImproperlyConfigured(
                f"MOBIUS_MASTER_KEY: key {place} is not 32 random bytes in URL-safe base64"
            )
    if not keys:
        raise ImproperlyConfigured("MOBIUS_MASTER_KEY holds no key")
    return keys


def new_master_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
