"""Read the environment strictly: a value that cannot be understood stops the start by name."""

import base64
import binascii
import os
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from environ import Env, FileAwareEnv

_env = FileAwareEnv()

LOOPBACK = {"127.0.0.1", "::1", "localhost"}
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


def postgres(name: str, value: str) -> dict[str, Any]:
    """Return Django's settings for the PostgreSQL database of the URL that `name` holds."""
    try:
        settings: dict[str, Any] = dict(Env.db_url_config(value))
    except (ImproperlyConfigured, ValueError):
        # What the parser says may quote a part of the password.
        raise ImproperlyConfigured(
            f"{name} cannot be read: write postgres://USER:PASSWORD@HOST:PORT/NAME, special"
            " characters of the password as %-escapes"
        ) from None
    settings["ENGINE"] = "django.db.backends.postgresql"
    settings.setdefault("OPTIONS", {})["connect_timeout"] = 2
    return settings


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


@dataclass(frozen=True, slots=True)
class Oidc:
    """The identity provider people may sign in at; addresses and domains in lower case."""

    issuer: str
    client_id: str
    client_secret: str
    name: str
    domains: frozenset[str]
    operators: frozenset[str]
    allow_http: bool


def oidc() -> Oidc | None:
    """Return what the variables OIDC_… say; None where OIDC_ISSUER is not set."""
    issuer, allow_http = url("OIDC_ISSUER", "https", "http"), flag("OIDC_ALLOW_HTTP")
    needed = {name: text(name) for name in ("OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET")}
    lists = {name: words(name) for name in ("OIDC_DOMAINS", "OIDC_OPERATORS")}
    name = text("OIDC_NAME")
    if not issuer:
        for given, value in {**needed, **lists, "OIDC_NAME": name}.items():
            if value:
                raise ImproperlyConfigured(f"{given} is set, and OIDC_ISSUER is not")
        return None
    _check_issuer(issuer, allow_http=allow_http)
    for missing, value in needed.items():
        if not value:
            raise ImproperlyConfigured(f"{missing} is not set, and OIDC_ISSUER is")
    return Oidc(
        issuer,
        needed["OIDC_CLIENT_ID"],
        needed["OIDC_CLIENT_SECRET"],
        name or "single sign-on",
        _addresses("OIDC_DOMAINS", lists["OIDC_DOMAINS"], r"[^@\s]+\.[^@\s]+", "company.com"),
        _addresses("OIDC_OPERATORS", lists["OIDC_OPERATORS"], r"[^@\s]+@[^@\s]+", "a@company.com"),
        allow_http,
    )


def _check_issuer(issuer: str, *, allow_http: bool) -> None:
    parts = urlsplit(issuer)
    if not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ImproperlyConfigured(
            "OIDC_ISSUER has to be an address such as https://id.company.com"
        )
    if parts.scheme == "http" and not (allow_http or parts.hostname in LOOPBACK):
        raise ImproperlyConfigured(
            "OIDC_ISSUER starts with http://: use https://, or set OIDC_ALLOW_HTTP=true for trials"
        )


def _addresses(name: str, given: list[str], form: str, example: str) -> frozenset[str]:
    for value in given:
        if not re.fullmatch(form, value):
            raise ImproperlyConfigured(f"{name} holds {value!r}: write {example}, {example}")
    return frozenset(value.lower() for value in given)


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
